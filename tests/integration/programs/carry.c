// carry echo tcp|udp PORT               answers what it is sent
// carry ask tcp|udp HOST PORT COUNT    opens that many connections at once, sends a line over each,
//                                      and counts the answers
// carry get tcp HOST PORT COUNT        the same with a request of HTTP, and counts the answers 200
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static void serve(int type, int port) {
    struct sockaddr_in6 at = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    int main_socket = socket(AF_INET6, type, 0), count = 1;
    static struct pollfd list[4096];
    if (bind(main_socket, (void *)&at, sizeof at)) { perror("bind"); exit(1); }
    if (type == SOCK_STREAM) listen(main_socket, 4096);
    list[0] = (struct pollfd){main_socket, POLLIN, 0};
    for (;;) {
        char buffer[2048];
        poll(list, count, -1);
        for (int i = 1; i < count; i++) {
            if (!list[i].revents) continue;
            ssize_t length = read(list[i].fd, buffer, sizeof buffer);
            if (length > 0) { write(list[i].fd, buffer, length); continue; }
            close(list[i].fd);
            list[i--] = list[--count];
        }
        if (!list[0].revents) continue;
        if (type == SOCK_STREAM) {
            list[count++] = (struct pollfd){accept(main_socket, 0, 0), POLLIN, 0};
        } else {
            struct sockaddr_in6 from;
            socklen_t size = sizeof from;
            ssize_t length = recvfrom(main_socket, buffer, sizeof buffer, 0, (void *)&from, &size);
            sendto(main_socket, buffer, length, 0, (void *)&from, size);
        }
    }
}

static int ask(int http, int type, const char *host, const char *port, int count) {
    struct addrinfo hints = {.ai_socktype = type}, *found;
    int answers = 0, sockets[4096];
    if (getaddrinfo(host, port, &hints, &found)) { fprintf(stderr, "no host %s\n", host); return 2; }
    for (int i = 0; i < count; i++) {
        struct timeval time = {10, 0};
        sockets[i] = socket(found->ai_family, type, 0);
        setsockopt(sockets[i], SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time);
        setsockopt(sockets[i], SOL_SOCKET, SO_SNDTIMEO, &time, sizeof time);
        if (connect(sockets[i], found->ai_addr, found->ai_addrlen)) { perror("connect"); return 1; }
    }
    for (int i = 0; i < count; i++)
        if (http) dprintf(sockets[i], "GET /%d HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", i);
        else dprintf(sockets[i], "line %d\n", i);
    for (int i = 0; i < count; i++) {
        char wanted[64] = "HTTP/1.1 200 OK", got[64] = "";
        if (!http) snprintf(wanted, sizeof wanted, "line %d\n", i);
        size_t compared = http ? strlen(wanted) : sizeof got;
        if (read(sockets[i], got, sizeof got - 1) > 0) answers += !strncmp(wanted, got, compared);
    }
    printf("%d answers\n", answers);
    return 0;
}

int main(int count, char **words) {
    struct rlimit most = {4096, 4096};
    setrlimit(RLIMIT_NOFILE, &most);
    int type = strcmp(words[2], "udp") ? SOCK_STREAM : SOCK_DGRAM;
    if (!strcmp(words[1], "echo")) serve(type, atoi(words[3]));
    return ask(!strcmp(words[1], "get"), type, words[3], words[4], atoi(words[5]));
}
