//! Interfaces, addresses and routes of one network namespace.
//!
//! Layout: include/uapi/linux/{rtnetlink,if_link,if_addr,veth}.h.

use super::address::{Address, Subnet};
use super::explain;
use crate::error::{Context, Error, Result};
use crate::sys::netlink::{
    self, ACK, CREATE, DUMP, EXCL, Messages, Netlink, REPLACE, Subject, attributes,
};
use crate::sys::{Errno, net};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// `IFA_F_NODAD`: usable at once, without asking the neighbours.
const NO_DAD: u32 = 0x02;
/// `VETH_INFO_PEER`.
const PEER: u16 = 1;
/// `IFLA_INET6_ADDR_GEN_MODE`.
const GENERATION: u16 = 8;
/// `IFLA_BRPORT_MODE`.
const HAIRPIN: u16 = 4;
const UP: u32 = libc::IFF_UP as u32;

/// A connection to the interfaces of the namespace in which it was opened.
#[derive(Debug)]
pub struct Links(Netlink);

/// The end of a pair that a container has.
pub struct End<'a> {
    pub name: &'a str,
    pub mac: [u8; 6],
    /// The network namespace that it comes into being in.
    pub netns: BorrowedFd<'a>,
}

/// A route of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    pub to: Subnet,
    /// Through a gateway: a narrower network does not take all of it away.
    pub far: bool,
}

/// What is known of an interface of the host.
pub struct Interface {
    pub index: u32,
    pub mac: [u8; 6],
    pub up: bool,
}

/// `struct ifinfomsg`, with these flags set where `change` says so.
fn link(index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[4..8].copy_from_slice(&index.to_ne_bytes());
    bytes[8..12].copy_from_slice(&flags.to_ne_bytes());
    bytes[12..].copy_from_slice(&change.to_ne_bytes());
    bytes
}

fn family(address: Address) -> u8 {
    if address.v6 { libc::AF_INET6 as u8 } else { libc::AF_INET as u8 }
}

/// Adds the message that gives an interface an address, unless it has it.
fn put_address(messages: &mut Messages, index: u32, address: Address, prefix: u8) {
    let mut fixed = [family(address), prefix, 0, 0, 0, 0, 0, 0];
    fixed[4..].copy_from_slice(&index.to_ne_bytes());
    messages.start(libc::RTM_NEWADDR, ACK | CREATE | REPLACE, &fixed);
    messages.put(libc::IFA_LOCAL, &address.bytes()).put(libc::IFA_ADDRESS, &address.bytes());
    match address.v6 {
        true => messages.put_u32(libc::IFA_FLAGS, NO_DAD),
        false => {
            let last = Subnet::of(address, prefix).last();
            messages.put(libc::IFA_BROADCAST, &last.bytes())
        }
    };
}

/// Adds the message that keeps an interface, which is not up yet, from giving itself an address of
/// IPv6. It would ask all its neighbours about that one: those on a bridge are woken each time.
///
/// The interface has the `index`, or, for 0, the `name`. Refused where the host has no IPv6, which
/// is as good.
fn put_quiet(messages: &mut Messages, index: u32, name: Option<&str>) {
    /// `IN6_ADDR_GEN_MODE_NONE`.
    const NONE: u8 = 1;
    messages.start(libc::RTM_NEWLINK, ACK, &link(index, 0, 0));
    if let Some(name) = name {
        messages.put_text(libc::IFLA_IFNAME, name);
    }
    let families = messages.nest(libc::IFLA_AF_SPEC, b"");
    let family = messages.nest(libc::AF_INET6 as u16, b"");
    messages.put(GENERATION, &[NONE]).end(family);
    messages.end(families).let_fail();
}

/// What was being done where a pair cannot be made.
const PAIR: &str = "make a pair of interfaces";

/// The message that makes a pair of interfaces: one end in the bridge, the other elsewhere.
fn pair(name: &str, bridge: u32, end: &End<'_>) -> Messages {
    let mut messages = Messages::default();
    messages.start(libc::RTM_NEWLINK, ACK | CREATE | EXCL, &link(0, UP, UP));
    messages.put_text(libc::IFLA_IFNAME, name).put_u32(libc::IFLA_MASTER, bridge);
    let info = messages.nest(libc::IFLA_LINKINFO, b"");
    messages.put(libc::IFLA_INFO_KIND, b"veth");
    let data = messages.nest(libc::IFLA_INFO_DATA, b"");
    let peer = messages.nest(PEER, &link(0, 0, 0));
    messages.put_text(libc::IFLA_IFNAME, end.name).put(libc::IFLA_ADDRESS, &end.mac);
    messages.put_u32(libc::IFLA_NET_NS_FD, end.netns.as_raw_fd() as u32).end(peer);
    messages.end(data);
    messages.end(info);
    // It is up, but only when the other end is too does it look for an address.
    put_quiet(&mut messages, 0, Some(name));
    messages
}

/// An error with the line of `rocker check` that tells of it, where the kernel lacks a kind of
/// interfaces.
fn lacking(error: Error, kind: &str) -> Error {
    match error.errno {
        Some(Errno::EOPNOTSUPP) => error.hint(format!("see rocker check, {kind}")),
        _ => error,
    }
}

impl Links {
    /// Errors: `EPROTONOSUPPORT` where the kernel has no networking.
    pub fn open() -> Result<Self> {
        Netlink::open(Subject::Route).map(Self).context("open a netlink socket")
    }

    /// The number of an interface; `None` where there is none of that name.
    pub fn index(&self, name: &str) -> Result<Option<u32>> {
        match net::interface_index(self.0.socket(), name) {
            Err(Errno::ENODEV) => Ok(None),
            other => other.map(Some).context(format_args!("look for interface {name}")),
        }
    }

    /// An interface with what is known of it by its name alone.
    pub fn look(&self, name: &str) -> Result<Option<Interface>> {
        let Some(index) = self.index(name)? else { return Ok(None) };
        let socket = self.0.socket();
        let known = net::hardware_address(socket, name)
            .and_then(|mac| Ok(Interface { index, mac, up: net::is_up(socket, name)? }));
        match known {
            // It has just gone.
            Err(Errno::ENODEV) => Ok(None),
            other => other.map(Some).context(format_args!("look at interface {name}")),
        }
    }

    /// The number of an interface that must be there: an error where there is none of that name.
    fn required(&self, name: &str) -> Result<u32> {
        self.index(name)?.ok_or_else(|| Error::new(format!("there is no interface {name}")))
    }

    /// The namespace that this is about.
    pub fn namespace(&self) -> Result<OwnedFd> {
        net::namespace_of(self.0.socket()).context("look at the network namespace")
    }

    /// Makes a bridge that is down, and gives its number.
    ///
    /// Errors: `EOPNOTSUPP` where the kernel has no bridges, `EEXIST`.
    pub fn create_bridge(&mut self, name: &str, mac: [u8; 6]) -> Result<u32> {
        let mut messages = Messages::default();
        messages.start(libc::RTM_NEWLINK, ACK | CREATE | EXCL, &link(0, 0, 0));
        messages.put_text(libc::IFLA_IFNAME, name).put(libc::IFLA_ADDRESS, &mac);
        let info = messages.nest(libc::IFLA_LINKINFO, b"");
        messages.put(libc::IFLA_INFO_KIND, b"bridge").end(info);
        explain(self.0.send(messages), "make a bridge")
            .map_err(|error| lacking(error, "bridge"))?;
        self.required(name)
    }

    /// Brings an interface up, without an address of its own making. One that is down can get
    /// another name with that.
    pub fn bring_up(&mut self, index: u32, rename: Option<&str>) -> Result<()> {
        let mut messages = Messages::default();
        put_quiet(&mut messages, index, None);
        messages.start(libc::RTM_NEWLINK, ACK, &link(index, UP, UP));
        if let Some(name) = rename {
            messages.put_text(libc::IFLA_IFNAME, name);
        }
        explain(self.0.send(messages), "bring up the bridge")
    }

    /// Gives an interface an address with the length of its prefix. One that it has already is no error.
    pub fn add_address(&mut self, index: u32, address: Address, prefix: u8) -> Result<()> {
        let mut messages = Messages::default();
        put_address(&mut messages, index, address, prefix);
        explain(self.0.send(messages), format_args!("give the bridge the address {address}"))
    }

    /// Makes a pair: this end up and in the bridge, the other in the namespace of a process. All
    /// that in one message; the other end can come up only when both are there. False, and nothing is
    /// made, where one of the two names is taken.
    ///
    /// Errors: `EOPNOTSUPP` where the kernel has no pairs.
    pub fn create_pair(&mut self, name: &str, bridge: u32, end: &End<'_>) -> Result<bool> {
        match self.0.send(pair(name, bridge, end)) {
            Err(refused) if refused.errno == Errno::EEXIST => Ok(false),
            other => explain(other, PAIR).map(|()| true).map_err(|error| lacking(error, "veth")),
        }
    }

    /// Finds out whether the kernel has pairs of interfaces, without making one: the other end is
    /// to go to a socket, which is no namespace, and the kind is looked for first.
    pub fn try_pair(&mut self) -> Result<()> {
        let end = End { name: "eth0", mac: [0; 6], netns: self.0.socket() };
        let messages = pair("rk-pair", 0, &end);
        match self.0.send(messages) {
            Err(refused) if refused.errno == Errno::EOPNOTSUPP => {
                explain(Err(refused), PAIR).map_err(|error| lacking(error, "veth"))
            }
            _ => Ok(()),
        }
    }

    /// Lets a bridge send packets back to the port that they came from: a member asks itself by a
    /// published port, and br_netfilter translates before the bridge has decided.
    pub fn set_hairpin(&mut self, name: &str) -> Result<()> {
        let index = self.required(name)?;
        let mut messages = Messages::default();
        let mut fixed = link(index, 0, 0);
        fixed[0] = libc::AF_BRIDGE as u8;
        messages.start(libc::RTM_SETLINK, ACK, &fixed);
        let port = messages.nest(libc::IFLA_PROTINFO, b"");
        messages.put(HAIRPIN, &[1]).end(port);
        explain(self.0.send(messages), format_args!("let {name} hear itself"))
    }

    /// Gives an interface its addresses, brings it up, and leads what is not near to the gateways.
    /// May be called again, with other gateways.
    pub fn configure(
        &mut self,
        name: &str,
        addresses: &[(Address, u8)],
        gateways: &[Address],
    ) -> Result<()> {
        let index = self.required(name)?;
        let mut messages = Messages::default();
        for (address, prefix) in addresses {
            put_address(&mut messages, index, *address, *prefix);
        }
        if !addresses.iter().any(|(address, _)| address.v6) {
            put_quiet(&mut messages, index, None);
        }
        messages.start(libc::RTM_NEWLINK, ACK, &link(index, UP, UP));
        for gateway in gateways {
            let (table, protocol, kind) =
                (libc::RT_TABLE_MAIN, libc::RTPROT_BOOT, libc::RTN_UNICAST);
            let fixed = [family(*gateway), 0, 0, 0, table, protocol, 0, kind, 0, 0, 0, 0];
            messages.start(libc::RTM_NEWROUTE, ACK | CREATE | REPLACE, &fixed);
            messages.put(libc::RTA_GATEWAY, &gateway.bytes()).put_u32(libc::RTA_OIF, index);
        }
        explain(self.0.send(messages), format_args!("configure {name}"))
    }

    /// The interfaces whose names begin so: name, and the number of the bridge that each is in, 0 for
    /// none.
    pub fn beginning(&mut self, prefix: &str) -> Result<Vec<(String, u32)>> {
        /// `RTEXT_FILTER_SKIP_STATS`: a packet holds more of them without.
        const NO_COUNTERS: u32 = 8;
        let bodies = self.0.ask(&|messages| {
            messages.start(libc::RTM_GETLINK, DUMP, &link(0, 0, 0));
            messages.put_u32(libc::IFLA_EXT_MASK, NO_COUNTERS);
        });
        let mut found = Vec::new();
        for body in explain(bodies, "list the interfaces")? {
            let Some(rest) = body.get(16..) else { continue };
            let name = netlink::find(attributes(rest), libc::IFLA_IFNAME).unwrap_or_default();
            let name = String::from_utf8_lossy(name.strip_suffix(b"\0").unwrap_or(name));
            let master = netlink::find(attributes(rest), libc::IFLA_MASTER);
            let master = master.and_then(|bytes| bytes.first_chunk().copied());
            if name.starts_with(prefix) {
                found.push((name.into_owned(), master.map_or(0, u32::from_ne_bytes)));
            }
        }
        Ok(found)
    }

    /// Removes an interface; one that is not there is what is wanted.
    pub fn delete(&mut self, name: &str) -> Result<()> {
        let mut messages = Messages::default();
        messages.start(libc::RTM_DELLINK, ACK, &link(0, 0, 0)).put_text(libc::IFLA_IFNAME, name);
        match self.0.send(messages) {
            Err(refused) if refused.errno == Errno::ENODEV => Ok(()),
            other => explain(other, format_args!("remove the interface {name}")),
        }
    }

    /// The addresses of this namespace.
    pub fn addresses(&mut self) -> Result<Vec<Address>> {
        let bodies = self.0.ask(&|messages| {
            messages.start(libc::RTM_GETADDR, DUMP, &[0; 8]);
        });
        Ok(explain(bodies, "list the addresses")?.iter().filter_map(|body| address(body)).collect())
    }

    /// What the routes of this namespace lead to, the default ones left out.
    pub fn routes(&mut self) -> Result<Vec<Route>> {
        let bodies = self.0.ask(&|messages| {
            messages.start(libc::RTM_GETROUTE, DUMP, &[0; 12]);
        });
        let bodies = explain(bodies, "list the routes")?;
        Ok(bodies.iter().filter_map(|body| route(body)).collect())
    }
}

/// Reads an address: `struct ifaddrmsg` is eight bytes, the first its family.
fn address(body: &[u8]) -> Option<Address> {
    let (fixed, rest) = body.split_first_chunk::<8>()?;
    // Of one end of a line between two: IFA_ADDRESS is the other.
    let own = netlink::find(attributes(rest), libc::IFA_LOCAL);
    let bytes = own.or_else(|| netlink::find(attributes(rest), libc::IFA_ADDRESS))?;
    let number = bytes.iter().fold(0, |number, byte| number << 8 | u128::from(*byte));
    Some(Address { v6: i32::from(fixed[0]) == libc::AF_INET6, number })
}

/// Reads a route. `struct rtmsg`: family, length of the destination, ten more bytes.
fn route(body: &[u8]) -> Option<Route> {
    let (fixed, rest) = body.split_first_chunk::<12>()?;
    // Broader than any network is what a tunnel has in the place of a default route.
    let (v6, broadest, longest) = match i32::from(fixed[0]) {
        libc::AF_INET => (false, 8, 32),
        libc::AF_INET6 => (true, 16, 128),
        _ => return None,
    };
    let destination = netlink::find(attributes(rest), libc::RTA_DST)?;
    let number = destination.iter().fold(0, |number, byte| number << 8 | u128::from(*byte));
    let prefix = fixed[1];
    let far = prefix < broadest || netlink::find(attributes(rest), libc::RTA_GATEWAY).is_some();
    (prefix > 0 && prefix <= longest)
        .then(|| Route { to: Subnet::of(Address { v6, number }, prefix), far })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_read_and_a_broken_one_is_passed_over() {
        let mut body = vec![2, 24, 0, 0, 254, 2, 253, 1, 0, 0, 0, 0];
        body.extend([8, 0, 1, 0, 10, 1, 2, 0]);
        let read = |body: &[u8]| route(body).map(|route| (route.to.to_string(), route.far));
        assert_eq!(read(&body), Some(("10.1.2.0/24".to_owned(), false)));
        let gateway = [&body[..], &[8, 0, 5, 0, 10, 0, 0, 1]].concat();
        assert_eq!(read(&gateway), Some(("10.1.2.0/24".to_owned(), true)));
        body[1] = 1;
        assert_eq!(read(&body), Some(("0.0.0.0/1".to_owned(), true)));
        body[1] = 99;
        assert_eq!(route(&body), None);
        for length in 0..body.len() {
            assert_eq!(route(&body[..length]), None);
        }
    }
}
