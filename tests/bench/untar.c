// untar: the least work that unpacks a tar archive. A yardstick, not an extractor.
//
// It trusts its input and knows ustar, GNU long names and the path and linkpath of pax; no xattrs.
//
//   untar ARCHIVE DIRECTORY
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

enum { BLOCK = 512, CHUNK = 256 << 10 };

struct entry { char type, *name, *link; mode_t mode; uid_t uid; gid_t gid; time_t mtime; int major, minor; };
struct directory { struct entry entry; struct directory *next; };

static int archive, root;
static char buffer[CHUNK];

static void die(const char *what) { fprintf(stderr, "untar: %s: %s\n", what, strerror(errno)); exit(1); }

static unsigned long number(const char *field, int length) {
    unsigned long value = 0;
    while (length && *field == ' ') field++, length--;
    while (length-- && *field >= '0' && *field <= '7') value = value * 8 + *field++ - '0';
    return value;
}

// The directory of a path, kept open as long as the next path has the same one.
static int parent(const char *path, const char **name) {
    static char *kept;
    static size_t kept_length;
    static int fd = -1;
    const char *slash = strrchr(path, '/');
    if (!slash) return *name = path, root;
    size_t length = slash - path;
    *name = slash + 1;
    if (kept && length == kept_length && !memcmp(kept, path, length)) return fd;
    if (fd >= 0) close(fd), free(kept);
    kept = strndup(path, kept_length = length);
    if ((fd = openat(root, kept, O_PATH | O_DIRECTORY | O_CLOEXEC)) < 0) die(kept);
    return fd;
}

static void own(int fd, const struct entry *e) {
    struct timespec times[2] = {{0, UTIME_OMIT}, {e->mtime, 0}};
    if ((e->uid || e->gid) && (fchown(fd, e->uid, e->gid) || fchmod(fd, e->mode))) die(e->name);
    if (futimens(fd, times)) die(e->name);
}

static void file(const struct entry *e, off_t at, size_t size) {
    const char *name;
    int directory = parent(e->name, &name);
    int fd = openat(directory, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, e->mode);
    if (fd < 0) die(e->name);
    while (size) {
        ssize_t got = pread(archive, buffer, size < CHUNK ? size : CHUNK, at);
        if (got <= 0 || write(fd, buffer, got) != got) die(e->name);
        at += got, size -= got;
    }
    own(fd, e);
    close(fd);
}

static void other(const struct entry *e) {
    const char *name;
    int directory = parent(e->name, &name), result = 0;
    struct timespec times[2] = {{0, UTIME_OMIT}, {e->mtime, 0}};
    switch (e->type) {
    case '1': result = linkat(root, e->link, directory, name, 0); break;
    case '2': result = symlinkat(e->link, directory, name) || utimensat(directory, name, times, AT_SYMLINK_NOFOLLOW) ||
            ((e->uid || e->gid) && fchownat(directory, name, e->uid, e->gid, AT_SYMLINK_NOFOLLOW)); break;
    case '3': result = mknodat(directory, name, S_IFCHR | e->mode, makedev(e->major, e->minor)); break;
    case '4': result = mknodat(directory, name, S_IFBLK | e->mode, makedev(e->major, e->minor)); break;
    case '5': result = mkdirat(directory, name, 0700) && errno != EEXIST; break;
    case '6': result = mkfifoat(directory, name, e->mode); break;
    }
    if (result) die(e->name);
}

static void pax(char *records, size_t size, char **name, char **link) {
    for (char *end = records + size; records < end;) {
        char *rest;
        long length = strtol(records, &rest, 10), value = records + length - 1 - rest;
        if (!strncmp(rest, " path=", 6)) *name = strndup(rest + 6, value - 6);
        if (!strncmp(rest, " linkpath=", 10)) *link = strndup(rest + 10, value - 10);
        records += length;
    }
}

int main(int count, char **words) {
    struct stat status;
    struct directory *directories = 0;
    char *long_name = 0, *long_link = 0;
    if (count != 3) return 2;
    umask(0);
    mkdir(words[2], 0755);
    if ((archive = open(words[1], O_RDONLY)) < 0 || fstat(archive, &status)) die(words[1]);
    if ((root = open(words[2], O_PATH | O_DIRECTORY)) < 0) die(words[2]);
    char *map = mmap(0, status.st_size, PROT_READ, MAP_PRIVATE, archive, 0);
    for (off_t at = 0; at + BLOCK <= status.st_size && map[at];) {
        char *h = map + at;
        size_t size = number(h + 124, 12);
        off_t data = at + BLOCK;
        at = data + ((size + BLOCK - 1) & ~(size_t)(BLOCK - 1));
        if (h[156] == 'L') long_name = strndup(map + data, size);
        else if (h[156] == 'K') long_link = strndup(map + data, size);
        else if (h[156] == 'x') pax(map + data, size, &long_name, &long_link);
        else if (h[156] != 'g') {
            struct entry e = {h[156], long_name, long_link, number(h + 100, 8) & 07777, number(h + 108, 8),
                number(h + 116, 8), number(h + 136, 12), number(h + 329, 8), number(h + 337, 8)};
            if (!e.name && h[345] && !memcmp(h + 257, "ustar\0", 6)) asprintf(&e.name, "%.155s/%.100s", h + 345, h);
            else if (!e.name) e.name = strndup(h, 100);
            if (!e.link) e.link = strndup(h + 157, 100);
            long_name = long_link = 0;
            for (size_t l = strlen(e.name); l > 1 && e.name[l - 1] == '/';) e.name[--l] = 0;
            if (e.type == '0' || !e.type || e.type == '7') file(&e, data, size);
            else other(&e);
            if (e.type == '5') {
                struct directory *d = malloc(sizeof *d);
                *d = (struct directory){e, directories}, directories = d;
            } else free(e.name), free(e.link);
        }
    }
    // What was put into them would have changed their times: they come last.
    for (; directories; directories = directories->next) {
        int fd = openat(root, directories->entry.name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
        if (fd < 0 || fchmod(fd, directories->entry.mode)) die(directories->entry.name);
        own(fd, &directories->entry);
        close(fd);
    }
    return 0;
}
