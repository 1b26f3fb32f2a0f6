/* Touches so many megabytes from its first instruction on, then ends with 0. */
#include <stdlib.h>
#include <sys/mman.h>
int main(int count, char **words) {
    long size = (count > 1 ? atol(words[1]) : 0) << 20;
    char *memory = mmap(0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (long i = 0; i < size; i += 4096) memory[i] = 1;
    return 0;
}
