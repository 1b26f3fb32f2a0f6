/* Keeps others from writing a file: `lease FILE` holds a lease on it for as long as it runs, and does not
   hear that somebody waits; `mark FILES` makes them immutable, as chattr +i does. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* linux/fs.h, which musl has not. */
#define FS_IOC_GETFLAGS _IOR('f', 1, long)
#define FS_IOC_SETFLAGS _IOW('f', 2, long)
#define FS_IMMUTABLE_FL 0x10

int main(int count, char **words)
{
	int lease = !strcmp(words[1], "lease");

	for (int i = 2; i < count; i++) {
		int flags, file = open(words[i], O_RDONLY);

		signal(SIGIO, SIG_IGN);
		if (lease ? fcntl(file, F_SETLEASE, F_RDLCK) < 0 :
		    ioctl(file, FS_IOC_GETFLAGS, &flags) < 0 ||
		    (flags |= FS_IMMUTABLE_FL, ioctl(file, FS_IOC_SETFLAGS, &flags)) < 0) {
			perror(words[i]);
			return 1;
		}
	}
	puts("done");
	fflush(stdout);
	while (lease)
		pause();
	return 0;
}
