//! Files and directories, always relative to an open directory.
//!
//! Every descriptor is close-on-exec. Names that came from outside are opened with
//! `openat2`, which resolves them inside a root and follows no magic link.

use super::{Errno, Result, abi, c_path, owned, retry};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use syscalls::{Sysno, syscall};

pub(super) fn openat(dir: RawFd, path: &OsStr, flags: i32, mode: u32) -> Result<OwnedFd> {
    let path = c_path(path)?;
    let flags = flags | libc::O_CLOEXEC;
    // SAFETY: `path` is a C string that lives for the whole call.
    let fd = retry(|| unsafe { syscall!(Sysno::openat, dir, path.as_ptr(), flags, mode) })?;
    Ok(owned(fd))
}

/// What an entry of a directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    File,
    Directory,
    Symlink,
    CharDevice,
    BlockDevice,
    Fifo,
    Socket,
}

impl Kind {
    fn of(mode: u32) -> Self {
        match mode & libc::S_IFMT {
            libc::S_IFDIR => Self::Directory,
            libc::S_IFLNK => Self::Symlink,
            libc::S_IFCHR => Self::CharDevice,
            libc::S_IFBLK => Self::BlockDevice,
            libc::S_IFIFO => Self::Fifo,
            libc::S_IFSOCK => Self::Socket,
            _ => Self::File,
        }
    }

    /// The type as it stands in a mode.
    pub(super) fn bits(self) -> u32 {
        match self {
            Self::File => libc::S_IFREG,
            Self::Directory => libc::S_IFDIR,
            Self::Symlink => libc::S_IFLNK,
            Self::CharDevice => libc::S_IFCHR,
            Self::BlockDevice => libc::S_IFBLK,
            Self::Fifo => libc::S_IFIFO,
            Self::Socket => libc::S_IFSOCK,
        }
    }
}

/// What `fstatat` tells of a file, as far as rocker asks.
#[derive(Debug, Clone, Copy)]
pub struct Stat {
    pub kind: Kind,
    /// Permission bits, set-id and sticky bits included: `0o7777`.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub links: u64,
    pub size: u64,
    /// Device and inode together name a file.
    pub device: u64,
    pub inode: u64,
    /// What a device node stands for.
    pub rdev: u64,
    /// Seconds and nanoseconds since the epoch.
    pub modified: (i64, i64),
}

fn fstatat(dir: RawFd, path: &OsStr, flags: i32) -> Result<Stat> {
    let path = c_path(path)?;
    let mut stat = std::mem::MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: the path lives for the whole call, `stat` is as large as the kernel's structure
    // and every bit pattern of it is valid.
    let stat = unsafe {
        syscall!(Sysno::newfstatat, dir, path.as_ptr(), stat.as_mut_ptr(), flags)?;
        stat.assume_init()
    };
    Ok(Stat {
        kind: Kind::of(stat.st_mode),
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        links: stat.st_nlink,
        size: stat.st_size as u64,
        device: stat.st_dev,
        inode: stat.st_ino,
        rdev: stat.st_rdev,
        modified: (stat.st_mtime, stat.st_mtime_nsec),
    })
}

/// What is known of an open file.
pub fn stat(file: BorrowedFd<'_>) -> Result<Stat> {
    fstatat(file.as_raw_fd(), OsStr::new(""), libc::AT_EMPTY_PATH)
}

/// What is known of the file at a path of the host, links followed.
pub fn stat_path(path: impl AsRef<OsStr>) -> Result<Stat> {
    fstatat(libc::AT_FDCWD, path.as_ref(), 0)
}

/// How a lock is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lock {
    Shared,
    Exclusive,
    /// Gives `EWOULDBLOCK` where somebody else has it.
    TryExclusive,
    /// The same; nobody who only asks is in another's way.
    TryShared,
    /// Lets go, for every process that shares the open file.
    Unlock,
}

/// Locks an open file or directory; the lock ends with the last copy of the descriptor.
pub fn lock(file: BorrowedFd<'_>, lock: Lock) -> Result<()> {
    let operation = match lock {
        Lock::Shared => libc::LOCK_SH,
        Lock::Exclusive => libc::LOCK_EX,
        Lock::TryExclusive => libc::LOCK_EX | libc::LOCK_NB,
        Lock::TryShared => libc::LOCK_SH | libc::LOCK_NB,
        Lock::Unlock => libc::LOCK_UN,
    };
    // SAFETY: no memory is passed.
    retry(|| unsafe { syscall!(Sysno::flock, file.as_raw_fd(), operation) })?;
    Ok(())
}

/// How a file is opened that others may have open. No lease of theirs makes us wait: fcntl(2).
const IN_PLACE: i32 = libc::O_WRONLY | libc::O_CREAT | libc::O_NOFOLLOW | libc::O_NONBLOCK;

/// An open directory; everything below it is named relative to it.
#[derive(Debug)]
pub struct Dir(OwnedFd);

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<OwnedFd> for Dir {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl Dir {
    /// Opens a directory of the host by its path, links followed.
    pub fn open(path: impl AsRef<OsStr>) -> Result<Self> {
        openat(libc::AT_FDCWD, path.as_ref(), libc::O_RDONLY | libc::O_DIRECTORY, 0).map(Self)
    }

    pub(super) fn raw(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Opens a directory below this one. The last component is not followed: `ENOTDIR` or
    /// `ELOOP` where it is a link.
    pub fn dir(&self, name: impl AsRef<OsStr>) -> Result<Self> {
        let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;
        openat(self.raw(), name.as_ref(), flags, 0).map(Self)
    }

    /// A second descriptor of this directory, which shares a lock that the first has.
    pub fn duplicate(&self) -> Result<Self> {
        self.as_fd().try_clone_to_owned().map(Self::from).map_err(errno)
    }

    /// Opens `path` as if this directory were `/`: neither `..` nor a link leads out of it.
    ///
    /// `flags` are `O_*`. The last component is followed unless `O_NOFOLLOW` is given.
    /// Errors: `ELOOP` for a magic link, `EAGAIN` when a rename raced with the walk too often.
    /// Since Linux 5.6. Source: fs/open.c, `do_sys_openat2`.
    pub fn open_in_root(&self, path: impl AsRef<OsStr>, flags: i32, mode: u32) -> Result<OwnedFd> {
        self.openat2(path.as_ref(), flags, mode)
    }

    fn openat2(&self, path: &OsStr, flags: i32, mode: u32) -> Result<OwnedFd> {
        let path = c_path(path)?;
        let how = abi::OpenHow {
            flags: (flags | libc::O_CLOEXEC) as u64,
            mode: mode.into(),
            resolve: libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_MAGICLINKS,
        };
        let mut tries = 0;
        loop {
            // SAFETY: path and structure live for the whole call; the size is the structure's.
            let result = retry(|| unsafe {
                let size = size_of::<abi::OpenHow>();
                syscall!(Sysno::openat2, self.raw(), path.as_ptr(), &raw const how, size)
            });
            match result {
                Err(Errno::EAGAIN) if tries < 128 => tries += 1,
                other => return other.map(owned),
            }
        }
    }

    /// Reads a whole regular file of at most `limit` bytes.
    ///
    /// Errors: `ELOOP` for a link, `EINVAL` for anything else that is no regular file, `EFBIG`.
    pub fn read(&self, name: impl AsRef<OsStr>, limit: u64) -> Result<Vec<u8>> {
        let flags = libc::O_RDONLY | libc::O_NOFOLLOW | libc::O_NONBLOCK;
        read_open(openat(self.raw(), name.as_ref(), flags, 0)?, limit)
    }

    /// Reads a file from its beginning, as much as fits into the buffer, and gives how much that is.
    /// Whether it is a regular file is not looked at; a FIFO gives nothing.
    pub fn read_into(&self, name: impl AsRef<OsStr>, buffer: &mut [u8]) -> Result<usize> {
        let flags = libc::O_RDONLY | libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let file = openat(self.raw(), name.as_ref(), flags, 0)?;
        super::io::read(file.as_fd(), buffer)
    }

    /// Reads a file of /proc or of a cgroup, whose size is not known before.
    pub fn read_special(&self, name: impl AsRef<OsStr>, limit: u64) -> Result<Vec<u8>> {
        let file = openat(self.raw(), name.as_ref(), libc::O_RDONLY | libc::O_NOFOLLOW, 0)?;
        read_all(file, 8191, limit)
    }

    /// Opens an existing regular file for reading; a last component that is a link is refused.
    pub fn open_file(&self, name: impl AsRef<OsStr>) -> Result<File> {
        let flags = libc::O_RDONLY | libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let file = openat(self.raw(), name.as_ref(), flags, 0)?;
        if stat(file.as_fd())?.kind != Kind::File {
            return Err(Errno::EINVAL);
        }
        Ok(File::from(file))
    }

    /// Makes a file that was not there before, open for writing. `EEXIST` where it was.
    pub fn create(&self, name: impl AsRef<OsStr>, mode: u32) -> Result<File> {
        let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
        openat(self.raw(), name.as_ref(), flags, mode).map(File::from)
    }

    /// Writes a small file as a whole, in place: those who have it mounted see the new content.
    ///
    /// Errors: `ETXTBSY` while it runs as a program, `EWOULDBLOCK` while somebody has a lease on it,
    /// `EPERM` where it is marked immutable.
    pub fn overwrite(&self, name: impl AsRef<OsStr>, content: &[u8], mode: u32) -> Result<()> {
        use std::io::Write;
        let flags = IN_PLACE | libc::O_TRUNC;
        let mut file = File::from(openat(self.raw(), name.as_ref(), flags, mode)?);
        file.write_all(content).map_err(errno)
    }

    /// The same without a moment in which the file is empty.
    pub fn rewrite(&self, name: impl AsRef<OsStr>, content: &[u8], mode: u32) -> Result<()> {
        use std::io::Write;
        let mut file = File::from(openat(self.raw(), name.as_ref(), IN_PLACE, mode)?);
        file.write_all(content).and_then(|()| file.set_len(content.len() as u64)).map_err(errno)
    }

    /// Opens a file to write at its end; makes it where it is missing.
    pub fn append(&self, name: impl AsRef<OsStr>) -> Result<File> {
        let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_APPEND | libc::O_NOFOLLOW;
        openat(self.raw(), name.as_ref(), flags, 0o600).map(File::from)
    }

    /// Makes a directory. `EEXIST` where it was.
    pub fn mkdir(&self, name: impl AsRef<OsStr>, mode: u32) -> Result<()> {
        self.mkdirat(name.as_ref(), mode)
    }

    fn mkdirat(&self, name: &OsStr, mode: u32) -> Result<()> {
        let name = c_path(name)?;
        // SAFETY: the path lives for the whole call.
        unsafe { syscall!(Sysno::mkdirat, self.raw(), name.as_ptr(), mode) }?;
        Ok(())
    }

    /// Makes the symbolic link `name` that points to `target`. `EEXIST` where `name` was.
    pub fn symlink(&self, target: impl AsRef<OsStr>, name: impl AsRef<OsStr>) -> Result<()> {
        self.symlinkat(target.as_ref(), name.as_ref())
    }

    fn symlinkat(&self, target: &OsStr, name: &OsStr) -> Result<()> {
        let (target, name) = (c_path(target)?, c_path(name)?);
        // SAFETY: both paths live for the whole call.
        unsafe { syscall!(Sysno::symlinkat, target.as_ptr(), self.raw(), name.as_ptr()) }?;
        Ok(())
    }

    /// Where the symbolic link `name` points to. `EINVAL` where it is no link.
    pub fn readlink(&self, name: impl AsRef<OsStr>) -> Result<OsString> {
        self.readlinkat(name.as_ref())
    }

    fn readlinkat(&self, name: &OsStr) -> Result<OsString> {
        let name = c_path(name)?;
        let mut target = vec![0_u8; libc::PATH_MAX as usize];
        let (buffer, size) = (target.as_mut_ptr(), target.len());
        // SAFETY: the kernel writes at most `size` bytes into the buffer of that size.
        let length =
            unsafe { syscall!(Sysno::readlinkat, self.raw(), name.as_ptr(), buffer, size) }?;
        target.truncate(length);
        Ok(OsString::from_vec(target))
    }

    /// What is known of an entry, a link itself not followed.
    pub fn stat(&self, name: impl AsRef<OsStr>) -> Result<Stat> {
        fstatat(self.raw(), name.as_ref(), libc::AT_SYMLINK_NOFOLLOW)
    }

    fn unlinkat(&self, name: &OsStr, flags: i32) -> Result<()> {
        let name = c_path(name)?;
        // SAFETY: the path lives for the whole call.
        unsafe { syscall!(Sysno::unlinkat, self.raw(), name.as_ptr(), flags) }?;
        Ok(())
    }

    /// Removes an entry that is no directory.
    pub fn unlink(&self, name: impl AsRef<OsStr>) -> Result<()> {
        self.unlinkat(name.as_ref(), 0)
    }

    /// Removes an empty directory.
    pub fn rmdir(&self, name: impl AsRef<OsStr>) -> Result<()> {
        self.unlinkat(name.as_ref(), libc::AT_REMOVEDIR)
    }

    fn renameat2(&self, name: &OsStr, to: &Dir, new: &OsStr, flags: u32) -> Result<()> {
        let (name, new) = (c_path(name)?, c_path(new)?);
        // SAFETY: both paths live for the whole call.
        unsafe {
            let (from, to) = (self.raw(), to.raw());
            syscall!(Sysno::renameat2, from, name.as_ptr(), to, new.as_ptr(), flags)
        }?;
        Ok(())
    }

    /// Renames an entry into `to`; what had the name there is replaced in the same instant.
    pub fn rename(&self, name: impl AsRef<OsStr>, to: &Dir, new: impl AsRef<OsStr>) -> Result<()> {
        self.renameat2(name.as_ref(), to, new.as_ref(), 0)
    }

    /// Renames an entry into `to`; `EEXIST` where the name is taken there.
    pub fn rename_new(
        &self,
        name: impl AsRef<OsStr>,
        to: &Dir,
        new: impl AsRef<OsStr>,
    ) -> Result<()> {
        self.rename_only(name.as_ref(), to, new.as_ref())
    }

    fn rename_only(&self, name: &OsStr, to: &Dir, new: &OsStr) -> Result<()> {
        match self.renameat2(name, to, new, libc::RENAME_NOREPLACE) {
            // A file system that cannot promise it: callers hold a lock on what they name.
            Err(Errno::EINVAL) => match to.stat(new) {
                Ok(_) => Err(Errno::EEXIST),
                Err(Errno::ENOENT) => self.renameat2(name, to, new, 0),
                Err(errno) => Err(errno),
            },
            other => other,
        }
    }

    /// Writes a small file so that at every instant either the old or the new content is there.
    ///
    /// With `durable` the content is on the disk when this returns; the caller syncs the
    /// directory. The temporary name is `.NAME.new`: only one writer at a time, under a lock.
    pub fn replace(&self, name: &str, content: &[u8], durable: bool) -> Result<()> {
        use std::io::Write;
        let temporary = format!(".{name}.new");
        let mut file = match self.create(&temporary, 0o600) {
            Err(Errno::EEXIST) => {
                self.unlink(&temporary)?;
                self.create(&temporary, 0o600)?
            }
            other => other?,
        };
        let written = file.write_all(content).map_err(errno).and_then(|()| match durable {
            true => sync(file.as_fd()),
            false => Ok(()),
        });
        match written.and_then(|()| self.rename(&temporary, self, name)) {
            Ok(()) => Ok(()),
            Err(error) => {
                // The first error is the one to report.
                let _ = self.unlink(&temporary);
                Err(error)
            }
        }
    }

    /// The names in this directory, `.` and `..` left out, in no order.
    pub fn names(&self) -> Result<Vec<OsString>> {
        Ok(self.entries()?.into_iter().map(|entry| entry.name).collect())
    }

    /// Those of the names that are UTF-8, sorted.
    pub fn sorted_names(&self) -> Result<Vec<String>> {
        let names = self.names()?.into_iter();
        let mut names: Vec<String> = names.filter_map(|name| name.into_string().ok()).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Brings the entries of this directory to the disk.
    pub fn sync(&self) -> Result<()> {
        sync(self.as_fd())
    }

    /// Brings everything on the file system that holds this directory to the disk.
    pub fn sync_filesystem(&self) -> Result<()> {
        // SAFETY: no memory is passed.
        unsafe { syscall!(Sysno::syncfs, self.raw()) }?;
        Ok(())
    }
}

/// Reads what was opened, if it is a regular file.
fn read_open(file: OwnedFd, limit: u64) -> Result<Vec<u8>> {
    let stat = stat(file.as_fd())?;
    match stat.kind {
        Kind::File => read_regular(&file, stat.size, limit),
        Kind::Directory => Err(Errno::EISDIR),
        _ => Err(Errno::EINVAL),
    }
}

/// Reads a regular file of `size` bytes. A read that comes back short was the last one.
fn read_regular(file: &OwnedFd, size: u64, limit: u64) -> Result<Vec<u8>> {
    if size > limit {
        return Err(Errno::EFBIG);
    }
    // One byte more, so that a file that grew meanwhile is noticed.
    let mut content = vec![0; size as usize + 1];
    let length = super::io::read(file.as_fd(), &mut content)?;
    content.truncate(length);
    match length as u64 > size {
        true => Err(Errno::EAGAIN),
        false => Ok(content),
    }
}

/// Reads an open file to its end; `size` is a guess, `EFBIG` beyond `limit` bytes.
fn read_all(file: OwnedFd, size: u64, limit: u64) -> Result<Vec<u8>> {
    if size > limit {
        return Err(Errno::EFBIG);
    }
    let mut content = Vec::with_capacity(size as usize + 1);
    // One byte more than allowed, so that a file that grew meanwhile is noticed.
    File::from(file).take(limit + 1).read_to_end(&mut content).map_err(errno)?;
    match content.len() as u64 > limit {
        true => Err(Errno::EFBIG),
        false => Ok(content),
    }
}

/// Reads an open file to its end; `EFBIG` beyond `limit` bytes.
pub fn read_file(file: OwnedFd, limit: u64) -> Result<Vec<u8>> {
    // Most are small: two calls then, one for the content and one for the end.
    read_all(file, 4095, limit)
}

/// The number of a device as `Stat::rdev` has it.
pub fn device_number(major: u32, minor: u32) -> u64 {
    libc::makedev(major, minor)
}

/// Major and minor number of a device.
pub fn device_parts(device: u64) -> (u32, u32) {
    (libc::major(device), libc::minor(device))
}

/// Brings the content of an open file to the disk.
pub fn sync(file: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: no memory is passed.
    retry(|| unsafe { syscall!(Sysno::fsync, file.as_raw_fd()) })?;
    Ok(())
}

/// The errno in an error of the standard library; `EIO` where it holds none.
pub fn errno(error: std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::new)
}
