//! Extended attributes of open files and, through `/proc/self/fd` where it is there, of links and nodes.

use super::file::proc_path;
use super::fs::Dir;
use super::{Errno, Result, c_path};
use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
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
    /// Calls for the open file by its descriptor, for an entry by a path.
    fn call(
        self,
        open: &dyn Fn(i32) -> Result<usize>,
        entry: &dyn Fn(*const libc::c_char) -> Result<usize>,
    ) -> Result<usize> {
        let (dir, name) = match self {
            Self::Open(fd) => return open(fd.as_raw_fd()),
            Self::Entry(dir, name) => (dir, name),
        };
        match entry(c_path(&proc_path(dir, name))?.as_ptr()) {
            // By a name in the working directory; nothing else runs meanwhile.
            Err(Errno::ENOENT) if !super::proc::is_mounted() => {
                let here = Dir::open(".")?;
                super::process::fchdir(dir.as_fd())?;
                let result = c_path(name).and_then(|name| entry(name.as_ptr()));
                super::process::fchdir(here.as_fd())?;
                result
            }
            other => other,
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
    target.call(
        // SAFETY: `name` is a C string, `bytes` holds `size` bytes; both outlive the call.
        &|fd| unsafe { syscall!(Sysno::fsetxattr, fd, name, bytes, size, 0) },
        // SAFETY: as above; `call` gives a C string.
        &|path| unsafe { syscall!(Sysno::lsetxattr, path, name, bytes, size, 0) },
    )?;
    Ok(())
}

/// The value of the attribute `name`. `ENODATA` where there is none.
pub fn get(target: Target<'_>, name: &[u8]) -> Result<Vec<u8>> {
    let name = CString::new(name).map_err(|_| Errno::EINVAL)?;
    let name = name.as_ptr();
    sized(|buffer, size| {
        target.call(
            // SAFETY: the name outlives the call, the kernel writes at most `size` bytes.
            &|fd| unsafe { syscall!(Sysno::fgetxattr, fd, name, buffer, size) },
            // SAFETY: as above; `call` gives a C string.
            &|path| unsafe { syscall!(Sysno::lgetxattr, path, name, buffer, size) },
        )
    })
}

/// The names of all attributes, sorted. None where the file system has no attributes at all.
pub fn names(target: Target<'_>) -> Result<Vec<Vec<u8>>> {
    let list = sized(|buffer, size| {
        target.call(
            // SAFETY: the kernel writes at most `size` bytes into a buffer of that size.
            &|fd| unsafe { syscall!(Sysno::flistxattr, fd, buffer, size) },
            // SAFETY: as above; `call` gives a C string.
            &|path| unsafe { syscall!(Sysno::llistxattr, path, buffer, size) },
        )
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
