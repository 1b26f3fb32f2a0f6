//! What a process sees in its own namespaces: the root, the mounts, the devices, its rights.
//!
//! Most of it runs in the new process, inside its new namespaces. Others read what they are given (a
//! profile, the names of capabilities, the options of a tmpfs), or make what a container will have: its
//! network namespace (`net::make`), a place to write (`scratch`).

use crate::error::Error;
use crate::sys::Errno;
use crate::sys::process::Namespaces;

pub mod accounts;
pub mod capabilities;
pub mod credentials;
pub mod dev;
pub mod lock;
pub mod mounts;
pub mod net;
pub mod root;
pub mod scratch;
mod seal;
pub mod seccomp;
mod submounts;
pub mod userns;

/// Why the kernel makes no new namespaces of these kinds, and where to look.
pub fn refused(errno: Errno, wanted: Namespaces) -> Error {
    match errno {
        Errno::ENOSPC => Error::from(errno).hint(
            "a limit on namespaces: raise user.max_*_namespaces; see rocker check, namespace",
        ),
        Errno::EINVAL => match wanted.missing() {
            Some(name) => Error::new(format!("this kernel has no {name} namespace"))
                .hint(format!("see rocker check, namespace {name}")),
            None => Error::from(errno).hint("see rocker check, namespace"),
        },
        _ => Error::from(errno),
    }
}
