//! The proc file system, also where none is mounted: then by a mount of our own that has no place
//! in the tree, made for one look.

use super::fs::{Dir, openat};
use super::{Errno, Result, control, mount, statfs};
use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// Reads a file below /proc as text, at most 64 KiB: `7/stat`, `sys/kernel/random/boot_id`.
///
/// Errors: `ENOENT`, and `ESRCH` for a process that has just gone; `ENODEV` in a kernel without
/// proc, `EPERM` where there is none and it may not be mounted.
pub fn read(path: &str) -> Result<String> {
    match control::read_path(format!("/proc/{path}")) {
        Err(Errno::ENOENT) if is_hidden(path) => {
            control::read_at(own()?.as_fd().as_raw_fd(), OsStr::new(path))
        }
        other => other,
    }
}

/// Whether something below /proc may be there though it is not seen: where nothing is mounted, or
/// something else over the kernel's values.
fn is_hidden(path: &str) -> bool {
    path.starts_with("sys/") || !is_mounted()
}

/// Opens a directory below /proc, a process's own links followed: `self`, `self/fd`, `7/root`.
pub fn dir(path: &str) -> Result<Dir> {
    match Dir::open(format!("/proc/{path}")) {
        Err(Errno::ENOENT) if is_hidden(path) => {
            let flags = libc::O_RDONLY | libc::O_DIRECTORY;
            openat(own()?.as_fd().as_raw_fd(), OsStr::new(path), flags, 0).map(Dir::from)
        }
        other => other,
    }
}

/// The mount namespace of a process: it and its mounts stay for as long as this is open.
///
/// Errors: `ENOENT` for a process that has ended, and where there is no /proc.
pub fn mount_namespace(pid: u32) -> Result<OwnedFd> {
    openat(libc::AT_FDCWD, OsStr::new(&format!("/proc/{pid}/ns/mnt")), libc::O_RDONLY, 0)
}

/// Whether /proc is the proc file system.
pub fn is_mounted() -> bool {
    Dir::open("/proc").is_ok_and(|dir| statfs::is_procfs(dir.as_fd()))
}

/// A proc file system of this process's own pid namespace that is mounted nowhere.
pub fn own() -> Result<Dir> {
    mount::detached(c"proc")
}

/// Undoes mountinfo's octal escapes of blank, tab, newline and backslash.
pub fn unescape(field: &str) -> String {
    let mut parts = field.split('\\');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let code = part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) => {
                text.push(char::from(code));
                text.push_str(&part[3..]);
            }
            None => {
                text.push('\\');
                text.push_str(part);
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_in_mount_points_are_undone() {
        assert_eq!(unescape(r"/mnt/a\040b\134c"), r"/mnt/a b\c");
        assert_eq!(unescape(r"/odd\9"), r"/odd\9");
    }

    #[test]
    fn what_is_mounted_and_what_is_our_own_tell_the_same_boot() {
        let path = "sys/kernel/random/boot_id";
        let boot = read(path).unwrap();
        match own() {
            Ok(own) => assert_eq!(control::read(&own, path), Ok(boot)),
            // Only root may have one.
            Err(errno) => assert_eq!(errno, Errno::EPERM),
        }
    }
}
