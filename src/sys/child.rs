//! A forked child that works beside this process: an inflater or a hash behind a pipe.
//!
//! It dies with its parent, keeps only the descriptors that it was given, cannot gain privileges,
//! and may make only the system calls that moving and computing bytes needs.

use super::{Errno, Result, owned, retry};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use syscalls::{Sysno, syscall};

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Exited(u8),
    Killed(u32),
}

/// The exit codes from here on are an errno above it.
const ERRNO: u8 = 100;

/// The exit code of a child for an error of the kernel.
pub fn failed(errno: Errno) -> u8 {
    u8::try_from(errno.into_raw()).map_or(u8::MAX, |errno| ERRNO.saturating_add(errno))
}

/// The error of the kernel that a child tells of by its exit code.
pub fn errno(code: u8) -> Option<Errno> {
    (code > ERRNO).then(|| Errno::new(i32::from(code - ERRNO)))
}

/// A running child. Dropped, it is killed and reaped.
#[derive(Debug)]
pub struct Child {
    pid: i32,
}

impl Child {
    /// Forks a child that runs `body`, ends with its result, and keeps open only `keep`.
    pub fn spawn(keep: &[BorrowedFd<'_>], body: impl FnOnce() -> u8) -> Result<Self> {
        Self::spawn_with(keep, &ALLOWED, body)
    }

    /// The same for one that also brings file systems to the disk.
    pub fn spawn_syncer(keep: &[BorrowedFd<'_>], body: impl FnOnce() -> u8) -> Result<Self> {
        let allowed: Vec<i64> = ALLOWED.iter().copied().chain([libc::SYS_syncfs]).collect();
        Self::spawn_with(keep, &allowed, body)
    }

    fn spawn_with(
        keep: &[BorrowedFd<'_>],
        allowed: &[i64],
        body: impl FnOnce() -> u8,
    ) -> Result<Self> {
        // SAFETY: both calls take nothing.
        let parent = unsafe { libc::getpid() };
        // SAFETY: the program has one thread; the C library's fork keeps its own state right.
        let pid = unsafe { libc::fork() };
        match pid {
            -1 => Err(super::fs::errno(std::io::Error::last_os_error())),
            0 => {
                let code = match become_worker(parent, keep, allowed) {
                    Ok(()) => body(),
                    Err(errno) => failed(errno),
                };
                // SAFETY: ends this process; nothing of the parent's is flushed or dropped.
                unsafe { libc::_exit(code.into()) }
            }
            pid => Ok(Self { pid }),
        }
    }

    /// Waits for the end of the child.
    pub fn wait(self) -> Result<Ended> {
        let child = std::mem::ManuallyDrop::new(self);
        reap(child.pid)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // SAFETY: the child is not yet reaped, so the pid is its own. No memory is passed.
        let _ = unsafe { syscall!(Sysno::kill, self.pid, libc::SIGKILL) };
        let _ = reap(self.pid);
    }
}

fn reap(pid: i32) -> Result<Ended> {
    let mut status = 0_i32;
    // SAFETY: the kernel writes one number to `status`; null stands for no statistics.
    retry(|| unsafe {
        syscall!(Sysno::wait4, pid, &raw mut status, 0, std::ptr::null_mut::<libc::rusage>())
    })?;
    Ok(match libc::WIFEXITED(status) {
        true => Ended::Exited(libc::WEXITSTATUS(status) as u8),
        false => Ended::Killed(libc::WTERMSIG(status) as u32),
    })
}

fn become_worker(parent: i32, keep: &[BorrowedFd<'_>], allowed: &[i64]) -> Result<()> {
    // SAFETY: numbers only.
    unsafe {
        syscall!(Sysno::prctl, libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0)?;
        // The parent may have died before the line above.
        if syscall!(Sysno::getppid)? != parent as usize {
            return Err(Errno::ESRCH);
        }
        syscall!(Sysno::prctl, libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)?;
    }
    yield_to_the_parent();
    // Standard error is for a panic's last words.
    let errors = std::io::stderr();
    let kept: Vec<BorrowedFd<'_>> = keep.iter().copied().chain([errors.as_fd()]).collect();
    super::process::close_from(0, &kept)?;
    match confine(allowed) {
        // A kernel without seccomp: the child is as trusted as its parent.
        Err(Errno::EINVAL | Errno::ENOSYS) => Ok(()),
        other => other,
    }
}

/// Lets this process wait for its turn when it is woken, instead of taking the processor from the
/// parent, which woke it and is what the user waits for.
fn yield_to_the_parent() {
    let priority = 0_i32;
    // SAFETY: the kernel reads one number, for the calling thread.
    let done =
        unsafe { syscall!(Sysno::sched_setscheduler, 0, libc::SCHED_BATCH, &raw const priority) };
    // A matter of speed only.
    let _ = done;
}

/// What a worker may call: move bytes, manage its memory, end.
const ALLOWED: [i64; 15] = [
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_pread64,
    libc::SYS_close,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_futex,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigaction,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// Kills this process at any system call that is not `allowed`.
///
/// Errors: `EINVAL` without seccomp in the kernel. Source: kernel/seccomp.c, `prctl_set_seccomp`.
fn confine(allowed: &[i64]) -> Result<()> {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut filter = Vec::with_capacity(allowed.len() + 5);
    // struct seccomp_data: number 4, architecture 4. Another architecture's numbers mean others.
    filter.push(step(LOAD, 0, 0, 4));
    filter.push(step(EQUAL, 0, allowed.len() as u8 + 1, AUDIT_ARCH_X86_64));
    filter.push(step(LOAD, 0, 0, 0));
    for (index, number) in allowed.iter().enumerate() {
        // From each match over the rest of the list and the refusal to the last step.
        filter.push(step(EQUAL, (allowed.len() - index) as u8, 0, *number as u32));
    }
    filter.push(step(RETURN, 0, 0, libc::SECCOMP_RET_KILL_PROCESS));
    filter.push(step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW));
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the kernel copies the program during the call; `filter` outlives it.
    unsafe {
        syscall!(Sysno::prctl, libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program)
    }?;
    Ok(())
}

/// The standard input of this process as a descriptor of its own.
pub fn standard_input() -> Result<OwnedFd> {
    // SAFETY: no memory is passed.
    let fd = unsafe { syscall!(Sysno::fcntl, 0, libc::F_DUPFD_CLOEXEC, 3) }?;
    Ok(owned(fd))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::file::pipe;
    use std::io::{Read, Write};
    use std::os::fd::AsFd;

    #[test]
    fn a_child_gives_its_code_and_writes_to_what_it_kept() {
        let (mut read, write) = pipe(4096).unwrap();
        let child =
            Child::spawn(&[write.as_fd()], || u8::from((&write).write_all(b"abc").is_err()))
                .unwrap();
        drop(write);
        let mut text = String::new();
        read.read_to_string(&mut text).unwrap();
        assert_eq!((text.as_str(), child.wait().unwrap()), ("abc", Ended::Exited(0)));
    }

    #[test]
    fn a_child_that_opens_a_file_is_killed() {
        let child = Child::spawn(&[], || u8::from(std::fs::File::open("/").is_ok())).unwrap();
        assert_eq!(child.wait().unwrap(), Ended::Killed(libc::SIGSYS as u32));
    }

    #[test]
    fn a_child_that_is_dropped_is_gone() {
        let (read, write) = pipe(4096).unwrap();
        let child = Child::spawn(&[read.as_fd()], || {
            let mut byte = [0];
            (&read).read(&mut byte).map_or(1, |_| 0)
        })
        .unwrap();
        let pid = child.pid;
        drop(child);
        drop(write);
        // SAFETY: signal 0 only asks whether the process exists.
        let gone = unsafe { syscall!(Sysno::kill, pid, 0) };
        assert_eq!(gone, Err(Errno::ESRCH));
    }
}
