//! A child that works in this process's own memory until it executes a program.
//!
//! A copy of a process costs it twice: its page tables are copied, and each page that either
//! side then touches is a fault. The first process of a container lives for a millisecond before
//! its execve, so it borrows the memory instead, while this process is suspended by the kernel.

use super::process::{Child, Namespaces, clone_args};
use super::{Errno, Result, abi, owned};
use std::os::fd::{BorrowedFd, OwnedFd};
use syscalls::Sysno;

/// Descriptors that are handed to the child. It closes its copies of them, we close ours.
pub type Ends = [Option<OwnedFd>; 4];

/// What the child starts with. It lives in the frame of the suspended parent.
struct Call<'a, T> {
    context: &'a T,
    ends: *const Ends,
    entry: fn(&T, Ends) -> !,
}

/// Starts a process as `clone_into` does, which borrows this one's memory; gives it back, and
/// returns, when it has executed a program or has ended.
///
/// The child can change nothing that this process still uses: it sees the context through a
/// shared reference, has its own table of descriptors, and what it allocates is merely never
/// freed. It must leave by execve or `exit_now`, so `entry` does not return.
///
/// Errors: as for `clone_into`. Source: kernel/fork.c, `CLONE_VM` with `CLONE_VFORK`.
pub fn lend_into<T>(
    namespaces: Namespaces,
    cgroup: Option<BorrowedFd<'_>>,
    context: &T,
    ends: Ends,
    entry: fn(&T, Ends) -> !,
) -> Result<Child> {
    let mut pidfd: i32 = -1;
    let flags = libc::CLONE_VM | libc::CLONE_VFORK;
    let args = clone_args(namespaces, cgroup, flags, &raw mut pidfd);
    let call = Call { context, ends: &raw const ends, entry };
    let result: isize;
    // SAFETY: the kernel suspends this process until the child has let go of the memory, so there
    // is one user of it at a time. The child runs on this stack, below this frame: it leaves the
    // assembly by a call that never returns, so it touches nothing that the frame holds, and the
    // parent goes on with its own registers. Memory counts as changed (no `nomem`), and there is
    // no red zone (no `nostack`). `args` and `call` live for the whole time.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "and rsp, -16",
            "mov rdi, r8",
            "call {begin}",
            "ud2",
            "2:",
            begin = sym begin::<T>,
            inlateout("rax") Sysno::clone3 as isize => result,
            in("rdi") &raw const args,
            in("rsi") size_of::<abi::CloneArgs>(),
            in("r8") &raw const call,
            out("rcx") _,
            out("r11") _,
        );
    }
    match result {
        ..0 => Err(Errno::new(-result as i32)),
        pid => Ok(Child { pid: pid as u32, pidfd: owned(pidfd as usize) }),
    }
}

/// Where the child begins.
extern "C" fn begin<T>(call: &Call<'_, T>) -> ! {
    // SAFETY: the parent's array holds plain descriptors: this copy owns those of the child's own
    // table, the parent's those of its own.
    let ends = unsafe { call.ends.read() };
    (call.entry)(call.context, ends)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::process::{Exit, exit_now, wait};
    use crate::sys::{file::pipe, io};
    use std::os::fd::AsFd;

    fn write_and_end(text: &String, ends: Ends) -> ! {
        let end = ends[2].as_ref().map(|end| io::write_all(end.as_fd(), text.as_bytes()));
        exit_now(if end.is_some_and(|written| written.is_ok()) { 7 } else { 1 })
    }

    #[test]
    fn a_borrower_reads_the_context_uses_its_descriptors_and_leaves_ours_open() {
        let (read, write) = pipe(4096).unwrap();
        let ends = [None, None, Some(write.try_clone().unwrap().into()), None];
        let text = String::from("borrowed");
        let child = lend_into(Namespaces::default(), None, &text, ends, write_and_end).unwrap();
        // The child has ended by now, and what it was given is closed.
        let mut buffer = [0; 16];
        let length = io::read(read.as_fd(), &mut buffer).unwrap();
        assert_eq!(&buffer[..length], text.as_bytes());
        assert_eq!(wait(child.pidfd.as_fd()).unwrap(), Exit::Code(7));
        io::write_all(write.as_fd(), b"still open").unwrap();
    }
}
