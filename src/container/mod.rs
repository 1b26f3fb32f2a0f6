//! The engine: records, the order of steps, logs, teardown.
//!
//! A container is a directory named by its id. A process of rocker's own, its keeper, starts it,
//! holds its output and stays until it ends; commands talk to the keeper through a socket.

pub mod attach;
pub mod boot;
pub mod check;
pub mod commit;
pub mod ending;
pub mod exec;
pub mod init;
pub mod keeper;
pub mod layer;
pub mod lifecycle;
pub mod log;
pub mod logs;
mod making;
pub mod membership;
pub mod names;
pub mod networks;
mod notice;
pub mod options;
mod output;
pub mod protocol;
pub mod record;
pub mod relay;
pub mod restart;
mod runtime_spec;
pub mod security;
pub mod size;
pub mod spec;
pub mod state;
pub mod store;
pub mod streams;
pub mod userns;
pub mod volumes;
pub mod wiring;

pub use attach::{attach, wait};
pub use boot::boot;
pub use commit::{CommitChanges, collect, commit, image_config, remove_images};
pub use ending::{ask_to_stop, kill};
pub use exec::exec;
pub use lifecycle::{create, remove, run, start};
pub use logs::{Stream, logs};
pub use state::{find, list};
pub use store::Engine;
