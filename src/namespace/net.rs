//! The network namespace of a container, as far as it needs no other one: its loopback.

use crate::error::{Context, Result};

/// Brings `lo` up: many programs talk to themselves through it.
pub fn loopback_up() -> Result<()> {
    crate::sys::net::interface_up(c"lo").context("bring lo up")
}
