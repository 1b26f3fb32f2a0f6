//! System calls as safe typed functions: the only place with `unsafe` and with kernel structures.
//!
//! One function per use. Results carry the bare `Errno`; callers add what was being done.
#![allow(unsafe_code)]
// The same numbers have other types in the headers of glibc and of musl.
#![allow(clippy::unnecessary_cast)]

pub mod abi;
#[cfg(not(any(test, fuzzing)))]
mod alloc;
pub mod bpf;
pub mod child;
pub mod control;
pub mod cpu;
mod early;
pub mod exe;
pub mod file;
pub mod fs;
pub mod ids;
pub mod inet;
pub mod io;
pub mod lend;
pub mod limits;
pub mod mount;
pub mod net;
pub mod netlink;
pub mod pages;
pub mod probe;
pub mod proc;
pub mod process;
pub mod ring;
pub mod seccomp;
pub mod signal;
pub mod statfs;
pub mod time;
pub mod tty;
// A program that is not linked as a whole refers to more of an unwinder.
#[cfg(not(any(test, fuzzing, debug_assertions)))]
mod unwind;
pub mod xattr;

use std::ffi::{CString, OsStr};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
pub use syscalls::Errno;

/// Tests and fuzzers have threads, and the C library's allocator.
#[cfg(not(any(test, fuzzing)))]
#[global_allocator]
static ALLOCATOR: alloc::Pieces = alloc::Pieces::new();

/// What a system call gives.
pub type Result<T> = std::result::Result<T, Errno>;

/// Calls again for as long as a signal interrupts the call.
pub fn retry<T>(mut call: impl FnMut() -> Result<T>) -> Result<T> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            other => return other,
        }
    }
}

/// A path as the kernel takes it. `EINVAL` if it holds a NUL byte.
fn c_path(path: &OsStr) -> Result<CString> {
    CString::new(path.as_bytes()).map_err(|_| Errno::EINVAL)
}

/// Takes over a descriptor that a system call just returned.
fn owned(fd: usize) -> OwnedFd {
    // SAFETY: the kernel has just made this descriptor for us and nothing else holds it.
    unsafe { OwnedFd::from_raw_fd(fd as RawFd) }
}
