//! The root of a container: its file system, and the way into it.

use super::userns::{self, Mapped};
use crate::error::{Context, Error, Result};
use crate::sys::fs::{Dir, Kind};
use crate::sys::mount::{self, Attr, Propagation};
use crate::sys::{Errno, process, statfs};
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// How the root file system comes about. All paths are relative to `base`.
#[derive(Debug, Clone)]
pub struct Root {
    /// Absolute path that the others start from: short names keep many layers in one option.
    pub base: CString,
    /// A directory to mount on. Only this namespace sees what it covers go.
    pub target: CString,
    pub kind: RootKind,
    /// `NO_DEV` where the container may use no devices but those in /dev.
    pub attr: Attr,
}

/// What is mounted as the root.
#[derive(Debug, Clone)]
pub enum RootKind {
    /// An overlay with these options.
    Overlay { options: CString },
    /// A directory that holds the whole tree.
    Directory { path: CString },
}

/// Cuts the mounts of this namespace off from the host's: nothing that is mounted from here on
/// spreads, and pivot_root refuses a new root on a shared mount (EINVAL).
pub fn cut_off(propagation: Propagation) -> Result<()> {
    match mount::set_propagation(propagation) {
        // A chroot into a directory that is no mount.
        Err(Errno::EINVAL) => super::seal::cut_off_in_chroot(propagation),
        other => other.context("make the mounts private"),
    }
}

/// Has the image appear with the owners that it has in a container with users of its own, in this
/// mount namespace. Errors: see `userns::cover`.
pub fn shift(root: &Root, mapped: &Mapped, user_namespace: BorrowedFd<'_>) -> Result<()> {
    process::chdir(&root.base).context(format_args!("open {}", root.base.to_string_lossy()))?;
    userns::cover(&mapped.lowers, user_namespace)
}

/// Mounts the root of the container and makes it the working directory.
///
/// Errors: `ENODEV` where the kernel has no overlay, `EINVAL` where the file system of the upper
/// directory cannot hold one.
pub fn mount_root(root: &Root) -> Result<()> {
    process::chdir(&root.base).context(format_args!("open {}", root.base.to_string_lossy()))?;
    match &root.kind {
        RootKind::Overlay { options } => {
            mount::create(c"overlay", &root.target, root.attr, options)
                .context("mount the overlay")?;
        }
        RootKind::Directory { path } => {
            mount::bind(path, &root.target).context("bind the root file system")?;
            restrict(&root.target, root.attr).context("restrict the root file system")?;
        }
    }
    process::chdir(&root.target).context("enter the root file system")
}

/// Gives a mount these attributes and no other; but what it forbids itself stays so where that is locked,
/// as all mounts are that a container with CAP_SYS_ADMIN has.
pub fn restrict(target: &CStr, attr: Attr) -> crate::sys::Result<()> {
    match mount::set_attr_at(target, attr) {
        Err(Errno::EPERM) => mount::set_attr_at(target, attr | statfs::restrictions_at(target)?),
        other => other,
    }
}

/// Makes the working directory, which is a mount, the root, and lets go of the host's mounts.
/// What is there then is the only mount of the namespace but for its bottom. Gives the root.
///
/// The host's mounts lie on the bottom, an empty file system of the kernel's, and go all at once.
/// What comes out is what pivot_root makes, which takes longer the more processes the host has:
/// it looks at every one of them.
pub fn enter_root() -> Result<Dir> {
    // An initramfs is the bottom itself. To let go of a copy that is not needed is dear.
    if statfs::is_in_memory_at(c"/") {
        super::seal::enter_root()?;
    } else {
        let copy = mount::clone_tree(".").context("copy the new root")?;
        match mount::detach(c"/") {
            // In a chroot into a directory, and where the host's mounts are locked.
            Err(Errno::EINVAL) => super::seal::enter_root()?,
            other => {
                other.context("detach the host's mounts")?;
                super::seal::enter_bottom(&copy)?;
            }
        }
    }
    Dir::open("/").context("open the new root")
}

/// As many links as the kernel follows in one path.
const LINKS: u32 = 40;

/// Checks that a directory at the top of the image is one, and makes it where it is missing.
///
/// A link in its place could lead a mount elsewhere, so it is refused.
pub fn require_directory(root: &Dir, name: &str) -> Result<()> {
    match root.stat(name) {
        Ok(stat) if stat.kind == Kind::Directory => Ok(()),
        Ok(_) => Err(Error::new(format!("/{name} in the image is no directory"))),
        Err(Errno::ENOENT) => {
            root.mkdir(name, 0o755).context(format_args!("make the directory /{name}"))
        }
        Err(errno) => Err(errno).context(format_args!("look at /{name}")),
    }
}

/// Opens the place in the container where something is to be mounted; makes it where missing.
///
/// Every link on the way is resolved inside `root`; what one names that leads nowhere is made. A
/// place below /proc is refused, however it is reached.
pub fn mount_point(root: &Dir, target: &str, directory: bool) -> Result<OwnedFd> {
    let place = match root.open_in_root(target, libc::O_PATH, 0) {
        Err(Errno::ENOENT) => {
            make_place(root, target, directory).context(format_args!("make {target}"))?
        }
        other => other.context(format_args!("open {target}"))?,
    };
    if statfs::is_procfs(place.as_fd()) {
        return Err(Error::new(format!("{target}: nothing may be mounted inside /proc")));
    }
    let kind = crate::sys::fs::stat(place.as_fd()).context(format_args!("look at {target}"))?.kind;
    match (kind == Kind::Directory, directory) {
        (true, true) | (false, false) => Ok(place),
        (true, false) => {
            Err(Error::new(format!("{target}: a file cannot be mounted on a directory")))
        }
        (false, true) => {
            Err(Error::new(format!("{target}: a directory cannot be mounted on a file")))
        }
    }
}

/// Makes a directory and those above it, inside `root`. What a link names that leads nowhere is made.
pub fn make_directories(root: &Dir, path: &str) -> std::result::Result<OwnedFd, Errno> {
    make_place(root, path, true)
}

/// The same, where the last one may be a file, which is opened only as a place.
fn make_place(root: &Dir, path: &str, directory: bool) -> std::result::Result<OwnedFd, Errno> {
    let names = |path: &str| -> Vec<String> {
        path.split('/').rev().filter(|name| !name.is_empty()).map(str::to_owned).collect()
    };
    let (mut left, mut links) = (names(path), 0);
    // What `current` can be reached by.
    let mut reached = String::new();
    let mut current = root.duplicate()?;
    while let Some(name) = left.pop() {
        let is_file = left.is_empty() && !directory;
        let flags = if is_file { libc::O_PATH } else { libc::O_RDONLY | libc::O_DIRECTORY };
        let next = format!("{reached}/{name}");
        let place = match root.open_in_root(&next, flags, 0) {
            Err(Errno::ENOENT) => {
                if let Ok(target) = current.readlink(&name) {
                    let target = target.to_str().filter(|_| links < LINKS).ok_or(Errno::ELOOP)?;
                    links += 1;
                    left.extend(names(target));
                    if target.starts_with('/') {
                        (reached, current) = (String::new(), root.duplicate()?);
                    }
                    continue;
                }
                match is_file {
                    true => drop(current.create(&name, 0o644)?),
                    false => current.mkdir(&name, 0o755)?,
                }
                root.open_in_root(&next, flags, 0)?
            }
            other => other?,
        };
        if left.is_empty() {
            return Ok(place);
        }
        (reached, current) = (next, Dir::from(place));
    }
    current.as_fd().try_clone_to_owned().map_err(crate::sys::fs::errno)
}

/// A C string from text that was checked to hold no NUL byte.
pub fn c_string(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| Error::new(format!("{text:?}: holds a NUL byte")))
}
