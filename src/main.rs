//! The rocker program: a container engine in one static file.
//!
//! The modules are described in doc/architecture.md; tests/layers.rs holds them to it.

mod cgroups;
mod container;
mod error;
mod image;
mod namespace;
mod network;
mod rocker;
mod runtime;
mod sys;

fn main() -> std::process::ExitCode {
    rocker::main()
}
