//! What a process sees in its own namespaces: the root, the mounts, the devices, its rights.
//!
//! Everything here runs in the new process, inside its new namespaces.

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
pub mod userns;
