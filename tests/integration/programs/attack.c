/* Tries to leave the root by each way that is known, and tells how it went. */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
static void walk(void) {
    struct stat before, after;
    stat("/", &before);
    mkdir("/walk", 0700);
    if (chroot("/walk")) { printf("walk: %s\n", strerror(errno)); return; }
    for (int i = 0; i < 100; i++) if (chdir("..")) break;
    chroot(".");
    stat("/", &after);
    int same = before.st_ino == after.st_ino && before.st_dev == after.st_dev;
    printf("walk: %s\n", same ? "stays" : "escapes");
}
static void fresh_proc(void) {
    if (mount("proc", "/tmp", "proc", 0, "")) printf("proc: %s\n", strerror(errno));
    else printf("proc: mounted\n");
}
int main(void) {
    setbuf(stdout, 0);
    if (!fork()) { walk(); return 0; }
    wait(0);
    printf("umount: %s\n", umount2("/", MNT_DETACH) ? strerror(errno) : "done");
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID)) {
        printf("userns: %s\n", strerror(errno));
        return 0;
    }
    if (!fork()) { fresh_proc(); return 0; }
    wait(0);
    return 0;
}
