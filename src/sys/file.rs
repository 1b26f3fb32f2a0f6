//! Single files: nodes, links, owners, modes, times, marks, lengths, holes, shared blocks; what a
//! directory lists; pipes, random bytes.
//!
//! A name is one below an open directory, and no last component is followed, but by `set_mode`.
//! `null_device` and `make_path` are about paths of the host.

use super::fs::{self, Dir, Kind, device_number, openat};
use super::{Errno, Result, c_path, owned, retry};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use syscalls::{Sysno, syscall};

/// A point in time: seconds since the epoch and nanoseconds.
pub type Time = (i64, i64);

/// The effective user and group of this process.
pub fn effective_ids() -> (u32, u32) {
    // SAFETY: both calls take nothing and cannot fail.
    unsafe { (libc::geteuid(), libc::getegid()) }
}

/// Opens a directory below another; makes it where it is missing, so that it survives a power cut.
///
/// What is made in it belongs to the group of who makes it, whatever the directories above hand down.
pub fn subdirectory(above: &Dir, name: &str) -> Result<Dir> {
    match above.dir(name) {
        Err(Errno::ENOENT) => {}
        other => return other,
    }
    match above.mkdir(name, PRIVATE) {
        Ok(()) => {
            let dir = above.dir(name)?;
            if fs::stat(dir.as_fd())?.mode & libc::S_ISGID != 0 {
                let (user, group) = effective_ids();
                set_owner(dir.as_fd(), user, group)?;
                set_mode(dir.as_fd(), PRIVATE)?;
            }
            above.sync()?;
            Ok(dir)
        }
        Err(Errno::EEXIST) => above.dir(name),
        Err(errno) => Err(errno),
    }
}

/// The mode of rocker's own directories.
const PRIVATE: u32 = 0o700;

/// Fills the buffer with random bytes of the kernel.
pub fn random(buffer: &mut [u8]) -> Result<()> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        // SAFETY: the kernel writes at most the length of `rest` into it.
        filled +=
            retry(|| unsafe { syscall!(Sysno::getrandom, rest.as_mut_ptr(), rest.len(), 0_u32) })?;
    }
    Ok(())
}

/// One entry of a directory, as `getdents64` tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub name: OsString,
    /// What it is, where the file system says so without a look at the inode.
    pub kind: Option<Kind>,
}

fn kind_of_entry(d_type: u8) -> Option<Kind> {
    match d_type {
        libc::DT_REG => Some(Kind::File),
        libc::DT_DIR => Some(Kind::Directory),
        libc::DT_LNK => Some(Kind::Symlink),
        libc::DT_CHR => Some(Kind::CharDevice),
        libc::DT_BLK => Some(Kind::BlockDevice),
        libc::DT_FIFO => Some(Kind::Fifo),
        libc::DT_SOCK => Some(Kind::Socket),
        _ => None,
    }
}

impl Dir {
    /// The directory that holds this one.
    pub fn parent(&self) -> Result<Self> {
        let flags = libc::O_RDONLY | libc::O_DIRECTORY;
        openat(self.raw(), OsStr::new(".."), flags, 0).map(Self::from)
    }

    /// The entries of this directory, `.` and `..` left out, in no order.
    pub fn entries(&self) -> Result<Vec<Entry>> {
        // Where an earlier reading ended.
        // SAFETY: no memory is passed.
        unsafe { syscall!(Sysno::lseek, self.raw(), 0, libc::SEEK_SET) }?;
        let mut entries = Vec::new();
        let mut buffer = vec![0_u8; 8 << 10];
        loop {
            // SAFETY: the kernel writes at most the length of the buffer.
            let filled = unsafe {
                syscall!(Sysno::getdents64, self.raw(), buffer.as_mut_ptr(), buffer.len())
            }?;
            if filled == 0 {
                return Ok(entries);
            }
            let mut rest = &buffer[..filled];
            // struct linux_dirent64: inode 8, offset 8, record length 2, type 1, name with NUL.
            while rest.len() > 19 {
                let length = usize::from(u16::from_le_bytes([rest[16], rest[17]]));
                let Some(record) = rest.get(19..length) else { return Err(Errno::EIO) };
                let name = record.split(|byte| *byte == 0).next().unwrap_or_default();
                if name != b"." && name != b".." {
                    let name = OsString::from_vec(name.to_vec());
                    entries.push(Entry { name, kind: kind_of_entry(rest[18]) });
                }
                rest = &rest[length..];
            }
        }
    }

    /// Makes a device node, FIFO or socket.
    ///
    /// Errors: `EPERM` for a device without `CAP_MKNOD` in the initial user namespace, `EEXIST`.
    pub fn mknod(
        &self,
        name: impl AsRef<OsStr>,
        kind: Kind,
        mode: u32,
        (major, minor): (u32, u32),
    ) -> Result<()> {
        let name = c_path(name.as_ref())?;
        let mode = mode | kind.bits();
        let device = device_number(major, minor);
        // SAFETY: the path lives for the whole call.
        unsafe { syscall!(Sysno::mknodat, self.raw(), name.as_ptr(), mode, device) }?;
        Ok(())
    }

    /// Gives the file `name` a second name in `to`. A link is linked itself, not what it names.
    pub fn link(&self, name: impl AsRef<OsStr>, to: &Dir, new: impl AsRef<OsStr>) -> Result<()> {
        let (name, new) = (c_path(name.as_ref())?, c_path(new.as_ref())?);
        // SAFETY: both paths live for the whole call.
        unsafe { syscall!(Sysno::linkat, self.raw(), name.as_ptr(), to.raw(), new.as_ptr(), 0) }?;
        Ok(())
    }

    /// Sets the owner of an entry; a link's own.
    pub fn set_owner(&self, name: impl AsRef<OsStr>, uid: u32, gid: u32) -> Result<()> {
        let name = c_path(name.as_ref())?;
        let flags = libc::AT_SYMLINK_NOFOLLOW;
        // SAFETY: the path lives for the whole call.
        unsafe { syscall!(Sysno::fchownat, self.raw(), name.as_ptr(), uid, gid, flags) }?;
        Ok(())
    }

    /// Sets the mode of an entry that is known to be no link.
    pub fn set_mode(&self, name: impl AsRef<OsStr>, mode: u32) -> Result<()> {
        let name = c_path(name.as_ref())?;
        // SAFETY: the path lives for the whole call.
        unsafe { syscall!(Sysno::fchmodat, self.raw(), name.as_ptr(), mode) }?;
        Ok(())
    }

    /// Sets the time of modification of an entry; a link's own. The access time stays.
    pub fn set_modified(&self, name: impl AsRef<OsStr>, time: Time) -> Result<()> {
        let name = c_path(name.as_ref())?;
        utimensat(self.raw(), name.as_ptr(), time, libc::AT_SYMLINK_NOFOLLOW)
    }
}

fn utimensat(fd: RawFd, name: *const libc::c_char, time: Time, flags: i32) -> Result<()> {
    let times = [
        libc::timespec { tv_sec: 0, tv_nsec: libc::UTIME_OMIT },
        libc::timespec { tv_sec: time.0, tv_nsec: time.1 },
    ];
    // SAFETY: the name is null or a C string of the caller that lives for the whole call, the
    // array holds the two structures that the kernel reads.
    unsafe { syscall!(Sysno::utimensat, fd, name, times.as_ptr(), flags) }?;
    Ok(())
}

/// Sets the time of modification of an open file.
pub fn set_modified(file: BorrowedFd<'_>, time: Time) -> Result<()> {
    utimensat(file.as_raw_fd(), std::ptr::null(), time, 0)
}

/// Sets the owner of an open file; the kernel clears set-id bits and file capabilities with it.
pub fn set_owner(file: BorrowedFd<'_>, uid: u32, gid: u32) -> Result<()> {
    // SAFETY: no memory is passed.
    unsafe { syscall!(Sysno::fchown, file.as_raw_fd(), uid, gid) }?;
    Ok(())
}

/// Sets the permission bits of an open file.
pub fn set_mode(file: BorrowedFd<'_>, mode: u32) -> Result<()> {
    // SAFETY: no memory is passed.
    unsafe { syscall!(Sysno::fchmod, file.as_raw_fd(), mode) }?;
    Ok(())
}

/// Takes from an open file or directory the marks that keep everybody from changing or removing it:
/// `i` and `a` of chattr(1).
///
/// Errors: `ENOTTY` or `EOPNOTSUPP` where the file system has none, `EPERM` without
/// CAP_LINUX_IMMUTABLE. Source: fs/file_attr.c, `ioctl_setflags`.
pub fn clear_marks(file: BorrowedFd<'_>) -> Result<()> {
    // include/uapi/linux/fs.h: FS_IMMUTABLE_FL, FS_APPEND_FL. The number of the call says long, but
    // what is passed is an int.
    const MARKS: libc::c_int = 0x10 | 0x20;
    let mut flags: libc::c_int = 0;
    let get = libc::FS_IOC_GETFLAGS as u64;
    // SAFETY: the kernel writes an int into the one that is borrowed for the call.
    unsafe { syscall!(Sysno::ioctl, file.as_raw_fd(), get, &raw mut flags) }?;
    let (set, kept) = (libc::FS_IOC_SETFLAGS as u64, flags & !MARKS);
    if kept != flags {
        // SAFETY: the kernel reads an int from the one that is borrowed for the call.
        unsafe { syscall!(Sysno::ioctl, file.as_raw_fd(), set, &raw const kept) }?;
    }
    Ok(())
}

/// Sets the length of an open file; what is added is a hole.
pub fn set_length(file: BorrowedFd<'_>, bytes: u64) -> Result<()> {
    // SAFETY: no memory is passed.
    retry(|| unsafe { syscall!(Sysno::ftruncate, file.as_raw_fd(), bytes) })?;
    Ok(())
}

/// Reads at `offset` without moving the position that other descriptors share.
pub fn read_at(file: BorrowedFd<'_>, buffer: &mut [u8], offset: u64) -> Result<usize> {
    let (pointer, length) = (buffer.as_mut_ptr(), buffer.len());
    // SAFETY: the kernel writes at most `length` bytes into the buffer of that length.
    retry(|| unsafe { syscall!(Sysno::pread64, file.as_raw_fd(), pointer, length, offset) })
}

/// Where the next read of an open file starts. `ESPIPE` for a pipe.
pub fn position(file: BorrowedFd<'_>) -> Result<u64> {
    // SAFETY: no memory is passed.
    unsafe { syscall!(Sysno::lseek, file.as_raw_fd(), 0, libc::SEEK_CUR) }.map(|at| at as u64)
}

/// Moves to the next data (`false`) or hole (`true`) from `offset` on. `ENXIO` behind the last.
pub fn seek_next(file: BorrowedFd<'_>, offset: u64, hole: bool) -> Result<u64> {
    let whence = if hole { libc::SEEK_HOLE } else { libc::SEEK_DATA };
    // SAFETY: no memory is passed.
    unsafe { syscall!(Sysno::lseek, file.as_raw_fd(), offset, whence) }.map(|at| at as u64)
}

/// Makes `to` share the blocks of `from`.
///
/// Errors: `EOPNOTSUPP`, `EINVAL` or `EXDEV` where the file systems cannot.
pub fn share_blocks(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: FICLONE takes a descriptor as its argument and no memory.
    unsafe { syscall!(Sysno::ioctl, to.as_raw_fd(), libc::FICLONE, from.as_raw_fd()) }?;
    Ok(())
}

/// A pipe: its reading and its writing end, with room for up to `bytes` where the kernel allows.
pub fn pipe(bytes: u32) -> Result<(File, File)> {
    let mut ends = [0_i32; 2];
    // SAFETY: the kernel writes two descriptors into the array of two.
    unsafe { syscall!(Sysno::pipe2, ends.as_mut_ptr(), libc::O_CLOEXEC) }?;
    let [read, write] = ends.map(|end| owned(end as usize));
    // A smaller pipe works as well, only slower.
    // SAFETY: no memory is passed.
    let _ = unsafe { syscall!(Sysno::fcntl, write.as_raw_fd(), libc::F_SETPIPE_SZ, bytes) };
    Ok((File::from(read), File::from(write)))
}

/// Brings everything to the disk.
pub fn sync_all() {
    // SAFETY: no memory is passed; the call cannot fail.
    let _ = unsafe { syscall!(Sysno::sync) };
}

/// Opens /dev/null, also where no such file is: then a node on a file system of our own.
pub fn null_device() -> Result<OwnedFd> {
    match openat(libc::AT_FDCWD, OsStr::new("/dev/null"), libc::O_RDWR, 0) {
        Err(Errno::ENOENT) => {
            let dir = super::mount::detached(c"ramfs")?;
            dir.mknod("null", Kind::CharDevice, 0o600, (1, 3))?;
            openat(dir.raw(), OsStr::new("null"), libc::O_RDWR, 0)
        }
        other => other,
    }
}

/// Makes a directory of the host, and with mode 0755 those above it that are missing. A link on
/// the way that leads nowhere gets the directory that it names, as /var/run gets /run.
pub fn make_path(path: &Path, mode: u32) -> Result<()> {
    make_path_through(path, mode, 40)
}

fn make_path_through(path: &Path, mode: u32, links: u32) -> Result<()> {
    let here = Dir::open(".")?;
    let parent = path.parent().unwrap_or(Path::new("/"));
    match here.mkdir(path, mode) {
        Err(Errno::ENOENT) => {
            make_path_through(parent, 0o755, links)?;
            here.mkdir(path, mode)
        }
        Err(Errno::EEXIST) => match (super::fs::stat_path(path), here.readlink(path)) {
            (Ok(stat), _) if stat.kind == Kind::Directory => Ok(()),
            (Err(Errno::ENOENT), Ok(target)) if links > 0 => {
                make_path_through(&parent.join(target), mode, links - 1)
            }
            _ => Err(Errno::ENOTDIR),
        },
        other => other,
    }
}

/// The path by which the kernel reaches an entry of an open directory, for calls that take only
/// paths. Needs a mounted `/proc`.
pub(super) fn proc_path(dir: &Dir, name: &OsStr) -> OsString {
    let mut path = OsString::from(format!("/proc/self/fd/{}/", dir.raw()));
    path.push(OsStr::from_bytes(name.as_bytes()));
    path
}
