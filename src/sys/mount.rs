//! Mounts: the classic call for new file systems, the descriptor calls for moving trees.

use super::fs::Dir;
use super::{Result, abi, c_path, owned};
use std::ffi::{CStr, OsStr};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use syscalls::{Sysno, syscall};

/// Attributes of a mount, as the `MS_*` bits of mount(2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attr(pub u64);

impl Attr {
    pub const READ_ONLY: Self = Self(libc::MS_RDONLY);
    pub const NO_SUID: Self = Self(libc::MS_NOSUID);
    pub const NO_DEV: Self = Self(libc::MS_NODEV);
    pub const NO_EXEC: Self = Self(libc::MS_NOEXEC);
    pub const NO_ATIME: Self = Self(libc::MS_NOATIME);
    pub const NO_DIRATIME: Self = Self(libc::MS_NODIRATIME);
    /// include/uapi/linux/mount.h, `MS_NOSYMFOLLOW`.
    pub const NO_SYMLINKS: Self = Self(1 << 8);
    pub const STRICT_ATIME: Self = Self(libc::MS_STRICTATIME);

    /// The same attributes in the bits of mount_setattr(2), `MOUNT_ATTR_*`.
    fn new_interface(self) -> u64 {
        // The four lowest bits are the same in both interfaces; access times are not used here.
        self.0 & (libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC)
    }
}

impl std::ops::BitOr for Attr {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

fn mount(source: &CStr, target: &CStr, kind: &CStr, flags: u64, data: &CStr) -> Result<()> {
    let (source, target, kind) = (source.as_ptr(), target.as_ptr(), kind.as_ptr());
    // SAFETY: all four are C strings that live for the whole call.
    unsafe { syscall!(Sysno::mount, source, target, kind, flags, data.as_ptr()) }?;
    Ok(())
}

/// Mounts a new file system of `kind` on `target`, with the options in `data`.
///
/// Errors: `ENODEV` when the kernel does not have it, `EPERM`, `EBUSY`, `EINVAL` for an option.
pub fn create(kind: &CStr, target: &CStr, attr: Attr, data: &CStr) -> Result<()> {
    mount(kind, target, kind, attr.0, data)
}

/// Makes what is at `source` visible at `target` too, mounts below it included.
pub fn bind(source: &CStr, target: &CStr) -> Result<()> {
    mount(source, target, c"", libc::MS_BIND | libc::MS_REC, c"")
}

/// Sets the attributes of the mount at `target`: exactly these.
pub fn set_attr_at(target: &CStr, attr: Attr) -> Result<()> {
    mount(c"", target, c"", libc::MS_BIND | libc::MS_REMOUNT | attr.0, c"")
}

/// Which changes of mounts come from another namespace; none is sent there in either case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    Private,
    /// Those of the namespace that this one is a copy of.
    Slave,
}

/// Sets the propagation of `/` and every mount below it. `EINVAL` where `/` is no mount.
pub fn set_propagation(propagation: Propagation) -> Result<()> {
    let flag = match propagation {
        Propagation::Private => libc::MS_PRIVATE,
        Propagation::Slave => libc::MS_SLAVE,
    };
    mount(c"", c"/", c"", libc::MS_REC | flag, c"")
}

/// Detaches the mount at `target`; it goes away when nobody uses it any more.
pub fn detach(target: &CStr) -> Result<()> {
    // SAFETY: the path lives for the whole call.
    unsafe { syscall!(Sysno::umount2, target.as_ptr(), libc::MNT_DETACH) }?;
    Ok(())
}

/// Unmounts what is at `target`. `EBUSY` while it is in use.
pub fn unmount(target: &CStr) -> Result<()> {
    // SAFETY: the path lives for the whole call.
    unsafe { syscall!(Sysno::umount2, target.as_ptr(), 0) }?;
    Ok(())
}

/// Makes a file system read-only, wherever else it is mounted. `EBUSY` while it is written to.
pub fn remount_read_only(target: &CStr) -> Result<()> {
    mount(c"", target, c"", libc::MS_REMOUNT | libc::MS_RDONLY, c"")
}

/// Makes the working directory, a mount, the root; the old root is stacked over it, so that
/// `detach(".")` takes it away. `EINVAL` where `/` is an initramfs. Source: pivot_root(2), NOTES.
pub fn pivot_root_here() -> Result<()> {
    // SAFETY: both paths are constants.
    unsafe { syscall!(Sysno::pivot_root, c".".as_ptr(), c".".as_ptr()) }?;
    Ok(())
}

/// Moves the working directory, a mount, over `/`. Paths still start below it, until `chroot`.
pub fn move_to_root() -> Result<()> {
    mount(c".", c"/", c"", libc::MS_MOVE, c"")
}

/// include/uapi/linux/mount.h: FSOPEN_CLOEXEC, FSMOUNT_CLOEXEC.
const CLOEXEC: u32 = 1;

/// Begins to make a file system of `kind`.
fn open(kind: &CStr) -> Result<OwnedFd> {
    // SAFETY: the name is a C string that lives for the whole call.
    unsafe { syscall!(Sysno::fsopen, kind.as_ptr(), CLOEXEC) }.map(owned)
}

/// Whether the kernel has file systems of `kind`: `ENODEV`, `EPERM`. Since Linux 5.2.
pub fn knows(kind: &CStr) -> Result<()> {
    open(kind).map(drop)
}

/// A new file system of `kind` that is mounted nowhere, and goes when the descriptor is closed.
///
/// Errors: `ENODEV` when the kernel does not have it, `EPERM`. Since Linux 5.2.
/// Source: fs/fsopen.c.
pub fn detached(kind: &CStr) -> Result<Dir> {
    // include/uapi/linux/mount.h
    const CMD_CREATE: u32 = 6;
    let context = open(kind)?;
    // SAFETY: this command takes neither key nor value.
    unsafe { syscall!(Sysno::fsconfig, context.as_raw_fd(), CMD_CREATE, 0, 0, 0) }?;
    // SAFETY: no memory is passed.
    let tree = unsafe { syscall!(Sysno::fsmount, context.as_raw_fd(), CLOEXEC, 0) }?;
    Ok(Dir::from(owned(tree)))
}

/// Copies the mount at a path, and all below it, without attaching the copy anywhere.
/// Links are followed. Since Linux 5.2.
pub fn clone_tree(path: impl AsRef<OsStr>) -> Result<OwnedFd> {
    let path = c_path(path.as_ref())?;
    open_tree(libc::AT_FDCWD, &path, libc::OPEN_TREE_CLONE | libc::AT_RECURSIVE as u32)
}

/// Copies the mount of an open file, without attaching the copy anywhere.
pub fn clone_file(file: BorrowedFd<'_>) -> Result<OwnedFd> {
    let flags = libc::OPEN_TREE_CLONE | libc::AT_EMPTY_PATH as u32;
    open_tree(file.as_raw_fd(), c"", flags)
}

/// The same for the file at a path below an open directory. Links are followed.
pub fn clone_file_at(dir: BorrowedFd<'_>, path: &CStr) -> Result<OwnedFd> {
    open_tree(dir.as_raw_fd(), path, libc::OPEN_TREE_CLONE)
}

fn open_tree(dir: i32, path: &CStr, flags: u32) -> Result<OwnedFd> {
    let flags = flags | libc::OPEN_TREE_CLOEXEC;
    // SAFETY: the path lives for the whole call.
    unsafe { syscall!(Sysno::open_tree, dir, path.as_ptr(), flags) }.map(owned)
}

/// Attaches a detached tree on `target`, an open file or directory. Since Linux 5.2.
pub fn attach(tree: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<()> {
    let (tree, target, empty) = (tree.as_raw_fd(), target.as_raw_fd(), c"".as_ptr());
    let flags = libc::MOVE_MOUNT_F_EMPTY_PATH | libc::MOVE_MOUNT_T_EMPTY_PATH;
    // SAFETY: both paths are the empty constant.
    unsafe { syscall!(Sysno::move_mount, tree, empty, target, empty, flags) }?;
    Ok(())
}

/// Attaches a detached tree on `/`. Paths still start below it, until `chroot`.
pub fn attach_to_root(tree: BorrowedFd<'_>) -> Result<()> {
    let (tree, root, flags) = (tree.as_raw_fd(), c"/".as_ptr(), libc::MOVE_MOUNT_F_EMPTY_PATH);
    // SAFETY: both paths are constants.
    unsafe { syscall!(Sysno::move_mount, tree, c"".as_ptr(), libc::AT_FDCWD, root, flags) }?;
    Ok(())
}

/// Sets attributes of a mount and of all mounts below it.
///
/// `tree` is the root of the mount, from `clone_tree` or `O_PATH`.
///
/// Errors: `EINVAL` if `tree` is not a mount root, `ENOSYS` before Linux 5.12.
/// Source: fs/namespace.c, `do_mount_setattr`.
pub fn set_attr_tree(tree: BorrowedFd<'_>, set: Attr) -> Result<()> {
    let attr = abi::MountAttr { attr_set: set.new_interface(), ..Default::default() };
    let flags = libc::AT_EMPTY_PATH | libc::AT_RECURSIVE;
    // SAFETY: the path is a constant, and `attr` is borrowed for the whole call with its size.
    unsafe {
        let (tree, path, size) = (tree.as_raw_fd(), c"".as_ptr(), size_of::<abi::MountAttr>());
        syscall!(Sysno::mount_setattr, tree, path, flags, &raw const attr, size)
    }?;
    Ok(())
}
