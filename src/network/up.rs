//! Brings networks up and down: the bridge, its address, and what the kernel translates for it.

use super::address::Address;
use super::hash;
use super::links::{End, Interface, Links};
use super::nat::{self, Nat};
use super::store::{DEFAULT, Network, Store, Wanted};
use crate::error::{Context, Error, Result};
use crate::sys::Errno;
use crate::sys::fs::Dir;
use crate::sys::process::{self, Namespaces};
use std::os::fd::{AsFd, BorrowedFd};

/// A network that is up, and a connection to the host's interfaces.
#[derive(Debug)]
pub struct Up {
    links: Links,
    bridge: u32,
    /// Whether the kernel translates addresses: it has nf_tables.
    pub translated: bool,
}

/// A locally administered address of an interface that follows from a text.
fn mac(text: &str) -> [u8; 6] {
    let [a, b, c, d, e, ..] = hash(text).to_le_bytes();
    [0x02, a, b, c, d, e]
}

/// The hardware address of whoever has this address, docker's for one of IPv4.
pub fn mac_of(address: Address) -> [u8; 6] {
    match *address.bytes() {
        [a, b, c, d] => [0x02, 0x42, a, b, c, d],
        _ => mac(&address.to_string()),
    }
}

/// Whether an error says that the kernel lacks what a network is made of, or does not let this
/// process have it: root of a user namespace that has no network of its own.
pub fn is_missing(error: &Error) -> bool {
    let missing = [Errno::EPROTONOSUPPORT, Errno::EOPNOTSUPP, Errno::EAFNOSUPPORT, Errno::EPERM];
    error.errno.is_some_and(|errno| missing.contains(&errno))
}

/// Brings a network up where it is not: after a reboot, or when somebody removed its bridge or our
/// tables.
pub fn ensure(store: &Store, network: &Network) -> Result<Up> {
    let links = Links::open()?;
    let found = find_bridge(&links, network)?;
    let mut nat = Nat::open()?;
    let tables = match &mut nat {
        Some(nat) => has_tables(nat, network)?,
        None => None,
    };
    match (found, tables) {
        (Some(Interface { index, in_use: true, .. }), None | Some(true)) => {
            Ok(Up { links, bridge: index, translated: tables.is_some() })
        }
        _ => make(store, network, links, nat),
    }
}

/// The hardware address of a network's bridge. Another interface does not have it, whatever it is
/// called.
fn bridge_mac(network: &Network) -> [u8; 6] {
    mac(&format!("{} {}", network.id, network.name))
}

/// The bridge of a network, where it is there. An error where an interface of the host's own has its
/// name.
fn find_bridge(links: &Links, network: &Network) -> Result<Option<Interface>> {
    match links.look(&network.bridge)? {
        Some(other) if other.mac != bridge_mac(network) => {
            let what = format!("the interface {} is no bridge of rocker's", network.bridge);
            Err(Error::new(what).hint(format!("rename it, or rocker network rm {}", network.name)))
        }
        found => Ok(found),
    }
}

/// Whether the tables for a network are there; `None` where the kernel can have none.
fn has_tables(nat: &mut Nat, network: &Network) -> Result<Option<bool>> {
    let mut all = true;
    for range in &network.ranges {
        match nat.has_table(range.subnet.contains(':'))? {
            None => return Ok(None),
            Some(there) => all &= there,
        }
    }
    Ok(Some(all))
}

fn make(store: &Store, network: &Network, links: Links, nat: Option<Nat>) -> Result<Up> {
    let _turn = store.lock()?;
    let mut links = links;
    let translated = match nat {
        Some(mut nat) => translate(store, network, &mut nat)?,
        None => false,
    };
    let bridge = match find_bridge(&links, network)? {
        Some(bridge) => {
            if !bridge.in_use {
                // Somebody took it down, or its address away.
                equip(&mut links, bridge.index, &network.bridge, network, translated)?;
                links.bring_up(bridge.index, None)?;
            }
            bridge.index
        }
        None => make_bridge(store, network, &mut links, translated)?,
    };
    Ok(Up { links, bridge, translated })
}

/// The address of a bridge on its link, docker's: `fe80::1`.
const LINK_LOCAL: Address = Address { v6: true, number: 0xfe80 << 112 | 1 };

/// Under another name first: a bridge of the right name is a whole one.
fn make_bridge(
    store: &Store,
    network: &Network,
    links: &mut Links,
    translated: bool,
) -> Result<u32> {
    // A network is of no use without.
    links.try_pair()?;
    let draft = format!("rk-{:08x}", store.mark as u32);
    links.delete(&draft)?;
    let index = links.create_bridge(&draft, bridge_mac(network))?;
    let finished = equip(links, index, &draft, network, translated)
        .and_then(|()| links.bring_up(index, Some(&network.bridge)));
    if finished.is_err() {
        // The first error is the one to report; the next attempt removes it.
        let _ = links.delete(&draft);
    }
    finished.map(|()| index)
}

/// Gives a bridge, by the name that it has now, its addresses and settings.
fn equip(
    links: &mut Links,
    index: u32,
    name: &str,
    network: &Network,
    translated: bool,
) -> Result<()> {
    let pools = network.pools()?;
    for pool in &pools {
        links.add_address(index, pool.gateway, pool.subnet.prefix)?;
    }
    if pools.iter().any(|pool| pool.subnet.base.v6) {
        // One that it gave itself would be of no use for two seconds, and nobody found by it.
        links.add_address(index, LINK_LOCAL, 64)?;
    }
    nat::prepare_bridge(name, translated)
}

/// Has the kernel translate for this network, and for the others of the engine when the table had
/// gone. False where it lacks what that takes.
fn translate(store: &Store, network: &Network, nat: &mut Nat) -> Result<bool> {
    for pool in network.pools()? {
        let v6 = pool.subnet.base.v6;
        let forwards = network.internal || nat::forwards(v6)?;
        match nat.has_table(v6)? {
            Some(true) => {}
            Some(false) if nat.make_table(v6, !forwards)? => {
                for other in store.list()? {
                    nat.change_network(&other, v6, true)?;
                }
            }
            // Nothing is translated here, so nothing need be forwarded.
            _ => return Ok(false),
        }
        nat.change_network(network, v6, true)?;
        if !forwards {
            nat::forward(v6)?;
        }
    }
    Ok(true)
}

/// Takes the bridge of a network down, and what the kernel does for it. May be called twice.
pub fn down(network: &Network) -> Result<()> {
    let mut links = Links::open()?;
    // Under its name may be an interface of the host's own.
    if links.look(&network.bridge)?.is_some_and(|found| found.mac == bridge_mac(network)) {
        links.delete(&network.bridge)?;
    }
    if let Some(mut nat) = Nat::open()? {
        for v6 in [false, true] {
            nat.change_network(network, v6, false)?;
        }
    }
    Ok(())
}

/// Makes a network and brings it up; nothing of it is left where that does not work.
pub fn create(store: &Store, wanted: &Wanted) -> Result<Network> {
    let turn = store.lock()?;
    let network = store.create(wanted, &turn)?;
    drop(turn);
    match ensure(store, &network) {
        Ok(_) => Ok(network),
        Err(error) => {
            // The first error is the one to report. What cannot be made may not be removed either.
            let _ = down(&network);
            let _ = store.lock().and_then(|turn| store.forget(&network.name, &turn));
            Err(error)
        }
    }
}

/// Removes a network that nobody uses.
pub fn remove(store: &Store, network: &Network) -> Result<()> {
    let turn: Dir = store.lock()?;
    down(network)?;
    store.forget(&network.name, &turn)
}

/// The default network; made when it is first asked for.
pub fn default_network(store: &Store, created: i64) -> Result<Network> {
    if let Some(network) = store.open(DEFAULT)? {
        return Ok(network);
    }
    let wanted = Wanted { name: DEFAULT.to_owned(), created, ..Wanted::default() };
    match create(store, &wanted) {
        // Another one was quicker.
        Err(error) => store.open(DEFAULT)?.ok_or(error),
        made => made,
    }
}

impl Up {
    /// Connects the namespace of a process to the network by a pair of interfaces. `published`:
    /// it has ports of the host.
    pub fn connect(&mut self, id: &str, end: &End<'_>, published: bool) -> Result<()> {
        // The pair of an earlier run may not have gone yet: the kernel takes its time.
        for letter in 'a'..='z' {
            let name = format!("rk{id}{letter}");
            if self.links.create_pair(&name, self.bridge, end)? {
                return if published { self.links.set_hairpin(&name) } else { Ok(()) };
            }
        }
        Err(Error::new(format!("interface {}: is there already", end.name)))
    }

    /// See `inside`.
    pub fn inside(&self, there: BorrowedFd<'_>) -> Result<Links> {
        inside(&self.links, there)
    }
}

/// A connection to the interfaces in another network namespace, or in that of another process.
/// This process goes there to open it, and comes back to where `home` was opened.
pub fn inside(home: &Links, there: BorrowedFd<'_>) -> Result<Links> {
    let home = home.namespace()?;
    process::setns(there, Namespaces::NET).context("enter the container's network")?;
    let inside = Links::open();
    process::setns(home.as_fd(), Namespaces::NET).context("come back from the container")?;
    inside
}
