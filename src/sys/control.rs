//! The small text files through which the kernel is told things: cgroups, /proc, /sys.

use super::fs::{Dir, openat};
use super::{Errno, Result, io};
use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// Opens an existing control file for writing. A link is refused.
pub fn open(dir: &Dir, name: impl AsRef<OsStr>) -> Result<OwnedFd> {
    openat(dir.as_fd().as_raw_fd(), name.as_ref(), libc::O_WRONLY | libc::O_NOFOLLOW, 0)
}

/// Writes a value in one call, as the kernel wants it.
pub fn write(dir: &Dir, name: impl AsRef<OsStr>, value: &str) -> Result<()> {
    io::write(open(dir, name)?.as_fd(), value.as_bytes()).map(drop)
}

/// Reads a control file, at most 64 KiB, as text. A link is refused.
pub fn read(dir: &Dir, name: impl AsRef<OsStr>) -> Result<String> {
    read_at(dir.as_fd().as_raw_fd(), name.as_ref())
}

/// Reads a control file by its absolute path.
pub fn read_path(path: impl AsRef<OsStr>) -> Result<String> {
    read_at(libc::AT_FDCWD, path.as_ref())
}

pub(super) fn read_at(dir: i32, path: &OsStr) -> Result<String> {
    const STEP: usize = 4096;
    // The kernel fills the buffer up to the last whole line. These files have short lines, so
    // what is shorter than this is all there is, and the read that would say so is spared.
    const SHORT: usize = STEP - 256;
    let file = openat(dir, path, libc::O_RDONLY | libc::O_NOFOLLOW, 0)?;
    let (mut text, mut length) = (vec![0; STEP], 0);
    loop {
        let got = io::read(file.as_fd(), &mut text[length..])?;
        length += got;
        if got < SHORT {
            text.truncate(length);
            return Ok(String::from_utf8_lossy(&text).into_owned());
        }
        if length > 64 << 10 {
            return Err(Errno::EFBIG);
        }
        text.resize(length + STEP, 0);
    }
}
