//! Which system calls a program in a container may make.

pub mod profile;
pub mod table;
pub mod tree;

use super::capabilities::DEFAULT_CAPABILITIES;
use crate::sys::seccomp::Step;
use std::borrow::Cow;

/// Made by the compiler: a start loads it as it lies in the binary.
static DEFAULT: table::Filter = table::filter(DEFAULT_CAPABILITIES);

/// The default filter for a container with these capabilities.
pub fn default(capabilities: u64) -> Cow<'static, [Step]> {
    match (capabilities ^ DEFAULT_CAPABILITIES) & table::RELEVANT {
        0 => Cow::Borrowed(DEFAULT.steps()),
        _ => Cow::Owned(table::filter(capabilities).steps().to_vec()),
    }
}

#[cfg(test)]
mod tests;
