// Tries from inside a container what must not work, and says what came of it.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

static int said(long result)
{
	if (result < 0)
		printf("%s\n", errno == EPERM ? "EPERM" : errno == ENOSYS ? "ENOSYS" :
			errno == EACCES ? "EACCES" : errno == EROFS ? "EROFS" :
			errno == ENOENT ? "ENOENT" : errno == EINVAL ? "EINVAL" : strerror(errno));
	else
		printf("ok\n");
	return 0;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	if (!strcmp(what, "call")) { // NUMBER ARG...
		long a[7] = { 0 };
		for (int i = 2; i < argc && i < 9; i++)
			a[i - 2] = strtoul(argv[i], 0, 0);
		return said(syscall(a[0], a[1], a[2], a[3], a[4], a[5], a[6]));
	}
	if (!strcmp(what, "sweep")) { // FIRST LAST: which of the calls are refused by the filter
		for (long n = atol(argv[2]); n <= atol(argv[3]); n++) {
			long r = syscall(n, -1L, -1L, -1L, -1L, -1L, -1L);
			printf("%ld %s\n", n, r < 0 && errno == EPERM ? "EPERM" : r < 0 && errno == ENOSYS ? "ENOSYS" : "other");
		}
		return 0;
	}
	if (!strcmp(what, "user"))
		return printf("%d\n", geteuid()) < 0;
	if (!strcmp(what, "fds")) {
		for (int fd = 0; fd < 1024; fd++)
			if (fcntl(fd, F_GETFD) >= 0)
				printf("%d ", fd);
		return printf("\n") < 0;
	}
	if (!strcmp(what, "type")) { // TIOCSTI into standard input
		char c = 'x';
		return said(ioctl(0, argc > 2 ? strtoul(argv[2], 0, 0) : TIOCSTI, &c));
	}
	if (!strcmp(what, "mknod")) // PATH MAJOR MINOR [b]
		return said(mknod(argv[2], (argc > 5 ? S_IFBLK : S_IFCHR) | 0666, makedev(atoi(argv[3]), atoi(argv[4]))));
	if (!strcmp(what, "open")) // PATH FLAGS
		return said(open(argv[2], argc > 3 ? strtoul(argv[3], 0, 0) : O_RDONLY));
	if (!strcmp(what, "write")) { // PATH TEXT
		int fd = open(argv[2], O_WRONLY);
		return said(fd < 0 ? fd : write(fd, argv[3], strlen(argv[3])));
	}
	if (!strcmp(what, "node")) { // PATH: what device it is
		struct stat s;
		if (stat(argv[2], &s))
			return said(-1);
		return printf("%c %u:%u\n", S_ISCHR(s.st_mode) ? 'c' : S_ISBLK(s.st_mode) ? 'b' : '-',
			major(s.st_rdev), minor(s.st_rdev)) < 0;
	}
	if (!strcmp(what, "swap")) // A B: exchanges the two for ever
		for (;;)
			syscall(SYS_renameat2, AT_FDCWD, argv[2], AT_FDCWD, argv[3], 2);
	if (!strcmp(what, "exe")) { // INODE SIZE
		// Until a file /end appears, looks at every process as it comes, and tries to write to the
		// file that it runs from where that is the file of this inode and size: CVE-2019-5736.
		unsigned long inode = strtoul(argv[2], 0, 10), size = strtoul(argv[3], 0, 10);
		long seen = 0, opened = 0, read_only = 0;
		char path[64];
		struct stat s;
		while (access("/end", F_OK))
			for (long pid = 2; pid < 4000; pid++) {
				snprintf(path, sizeof path, "/proc/%ld/exe", pid);
				int fd = open(path, O_PATH | O_CLOEXEC);
				if (fd < 0)
					continue;
				if (!fstat(fd, &s) && s.st_ino == inode && s.st_size == size) {
					seen++;
					close(open("/seen", O_CREAT | O_RDWR, 0600));
					snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
					int w;
					int tries = 0;
					do // Busy as long as it runs.
						w = open(path, O_WRONLY | O_CLOEXEC);
					while (w < 0 && errno == ETXTBSY && ++tries < 10000 && !usleep(1000));
					read_only += w < 0 && errno == EROFS;
					opened += w >= 0;
				}
				close(fd);
			}
		return printf("seen %d opened %ld read-only %d\n", seen > 0, opened, read_only > 0) < 0;
	}
	return fprintf(stderr, "probe: what?\n"), 2;
}
