// datagram log PORT                      says who sends and what, one line a datagram
// datagram send FROM_PORT HOST PORT TEXT sends one from that port
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

int main(int count, char **words) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(atoi(words[2]))};
    int on = 1, file = socket(AF_INET, SOCK_DGRAM, 0);
    setsockopt(file, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(file, (void *)&at, sizeof at)) return perror("bind"), 1;
    if (count > 5) {
        struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(words[4]))};
        inet_pton(AF_INET, words[3], &to.sin_addr);
        return sendto(file, words[5], strlen(words[5]), 0, (void *)&to, sizeof to) < 0;
    }
    for (;;) {
        char text[2048];
        struct sockaddr_in from;
        socklen_t size = sizeof from;
        ssize_t length = recvfrom(file, text, sizeof text, 0, (void *)&from, &size);
        printf("%s %.*s\n", inet_ntoa(from.sin_addr), (int)length, text);
        fflush(stdout);
    }
}
