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
    /// Whether its tables were made just now: no published port is in them.
    pub anew: bool,
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
        (Some(Interface { index, up: true, .. }), None | Some(true)) => {
            Ok(Up { links, bridge: index, translated: tables.is_some(), anew: false })
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
        match nat.has_network(network, range.subnet.contains(':'))? {
            None => return Ok(None),
            Some(there) => all &= there,
        }
    }
    Ok(Some(all))
}

fn make(store: &Store, network: &Network, links: Links, nat: Option<Nat>) -> Result<Up> {
    let turn = store.lock()?;
    // What is made for one that is being removed would stay.
    store.check(network)?;
    let mut links = links;
    let tables = match nat {
        Some(mut nat) => translate(store, network, &links, &mut nat, &turn)?,
        None => Tables::None,
    };
    let translated = tables != Tables::None;
    let bridge = match find_bridge(&links, network)? {
        Some(bridge) => {
            if !bridge.up {
                // Somebody took it down.
                equip(&mut links, bridge.index, &network.bridge, network, translated)?;
                links.bring_up(bridge.index, None)?;
            }
            bridge.index
        }
        None => make_bridge(store, network, &mut links, translated)?,
    };
    Ok(Up { links, bridge, translated, anew: tables == Tables::Made })
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

/// What there is of tables that translate for a network.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tables {
    /// The kernel lacks what they take.
    None,
    There,
    Made,
}

/// Has the kernel translate for this network, and for the others of the engine when the table had
/// gone; `turn` is the lock.
fn translate(
    store: &Store,
    network: &Network,
    links: &Links,
    nat: &mut Nat,
    turn: &Dir,
) -> Result<Tables> {
    let mut tables = Tables::There;
    for pool in network.pools()? {
        let v6 = pool.subnet.base.v6;
        let forwards = nat::forwards(v6)?;
        match nat.has_table(v6)? {
            Some(true) => {}
            Some(false) if nat.make_table(v6)? => {
                tables = Tables::Made;
                for other in store.list()? {
                    nat.change_network(&other, v6, true)?;
                }
                if forwards && store.forwarding_is_ours(v6, links)? {
                    nat.guard(v6)?;
                }
            }
            // Nothing is translated here, so nothing need be forwarded.
            _ => return Ok(Tables::None),
        }
        nat.change_network(network, v6, true)?;
        if !forwards && !network.internal {
            nat.guard(v6)?;
            store.note_forwarding(v6, links, turn)?;
            nat::forward(v6)?;
        }
    }
    Ok(tables)
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
pub fn create(store: &Store, wanted: &Wanted) -> Result<(Network, Up)> {
    let turn = store.lock()?;
    let network = store.create(wanted, &turn)?;
    drop(turn);
    match ensure(store, &network) {
        Ok(up) => Ok((network, up)),
        Err(error) => {
            // The first error is the one to report. What cannot be made may not be removed either.
            let _ = down(&network);
            let _ = store.lock().and_then(|turn| store.forget(&network.name, &turn));
            Err(error)
        }
    }
}

/// Removes a network that nobody uses; the caller holds it.
pub fn remove(store: &Store, network: &Network) -> Result<()> {
    let turn = store.lock()?;
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
        made => made.map(|(network, _)| network),
    }
}

/// What the names of pairs are counted by: two digits fit behind the ten of a container's id.
const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// What the host's ends of a container's pairs are called.
fn pair_prefix(id: &str) -> String {
    format!("rk{id}")
}

fn pair_name(id: &str, number: usize) -> String {
    let digit = |number: usize| char::from(DIGITS[number % DIGITS.len()]);
    format!("{}{}{}", pair_prefix(id), digit(number / DIGITS.len()), digit(number))
}

/// Takes a container's pairs away, by their ends on the host, which nobody inside can rename: those
/// in the bridge of a network, or all. One in no bridge leads nowhere and goes too.
pub fn unplug(id: &str, network: Option<&Network>) -> Result<()> {
    let mut links = Links::open()?;
    let bridge = match network {
        Some(network) => links.index(&network.bridge)?,
        None => None,
    };
    for (name, master) in links.beginning(&pair_prefix(id))? {
        if network.is_none() || master == 0 || Some(master) == bridge {
            links.delete(&name)?;
        }
    }
    Ok(())
}

impl Up {
    /// Connects the namespace of a process to the network by a pair of interfaces. `published`:
    /// it has ports of the host.
    pub fn connect(&mut self, id: &str, end: &End<'_>, published: bool) -> Result<()> {
        // The pair of an earlier run may not have gone yet: the kernel takes its time.
        for number in 0..DIGITS.len().pow(2) {
            let name = pair_name(id, number);
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
