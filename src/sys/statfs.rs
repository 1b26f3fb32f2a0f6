//! Which kind of file system something lies in. Numbers: include/uapi/linux/magic.h.

use super::mount::Attr;
use super::{Result, c_path};
use std::ffi::{CStr, OsStr};
use std::os::fd::{AsRawFd, BorrowedFd};
use syscalls::{Sysno, syscall};

/// Whether an open file lies in a proc file system.
pub fn is_procfs(file: BorrowedFd<'_>) -> bool {
    // PROC_SUPER_MAGIC.
    kind_of(file) == 0x9fa0
}

/// Whether an open file lies in a sysfs.
pub fn is_sysfs(file: BorrowedFd<'_>) -> bool {
    // SYSFS_MAGIC.
    kind_of(file) == 0x6265_6572
}

/// Whether an open file lies in a file system that never reaches a disk: tmpfs or ramfs.
pub fn is_in_memory(file: BorrowedFd<'_>) -> bool {
    MEMORY.contains(&kind_of(file))
}

/// The same of what a path leads to.
pub fn is_in_memory_at(path: &CStr) -> bool {
    MEMORY.contains(&kind_at_path(path))
}

/// TMPFS_MAGIC and RAMFS_MAGIC.
const MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];

/// What the mount at a path forbids: writing, set-user-id programs, devices, programs.
pub fn restrictions_at(path: &CStr) -> Result<Attr> {
    // struct statfs of x86_64, 15 words, of which f_flags is the eleventh: asm-generic/statfs.h.
    let mut statfs = [0_u64; 15];
    // SAFETY: the path lives for the whole call; the words are as many as the kernel's.
    unsafe { syscall!(Sysno::statfs, path.as_ptr(), statfs.as_mut_ptr()) }?;
    let known = Attr::READ_ONLY | Attr::NO_SUID | Attr::NO_DEV | Attr::NO_EXEC;
    // ST_RDONLY, ST_NOSUID, ST_NODEV and ST_NOEXEC are the bits of mount(2): statfs(2).
    Ok(Attr(statfs[10] & known.0))
}

/// The magic number of the file system that an open file lies in; 0 where it does not say.
pub fn kind_of(file: BorrowedFd<'_>) -> u64 {
    // SAFETY: the structure is as large as the kernel's.
    kind(|statfs| unsafe { syscall!(Sysno::fstatfs, file.as_raw_fd(), statfs) })
}

/// The same at a path of the host; 0 where there is nothing.
pub fn kind_at(path: &str) -> u64 {
    c_path(OsStr::new(path)).map_or(0, |path| kind_at_path(&path))
}

fn kind_at_path(path: &CStr) -> u64 {
    // SAFETY: as above; the path lives for the whole call.
    kind(|statfs| unsafe { syscall!(Sysno::statfs, path.as_ptr(), statfs) })
}

fn kind(look: impl Fn(*mut libc::statfs) -> Result<usize>) -> u64 {
    let mut statfs = std::mem::MaybeUninit::<libc::statfs>::zeroed();
    let found = look(statfs.as_mut_ptr()).is_ok();
    // SAFETY: zeroes are valid in it, and the kernel wrote no more than it has.
    let statfs = unsafe { statfs.assume_init() };
    if found { statfs.f_type as u64 } else { 0 }
}
