// unmounted FILE: says "watching", and "unmounted" once the file system of FILE is mounted nowhere.
#include <stdio.h>
#include <sys/inotify.h>
#include <unistd.h>

int main(int count, char **words)
{
	struct inotify_event event;
	int watch = inotify_init1(IN_CLOEXEC);

	if (count != 2 || inotify_add_watch(watch, words[1], IN_ATTRIB) < 0) {
		perror("watch");
		return 1;
	}
	puts("watching");
	fflush(stdout);
	while (read(watch, &event, sizeof event) == sizeof event)
		if (event.mask & IN_UNMOUNT) {
			puts("unmounted");
			return 0;
		}
	perror("read");
	return 1;
}
