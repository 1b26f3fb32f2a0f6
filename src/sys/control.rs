//! The small text files through which the kernel is told things: cgroups, /proc, /sys.

use super::fs::{Dir, openat};
use super::{Result, io};
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

/// Reads a control file, at most 64 KiB, as text.
pub fn read(dir: &Dir, name: impl AsRef<OsStr>) -> Result<String> {
    let text = dir.read_special(name, 64 << 10)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}
