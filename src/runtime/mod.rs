//! Runs a `Spec`: `create` leaves the first process set up and waiting, `start` lets it go.
//!
//! Knows nothing of images, names or records; an OCI command line would enter here too.

pub mod create;
pub mod exec;
mod executable;
pub mod init;
pub mod program;
pub mod reaper;
pub mod report;
pub mod spec;
pub mod state;
pub mod userns;
pub mod words;

pub use create::{Process, create, run};
pub use exec::{Target, exec};
pub use spec::{Network, Program, Spec, Stdio};
