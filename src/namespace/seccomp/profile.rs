//! Reads a profile in docker's JSON format and makes a filter of it.

use super::table::NEWEST;
use super::tree::{Leaf, Run, bound, compile};
use crate::error::{Error, Result};
use crate::namespace::capabilities;
use crate::sys::seccomp::{
    ALLOW, KILL_PROCESS, KILL_THREAD, LOG, LONGEST, Step, TRACE, TRAP, and, argument, errno, give,
    jump_above, jump_equal, jump_from, load_word,
};
use miniserde::json::{Number, Object, Value};

/// Names of the calls from number 0 on.
const NAMES: &str = "\
    read write open close stat fstat lstat poll lseek mmap mprotect munmap brk rt_sigaction \
    rt_sigprocmask rt_sigreturn ioctl pread64 pwrite64 readv writev access pipe select \
    sched_yield mremap msync mincore madvise shmget shmat shmctl dup dup2 pause nanosleep \
    getitimer alarm setitimer getpid sendfile socket connect accept sendto recvfrom sendmsg \
    recvmsg shutdown bind listen getsockname getpeername socketpair setsockopt getsockopt clone \
    fork vfork execve exit wait4 kill uname semget semop semctl shmdt msgget msgsnd msgrcv \
    msgctl fcntl flock fsync fdatasync truncate ftruncate getdents getcwd chdir fchdir rename \
    mkdir rmdir creat link unlink symlink readlink chmod fchmod chown fchown lchown umask \
    gettimeofday getrlimit getrusage sysinfo times ptrace getuid syslog getgid setuid setgid \
    geteuid getegid setpgid getppid getpgrp setsid setreuid setregid getgroups setgroups \
    setresuid getresuid setresgid getresgid getpgid setfsuid setfsgid getsid capget capset \
    rt_sigpending rt_sigtimedwait rt_sigqueueinfo rt_sigsuspend sigaltstack utime mknod uselib \
    personality ustat statfs fstatfs sysfs getpriority setpriority sched_setparam sched_getparam \
    sched_setscheduler sched_getscheduler sched_get_priority_max sched_get_priority_min \
    sched_rr_get_interval mlock munlock mlockall munlockall vhangup modify_ldt pivot_root \
    _sysctl prctl arch_prctl adjtimex setrlimit chroot sync acct settimeofday mount umount2 \
    swapon swapoff reboot sethostname setdomainname iopl ioperm create_module init_module \
    delete_module get_kernel_syms query_module quotactl nfsservctl getpmsg putpmsg afs_syscall \
    tuxcall security gettid readahead setxattr lsetxattr fsetxattr getxattr lgetxattr fgetxattr \
    listxattr llistxattr flistxattr removexattr lremovexattr fremovexattr tkill time futex \
    sched_setaffinity sched_getaffinity set_thread_area io_setup io_destroy io_getevents \
    io_submit io_cancel get_thread_area lookup_dcookie epoll_create epoll_ctl_old epoll_wait_old \
    remap_file_pages getdents64 set_tid_address restart_syscall semtimedop fadvise64 \
    timer_create timer_settime timer_gettime timer_getoverrun timer_delete clock_settime \
    clock_gettime clock_getres clock_nanosleep exit_group epoll_wait epoll_ctl tgkill utimes \
    vserver mbind set_mempolicy get_mempolicy mq_open mq_unlink mq_timedsend mq_timedreceive \
    mq_notify mq_getsetattr kexec_load waitid add_key request_key keyctl ioprio_set ioprio_get \
    inotify_init inotify_add_watch inotify_rm_watch migrate_pages openat mkdirat mknodat \
    fchownat futimesat newfstatat unlinkat renameat linkat symlinkat readlinkat fchmodat \
    faccessat pselect6 ppoll unshare set_robust_list get_robust_list splice tee sync_file_range \
    vmsplice move_pages utimensat epoll_pwait signalfd timerfd_create eventfd fallocate \
    timerfd_settime timerfd_gettime accept4 signalfd4 eventfd2 epoll_create1 dup3 pipe2 \
    inotify_init1 preadv pwritev rt_tgsigqueueinfo perf_event_open recvmmsg fanotify_init \
    fanotify_mark prlimit64 name_to_handle_at open_by_handle_at clock_adjtime syncfs sendmmsg \
    setns getcpu process_vm_readv process_vm_writev kcmp finit_module sched_setattr \
    sched_getattr renameat2 seccomp getrandom memfd_create kexec_file_load bpf execveat \
    userfaultfd membarrier mlock2 copy_file_range preadv2 pwritev2 pkey_mprotect pkey_alloc \
    pkey_free statx io_pgetevents rseq uretprobe uprobe";

/// Names of the calls from number 424 on.
const LATER_NAMES: &str = "\
    pidfd_send_signal io_uring_setup io_uring_enter io_uring_register open_tree move_mount \
    fsopen fsconfig fsmount fspick pidfd_open clone3 close_range openat2 pidfd_getfd faccessat2 \
    process_madvise epoll_pwait2 mount_setattr quotactl_fd landlock_create_ruleset \
    landlock_add_rule landlock_restrict_self memfd_secret process_mrelease futex_waitv \
    set_mempolicy_home_node cachestat fchmodat2 map_shadow_stack futex_wake futex_wait \
    futex_requeue statmount listmount lsm_get_self_attr lsm_set_self_attr lsm_list_modules mseal \
    setxattrat getxattrat listxattrat removexattrat";

/// First number of `LATER_NAMES`.
const LATER: usize = 424;

/// The number of a call; `None` for what this machine does not have, or nobody knows.
pub fn number(name: &str) -> Option<u32> {
    let place = |names: &str| names.split(' ').position(|other| other == name);
    let found = place(NAMES).or_else(|| place(LATER_NAMES).map(|place| place + LATER));
    found.map(|number| number as u32)
}

/// include/linux/err.h: MAX_ERRNO.
const HIGHEST_ERROR: u64 = 4095;

/// A rule of the profile for one call.
struct Rule<'a> {
    verdict: u32,
    conditions: &'a [Value],
}

/// Reads a profile for a container with these capabilities.
pub fn read(text: &str, capabilities: u64) -> Result<Vec<Step>> {
    let profile: Value = miniserde::json::from_str(text).map_err(|_| wrong("is no JSON"))?;
    let Value::Object(profile) = &profile else { return Err(wrong("is no JSON object")) };
    check_architectures(profile)?;
    let default = verdict(profile, "defaultAction", "defaultErrnoRet")?;
    let mut rules: Vec<Vec<Rule<'_>>> = (0..=NEWEST).map(|_| Vec::new()).collect();
    for entry in array(profile, "syscalls")? {
        let Value::Object(entry) = entry else { return Err(wrong("syscalls: is no object")) };
        let verdict = verdict(entry, "action", "errnoRet")?;
        if !applies(entry, capabilities)? {
            continue;
        }
        let conditions = array(entry, "args")?;
        for name in array(entry, "names")?.iter().chain(entry.get("name")) {
            let Value::String(name) = name else { return Err(wrong("names: is no text")) };
            if let Some(number) = number(name) {
                rules[number as usize].push(Rule { verdict, conditions });
            }
        }
    }
    build(default, &rules)
}

fn build(default: u32, rules: &[Vec<Rule<'_>>]) -> Result<Vec<Step>> {
    let mut blocks = Vec::new();
    let mut runs: Vec<Run> = Vec::new();
    let mut last = None;
    let mut push = |first: usize, leaf: Leaf| {
        let verdict = match leaf {
            Leaf::Give(verdict) => Some(verdict),
            Leaf::Block(..) => None,
        };
        if verdict.is_none() || verdict != last {
            runs.push(Run { first: first as u32, leaf });
        }
        last = verdict;
    };
    for (number, rules) in rules.iter().enumerate() {
        let plain = rules.iter().find(|rule| rule.conditions.is_empty());
        let leaf = match plain {
            Some(rule) => Leaf::Give(rule.verdict),
            None if rules.is_empty() => Leaf::Give(default),
            None => {
                let start = blocks.len();
                for rule in rules {
                    add_rule(&mut blocks, rule)?;
                }
                blocks.push(give(default));
                Leaf::Block(start, blocks.len())
            }
        };
        push(number, leaf);
    }
    // What is newer than the profile can be: a C library falls back after this one only.
    let refused = default != ALLOW && default != LOG;
    push(rules.len(), Leaf::Give(if refused { errno(libc::ENOSYS as u32) } else { default }));
    let mut room = vec![0; bound(&runs)];
    let start = compile(&runs, &blocks, &mut room);
    let filter = room.split_off(start);
    match filter.len() {
        0..=LONGEST => Ok(filter),
        many => Err(wrong(&format!("makes {many} instructions: at most {LONGEST} are possible"))),
    }
}

/// Whether two conditions look at the same argument. Each is enough by itself then: runc, which
/// docker's profiles are written for, makes a rule of each.
fn repeats(conditions: &[Value]) -> Result<bool> {
    let mut seen = 0_u32;
    for condition in conditions {
        let bit = 1 << index(condition)?;
        if seen & bit != 0 {
            return Ok(true);
        }
        seen |= bit;
    }
    Ok(false)
}

/// Adds a rule, or one for each of its conditions. Where it does not apply, what follows goes on.
fn add_rule(blocks: &mut Vec<Step>, rule: &Rule<'_>) -> Result<()> {
    let tests: Vec<Vec<Test>> = rule.conditions.iter().map(condition).collect::<Result<_>>()?;
    if tests.iter().map(Vec::len).sum::<usize>() > 199 {
        return Err(wrong("has a rule with too many conditions"));
    }
    match repeats(rule.conditions)? {
        true => tests.into_iter().for_each(|tests| add_tests(blocks, vec![tests], rule.verdict)),
        false => add_tests(blocks, tests, rule.verdict),
    }
    Ok(())
}

/// Adds conditions that have to hold together, at most 199 tests of them, and the verdict.
fn add_tests(blocks: &mut Vec<Step>, tests: Vec<Vec<Test>>, verdict: u32) {
    let mut left: usize = tests.iter().map(Vec::len).sum::<usize>() + 1;
    for tests in tests {
        let (mut to_next, length) = (tests.len(), tests.len());
        debug_assert!(length > 0);
        for test in tests {
            // From here to the next condition, and to the next rule.
            to_next -= 1;
            left -= 1;
            let place = |target: Target| match target {
                Target::On => 0,
                Target::Holds => to_next as u8,
                Target::Fails => left as u8,
            };
            blocks.push(match test {
                Test::Load(offset) => load_word(offset),
                Test::And(bits) => and(bits),
                Test::Equal(value, yes, no) => jump_equal(value, place(yes), place(no)),
                Test::From(value, yes, no) => jump_from(value, place(yes), place(no)),
                Test::Above(value, yes, no) => jump_above(value, place(yes), place(no)),
            });
        }
    }
    blocks.push(give(verdict));
}

/// Where a test leads.
#[derive(Clone, Copy)]
enum Target {
    /// To the next instruction.
    On,
    /// Behind this condition: it holds.
    Holds,
    /// Behind the rule: it does not apply.
    Fails,
}

enum Test {
    Load(u32),
    And(u32),
    Equal(u32, Target, Target),
    From(u32, Target, Target),
    Above(u32, Target, Target),
}

fn object(condition: &Value) -> Result<&Object> {
    match condition {
        Value::Object(object) => Ok(object),
        _ => Err(wrong("args: is no object")),
    }
}

/// The argument that a condition looks at.
fn index(condition: &Value) -> Result<u32> {
    match whole(object(condition)?, "index")? {
        index @ 0..=5 => Ok(index as u32),
        index => Err(wrong(&format!("args: a call has no argument {index}"))),
    }
}

/// The tests of one condition: the high word of the argument first, then the low one.
fn condition(condition: &Value) -> Result<Vec<Test>> {
    use Target::{Fails, Holds, On};
    let object = object(condition)?;
    let low = argument(index(condition)?);
    let (value, two) = (whole(object, "value")?, whole(object, "valueTwo")?);
    let words = |value: u64| ((value >> 32) as u32, value as u32);
    let (high_value, low_value) = words(value);
    let op = string(object, "op");
    let ordered = |above: bool, holds: Target, fails: Target| {
        let last = match above {
            true => Test::Above(low_value, holds, fails),
            false => Test::From(low_value, holds, fails),
        };
        vec![
            Test::Load(low + 4),
            Test::Above(high_value, holds, On),
            Test::Equal(high_value, On, fails),
            Test::Load(low),
            last,
        ]
    };
    Ok(match op {
        "SCMP_CMP_EQ" => vec![
            Test::Load(low + 4),
            Test::Equal(high_value, On, Fails),
            Test::Load(low),
            Test::Equal(low_value, On, Fails),
        ],
        "SCMP_CMP_NE" => vec![
            Test::Load(low + 4),
            Test::Equal(high_value, On, Holds),
            Test::Load(low),
            Test::Equal(low_value, Fails, On),
        ],
        "SCMP_CMP_GE" => ordered(false, Holds, Fails),
        "SCMP_CMP_GT" => ordered(true, Holds, Fails),
        "SCMP_CMP_LT" => ordered(false, Fails, Holds),
        "SCMP_CMP_LE" => ordered(true, Fails, Holds),
        "SCMP_CMP_MASKED_EQ" => {
            let (high_two, low_two) = words(two);
            vec![
                Test::Load(low + 4),
                Test::And(high_value),
                Test::Equal(high_two, On, Fails),
                Test::Load(low),
                Test::And(low_value),
                Test::Equal(low_two, On, Fails),
            ]
        }
        other => return Err(wrong(&format!("args: op {other:?} is not known"))),
    })
}

fn verdict(object: &Object, action: &str, number: &str) -> Result<u32> {
    let number = match object.get(number) {
        None | Some(Value::Null) => libc::EPERM as u32,
        // The kernel would make the highest error of it.
        Some(_) => match whole(object, number)? {
            errno @ 0..=HIGHEST_ERROR => errno as u32,
            _ => return Err(wrong(&format!("{number}: no error is above {HIGHEST_ERROR}"))),
        },
    };
    Ok(match string(object, action) {
        "SCMP_ACT_ALLOW" => ALLOW,
        "SCMP_ACT_ERRNO" => errno(number),
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => KILL_THREAD,
        "SCMP_ACT_KILL_PROCESS" => KILL_PROCESS,
        "SCMP_ACT_TRAP" => TRAP,
        "SCMP_ACT_TRACE" => TRACE | number & 0xffff,
        "SCMP_ACT_LOG" => LOG,
        "" => return Err(wrong(&format!("has no {action}"))),
        other => return Err(wrong(&format!("{action}: {other:?} is not possible here"))),
    })
}

/// Whether the machine, its kernel and the capabilities are those that a rule is for.
fn applies(entry: &Object, capabilities: u64) -> Result<bool> {
    let mut applies = true;
    for (key, wanted) in [("includes", true), ("excludes", false)] {
        let filter = match entry.get(key) {
            None | Some(Value::Null) => continue,
            Some(Value::Object(filter)) => filter,
            Some(_) => return Err(wrong(&format!("{key}: is no object"))),
        };
        let list = array(filter, "arches")?;
        let is_this = |name: &Value| matches!(name, Value::String(name) if name == "amd64");
        let machine = (!list.is_empty()).then(|| list.iter().any(is_this));
        let list = array(filter, "caps")?;
        let has = |name: &Value| {
            let Value::String(name) = name else { return false };
            capabilities::parse(name).is_ok_and(|bits| bits & capabilities != 0)
        };
        // All of them include a rule, each excludes it.
        let capable = (!list.is_empty()).then(|| match wanted {
            true => list.iter().all(has),
            false => list.iter().any(has),
        });
        let kernel = match string(filter, "minKernel") {
            "" => None,
            version => Some(kernel_is(version)),
        };
        for holds in [machine, capable, kernel].into_iter().flatten() {
            applies &= holds == wanted;
        }
    }
    Ok(applies)
}

/// Whether the running kernel is that version, `MAJOR.MINOR`, or a newer one.
fn kernel_is(version: &str) -> bool {
    let numbers = |text: &str| -> (u32, u32) {
        let mut parts = text.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse());
        let mut next = || parts.next().and_then(std::result::Result::ok).unwrap_or(0);
        (next(), next())
    };
    let release = crate::sys::proc::read("sys/kernel/osrelease");
    numbers(&release.unwrap_or_default()) >= numbers(version)
}

/// A profile that names machines but not this one would let nothing run.
fn check_architectures(profile: &Object) -> Result<()> {
    let names = |list: &[Value]| {
        list.iter().any(|name| matches!(name, Value::String(name) if name == "SCMP_ARCH_X86_64"))
    };
    let list = array(profile, "architectures")?;
    match list.is_empty() || names(list) {
        true => Ok(()),
        false => Err(wrong("is not for x86_64")),
    }
}

fn array<'a>(object: &'a Object, key: &str) -> Result<&'a [Value]> {
    match object.get(key) {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(array)) => Ok(array),
        Some(_) => Err(wrong(&format!("{key}: is no list"))),
    }
}

fn string<'a>(object: &'a Object, key: &str) -> &'a str {
    match object.get(key) {
        Some(Value::String(text)) => text,
        _ => "",
    }
}

fn whole(object: &Object, key: &str) -> Result<u64> {
    match object.get(key) {
        None | Some(Value::Null) => Ok(0),
        Some(Value::Number(Number::U64(number))) => Ok(*number),
        Some(_) => Err(wrong(&format!("{key}: is no whole number"))),
    }
}

fn wrong(why: &str) -> Error {
    Error::new(why)
}
