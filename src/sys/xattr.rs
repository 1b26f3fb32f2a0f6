//! Extended attributes of open files and, through `/proc/self/fd`, of links and nodes.

use super::file::proc_path;
use super::fs::{Dir, c_path};
use super::{Errno, Result};
use std::ffi::{CString, OsStr};
use std::os::fd::{AsRawFd, BorrowedFd};
use syscalls::{Sysno, syscall};

/// What carries attributes.
#[derive(Clone, Copy)]
pub enum Target<'a> {
    /// A file that is open for reading or writing.
    Open(BorrowedFd<'a>),
    /// An entry that must not be opened: a link, a device, a FIFO.
    Entry(&'a Dir, &'a OsStr),
}

impl Target<'_> {
    fn path(self) -> Result<Option<CString>> {
        match self {
            Self::Open(_) => Ok(None),
            Self::Entry(dir, name) => c_path(&proc_path(dir, name)).map(Some),
        }
    }

    fn fd(self) -> i32 {
        match self {
            Self::Open(fd) => fd.as_raw_fd(),
            Self::Entry(dir, _) => dir.raw(),
        }
    }
}

/// Sets the attribute `name` to `value`.
///
/// Errors: `EOPNOTSUPP` where the file system has no such attributes, `EPERM` for one that this
/// kind of file cannot have or this process may not set, `ENOSPC`, `E2BIG`.
pub fn set(target: Target<'_>, name: &[u8], value: &[u8]) -> Result<()> {
    let name = CString::new(name).map_err(|_| Errno::EINVAL)?;
    let (name, bytes, size) = (name.as_ptr(), value.as_ptr(), value.len());
    match target.path()? {
        // SAFETY: name and path are C strings, `bytes` holds `size` bytes; all outlive the call.
        None => unsafe { syscall!(Sysno::fsetxattr, target.fd(), name, bytes, size, 0) },
        Some(path) => {
            let path = path.as_ptr();
            // SAFETY: as above.
            unsafe { syscall!(Sysno::lsetxattr, path, name, bytes, size, 0) }
        }
    }?;
    Ok(())
}

/// The value of the attribute `name`. `ENODATA` where there is none.
pub fn get(target: Target<'_>, name: &[u8]) -> Result<Vec<u8>> {
    let name = CString::new(name).map_err(|_| Errno::EINVAL)?;
    let path = target.path()?;
    sized(|buffer, size| match &path {
        // SAFETY: the strings outlive the call, the kernel writes at most `size` bytes.
        None => unsafe { syscall!(Sysno::fgetxattr, target.fd(), name.as_ptr(), buffer, size) },
        Some(path) => {
            let path = path.as_ptr();
            // SAFETY: as above.
            unsafe { syscall!(Sysno::lgetxattr, path, name.as_ptr(), buffer, size) }
        }
    })
}

/// The names of all attributes, sorted. None where the file system has no attributes at all.
pub fn names(target: Target<'_>) -> Result<Vec<Vec<u8>>> {
    let path = target.path()?;
    let list = sized(|buffer, size| match &path {
        // SAFETY: the kernel writes at most `size` bytes into a buffer of that size.
        None => unsafe { syscall!(Sysno::flistxattr, target.fd(), buffer, size) },
        Some(path) => {
            let path = path.as_ptr();
            // SAFETY: as above, and the path outlives the call.
            unsafe { syscall!(Sysno::llistxattr, path, buffer, size) }
        }
    });
    let list = match list {
        Err(Errno::EOPNOTSUPP) => return Ok(Vec::new()),
        other => other?,
    };
    let names = list.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let mut names: Vec<_> = names.map(<[u8]>::to_vec).collect();
    names.sort_unstable();
    Ok(names)
}

/// Asks for the size first: most files have no attributes, and then that is all.
fn sized(call: impl Fn(*mut u8, usize) -> Result<usize>) -> Result<Vec<u8>> {
    loop {
        let size = call(std::ptr::null_mut(), 0)?;
        if size == 0 {
            return Ok(Vec::new());
        }
        let mut bytes = vec![0; size];
        match call(bytes.as_mut_ptr(), size) {
            // It grew meanwhile.
            Err(Errno::ERANGE) => {}
            Ok(length) => {
                bytes.truncate(length);
                return Ok(bytes);
            }
            Err(errno) => return Err(errno),
        }
    }
}
