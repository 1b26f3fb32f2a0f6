// peak: runs a command, then prints its exit code and the most memory that it or any process it
// waited for had, in KiB. Small itself, since a new process starts with its parent's high mark.
#define _GNU_SOURCE
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int count, char **words) {
    struct rusage usage;
    int status;
    if (count < 2) return 2;
    pid_t pid = vfork();
    if (pid == 0) {
        execv(words[1], words + 1);
        _exit(127);
    }
    if (pid < 0 || wait4(pid, &status, 0, &usage) < 0) return 1;
    dprintf(2, "peak %d %ld\n", WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), usage.ru_maxrss);
    return 0;
}
