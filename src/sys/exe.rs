//! The file that this process runs from, as others see it: `/proc/PID/exe` leads to it.
//!
//! A process that enters a container must not lead there to the host's file, which could be opened
//! for writing. A process cannot change what it runs from by executing nothing, but all its pages can be
//! mapped again from another file with the same content; then the kernel lets it name that one.

use super::fs::{Dir, openat};
use super::mount::{self, Attr};
use super::{Errno, Result, io, owned, proc};
use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use syscalls::{Sysno, syscall};

const PAGE: usize = 4096;

/// A file with the content of this process's own, which nobody can write to.
#[derive(Debug)]
pub struct Unwritable {
    pub file: OwnedFd,
    /// The mount that it was opened through, where it is no copy, which stays in memory for as long
    /// as a process runs from it. When the mount is let go of, the kernel waits until nobody walks
    /// through it: better late.
    mount: Option<OwnedFd>,
}

impl Unwritable {
    pub fn is_copy(&self) -> bool {
        self.mount.is_none()
    }
}

/// Opens this process's own file where nobody can write to it: through a read-only mount that has
/// no place in any tree, or as a sealed copy in memory.
///
/// Errors: `ENOSYS` where the kernel has neither of them.
pub fn unwritable() -> Result<Unwritable> {
    let own = proc::dir("self")?;
    match through_mount(&own) {
        // Before Linux 5.12; a program that was started in another mount namespace.
        Err(Errno::ENOSYS | Errno::EINVAL | Errno::EPERM) => {
            Ok(Unwritable { file: sealed_copy(&own)?, mount: None })
        }
        other => other,
    }
}

/// Lets this process run from a sealed copy in memory, also where the host's files are out of reach.
///
/// Errors: as for `unwritable` and `run_from`.
pub fn run_from_copy() -> Result<()> {
    run_from(sealed_copy(&proc::dir("self")?)?.as_fd())
}

fn open(own: &Dir, path: &str) -> Result<OwnedFd> {
    openat(own.as_fd().as_raw_fd(), OsStr::new(path), libc::O_RDONLY, 0)
}

fn through_mount(own: &Dir) -> Result<Unwritable> {
    let tree = mount::clone_file_at(own.as_fd(), c"exe")?;
    mount::set_attr_tree(tree.as_fd(), Attr::READ_ONLY)?;
    let file = open(own, &format!("fd/{}", tree.as_raw_fd()))?;
    Ok(Unwritable { file, mount: Some(tree) })
}

fn sealed_copy(own: &Dir) -> Result<OwnedFd> {
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    let create = |flags: u32| {
        // SAFETY: the name is a constant.
        unsafe { syscall!(Sysno::memfd_create, c"rocker".as_ptr(), flags) }.map(owned)
    };
    let copy = match create(flags | libc::MFD_EXEC) {
        // Before Linux 6.3 every one can be executed.
        Err(Errno::EINVAL) => create(flags),
        other => other,
    }?;
    let file = open(own, "exe")?;
    let mut buffer = vec![0; 64 << 10];
    loop {
        match io::read(file.as_fd(), &mut buffer)? {
            0 => break,
            length => io::write_all(copy.as_fd(), &buffer[..length])?,
        }
    }
    let seals = libc::F_SEAL_WRITE | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
    // SAFETY: no memory is passed.
    unsafe { syscall!(Sysno::fcntl, copy.as_raw_fd(), libc::F_ADD_SEALS, seals) }?;
    // What is open for writing can never be executed.
    open(own, &format!("fd/{}", copy.as_raw_fd()))
}

/// Lets this process run from `file`, which has the content of its own file.
///
/// Errors: `EPERM` without a right to it, `EBUSY` when something is still mapped from the old
/// file. Source: kernel/sys.c, `prctl_set_mm_exe_file`; kernel/fork.c, `replace_mm_exe_file`.
pub fn run_from(file: BorrowedFd<'_>) -> Result<()> {
    let Some((base, headers)) = super::pages::program_headers() else {
        return Err(Errno::ENOEXEC);
    };
    for header in headers.iter().filter(|header| header.p_type == libc::PT_LOAD) {
        let start = base + header.p_vaddr as usize;
        let (first, end) = (start & !(PAGE - 1), start + header.p_filesz as usize);
        let length = end.next_multiple_of(PAGE) - first;
        if length == 0 {
            continue;
        }
        match header.p_flags & libc::PF_W {
            0 => {
                let offset = header.p_offset as usize & !(PAGE - 1);
                map_again(first, length, header.p_flags, file, offset)?;
            }
            _ => move_into_memory(first, length)?,
        }
    }
    let relro = headers.iter().find(|header| header.p_type == libc::PT_GNU_RELRO);
    if let Some(header) = relro {
        let start = base + header.p_vaddr as usize;
        let end = start + header.p_memsz as usize;
        let (first, end) = (start & !(PAGE - 1), end & !(PAGE - 1));
        if end > first {
            // SAFETY: what was relocated at the start is never written again.
            unsafe { syscall!(Sysno::mprotect, first, end - first, libc::PROT_READ) }?;
        }
    }
    let (option, fd) = (libc::PR_SET_MM_EXE_FILE, file.as_raw_fd());
    match describe_anew(base, fd) {
        // SAFETY: no memory is passed.
        Err(Errno::EINVAL) => unsafe {
            syscall!(Sysno::prctl, libc::PR_SET_MM, option, fd, 0, 0).map(drop)
        },
        other => other,
    }
}

/// Tells the kernel anew all that it knows of a program, its file among it. Unlike telling it the
/// file alone this needs no `CAP_SYS_RESOURCE`, which root lacks in some machines of the cloud.
///
/// What is told besides is only shown in /proc, but for the end of the heap. Command line and
/// environment, which are the caller's, are empty from here on. Errors: `EINVAL` in a kernel without
/// CONFIG_CHECKPOINT_RESTORE.
fn describe_anew(base: usize, fd: i32) -> Result<()> {
    // SAFETY: an address of 0 asks for the present end of the heap.
    let heap = unsafe { syscall!(Sysno::brk, 0) }? as u64;
    let (code, stack) = (base as u64, (&raw const heap).addr() as u64);
    let map = PrctlMmMap {
        start_code: code,
        end_code: code + 1,
        start_data: code,
        end_data: code,
        start_brk: heap,
        brk: heap,
        start_stack: stack,
        arguments: [stack; 4],
        auxv: 0,
        auxv_size: 0,
        exe_fd: fd as u32,
    };
    let size = size_of::<PrctlMmMap>();
    // SAFETY: the kernel reads one structure of that size.
    unsafe {
        syscall!(Sysno::prctl, libc::PR_SET_MM, libc::PR_SET_MM_MAP, &raw const map, size, 0)
    }?;
    Ok(())
}

/// `struct prctl_mm_map`, include/uapi/linux/prctl.h.
#[repr(C)]
struct PrctlMmMap {
    start_code: u64,
    end_code: u64,
    start_data: u64,
    end_data: u64,
    start_brk: u64,
    brk: u64,
    start_stack: u64,
    /// Start and end of the arguments and of the environment.
    arguments: [u64; 4],
    auxv: u64,
    auxv_size: u32,
    exe_fd: u32,
}
const _: () = assert!(size_of::<PrctlMmMap>() == 104);

/// Maps a part of the program that is never written from the other file, in place.
fn map_again(
    first: usize,
    length: usize,
    flags: u32,
    file: BorrowedFd<'_>,
    offset: usize,
) -> Result<()> {
    let execute = if flags & libc::PF_X != 0 { libc::PROT_EXEC } else { 0 };
    let (protection, fixed) = (libc::PROT_READ | execute, libc::MAP_PRIVATE | libc::MAP_FIXED);
    // SAFETY: the same bytes come to lie where they lie now, at one stroke for this only thread.
    unsafe { syscall!(Sysno::mmap, first, length, protection, fixed, file.as_raw_fd(), offset) }?;
    Ok(())
}

/// Replaces the program's variables by a copy that belongs to no file, in place.
fn move_into_memory(first: usize, length: usize) -> Result<()> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let anonymous = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: new memory at a place that the kernel chooses.
    let copy = unsafe { syscall!(Sysno::mmap, 0, length, protection, anonymous, usize::MAX, 0) }?;
    // SAFETY: both ranges are mapped, whole pages, and apart. Nothing else runs in this process,
    // and neither of the two calls writes a variable in between.
    unsafe {
        std::ptr::copy_nonoverlapping(first as *const u8, copy as *mut u8, length);
        let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
        syscall!(Sysno::mremap, copy, length, length, flags, first)
    }?;
    Ok(())
}
