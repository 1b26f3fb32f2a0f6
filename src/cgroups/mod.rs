//! Control groups: where this host has which controller, a group per container, its limits.
//!
//! v1, v2, both or none, resolved for each controller from mountinfo. A group is joined without
//! the kernel's global lock: by `CLONE_INTO_CGROUP` on v2, by writing `0` to `tasks` on v1.

pub mod devices;
pub mod group;
pub mod host;
pub mod limits;

pub use group::Entry;
pub use group::{Group, create, open, remove_leftovers};
pub use host::Host;
pub use limits::Limits;
