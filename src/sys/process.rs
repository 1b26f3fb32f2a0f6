//! Processes: clone, wait, signal, exec, credentials and capabilities.
//!
//! rocker has one thread, always; that is what makes the code after a raw clone sound.

use super::{Errno, Result, abi, owned, retry};
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use syscalls::{Sysno, syscall};

/// A set of namespaces, as the `CLONE_NEW*` bits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Namespaces(pub u64);

impl Namespaces {
    pub const MOUNT: Self = Self(libc::CLONE_NEWNS as u64);
    pub const PID: Self = Self(libc::CLONE_NEWPID as u64);
    pub const UTS: Self = Self(libc::CLONE_NEWUTS as u64);
    pub const IPC: Self = Self(libc::CLONE_NEWIPC as u64);
    pub const NET: Self = Self(libc::CLONE_NEWNET as u64);
    pub const USER: Self = Self(libc::CLONE_NEWUSER as u64);
    pub const CGROUP: Self = Self(libc::CLONE_NEWCGROUP as u64);

    /// Each with its name below /proc/self/ns.
    pub const ALL: [(&str, Self); 7] = [
        ("mnt", Self::MOUNT),
        ("pid", Self::PID),
        ("uts", Self::UTS),
        ("ipc", Self::IPC),
        ("net", Self::NET),
        ("cgroup", Self::CGROUP),
        ("user", Self::USER),
    ];

    /// The name of one in this set that the kernel does not have, as far as /proc tells.
    pub fn missing(self) -> Option<&'static str> {
        let known = super::proc::dir("self/ns").ok()?;
        let missing = |name: &str| known.readlink(name).is_err();
        let mut wanted = Self::ALL.into_iter().filter(|(_, one)| self.has(*one));
        wanted.find(|(name, _)| missing(name)).map(|(name, _)| name)
    }

    /// Whether every namespace of `other` is in this set.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// This set but for those of `other`.
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Both sets.
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// A child of this process.
#[derive(Debug)]
pub struct Child {
    pub pid: u32,
    /// Becomes readable when the child ends.
    pub pidfd: OwnedFd,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Code(u8),
    Signal(u8),
}

impl Exit {
    /// As a shell tells it: the code, or 128 and the signal.
    pub fn code(self) -> u8 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128_u8.wrapping_add(signal),
        }
    }
}

/// What `clone3` is told for a child in these namespaces and this control group; the kernel writes the
/// child's descriptor to `pidfd`.
pub(super) fn clone_args(
    namespaces: Namespaces,
    cgroup: Option<BorrowedFd<'_>>,
    flags: i32,
    pidfd: *mut i32,
) -> abi::CloneArgs {
    abi::CloneArgs {
        flags: namespaces.0
            | (libc::CLONE_PIDFD | flags) as u64
            | cgroup.map_or(0, |_| abi::CLONE_INTO_CGROUP),
        pidfd: pidfd as u64,
        exit_signal: libc::SIGCHLD as u64,
        cgroup: cgroup.map_or(0, |group| group.as_raw_fd() as u64),
        ..Default::default()
    }
}

/// Starts a copy of this process that runs `entry` in new `namespaces`, in `cgroup` from its
/// first instruction on where one is given (a directory of cgroup2).
///
/// `entry` never returns, so it can never run into the parent's guards.
/// Errors: `ENOSPC` and `EUSERS` when a limit on namespaces is reached, `EPERM`, `EAGAIN` when
/// a limit on processes is; `EINVAL` for a namespace that the kernel does not have.
/// Since Linux 5.7 (`CLONE_INTO_CGROUP`). Source: kernel/fork.c, `clone3`.
pub fn clone_into<C>(
    namespaces: Namespaces,
    cgroup: Option<BorrowedFd<'_>>,
    context: C,
    entry: fn(C) -> !,
) -> Result<Child> {
    let mut pidfd: i32 = -1;
    let args = clone_args(namespaces, cgroup, 0, &raw mut pidfd);
    // SAFETY: without CLONE_VM the child has a copy of all memory, stack included; there is no
    // second thread whose locks it could inherit; `args` lives for the whole call.
    let pid = unsafe { syscall!(Sysno::clone3, &raw const args, size_of::<abi::CloneArgs>()) }?;
    if pid == 0 {
        entry(context);
    }
    Ok(Child { pid: pid as u32, pidfd: owned(pidfd as usize) })
}

/// Starts a copy of this process that is a child of its parent, in the namespace of processes that
/// this one's children go to. Gives its number as this process and the parent see it.
///
/// By the old call: filters of system calls cannot look into what `clone3` is given.
/// Errors: `EAGAIN`, `ENOMEM`, and what a filter answers. Source: kernel/fork.c, `CLONE_PARENT`.
pub fn clone_sibling<C>(context: C, entry: fn(C) -> !) -> Result<u32> {
    let flags = libc::CLONE_PARENT | libc::SIGCHLD;
    // SAFETY: the child has a copy of all memory, and goes on with a copy of this stack; there is
    // no second thread whose locks it could inherit. Nothing is written to the null pointers.
    let pid = unsafe { syscall!(Sysno::clone, flags, 0, 0, 0, 0) }?;
    if pid == 0 {
        entry(context);
    }
    Ok(pid as u32)
}

unsafe extern "C" {
    /// The variables of this process, null at the end, as C libraries have it.
    static mut environ: *mut *mut std::ffi::c_char;
}

/// Erases the variables that this process was started with; there are none from here on.
pub fn forget_environment() {
    // SAFETY: nothing refers to them: std::env gives copies. Each is a C string in writable memory
    // that the kernel put on the stack, and this is the only thread.
    unsafe {
        let mut entry = environ;
        while !entry.is_null() && !(*entry).is_null() {
            std::ptr::write_bytes(*entry, 0, CStr::from_ptr(*entry).to_bytes().len());
            entry = entry.add(1);
        }
        environ = std::ptr::null_mut();
    }
}

/// Ends this process at once: no destructor, no exit handler, no flush.
pub fn exit_now(code: u8) -> ! {
    // SAFETY: no memory is passed. The call returns only where a filter of the user's refuses it: then
    // an instruction that there is not ends the process, be it the first of its namespace.
    unsafe {
        let _ = syscall!(Sysno::exit_group, i32::from(code));
        std::arch::asm!("ud2", options(noreturn));
    }
}

/// Waits for a child of this process and takes its status away.
pub fn wait(pidfd: BorrowedFd<'_>) -> Result<Exit> {
    let mut info = std::mem::MaybeUninit::<libc::siginfo_t>::zeroed();
    let pidfd = pidfd.as_raw_fd();
    // SAFETY: the structure has the size that the kernel writes, and zeroes are valid in it.
    retry(|| unsafe {
        syscall!(Sysno::waitid, libc::P_PIDFD, pidfd, info.as_mut_ptr(), libc::WEXITED, 0)
    })?;
    // SAFETY: waitid filled it in for a child that ended, so the union holds the status.
    let (code, status) = unsafe {
        let info = info.assume_init();
        (info.si_code, info.si_status())
    };
    Ok(match code {
        libc::CLD_EXITED => Exit::Code(status as u8),
        _ => Exit::Signal(status as u8),
    })
}

/// Takes away the status of any child that has ended: `Some(pid, how)`; `None` when none has.
/// `ECHILD` when there is no child at all. Waits for one with `block`.
pub fn reap(block: bool) -> Result<Option<(u32, Exit)>> {
    let mut status = 0_i32;
    let flags = if block { 0 } else { libc::WNOHANG };
    // SAFETY: `status` is a local that lives for the whole call.
    let pid = retry(|| unsafe { syscall!(Sysno::wait4, -1_i32, &raw mut status, flags, 0) })?;
    let exit = match libc::WIFSIGNALED(status) {
        true => Exit::Signal(libc::WTERMSIG(status) as u8),
        false => Exit::Code(libc::WEXITSTATUS(status) as u8),
    };
    Ok((pid != 0).then_some((pid as u32, exit)))
}

/// A descriptor of a running process. `ESRCH` when there is none. Since Linux 5.3.
pub fn pidfd_open(pid: u32) -> Result<OwnedFd> {
    // SAFETY: no memory is passed.
    unsafe { syscall!(Sysno::pidfd_open, pid, 0) }.map(owned)
}

/// Sends a signal to exactly that process. `ESRCH` when it has ended. Since Linux 5.1.
pub fn send_signal(pidfd: BorrowedFd<'_>, signal: u32) -> Result<()> {
    // SAFETY: no siginfo is passed.
    unsafe { syscall!(Sysno::pidfd_send_signal, pidfd.as_raw_fd(), signal, 0, 0) }?;
    Ok(())
}

/// Sends a signal to every process of this pid namespace but process 1, which must be the caller.
pub fn signal_all(signal: u32) {
    debug_assert_eq!(id(), 1);
    // SAFETY: no memory is passed. It fails when there is nobody to send it to.
    let _ = unsafe { syscall!(Sysno::kill, -1_i32, signal) };
}

/// How a machine ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Restart,
    Halt,
    PowerOff,
}

/// Ends the machine at once; in a pid namespace, the namespace. Nothing is brought to the disk.
pub fn end_machine(end: End) -> Result<()> {
    // LINUX_REBOOT_CMD_*, include/uapi/linux/reboot.h.
    reboot(match end {
        End::Restart => 0x0123_4567,
        End::Halt => 0xcdef_0123,
        End::PowerOff => 0x4321_fedc,
    })
}

/// Has the kernel send SIGINT to process 1 for ctrl-alt-del, instead of restarting at once.
pub fn catch_ctrl_alt_del() -> Result<()> {
    reboot(0)
}

fn reboot(command: u32) -> Result<()> {
    const MAGIC: (u32, u32) = (0xfee1_dead, 672_274_793);
    // SAFETY: no memory is passed.
    unsafe { syscall!(Sysno::reboot, MAGIC.0, MAGIC.1, command, 0) }?;
    Ok(())
}

/// The id of this process.
pub fn id() -> u32 {
    std::process::id()
}

/// Replaces this program. Returns only on failure.
///
/// Errors: `ENOENT`, `EACCES`, `ENOEXEC`, `E2BIG`, `ETXTBSY`.
pub fn execve(path: &CStr, args: &[CString], env: &[CString]) -> Errno {
    let pointers = |list: &[CString]| -> Vec<*const libc::c_char> {
        list.iter().map(|word| word.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (args, env) = (pointers(args), pointers(env));
    // SAFETY: both arrays end with a null pointer and hold C strings that outlive the call.
    let result = unsafe { syscall!(Sysno::execve, path.as_ptr(), args.as_ptr(), env.as_ptr()) };
    result.err().unwrap_or(Errno::EIO)
}

/// Makes this process the leader of a new session without a terminal.
pub fn setsid() -> Result<()> {
    // SAFETY: no memory is passed.
    unsafe { syscall!(Sysno::setsid) }?;
    Ok(())
}

/// Whether this process acts as root.
pub fn is_root() -> bool {
    // SAFETY: no memory is passed.
    let uid = unsafe { syscall!(Sysno::geteuid) };
    uid == Ok(0)
}

/// Sets the file mode mask, and gives the one before.
pub fn umask(mask: u32) -> u32 {
    // SAFETY: no memory is passed; the call cannot fail.
    unsafe { syscall!(Sysno::umask, mask) }.map_or(0, |before| before as u32)
}

/// Moves this process into other namespaces of the process that `pidfd` names, all in one step.
/// Since Linux 5.8 for a pidfd.
pub fn setns(pidfd: BorrowedFd<'_>, namespaces: Namespaces) -> Result<()> {
    // SAFETY: no memory is passed.
    unsafe { syscall!(Sysno::setns, pidfd.as_raw_fd(), namespaces.0) }?;
    Ok(())
}

/// Moves this process into new namespaces.
pub fn unshare(namespaces: Namespaces) -> Result<()> {
    // SAFETY: no memory is passed.
    unsafe { syscall!(Sysno::unshare, namespaces.0) }?;
    Ok(())
}

fn prctl(option: i32, argument: u64) -> Result<usize> {
    // SAFETY: only options whose arguments are numbers are used in this file.
    unsafe { syscall!(Sysno::prctl, option, argument, 0, 0, 0) }
}

/// Forbids others to trace this process or to open what it has open, until it executes a program.
pub fn set_not_dumpable() -> Result<()> {
    prctl(libc::PR_SET_DUMPABLE, 0).map(drop)
}

/// Forbids this process and all that it will start to gain rights by executing a program.
pub fn set_no_new_privileges() -> Result<()> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1).map(drop)
}

/// Keeps the permitted capabilities over the next change of the user; execve ends that.
pub fn keep_capabilities() -> Result<()> {
    prctl(libc::PR_SET_KEEPCAPS, 1).map(drop)
}

/// Has the kernel kill this process when its parent ends. Cleared when credentials change.
pub fn die_with_parent() -> Result<()> {
    prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as u64).map(drop)
}

/// Takes a capability out of the bounding set. `EINVAL` for one that the kernel does not know.
pub fn drop_bounding(capability: u32) -> Result<()> {
    prctl(libc::PR_CAPBSET_DROP, capability.into()).map(drop)
}

/// Sets the permitted, effective and inheritable capabilities of this process, as bit sets.
pub fn set_capabilities(permitted: u64, effective: u64, inheritable: u64) -> Result<()> {
    let header = abi::CapHeader { version: abi::CAPABILITY_VERSION_3, pid: 0 };
    let word = |shift: u32| abi::CapData {
        effective: (effective >> shift) as u32,
        permitted: (permitted >> shift) as u32,
        inheritable: (inheritable >> shift) as u32,
    };
    let data = [word(0), word(32)];
    // SAFETY: version 3 takes two data words; both structures live for the whole call.
    unsafe { syscall!(Sysno::capset, &raw const header, data.as_ptr()) }?;
    Ok(())
}

/// The permitted capabilities of this process.
pub fn permitted_capabilities() -> Result<u64> {
    let header = abi::CapHeader { version: abi::CAPABILITY_VERSION_3, pid: 0 };
    let mut data = [abi::CapData::default(), abi::CapData::default()];
    // SAFETY: version 3 writes two data words.
    unsafe { syscall!(Sysno::capget, &raw const header, data.as_mut_ptr()) }?;
    Ok(u64::from(data[0].permitted) | u64::from(data[1].permitted) << 32)
}

/// Sets the supplementary groups, then the group and the user, real, effective and saved.
///
/// Errors: `EINVAL` for the ids of all ones, which to the kernel mean no change; `EPERM`.
pub fn set_user(uid: u32, gid: u32, groups: &[u32]) -> Result<()> {
    if uid == u32::MAX || gid == u32::MAX {
        return Err(Errno::EINVAL);
    }
    // SAFETY: the kernel reads as many groups as the slice has.
    unsafe { syscall!(Sysno::setgroups, groups.len(), groups.as_ptr()) }?;
    // SAFETY: no memory is passed. Raw calls act on this thread, which is the only one.
    unsafe { syscall!(Sysno::setresgid, gid, gid, gid) }?;
    // SAFETY: as above.
    unsafe { syscall!(Sysno::setresuid, uid, uid, uid) }?;
    Ok(())
}

/// Gives this process a session keyring of its own, so that the caller's is out of reach.
pub fn join_new_keyring() -> Result<()> {
    const JOIN_SESSION_KEYRING: u32 = 1;
    // SAFETY: a null name asks for an anonymous keyring.
    unsafe { syscall!(Sysno::keyctl, JOIN_SESSION_KEYRING, 0) }?;
    Ok(())
}

/// Marks every descriptor from 3 on to be closed when a program is executed. Since Linux 5.11;
/// `EINVAL` or `ENOSYS` before.
pub fn close_on_exec_all() -> Result<()> {
    // SAFETY: descriptors only get a flag; none is closed under an owner.
    unsafe { syscall!(Sysno::close_range, 3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) }?;
    Ok(())
}

/// Marks one descriptor to be closed, or kept, when a program is executed.
pub fn set_close_on_exec(raw: i32, close: bool) -> Result<()> {
    let flags = if close { libc::FD_CLOEXEC } else { 0 };
    // SAFETY: no memory is passed.
    unsafe { syscall!(Sysno::fcntl, raw, libc::F_SETFD, flags) }?;
    Ok(())
}

/// Makes `fd` the standard descriptor `number` (0, 1 or 2), which programs inherit.
pub fn set_standard(fd: BorrowedFd<'_>, number: i32) -> Result<()> {
    if fd.as_raw_fd() == number {
        return set_close_on_exec(number, false);
    }
    // SAFETY: what was open as 0, 1 or 2 belongs to the process and to no owner in it.
    unsafe { syscall!(Sysno::dup3, fd.as_raw_fd(), number, 0) }?;
    Ok(())
}

/// Closes one of the standard descriptors 0, 1 and 2, which no owner holds.
pub fn close_standard(number: i32) {
    debug_assert!((0..3).contains(&number));
    // SAFETY: the three standard descriptors belong to the process and to no owner in it.
    let _ = unsafe { syscall!(Sysno::close, number) };
}

/// Closes a descriptor that the parent of this fresh copy owns: as long as the copy had it open
/// too, it could not see the parent close it.
///
/// Only for the entry of `clone_into`, where the code that owns it never runs again.
pub fn close_parents(fd: BorrowedFd<'_>) {
    // SAFETY: see above; no owner of it is reachable in this process.
    let _ = unsafe { syscall!(Sysno::close, fd.as_raw_fd()) };
}

/// Sets the host name of this UTS namespace; at most 64 bytes.
pub fn sethostname(name: &str) -> Result<()> {
    // SAFETY: the kernel reads as many bytes as the name has.
    unsafe { syscall!(Sysno::sethostname, name.as_ptr(), name.len()) }?;
    Ok(())
}

/// Goes to a directory by path.
pub fn chdir(path: &CStr) -> Result<()> {
    // SAFETY: the path lives for the whole call.
    unsafe { syscall!(Sysno::chdir, path.as_ptr()) }?;
    Ok(())
}

/// Goes to an open directory.
pub fn fchdir(dir: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: no memory is passed.
    unsafe { syscall!(Sysno::fchdir, dir.as_raw_fd()) }?;
    Ok(())
}

/// Makes a directory the root of this process; its working directory stays.
pub fn chroot(path: &CStr) -> Result<()> {
    // SAFETY: the path lives for the whole call.
    unsafe { syscall!(Sysno::chroot, path.as_ptr()) }?;
    Ok(())
}

/// Makes the root of this process's mount namespace its root and working directory: the way out
/// of a chroot. `EINVAL` for a process that shares them with another. Since Linux 5.8.
/// Source: fs/namespace.c, `mntns_install`.
pub fn enter_own_mounts() -> Result<()> {
    setns(pidfd_open(id())?.as_fd(), Namespaces::MOUNT)
}

/// The working directory as the kernel sees it; starts with `(unreachable)` where it lies
/// outside the root.
pub fn getcwd() -> Result<PathBuf> {
    let mut buffer = vec![0_u8; libc::PATH_MAX as usize];
    let (pointer, size) = (buffer.as_mut_ptr(), buffer.len());
    // SAFETY: the kernel writes at most `size` bytes.
    let length = unsafe { syscall!(Sysno::getcwd, pointer, size) }?;
    buffer.truncate(length.saturating_sub(1));
    Ok(PathBuf::from(std::ffi::OsString::from_vec(buffer)))
}

/// Cuts this process, which leads no group, loose from its caller: a session of its own, `/` as its
/// directory, /dev/null as its standard descriptors.
pub fn detach() -> Result<()> {
    setsid()?;
    chdir(c"/")?;
    let null = super::file::null_device()?;
    (0..3).try_for_each(|number| set_standard(null.as_fd(), number))
}

/// Closes every descriptor but the three standard ones and `keep`.
///
/// Only for the entry of `clone_into`: they belong to the parent's code, which never runs again in
/// this process.
pub fn close_all_but(keep: &[BorrowedFd<'_>]) -> Result<()> {
    close_from(3, keep)
}

/// Closes every descriptor from `first` on but `keep`.
///
/// Only in a copy of this process: what owns them there belongs to code that never runs again.
pub fn close_from(mut first: RawFd, keep: &[BorrowedFd<'_>]) -> Result<()> {
    let mut kept: Vec<RawFd> = keep.iter().map(AsRawFd::as_raw_fd).collect();
    kept.sort_unstable();
    for fd in kept {
        if first < fd {
            close_range(first, fd - 1)?;
        }
        first = first.max(fd + 1);
    }
    close_range(first, RawFd::MAX)
}

fn close_range(first: RawFd, last: RawFd) -> Result<()> {
    // SAFETY: see above; no owner of any of them is reachable in this process.
    unsafe { syscall!(Sysno::close_range, first, last, 0) }?;
    Ok(())
}
