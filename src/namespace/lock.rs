//! Locks the mounts of a container that may mount and unmount: what lies below its root, on an
//! initramfs the host's own files, must not come to light.

use crate::error::{Context, Error, Result};
use crate::sys::process::{self, Namespaces};
use crate::sys::{Errno, io};
use std::os::fd::AsFd;

/// Moves this process into a copy of its mount namespace that belongs to a user namespace: the
/// kernel locks every mount that is there to its place. Mounting more works as before.
///
/// The user namespace goes with the process that made it; nobody is ever in it.
pub fn lock_mounts() -> Result<()> {
    let namespaces = Namespaces::USER.and(Namespaces::MOUNT);
    let child = match process::clone_into(namespaces, None, (), wait_to_be_killed) {
        Err(errno @ (Errno::EINVAL | Errno::ENOSPC | Errno::EUSERS | Errno::EPERM)) => {
            return Err(Error::from(errno).hint(
                "this kernel gives no user namespace (user.max_user_namespaces): \
                 --privileged does without the lock; see rocker check, namespace user",
            ))
            .context("lock the mounts of a container with SYS_ADMIN");
        }
        other => other.context("clone a process")?,
    };
    let entered = process::setns(child.pidfd.as_fd(), Namespaces::MOUNT);
    // It has no other way to end.
    let _ = process::send_signal(child.pidfd.as_fd(), libc::SIGKILL as u32);
    process::wait(child.pidfd.as_fd()).context("wait for a process")?;
    entered.context("enter the locked mounts")
}

fn wait_to_be_killed((): ()) -> ! {
    loop {
        let _ = io::poll(&mut [], -1);
    }
}
