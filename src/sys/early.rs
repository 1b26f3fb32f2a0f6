//! What has to be right before the standard library starts: it opens /dev/null for a standard stream
//! that is closed, and aborts where there is none. The first process of a machine without a console
//! would take the machine with it.

use super::fs::openat;
use super::{Errno, file};
use std::ffi::OsStr;
use std::os::fd::{AsRawFd, IntoRawFd};
use syscalls::{Sysno, syscall};

// SAFETY: the C library calls what is in this section once, before `main`; the function takes nothing.
#[used]
#[unsafe(link_section = ".init_array")]
static AT_START: extern "C" fn() = open_streams;

/// Opens something that stands for nothing for each standard stream that is closed.
extern "C" fn open_streams() {
    for stream in 0..=2 {
        // SAFETY: no memory is passed.
        let flags = unsafe { syscall!(Sysno::fcntl, stream, libc::F_GETFD) };
        if flags == Err(Errno::EBADF) {
            open_stream(stream);
        }
    }
}

fn open_stream(stream: i32) {
    // Who may not mount has the root: an error to read and to write.
    let root = || openat(libc::AT_FDCWD, OsStr::new("/"), libc::O_RDONLY | libc::O_DIRECTORY, 0);
    let Ok(open) = file::null_device().or_else(|_| root()) else { return };
    match open.as_raw_fd() == stream {
        // SAFETY: no memory is passed.
        true => _ = unsafe { syscall!(Sysno::fcntl, open.into_raw_fd(), libc::F_SETFD, 0) },
        // SAFETY: as above.
        false => _ = unsafe { syscall!(Sysno::dup2, open.as_raw_fd(), stream) },
    }
}
