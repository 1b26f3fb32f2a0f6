//! The default filter and docker's profiles, run through a simulator of the kernel's machine.

use super::table::{self, LIMIT, NEWEST};
use super::{DEFAULT_CAPABILITIES, default, profile};
use crate::sys::seccomp::{ALLOW, KILL_PROCESS, Step, X86_64, errno};
use syscalls::Sysno;

const EPERM: u32 = errno(1);
const ENOSYS: u32 = errno(38);

/// What docker's profile allows on x86_64 to everybody, whatever the arguments; ioctl is apart.
const ALLOWED: &str = "\
    accept accept4 access adjtimex alarm arch_prctl bind brk cachestat capget capset chdir chmod \
    chown clock_adjtime clock_getres clock_gettime clock_nanosleep close close_range connect \
    copy_file_range creat dup dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_ctl_old \
    epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2 execve execveat exit \
    exit_group faccessat faccessat2 fadvise64 fallocate fanotify_mark fchdir fchmod fchmodat \
    fchmodat2 fchown fchownat fcntl fdatasync fgetxattr flistxattr flock fork fremovexattr \
    fsetxattr fstat fstatfs fsync ftruncate futex futex_requeue futex_wait futex_waitv \
    futex_wake futimesat get_robust_list get_thread_area getcpu getcwd getdents getdents64 \
    getegid geteuid getgid getgroups getitimer getpeername getpgid getpgrp getpid getppid \
    getpriority getrandom getresgid getresuid getrlimit getrusage getsid getsockname getsockopt \
    gettid gettimeofday getuid getxattr getxattrat inotify_add_watch inotify_init inotify_init1 \
    inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents io_setup io_submit \
    ioprio_get ioprio_set kill landlock_add_rule landlock_create_ruleset landlock_restrict_self \
    lchown lgetxattr link linkat listen listmount listxattr listxattrat llistxattr lremovexattr \
    lseek lsetxattr lstat madvise map_shadow_stack membarrier memfd_create memfd_secret mincore \
    mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap modify_ldt mprotect mq_getsetattr \
    mq_notify mq_open mq_timedreceive mq_timedsend mq_unlink mremap mseal msgctl msgget msgrcv \
    msgsnd msync munlock munlockall munmap name_to_handle_at nanosleep newfstatat open openat \
    openat2 pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect \
    poll ppoll prctl pread64 preadv preadv2 prlimit64 process_mrelease process_vm_readv \
    process_vm_writev pselect6 ptrace pwrite64 pwritev pwritev2 read readahead readlink \
    readlinkat readv recvfrom recvmmsg recvmsg remap_file_pages removexattr removexattrat rename \
    renameat renameat2 restart_syscall rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask \
    rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_tgsigqueueinfo \
    sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam \
    sched_getscheduler sched_rr_get_interval sched_setaffinity sched_setattr sched_setparam \
    sched_setscheduler sched_yield seccomp select semctl semget semop semtimedop sendfile \
    sendmmsg sendmsg sendto set_robust_list set_thread_area set_tid_address setfsgid setfsuid \
    setgid setgroups setitimer setpgid setpriority setregid setresgid setresuid setreuid \
    setrlimit setsid setsockopt setuid setxattr setxattrat shmat shmctl shmdt shmget shutdown \
    sigaltstack signalfd signalfd4 socketpair splice stat statfs statmount statx symlink \
    symlinkat sync sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete \
    timer_getoverrun timer_gettime timer_settime timerfd_create timerfd_gettime timerfd_settime \
    times tkill truncate umask uname unlink unlinkat uretprobe utime utimensat utimes vfork \
    vmsplice wait4 waitid write writev";

/// What it allows with a capability, and the numbers of the capabilities.
const WITH: [(&str, &[u32]); 23] = [
    ("syslog", &[21, 34]),
    ("vhangup", &[26]),
    ("chroot", &[18]),
    ("acct", &[20]),
    ("settimeofday", &[25]),
    ("mount", &[21]),
    ("umount2", &[21]),
    ("reboot", &[22]),
    ("sethostname", &[21]),
    ("iopl", &[17]),
    ("init_module", &[16]),
    ("finit_module", &[16]),
    ("clock_settime", &[25]),
    ("mbind", &[23]),
    ("unshare", &[21]),
    ("perf_event_open", &[21, 38]),
    ("open_by_handle_at", &[2]),
    ("setns", &[21]),
    ("kcmp", &[19]),
    ("bpf", &[21, 39]),
    ("fsopen", &[21]),
    ("pidfd_getfd", &[19]),
    ("mount_setattr", &[21]),
];

/// One call as the filter sees it.
#[derive(Clone, Copy)]
struct Call {
    arch: u32,
    number: u32,
    arguments: [u64; 6],
}

fn call(number: u32, arguments: &[u64]) -> Call {
    let mut all = [0; 6];
    all[..arguments.len()].copy_from_slice(arguments);
    Call { arch: X86_64, number, arguments: all }
}

/// Runs the filter as net/core/filter.c does, for the instructions that are used here.
fn simulate(filter: &[Step], call: Call) -> u32 {
    let (mut at, mut word) = (0, 0_u32);
    for _ in 0..=filter.len() {
        let step = filter[at];
        let (code, value) = (step as u16, (step >> 32) as u32);
        let (yes, no) = ((step >> 16 & 0xff) as usize, (step >> 24 & 0xff) as usize);
        at += 1;
        match code {
            0x20 if value == 0 => word = call.number,
            0x20 if value == 4 => word = call.arch,
            0x20 => {
                let argument = call.arguments[(value as usize - 16) / 8];
                word = (argument >> (value % 8 * 8)) as u32;
            }
            0x15 => at += if word == value { yes } else { no },
            0x25 => at += if word > value { yes } else { no },
            0x35 => at += if word >= value { yes } else { no },
            0x45 => at += if word & value != 0 { yes } else { no },
            0x05 => at += value as usize,
            0x54 => word &= value,
            0x06 => return value,
            other => panic!("instruction {other:#x} at {}", at - 1),
        }
    }
    panic!("the filter does not end")
}

fn number(name: &str) -> u32 {
    name.parse::<Sysno>().unwrap_or_else(|()| panic!("{name}: no call")).id() as u32
}

fn verdict(number: u32, arguments: &[u64]) -> u32 {
    simulate(&default(DEFAULT_CAPABILITIES), call(number, arguments))
}

#[test]
fn every_number_gets_the_verdict_of_the_list() {
    let allowed: Vec<u32> = ALLOWED.split_ascii_whitespace().map(number).collect();
    let by_argument = ["ioctl", "socket", "clone", "personality"].map(number);
    for number in 0..=NEWEST + 64 {
        let expected = match Sysno::new(number as usize) {
            _ if number > NEWEST => ENOSYS,
            _ if by_argument.contains(&number) => continue,
            Some(Sysno::clone3) | None => ENOSYS,
            Some(Sysno::chroot) => ALLOW,
            Some(_) if allowed.contains(&number) => ALLOW,
            Some(_) => EPERM,
        };
        assert_eq!(verdict(number, &[]), expected, "call {number} {:?}", Sysno::new(number as _));
    }
    for number in [0x3fff_ffff, 0x4000_0000, 0x4000_0001, 0x8000_0000, u32::MAX] {
        assert_eq!(verdict(number, &[]), ENOSYS, "call {number:#x}");
    }
}

#[test]
fn numbers_of_another_architecture_end_the_process() {
    let filter = default(DEFAULT_CAPABILITIES);
    for arch in [0x4000_0003, 0xc000_00b7, 0] {
        assert_eq!(simulate(&filter, Call { arch, ..call(0, &[]) }), KILL_PROCESS);
    }
}

#[test]
fn a_terminal_cannot_be_typed_into_whatever_the_upper_half_of_the_request() {
    let ioctl = number("ioctl");
    for request in [0x5412, 0x541c, 0xdead_beef_0000_5412, 0x1_0000_541c] {
        assert_eq!(verdict(ioctl, &[0, request]), EPERM, "{request:#x}");
    }
    for request in [0, 0x5401, 0x5411, 0x5413, 0x541b, 0x541d, u64::MAX] {
        assert_eq!(verdict(ioctl, &[0x5412, request]), ALLOW, "{request:#x}");
    }
}

#[test]
fn sockets_of_rare_families_are_refused() {
    let rare = [12, 19, 20, 23, 25, 34, 37, 38, 40];
    for family in 0..100_u64 {
        let expected = if family < 46 && !rare.contains(&family) { ALLOW } else { EPERM };
        assert_eq!(verdict(41, &[family, 12]), expected, "family {family}");
        // The kernel takes the family as 32 bits, so the upper half must change nothing.
        assert_eq!(verdict(41, &[family | 7 << 32]), expected, "family {family}");
    }
    assert_eq!(verdict(41, &[u64::MAX]), EPERM);
}

#[test]
fn clone_makes_processes_and_threads_but_no_namespaces() {
    let clone = number("clone");
    assert_eq!(verdict(clone, &[0x3d_0f00]), ALLOW);
    assert_eq!(verdict(clone, &[17]), ALLOW);
    for bit in [17, 25, 26, 27, 28, 29, 30] {
        assert_eq!(verdict(clone, &[1 << bit | 17]), EPERM, "bit {bit}");
    }
}

#[test]
fn personality_takes_five_values() {
    for value in [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff] {
        assert_eq!(verdict(135, &[value]), ALLOW, "{value:#x}");
    }
    for value in [1, 7, 9, 0x4_0000, 0x2_0009] {
        assert_eq!(verdict(135, &[value]), EPERM, "{value:#x}");
    }
}

#[test]
fn a_capability_opens_its_calls_and_no_others() {
    for (name, capabilities) in WITH {
        for bit in 0..41 {
            let filter = default(1 << bit);
            let expected = if capabilities.contains(&bit) { ALLOW } else { EPERM };
            assert_eq!(simulate(&filter, call(number(name), &[])), expected, "{name} with {bit}");
        }
    }
    let admin = default(1 << 21);
    assert_eq!(simulate(&admin, call(number("clone3"), &[])), ALLOW);
    assert_eq!(simulate(&admin, call(number("clone"), &[1 << 28])), ALLOW);
}

#[test]
fn the_filter_stays_short_with_any_capabilities() {
    for capabilities in [DEFAULT_CAPABILITIES, 0, u64::MAX, 1 << 21] {
        let length = default(capabilities).len();
        assert!((60..=LIMIT).contains(&length), "{length}");
    }
    assert_eq!(table::filter(DEFAULT_CAPABILITIES).steps(), &*default(DEFAULT_CAPABILITIES));
}

#[test]
fn jumps_that_are_too_far_for_a_byte_go_on_by_another_one() {
    use super::tree::{Leaf, Run, bound, compile};
    let run = |index: u32| Run { first: index * 3, leaf: Leaf::Give(index) };
    let runs: Vec<Run> = (0..1000).map(run).collect();
    let mut room = vec![0; bound(&runs)];
    let start = compile(&runs, &[], &mut room);
    for number in 0..3000 {
        assert_eq!(simulate(&room[start..], call(number, &[])), number / 3);
    }
}

fn read(text: &str) -> crate::error::Result<Vec<Step>> {
    profile::read(text, DEFAULT_CAPABILITIES)
}

#[test]
fn a_profile_gives_each_call_its_action() {
    let filter = read(
        r#"{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 13, "syscalls": [
        {"names": ["read", "write", "not_a_call"], "action": "SCMP_ACT_ALLOW"},
        {"name": "getpid", "action": "SCMP_ACT_ERRNO", "errnoRet": 7},
        {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
        {"names": ["chroot"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_CHROOT"]}},
        {"names": ["kill"], "action": "SCMP_ACT_ALLOW", "excludes": {"arches": ["amd64"]}},
        {"names": ["tkill"], "action": "SCMP_ACT_KILL_PROCESS", "includes": {"minKernel": "3.0"}},
        {"names": ["tgkill"], "action": "SCMP_ACT_LOG", "includes": {"minKernel": "99.0"}}]}"#,
    )
    .unwrap();
    let verdict = |name: &str| simulate(&filter, call(number(name), &[]));
    assert_eq!((verdict("read"), verdict("write"), verdict("open")), (ALLOW, ALLOW, errno(13)));
    assert_eq!((verdict("getpid"), verdict("mount")), (errno(7), errno(13)));
    assert_eq!((verdict("chroot"), verdict("kill")), (ALLOW, errno(13)));
    assert_eq!((verdict("tkill"), verdict("tgkill")), (KILL_PROCESS, errno(13)));
    assert_eq!(simulate(&filter, call(5000, &[])), ENOSYS);
}

#[test]
fn an_error_above_the_highest_is_refused() {
    let profile = |number: u64| {
        read(&format!(r#"{{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": {number}}}"#))
    };
    assert!(profile(4095).is_ok());
    for number in [4096, 70_000, (1 << 32) + 1] {
        let said = profile(number).unwrap_err().to_string();
        assert!(said.contains("defaultErrnoRet: no error is above 4095"), "{said}");
    }
}

#[test]
fn conditions_of_a_profile_compare_all_64_bits() {
    let values = [0, 1, 0xffff_ffff, 0x1_0000_0000, 0x1_0000_0001, u64::MAX - 1, u64::MAX];
    let pairs = values.iter().flat_map(|value| values.map(|two| (*value, two)));
    for (value, two) in pairs {
        for argument in values {
            for (op, allowed) in [
                ("EQ", argument == value),
                ("NE", argument != value),
                ("LT", argument < value),
                ("LE", argument <= value),
                ("GT", argument > value),
                ("GE", argument >= value),
                ("MASKED_EQ", argument & value == two),
            ] {
                let text = format!(
                    r#"{{"defaultAction": "SCMP_ACT_KILL", "syscalls": [{{"names": ["read"],
                    "action": "SCMP_ACT_ALLOW", "args": [{{"index": 2, "value": {value},
                    "valueTwo": {two}, "op": "SCMP_CMP_{op}"}}]}}]}}"#
                );
                let got = simulate(&read(&text).unwrap(), call(0, &[0, 0, argument]));
                let expected = if allowed { ALLOW } else { 0 };
                assert_eq!(got, expected, "{argument:#x} {op} {value:#x} {two:#x}");
            }
        }
    }
}

#[test]
fn a_call_is_judged_by_the_first_rule_whose_conditions_all_hold() {
    let filter = read(
        r#"{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
        {"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [
            {"index": 0, "value": 1, "op": "SCMP_CMP_EQ"},
            {"index": 1, "value": 2, "op": "SCMP_CMP_EQ"}]},
        {"names": ["read", "write"], "action": "SCMP_ACT_LOG", "args": [
            {"index": 0, "value": 9, "op": "SCMP_CMP_GE"}]},
        {"names": ["write"], "action": "SCMP_ACT_ALLOW"}]}"#,
    )
    .unwrap();
    let verdict = |number, arguments: &[u64]| simulate(&filter, call(number, arguments));
    assert_eq!((verdict(0, &[1, 2]), verdict(0, &[1, 3])), (ALLOW, EPERM));
    assert_eq!((verdict(0, &[2, 2]), verdict(0, &[9, 2])), (EPERM, libc::SECCOMP_RET_LOG));
    // A rule without conditions counts, wherever it stands.
    assert_eq!((verdict(1, &[9]), verdict(1, &[1])), (ALLOW, ALLOW));
}

#[test]
fn conditions_on_one_argument_are_each_enough() {
    let filter = read(
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["socket"], "action": "SCMP_ACT_ERRNO", "args": [
            {"index": 0, "value": 16, "op": "SCMP_CMP_EQ"},
            {"index": 1, "value": 3, "op": "SCMP_CMP_EQ"},
            {"index": 0, "value": 40, "op": "SCMP_CMP_EQ"}]}]}"#,
    )
    .unwrap();
    let verdict = |arguments: &[u64]| simulate(&filter, call(number("socket"), arguments));
    assert_eq!((verdict(&[16, 1]), verdict(&[40, 1]), verdict(&[2, 3])), (EPERM, EPERM, EPERM));
    assert_eq!(verdict(&[2, 1]), ALLOW);
}

#[test]
fn all_capabilities_include_a_rule_and_each_excludes_it() {
    let filter = read(
        r#"{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
        {"names": ["bpf"], "action": "SCMP_ACT_ALLOW",
         "includes": {"caps": ["CAP_SYS_CHROOT", "CAP_BPF"]}},
        {"names": ["chroot"], "action": "SCMP_ACT_ALLOW",
         "includes": {"caps": ["CAP_SYS_CHROOT", "CAP_CHOWN"]}},
        {"names": ["chown"], "action": "SCMP_ACT_ALLOW",
         "excludes": {"caps": ["CAP_BPF", "CAP_CHOWN"]}}]}"#,
    )
    .unwrap();
    let verdict = |name: &str| simulate(&filter, call(number(name), &[]));
    assert_eq!((verdict("bpf"), verdict("chroot"), verdict("chown")), (EPERM, ALLOW, EPERM));
}

#[test]
fn a_profile_that_is_wrong_is_refused_with_the_reason() {
    let rule = |args: &str| {
        format!(
            r#"{{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{{"names": ["read"],
            "action": "SCMP_ACT_KILL", "args": [{{{args}}}]}}]}}"#
        )
    };
    for (text, part) in [
        ("{".to_owned(), "JSON"),
        ("[]".to_owned(), "JSON"),
        ("{}".to_owned(), "defaultAction"),
        (r#"{"defaultAction": "SCMP_ACT_NOTIFY"}"#.to_owned(), "SCMP_ACT_NOTIFY"),
        (
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"]}]}"#.to_owned(),
            "action",
        ),
        (rule(r#""index": 6, "value": 1, "op": "SCMP_CMP_EQ""#), "argument 6"),
        (rule(r#""index": 1, "value": 1, "op": "SCMP_CMP_XX""#), "SCMP_CMP_XX"),
        (rule(r#""index": 1, "value": -1, "op": "SCMP_CMP_EQ""#), "value"),
        (
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_ARM"]}"#.to_owned(),
            "x86_64",
        ),
    ] {
        let error = read(&text).unwrap_err().to_string();
        assert!(error.contains(part), "{text}: {error}");
    }
    assert!(read(r#"{"defaultAction": "SCMP_ACT_ALLOW"}"#).is_ok());
}

#[test]
fn the_names_are_those_of_the_kernel() {
    for number in 0..=NEWEST {
        if let Some(call) = Sysno::new(number as usize) {
            assert_eq!(profile::number(call.name()), Some(number), "{}", call.name());
        }
    }
    for unknown in ["not_a_call", "", "-"] {
        assert_eq!(profile::number(unknown), None, "{unknown:?}");
    }
}
