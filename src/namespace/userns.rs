//! The user namespace of a container: a range of the host's users and groups, and the ways to
//! show it the files of its image as its own.

use crate::error::{Context, Error, Result};
use crate::sys::fs::Dir;
use crate::sys::process::{self, Namespaces};
use crate::sys::{Errno, control, ids, io, mount, proc};
use miniserde::{Deserialize, Serialize};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The user and the group of the host that 0 stands for in a container, and how many follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMap {
    pub uid: u32,
    pub gid: u32,
    pub size: u32,
}

impl IdMap {
    /// The host's number of a user or group of the container, where it has one.
    pub fn outside(self, inside: u32, is_group: bool) -> Option<u32> {
        let start = if is_group { self.gid } else { self.uid };
        (inside < self.size).then(|| start.checked_add(inside)).flatten()
    }

    /// `UID:GID:SIZE`
    pub fn text(self) -> String {
        format!("{}:{}:{}", self.uid, self.gid, self.size)
    }

    /// Tells the kernel which ids a new user namespace has. `process` is the first one in it.
    pub fn write(self, process: u32) -> Result<()> {
        let dir = proc::dir(&process.to_string()).context("look at the first process")?;
        for (file, start) in [("uid_map", self.uid), ("gid_map", self.gid)] {
            control::write(&dir, file, &format!("0 {start} {}\n", self.size))
                .context(format_args!("write {file} of the user namespace"))?;
        }
        Ok(())
    }
}

/// A container's own ids, and how its image is shown with them.
#[derive(Debug, Clone)]
pub struct Mapped {
    pub ids: IdMap,
    /// The directories below the root's base that its overlay is made of; none without one.
    pub lowers: Vec<Lower>,
}

/// A directory of an image, and the copy of it whose files belong to the container, if it has one.
#[derive(Debug, Clone)]
pub struct Lower {
    pub place: String,
    pub copy: Option<String>,
}

/// Covers each directory of the image, in this mount namespace alone, by one whose files belong to
/// the container: its copy, or the same by a mount that shifts the owners. Whoever names the
/// directory, as the options of an overlay do, gets that. The working directory is the base.
///
/// Errors: `ENOSYS`, `EINVAL` where the kernel or the file system knows no such mounts.
pub fn cover(lowers: &[Lower], user_namespace: BorrowedFd<'_>) -> Result<()> {
    for Lower { place, copy } in lowers {
        let what = || format!("shift the owners of {place}");
        let place = Dir::open(place).context(what())?;
        let tree = match copy {
            Some(copy) => mount::clone_tree(copy).context(what())?,
            None => {
                let tree = mount::clone_file(place.as_fd()).context(what())?;
                ids::map_mount(tree.as_fd(), user_namespace).context(what())?;
                tree
            }
        };
        mount::attach(tree.as_fd(), place.as_fd()).context(what())?;
    }
    Ok(())
}

/// Makes a copy of this mount namespace that belongs to a user namespace, and gives it. The kernel
/// locks every mount in it to its place, with its attributes.
///
/// This process is in the user namespace afterwards, and has rights nowhere else.
pub fn hand_mounts_over(user_namespace: BorrowedFd<'_>) -> Result<OwnedFd> {
    // Opened while this process still has a right to it.
    let own = proc::dir("self/ns").context("open the namespaces of this process")?;
    process::setns(user_namespace, Namespaces::USER).context("enter the user namespace")?;
    process::unshare(Namespaces::MOUNT).context("lock the mounts of the container")?;
    ids::namespace(&own, "mnt").context("open the mounts of the container")
}

/// Becomes root of the user namespace that this process is in. Its rights in it stay.
pub fn become_root() -> Result<()> {
    process::set_user(0, 0, &[]).context("become root of the user namespace")?;
    // A change of the user makes a process dumpable again where fs.suid_dumpable says so.
    process::set_not_dumpable().context("protect the new process")
}

/// What the two processes say to each other that set up such a container.
const WORD: &[u8] = b"n";

/// In the first process, whose namespaces are there: lets the other one make the mounts, and enters
/// them as root of the container.
pub fn enter(socket: BorrowedFd<'_>) -> Result<()> {
    let gone = || Error::new("the process that makes the mounts is gone");
    // When it has gone already, it does not answer either.
    let _ = io::send(socket, WORD, None);
    let mut word = [0];
    let (_, mounts) = io::receive(socket, &mut word).context("wait for the mounts")?;
    let mounts = mounts.ok_or_else(gone)?;
    become_root()?;
    process::setns(mounts.as_fd(), Namespaces::MOUNT).context("enter the mounts")
}

/// In the other process: waits for the first one. False when that has ended.
pub fn wait_for_first(socket: BorrowedFd<'_>) -> bool {
    let mut word = [0];
    matches!(io::receive(socket, &mut word), Ok((1, _)))
}

/// Hands the mounts to the first process.
pub fn send_mounts(socket: BorrowedFd<'_>, mounts: &OwnedFd) -> Result<()> {
    io::send(socket, WORD, Some(mounts.as_fd())).context("hand over the mounts")
}

/// Enters the namespaces of the first process of a container whose mounts this process makes, but
/// for that of the users: its rights are still those of the host.
pub fn enter_beside(pidfd: BorrowedFd<'_>, namespaces: Namespaces) -> Result<()> {
    let entered = match process::setns(pidfd, namespaces.and(Namespaces::CGROUP)) {
        // A kernel without cgroups.
        Err(Errno::EINVAL) => process::setns(pidfd, namespaces),
        other => other,
    };
    entered.context("enter the namespaces of the container")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_the_container_is_one_of_its_range_or_none() {
        let map = IdMap { uid: 1000, gid: 2000, size: 10 };
        assert_eq!((map.outside(0, false), map.outside(9, true)), (Some(1000), Some(2009)));
        assert_eq!(map.outside(10, false), None);
        assert_eq!(map.text(), "1000:2000:10");
        let last = IdMap { uid: u32::MAX, gid: 1, size: 9 };
        assert_eq!(last.outside(1, false), None);
    }
}
