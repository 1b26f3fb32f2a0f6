//! The way into the root where pivot_root does not lead there: from an initramfs, and from inside
//! a chroot. What comes out is as closed as after pivot_root; doc/decisions.md tells why.

use super::submounts::mount_id;
use crate::error::{Context, Error, Result};
use crate::sys::fs::Dir;
use crate::sys::mount::Propagation;
use crate::sys::proc::unescape;
use crate::sys::{Errno, mount, proc, process};
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};

/// Cuts off the mounts of a process whose root is no mount: those of its whole namespace.
pub fn cut_off_in_chroot(propagation: Propagation) -> Result<()> {
    let root = Dir::open("/").context("open the root")?;
    let result = process::enter_own_mounts();
    let result = result.and_then(|()| mount::set_propagation(propagation));
    // Paths mean what they meant to whoever gave them.
    let back = process::fchdir(root.as_fd()).and_then(|()| process::chroot(c"."));
    result.and(back).context("make the mounts private")
}

/// Makes a copied mount, which is nowhere yet, the root of a namespace whose root is let go of.
pub fn enter_bottom(root: &OwnedFd) -> Result<()> {
    process::enter_own_mounts().context("enter the mounts of the container")?;
    mount::attach_to_root(root.as_fd()).context("attach the new root")?;
    process::fchdir(root.as_fd()).context("enter the new root")?;
    match mount::pivot_root_here() {
        // It was the bottom, from which pivot_root leads nowhere.
        Err(Errno::EINVAL) => process::chroot(c".").context("enter the new root"),
        // The root was let go of in a chroot into a mount, or there were several on one another.
        other => {
            other.context("pivot_root")?;
            mount::detach(c".").context("detach the old root")
        }
    }
}

/// Makes the working directory, which is a mount, the root, and lets go of all other mounts, where
/// the root of this process is the bottom of the namespace, or no mount at all.
pub fn enter_root() -> Result<()> {
    let root = Dir::open(".").context("open the new root")?;
    // From inside a chroot pivot_root is refused, and the mounts outside it could not be let go of.
    process::enter_own_mounts().context("enter the mounts of the container")?;
    mount::set_propagation(Propagation::Private).context("make the mounts private")?;
    process::fchdir(root.as_fd()).context("enter the new root")?;
    match mount::pivot_root_here() {
        Ok(()) => mount::detach(c".").context("detach the old root")?,
        // The root is the initramfs, the mount that every namespace stands on.
        Err(Errno::EINVAL) => cover_root(&root)?,
        Err(errno) => return Err(errno).context("pivot_root"),
    }
    process::chdir(c"/").context("enter the new root")
}

/// Covers the bottom of the namespace with the new root, as pivot_root would have it in the end,
/// and takes away every other mount: one that is left would let a user namespace inside mount a
/// proc or a sysfs without the masks of ours, because the kernel looks whether one is there.
fn cover_root(root: &Dir) -> Result<()> {
    // Mounted nowhere, so that it is none of the mounts that it shows.
    let proc = proc::own().context("mount proc")?;
    let new = mount_id(&proc, root.as_fd()).context("look at the new root")?;
    mount::move_to_root().context("move the new root over the old one")?;
    loop {
        let list = proc.read_special("self/mountinfo", 16 << 20).context("read mountinfo")?;
        let others = others(&String::from_utf8_lossy(&list), new);
        // Each takes along what lies on it. Paths still begin at the old root.
        let mut detached = 0;
        for point in &others {
            let point = CString::new(point.as_str()).map_err(|_| Errno::EINVAL)?;
            match mount::detach(&point) {
                Ok(()) => detached += 1,
                // It went with another.
                Err(Errno::EINVAL | Errno::ENOENT | Errno::ENOTDIR) => {}
                Err(errno) => {
                    return Err(errno).context(format_args!("detach {}", point.to_string_lossy()));
                }
            }
        }
        match (&others[..], detached) {
            ([], _) => break,
            ([point, ..], 0) => {
                return Err(Error::new(format!("detach {point}: it cannot be reached")));
            }
            _ => {}
        }
    }
    process::chroot(c".").context("enter the new root")
}

/// The mount points of all mounts but the bottom one, the mount `new`, and what lies below `new`;
/// of those that lie on one another only the lowest, because letting go of one is the dearest
/// call of all: the kernel waits until nobody walks through it.
fn others(mountinfo: &str, new: u64) -> Vec<String> {
    // `36 35 98:0 /root /point options…`
    let mounts: Vec<(u64, u64, &str)> = mountinfo
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ');
            let (id, parent) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
            Some((id, parent, fields.nth(2)?))
        })
        .collect();
    let mut own = vec![new];
    let mut done = 0;
    while let Some(parent) = own.get(done).copied() {
        done += 1;
        own.extend(mounts.iter().filter(|m| m.1 == parent && m.0 != parent).map(|m| m.0));
    }
    let bottom = |parent: u64| mounts.iter().all(|other| other.0 != parent);
    let foreign = |(id, parent, _): &&_| !own.contains(id) && id != parent && !bottom(*parent);
    let lowest = mounts
        .iter()
        .filter(foreign)
        .filter(|(_, parent, _)| !mounts.iter().filter(foreign).any(|(other, ..)| other == parent));
    lowest.map(|(_, _, point)| unescape(point)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mount_but_the_bottom_and_the_new_root_with_what_is_in_it_has_to_go_with_what_it_bears()
    {
        let list = "\
40 40 0:2 / / rw - rootfs rootfs rw
41 40 0:20 / /proc rw - proc proc rw
42 40 0:21 / /a\\040b rw - tmpfs tmpfs rw
43 42 0:22 / /a\\040b/c rw - tmpfs tmpfs rw
44 40 0:23 / / rw - overlay overlay rw
45 44 0:24 / /data rw - tmpfs tmpfs rw
46 45 0:25 / /data/x rw - tmpfs tmpfs rw
";
        assert_eq!(others(list, 44), ["/proc", "/a b"]);
        let list = list.replace("40 40 0:2", "40 1 0:2");
        assert_eq!(others(&list, 44), ["/proc", "/a b"]);
        assert!(others("40 40 0:2 / / rw\n44 40 0:9 / / rw\n", 44).is_empty());
    }
}
