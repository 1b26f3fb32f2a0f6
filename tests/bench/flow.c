// flow sink PORT                            takes connections and whatever comes over them
// flow send NETNS HOST PORT MEGABYTES       sends so much from that namespace, and waits until it has
//                                           been taken
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static char buffer[256 << 10];

static void die(const char *what) {
    perror(what);
    exit(1);
}

static void sink(int port) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    int on = 1, server = socket(AF_INET, SOCK_STREAM, 0);
    signal(SIGCHLD, SIG_IGN);
    setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(server, (void *)&at, sizeof at) || listen(server, 128)) die("listen");
    for (;;) {
        int connection = accept(server, 0, 0);
        if (connection < 0) continue;
        if (fork() == 0) {
            while (read(connection, buffer, sizeof buffer) > 0) {}
            // One byte: all has been taken.
            _exit(write(connection, "", 1) != 1);
        }
        close(connection);
    }
}

static void drain(const char *netns, const char *host, int port, long megabytes) {
    int namespace = open(netns, O_RDONLY | O_CLOEXEC);
    if (namespace < 0 || setns(namespace, CLONE_NEWNET)) die(netns);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {inet_addr(host)}};
    int connection = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(connection, (void *)&to, sizeof to)) die("connect");
    for (long left = megabytes << 20; left > 0;) {
        ssize_t sent = write(connection, buffer, left < (long)sizeof buffer ? left : (long)sizeof buffer);
        if (sent <= 0) die("write");
        left -= sent;
    }
    shutdown(connection, SHUT_WR);
    char end;
    if (read(connection, &end, 1) != 1) die("the end");
}

int main(int count, char **words) {
    if (count == 3 && !strcmp(words[1], "sink")) sink(atoi(words[2]));
    if (count != 6) return 2;
    drain(words[2], words[3], atoi(words[4]), atol(words[5]));
    return 0;
}
