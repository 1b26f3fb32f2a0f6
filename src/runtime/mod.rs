//! Runs a `Spec`: `create` leaves the first process set up and waiting, `start` lets it go.
//!
//! Knows nothing of images, names or records; an OCI command line would enter here too.

pub mod create;
pub mod exec;
mod executable;
pub mod init;
pub mod processes;
pub mod program;
pub mod reaper;
pub mod report;
pub mod spec;
pub mod userns;
pub mod words;

pub use create::{Process, create, run};
pub use exec::{Target, exec};
pub use spec::{Network, Program, Spec, Stdio};

/// What is being done where a process is made to run from a file that nobody can write: programs
/// of a container could find the way to it through /proc.
const PROTECT: &str = "protect the file of this program";
