// limit: the least work that makes, runs and removes a container like rocker's. A yardstick.
//
// It checks nothing, repairs nothing, keeps no record and no log, and trusts its caller: whatever
// an engine needs beyond this is the engine's own cost.
//
//   limit [-c NAME,NAME] [-g PARENT] [-m] [-k] [-b BRIDGE] [-P FILE] STATE ROOTFS PROGRAM [WORD...]
//   limit -x PID [-c NAME,NAME] PROGRAM [WORD...]        run it in the container of process PID
//
//   -c  the controllers that are used (default memory); v1: one hierarchy each
//   -g  the cgroup, existing in each hierarchy, below which the container's own is made
//   -m  mask and protect the paths that docker masks and protects
//   -k  keep podman's 11 capabilities only, and set no_new_privs
//   -b  connect it to this bridge: a pair of interfaces, an address in the bridge's 10.88.0.0/16, a route
//   -P  write the pid of the container's first process there
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <arpa/inet.h>
#include <net/if.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOST 4
#define DO(call) ((long)(call) < 0 ? die(#call) : (void)0)

static char *controllers[MOST];
static int controller_count, is_v2, masks, capabilities;
static const char *parent = "", *pid_file, *bridge;
static int host_netlink, bridge_index, host_pid;
static char *environment[] = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 0};

static void die(const char *what) {
    fprintf(stderr, "limit: %s: %s\n", what, strerror(errno));
    _exit(125);
}

static char *text(const char *format, const char *a, const char *b, const char *c) {
    char *result;
    if (asprintf(&result, format, a, b, c) < 0) die("asprintf");
    return result;
}

static void put_file(const char *path, const char *value) {
    int file = open(path, O_WRONLY | O_CLOEXEC);
    if (file < 0 || write(file, value, strlen(value)) < 0) die(path);
    close(file);
}

static int run(pid_t pid) {
    int status;
    DO(waitpid(pid, &status, 0));
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

// The cgroups of the container: one on v2, one in each hierarchy on v1.
static int cgroup_count(void) { return is_v2 ? 1 : controller_count; }

static char *cgroup_path(int i, const char *name) {
    if (is_v2) return text("/sys/fs/cgroup/%s/%s", parent, name, 0);
    return text("/sys/fs/cgroup/%s/%s/%s", controllers[i], parent, name);
}

static void set_limits(char **cgroups) {
    for (int i = 0; i < controller_count; i++) {
        const char *cgroup = cgroups[is_v2 ? 0 : i];
        if (!strcmp(controllers[i], "memory"))
            put_file(text(is_v2 ? "%s/memory.max" : "%s/memory.limit_in_bytes", cgroup, 0, 0), "268435456");
        if (!strcmp(controllers[i], "pids")) put_file(text("%s/pids.max", cgroup, 0, 0), "2048");
    }
}

// A single thread that writes 0 to `tasks` moves itself without the lock that cgroup.procs takes.
static void join_v1(char **cgroups) {
    for (int i = 0; i < cgroup_count(); i++) put_file(text("%s/tasks", cgroups[i], 0, 0), "0");
}

static void fill_dev(void) {
    static const struct { const char *path; int major, minor; } nodes[] = {
        {"dev/null", 1, 3}, {"dev/zero", 1, 5}, {"dev/full", 1, 7},
        {"dev/random", 1, 8}, {"dev/urandom", 1, 9}, {"dev/tty", 5, 0}};
    static const char *const links[][2] = {{"/proc/self/fd", "dev/fd"}, {"/proc/self/fd/0", "dev/stdin"},
        {"/proc/self/fd/1", "dev/stdout"}, {"/proc/self/fd/2", "dev/stderr"}, {"pts/ptmx", "dev/ptmx"}};
    for (unsigned i = 0; i < sizeof nodes / sizeof *nodes; i++)
        DO(mknod(nodes[i].path, S_IFCHR | 0666, makedev(nodes[i].major, nodes[i].minor)));
    for (unsigned i = 0; i < sizeof links / sizeof *links; i++) DO(symlink(links[i][0], links[i][1]));
    DO(mkdir("dev/pts", 0755));
    DO(mkdir("dev/shm", 0755));
    DO(mkdir("dev/mqueue", 0755));
}

// What a kernel does not have needs no mask.
static void protect(void) {
    static const char *const files[] = {"proc/kcore", "proc/keys", "proc/latency_stats", "proc/timer_list",
        "proc/timer_stats", "proc/sched_debug"};
    static const char *const directories[] = {"proc/acpi", "proc/asound", "proc/scsi", "sys/firmware"};
    static const char *const read_only[] = {"proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger"};
    for (unsigned i = 0; i < sizeof files / sizeof *files; i++) mount("dev/null", files[i], 0, MS_BIND, 0);
    for (unsigned i = 0; i < sizeof directories / sizeof *directories; i++)
        mount("tmpfs", directories[i], "tmpfs", MS_RDONLY, "size=0");
    for (unsigned i = 0; i < sizeof read_only / sizeof *read_only; i++)
        if (mount(read_only[i], read_only[i], 0, MS_BIND | MS_REC, 0) == 0)
            DO(mount(0, read_only[i], 0, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, 0));
}

static void mount_all(const char *rootfs) {
    const unsigned long quiet = MS_NOSUID | MS_NODEV | MS_NOEXEC;
    DO(mount(0, "/", 0, MS_REC | MS_SLAVE, 0));
    DO(mount("overlay", "root", "overlay", 0, text("lowerdir=%s,upperdir=upper,workdir=work", rootfs, 0, 0)));
    DO(chdir("root"));
    DO(mount("proc", "proc", "proc", quiet, 0));
    DO(mount("tmpfs", "dev", "tmpfs", MS_NOSUID, "mode=755,size=65536k"));
    fill_dev();
    DO(mount("devpts", "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5"));
    DO(mount("shm", "dev/shm", "tmpfs", quiet, "mode=1777,size=65536k"));
    DO(mount("mqueue", "dev/mqueue", "mqueue", quiet, 0));
    DO(mount("sysfs", "sys", "sysfs", quiet | MS_RDONLY, 0));
    if (masks) protect();
    DO(syscall(SYS_pivot_root, ".", "."));
    DO(umount2(".", MNT_DETACH));
    DO(chdir("/"));
}

static void lo_up(void) {
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP};
    int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    DO(ioctl(s, SIOCSIFFLAGS, &request));
    close(s);
}

// A netlink request: one or more messages, each of which is answered.
static struct { char bytes[2048]; int length, last, count; } request;

static void put(int type, const void *data, int length) {
    struct rtattr *attribute = (void *)(request.bytes + request.length);
    *attribute = (struct rtattr){RTA_LENGTH(length), type};
    memcpy(RTA_DATA(attribute), data, length);
    request.length += RTA_ALIGN(attribute->rta_len);
    ((struct nlmsghdr *)(request.bytes + request.last))->nlmsg_len = request.length - request.last;
}

static void message(int type, int flags, const void *fixed, int length) {
    struct nlmsghdr *header = (void *)(request.bytes + (request.last = request.length));
    *header = (struct nlmsghdr){NLMSG_LENGTH(length), type, NLM_F_REQUEST | NLM_F_ACK | flags};
    memcpy(NLMSG_DATA(header), fixed, length);
    request.length += NLMSG_ALIGN(header->nlmsg_len);
    request.count++;
}

static int nest(int type) {
    int start = request.length;
    put(type, "", 0);
    return start;
}

static void end(int start) {
    ((struct rtattr *)(request.bytes + start))->rta_len = request.length - start;
}

static void ask(int s) {
    char answer[4096];
    DO(send(s, request.bytes, request.length, 0));
    while (request.count-- > 0) {
        struct nlmsghdr *header = (void *)answer;
        DO(recv(s, answer, sizeof answer, 0));
        errno = -((struct nlmsgerr *)NLMSG_DATA(header))->error;
        if (errno) die("netlink");
    }
    memset(&request, 0, sizeof request);
}

// The pair comes by one message, the other end and what it needs by a second lot.
static void bridge_up(void) {
    struct ifinfomsg up = {.ifi_flags = IFF_UP, .ifi_change = IFF_UP}, none = {0};
    char name[32];
    unsigned index = bridge_index, self = 1;
    // The pair of the run before may not have gone yet.
    snprintf(name, sizeof name, "l%d", host_pid);
    message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &up, sizeof up);
    put(IFLA_IFNAME, name, strlen(name) + 1);
    put(IFLA_MASTER, &index, 4);
    int info = nest(IFLA_LINKINFO);
    put(IFLA_INFO_KIND, "veth", 4);
    int data = nest(IFLA_INFO_DATA), peer = nest(VETH_INFO_PEER);
    memcpy(request.bytes + request.length, &none, sizeof none);
    request.length += sizeof none;
    put(IFLA_IFNAME, "eth0", 5);
    put(IFLA_NET_NS_PID, &self, 4);
    end(peer), end(data), end(info);
    ask(host_netlink);

    int s = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    unsigned eth0 = if_nametoindex("eth0"), address = inet_addr("10.88.200.2"), gateway = inet_addr("10.88.0.1");
    struct ifaddrmsg of = {.ifa_family = AF_INET, .ifa_prefixlen = 16, .ifa_index = eth0};
    struct rtmsg route = {.rtm_family = AF_INET, .rtm_table = RT_TABLE_MAIN, .rtm_protocol = RTPROT_BOOT, .rtm_type = RTN_UNICAST};
    message(RTM_NEWADDR, NLM_F_CREATE, &of, sizeof of);
    put(IFA_LOCAL, &address, 4);
    up.ifi_index = eth0;
    message(RTM_NEWLINK, 0, &up, sizeof up);
    message(RTM_NEWROUTE, NLM_F_CREATE, &route, sizeof route);
    put(RTA_GATEWAY, &gateway, 4);
    ask(s);
    close(s);
}

static void drop_capabilities(void) {
    static const int kept[] = {CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID, CAP_KILL, CAP_NET_BIND_SERVICE,
        CAP_SETFCAP, CAP_SETGID, CAP_SETPCAP, CAP_SETUID, CAP_SYS_CHROOT};
    unsigned mask = 0;
    for (unsigned i = 0; i < sizeof kept / sizeof *kept; i++) mask |= 1u << kept[i];
    for (int i = 0; i <= CAP_LAST_CAP; i++)
        if (i > 31 || !(mask >> i & 1)) prctl(PR_CAPBSET_DROP, i);
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2] = {{mask, mask, 0}, {0, 0, 0}};
    DO(syscall(SYS_capset, &header, data));
    DO(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
}

static void become(char **words) {
    if (capabilities) drop_capabilities();
    execve(words[0], words, environment);
    die(words[0]);
}

static int container(const char *state, const char *rootfs, char **words) {
    char name[32], *cgroups[MOST];
    snprintf(name, sizeof name, "limit-%d", getpid());
    DO(chdir(state));
    DO(mkdir(name, 0700));
    DO(chdir(name));
    DO(mkdir("root", 0755));
    DO(mkdir("upper", 0755));
    DO(mkdir("work", 0755));
    for (int i = 0; i < cgroup_count(); i++) DO(mkdir(cgroups[i] = cgroup_path(i, name), 0755));
    set_limits(cgroups);

    struct clone_args args = {.exit_signal = SIGCHLD,
        .flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET};
    if (is_v2) {
        args.flags |= CLONE_INTO_CGROUP;
        DO(args.cgroup = open(cgroups[0], O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    }
    if (bridge) {
        host_pid = getpid();
        DO(host_netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
        if (!(bridge_index = if_nametoindex(bridge))) die(bridge);
    }
    pid_t pid = syscall(SYS_clone3, &args, sizeof args);
    DO(pid);
    if (pid == 0) {
        if (!is_v2) join_v1(cgroups);
        DO(unshare(CLONE_NEWCGROUP));
        mount_all(rootfs);
        DO(sethostname(name, strlen(name)));
        lo_up();
        if (bridge) bridge_up();
        become(words);
    }
    if (pid_file) {
        FILE *file = fopen(pid_file, "we");
        fprintf(file, "%d\n", pid);
        fclose(file);
    }
    int code = run(pid);

    for (int i = 0; i < cgroup_count(); i++) DO(rmdir(cgroups[i]));
    rmdir("work/work");
    rmdir("work/index");
    DO(rmdir("work"));
    DO(rmdir("upper"));
    DO(rmdir("root"));
    DO(chdir(".."));
    DO(rmdir(name));
    return code;
}

// The path of a cgroup of process `pid` in the hierarchy of a controller.
static char *cgroup_of(const char *pid, const char *controller) {
    char line[512], *wanted = is_v2 ? strdup("0::") : text(":%s:", controller, 0, 0), *found = 0;
    FILE *file = fopen(text("/proc/%s/cgroup", pid, 0, 0), "re");
    if (!file) die("the container's cgroup");
    while (!found && fgets(line, sizeof line, file))
        if ((found = strstr(line, wanted))) found[strcspn(found, "\n")] = 0;
    fclose(file);
    if (!found) die(wanted);
    return text("/sys/fs/cgroup/%s/%s", is_v2 ? "" : controller, found + strlen(wanted), 0);
}

static int enter(const char *pid, char **words) {
    char *cgroups[MOST];
    struct clone_args args = {.exit_signal = SIGCHLD};
    int pidfd = syscall(SYS_pidfd_open, atoi(pid), 0);
    DO(pidfd);
    for (int i = 0; i < cgroup_count(); i++) cgroups[i] = cgroup_of(pid, controllers[i]);
    if (is_v2) {
        args.flags = CLONE_INTO_CGROUP;
        DO(args.cgroup = open(cgroups[0], O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    } else join_v1(cgroups);
    DO(setns(pidfd, CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWCGROUP));
    pid_t child = syscall(SYS_clone3, &args, sizeof args);
    DO(child);
    if (child == 0) become(words);
    return run(child);
}

int main(int count, char **words) {
    char *names = strdup("memory"), *target = 0;
    for (int option; (option = getopt(count, words, "+b:c:g:mkP:x:")) != -1;) switch (option) {
        case 'b': bridge = optarg; break;
        case 'c': names = optarg; break;
        case 'g': parent = optarg; break;
        case 'm': masks = 1; break;
        case 'k': capabilities = 1; break;
        case 'P': pid_file = optarg; break;
        case 'x': target = optarg; break;
        default: return 125;
    }
    words += optind;
    for (char *name = strtok(names, ","); name && controller_count < MOST; name = strtok(0, ","))
        controllers[controller_count++] = name;
    is_v2 = access("/sys/fs/cgroup/cgroup.controllers", F_OK) == 0;
    umask(0);
    if (target && words[0]) return enter(target, words);
    if (count - optind < 3) {
        fprintf(stderr, "usage: limit [-mk] [-b BRIDGE] [-c NAME,NAME] [-g PARENT] [-P FILE] STATE ROOTFS PROGRAM [WORD...]\n");
        return 125;
    }
    return container(words[0], words[1], words + 2);
}
