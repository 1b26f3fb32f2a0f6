/* Prints the time since the boot, in microseconds. With words it then becomes the program that they
   name: so the same clock shows when a command was executed and when what it started did begin. */
#define _GNU_SOURCE
#include <stdio.h>
#include <time.h>
#include <unistd.h>
int main(int count, char **words) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    dprintf(1, "%lld\n", now.tv_sec * 1000000LL + now.tv_nsec / 1000);
    if (count > 1) execv(words[1], words + 1);
    return 0;
}
