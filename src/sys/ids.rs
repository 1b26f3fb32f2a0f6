//! Ranges of users and groups: mounts that shift them, and what a process of another user
//! namespace needs to be given from outside.

use super::fs::{Dir, openat};
use super::{Result, abi, process};
use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use syscalls::{Sysno, syscall};

/// Shows the files of a mount, which is attached nowhere yet, with the owners that the map of a
/// user namespace gives them: what belongs to 0 seems to belong to whom 0 is mapped to.
///
/// Errors: `ENOSYS` before Linux 5.12, `EINVAL` for a file system that cannot do it.
/// Source: fs/namespace.c, `can_idmap_mount`.
pub fn map_mount(tree: BorrowedFd<'_>, user_namespace: BorrowedFd<'_>) -> Result<()> {
    const IDMAP: u64 = 0x0010_0000;
    let userns_fd = user_namespace.as_raw_fd() as u64;
    let attr = abi::MountAttr { attr_set: IDMAP, userns_fd, ..Default::default() };
    // SAFETY: the path is a constant, and `attr` is borrowed for the whole call with its size.
    unsafe {
        let (tree, path, size) = (tree.as_raw_fd(), c"".as_ptr(), size_of::<abi::MountAttr>());
        syscall!(Sysno::mount_setattr, tree, path, libc::AT_EMPTY_PATH, &raw const attr, size)
    }?;
    Ok(())
}

/// Opens a namespace of a process by its name: `user`, `mnt`. `namespaces` is `/proc/PID/ns`.
pub fn namespace(namespaces: &Dir, name: &str) -> Result<OwnedFd> {
    openat(namespaces.as_fd().as_raw_fd(), OsStr::new(name), libc::O_RDONLY, 0)
}

/// Has what this process makes in file systems belong to somebody else; its rights stay.
pub fn make_files_for(uid: u32, gid: u32) -> Result<()> {
    let have = process::permitted_capabilities()?;
    // SAFETY: no memory is passed. Both calls give the id before and never fail for root.
    unsafe {
        syscall!(Sysno::setfsgid, gid)?;
        syscall!(Sysno::setfsuid, uid)?;
    }
    // The kernel takes from the effective ones what has to do with files.
    process::set_capabilities(have, have, 0)
}

/// Does something as this user, without the rights of root, after `make_files_for` the same.
pub fn acting_as<T>(uid: u32, gid: u32, act: impl FnOnce() -> T) -> Result<T> {
    const SAME: u32 = u32::MAX;
    // SAFETY: no memory is passed. The real user stays root, which leads back.
    unsafe { syscall!(Sysno::setresuid, SAME, uid, SAME) }?;
    let result = act();
    // SAFETY: as above.
    unsafe { syscall!(Sysno::setresuid, SAME, 0, SAME) }?;
    make_files_for(uid, gid)?;
    Ok(result)
}

/// Lets children from here on come into the pid namespace of the process that `pidfd` names, while
/// `make` runs.
pub fn with_children_in<T>(pidfd: BorrowedFd<'_>, make: impl FnOnce() -> T) -> Result<T> {
    let own = process::pidfd_open(process::id())?;
    process::setns(pidfd, process::Namespaces::PID)?;
    let made = make();
    process::setns(own.as_fd(), process::Namespaces::PID)?;
    Ok(made)
}
