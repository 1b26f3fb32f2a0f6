//! The network namespace of a container, as far as it needs no other one: its loopback.

use crate::error::{Context, Result};
use crate::sys::net;
use crate::sys::process::{self, Namespaces};
use std::os::fd::{AsFd, OwnedFd};

/// Brings `lo` up: many programs talk to themselves through it.
pub fn loopback_up() -> Result<()> {
    net::socket().and_then(|socket| net::interface_up(socket.as_fd(), c"lo")).context("bring lo up")
}

/// Moves this process into a new network namespace whose `lo` is up.
pub fn enter_new() -> Result<()> {
    unshare()?;
    loopback_up()
}

fn unshare() -> Result<()> {
    process::unshare(Namespaces::NET)
        .map_err(|errno| super::refused(errno, Namespaces::NET))
        .context("make the network namespace")
}

/// Makes a network namespace whose `lo` is up. This process goes there for it and comes back.
pub fn make() -> Result<OwnedFd> {
    let home = net::socket().and_then(|socket| net::namespace_of(socket.as_fd()));
    let home = home.context("look at the network namespace")?;
    unshare()?;
    let made = (|| {
        let socket = net::socket()?;
        net::interface_up(socket.as_fd(), c"lo")?;
        net::namespace_of(socket.as_fd())
    })();
    process::setns(home.as_fd(), Namespaces::NET).context("come back from the new network")?;
    made.context("bring lo up")
}
