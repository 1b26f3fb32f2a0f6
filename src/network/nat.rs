//! What the kernel does with the packets of networks: translation, published ports, borders.
//!
//! One table for each family, `rocker`, whose rules never change: networks and published ports
//! are elements of its sets and maps. Doc: doc/networks.md.

use super::address::Address;
use super::conntrack::{self, Flow};
use super::explain;
use super::links::Links;
use super::nft::{self, Batch, Chain, Element, Set, Step};
use super::store::Network;
use crate::error::{Context, Error, Result};
use crate::sys::fs::Dir;
use crate::sys::netlink::{Netlink, Refused, Subject};
use crate::sys::{Errno, control, proc};

/// A published port: what arrives at it goes to an address of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// The address of the host; any of its family where it is zero.
    pub at: Address,
    pub port: u16,
    pub udp: bool,
    pub to: Address,
    pub to_port: u16,
}

impl Mapping {
    /// Whether a connection came in by this port and is led to its container.
    fn leads(&self, flow: &Flow) -> bool {
        self.is_for(flow) && flow.answers == (self.to, self.to_port)
    }

    /// Whether a connection came in by this port, at one of the `local` addresses, and is led elsewhere:
    /// where the port led before, or to the socket that was alone there.
    fn misses(&self, flow: &Flow, local: &[Address]) -> bool {
        self.is_for(flow) && !self.leads(flow) && local.contains(&flow.wanted.0)
    }

    fn is_for(&self, flow: &Flow) -> bool {
        let (address, port) = flow.wanted;
        flow.udp == self.udp && port == self.port && (self.at.is_any() || self.at == address)
    }
}

/// A connection to nf_tables.
pub struct Nat(Netlink);

/// `IPS_DST_NAT`, include/uapi/linux/netfilter/nf_conntrack_common.h.
const TRANSLATED: u32 = 1 << 5;
/// Established and related: `NF_CT_STATE_BIT`, include/net/netfilter/nf_conntrack.h.
const KNOWN: u32 = 2 | 4;

const LOOPBACK_V6: [u8; 16] = 1_u128.to_be_bytes();

/// Whether an error says that this kernel lacks something rather than that it is refused.
fn is_missing(refused: &Refused) -> bool {
    let missing = [Errno::EPROTONOSUPPORT, Errno::EOPNOTSUPP, Errno::EAFNOSUPPORT, Errno::ENOENT];
    missing.contains(&refused.errno)
}

fn family(v6: bool) -> u8 {
    if v6 { libc::NFPROTO_IPV6 as u8 } else { libc::NFPROTO_IPV4 as u8 }
}

/// An interface's name as nf_tables compares it: all sixteen bytes.
fn interface(name: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().zip(name.bytes()) {
        *to = from;
    }
    bytes
}

fn element(key: impl Into<Vec<u8>>) -> Element {
    Element { key: key.into(), ..Element::default() }
}

impl Nat {
    /// `None` where the kernel has no nf_tables.
    pub fn open() -> Result<Option<Self>> {
        match Netlink::open(Subject::Netfilter) {
            Err(Errno::EPROTONOSUPPORT) => Ok(None),
            other => other.map(|netlink| Some(Self(netlink))).context("open nf_tables"),
        }
    }

    /// Whether the table of a family is there; `None` where the kernel has no such tables.
    pub fn has_table(&mut self, v6: bool) -> Result<Option<bool>> {
        match nft::find_table(&mut self.0, family(v6)) {
            Err(Refused { errno: Errno::ENOENT, .. }) => Ok(Some(false)),
            Err(refused) if is_missing(&refused) => Ok(None),
            other => explain(other, "look for the table rocker").map(|()| Some(true)),
        }
    }

    /// Whether the table of a family is there and holds this network; `None` where the kernel has no
    /// such tables.
    pub fn has_network(&mut self, network: &Network, v6: bool) -> Result<Option<bool>> {
        let bridge = interface(&network.bridge);
        match nft::find_element(&mut self.0, family(v6), "bridges", &bridge) {
            Err(Refused { errno: Errno::ENOENT, .. }) => Ok(Some(false)),
            Err(refused) if is_missing(&refused) => Ok(None),
            other => explain(other, "look into the table rocker").map(|_| Some(true)),
        }
    }

    /// Makes the table of a family, unless it is there. False where the kernel lacks a part of it.
    pub fn make_table(&mut self, v6: bool) -> Result<bool> {
        match table(v6).send(&mut self.0) {
            Err(Refused { errno: Errno::EEXIST, .. }) => Ok(true),
            Err(refused) if is_missing(&refused) => Ok(false),
            other => explain(other, "make the table rocker").map(|()| true),
        }
    }

    /// Has nothing be forwarded but what comes from or goes to our networks. Asked for twice it is two
    /// rules, which do no more than one.
    pub fn guard(&mut self, v6: bool) -> Result<()> {
        let mut batch = Batch::new(family(v6));
        batch.new_rule("forward", GUARD);
        explain(batch.send(&mut self.0), "guard what this host forwards")
    }

    /// Adds a network to the table of a family, or takes it out.
    pub fn change_network(&mut self, network: &Network, v6: bool, add: bool) -> Result<()> {
        for pool in network.pools()?.into_iter().filter(|pool| pool.subnet.base.v6 == v6) {
            let name = interface(&network.bridge);
            let mut parts = vec![
                ("bridges", vec![element(name)]),
                ("same", vec![element([name, name].concat())]),
            ];
            match network.internal {
                true => parts.push(("internal", vec![element(name)])),
                false => {
                    let behind = pool.subnet.last().plus(1).bytes();
                    let end = Element { end: true, ..element(behind) };
                    parts.push(("inner", vec![element(pool.subnet.base.bytes()), end]));
                }
            }
            // One by one: what is there already, or is not, must not keep back the others.
            for (set, elements) in parts {
                let mut batch = Batch::new(family(v6));
                batch.change(set, &elements, add);
                match batch.send(&mut self.0) {
                    Err(Refused { errno: Errno::EEXIST | Errno::ENOENT, .. }) => {}
                    other => {
                        explain(other, format_args!("tell nf_tables of {}", network.name))?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Publishes ports. What stood in the maps for them was left by one that died.
    pub fn publish(&mut self, mappings: &[Mapping]) -> Result<()> {
        for v6 in [false, true] {
            let ours: Vec<&Mapping> = mappings.iter().filter(|one| one.to.v6 == v6).collect();
            if ours.is_empty() {
                continue;
            }
            let mut batch = Batch::new(family(v6));
            put(&mut batch, &ours, true);
            match batch.send(&mut self.0) {
                Err(Refused { errno: Errno::EEXIST | Errno::EBUSY, .. }) => {}
                other => {
                    explain(other, "publish the ports")?;
                    continue;
                }
            }
            for mapping in &ours {
                self.remove(mapping)?;
            }
            let mut batch = Batch::new(family(v6));
            put(&mut batch, &ours, true);
            explain(batch.send(&mut self.0), "publish the ports")?;
        }
        self.redirect(mappings)
    }

    /// Has datagrams that come by these ports already be led to where they lead now. Connections of TCP
    /// end with whom they were made to.
    fn redirect(&mut self, mappings: &[Mapping]) -> Result<()> {
        if !mappings.iter().any(|one| one.udp) {
            return Ok(());
        }
        let local = Links::open()?.addresses()?;
        self.forget(mappings, &|by, flow| by.udp && by.misses(flow, &local));
        Ok(())
    }

    /// Has the kernel forget connections of these ports that it still translates.
    fn forget(&mut self, mappings: &[Mapping], is_meant: &dyn Fn(&Mapping, &Flow) -> bool) {
        for v6 in [false, true] {
            let ours: Vec<&Mapping> = mappings.iter().filter(|one| one.to.v6 == v6).collect();
            if !ours.is_empty() {
                let any = |flow: &Flow| ours.iter().any(|by| is_meant(by, flow));
                conntrack::forget(&mut self.0, family(v6), &any);
            }
        }
    }

    /// Takes published ports back, those that still lead where the mapping says.
    pub fn withdraw(&mut self, mappings: &[Mapping]) -> Result<()> {
        for mapping in mappings {
            let (map, key, data) = parts(mapping);
            let found = nft::find_element(&mut self.0, family(mapping.to.v6), map, &key);
            match found {
                Ok(Some(there)) if there == data => self.remove(mapping)?,
                _ => {}
            }
        }
        // The address may be another's in a moment.
        self.forget(mappings, &Mapping::leads);
        Ok(())
    }

    fn remove(&mut self, mapping: &Mapping) -> Result<()> {
        let mut batch = Batch::new(family(mapping.to.v6));
        put(&mut batch, &[mapping], false);
        match batch.send(&mut self.0) {
            Err(Refused { errno: Errno::ENOENT, .. }) => Ok(()),
            other => explain(other, "take back a published port"),
        }
    }
}

/// The map that a mapping belongs to, its key, and what that leads to. Each part of a
/// concatenation is padded to four bytes.
fn parts(mapping: &Mapping) -> (&'static str, Vec<u8>, Vec<u8>) {
    let service = |port: u16| [port.to_be_bytes()[0], port.to_be_bytes()[1], 0, 0];
    let protocol = if mapping.udp { libc::IPPROTO_UDP } else { libc::IPPROTO_TCP };
    let (map, mut key) = match mapping.at.is_any() {
        true => ("ports", Vec::new()),
        false => ("ports_at", mapping.at.bytes()),
    };
    key.extend([protocol as u8, 0, 0, 0]);
    key.extend(service(mapping.port));
    let data = [mapping.to.bytes(), service(mapping.to_port).to_vec()].concat();
    (map, key, data)
}

fn put(batch: &mut Batch, mappings: &[&Mapping], add: bool) {
    for map in ["ports", "ports_at"] {
        let elements = mappings.iter().map(|mapping| parts(mapping));
        let elements: Vec<Element> = elements
            .filter(|(of, ..)| *of == map)
            .map(|(_, key, data)| Element {
                data: if add { data } else { Vec::new() },
                ..element(key)
            })
            .collect();
        batch.change(map, &elements, add);
    }
}

/// The whole table of a family. Hooks are `NF_INET_*`, priorities those of nft(8)'s names.
fn table(v6: bool) -> Batch {
    let (address, length) = if v6 { (nft::ADDRESS_V6, 16) } else { (nft::ADDRESS_V4, 4) };
    let service = nft::PROTOCOL << 6 | nft::SERVICE;
    let to = Some((address << 6 | nft::SERVICE, length + 4));
    let set = |name, key| Set { name, key, data: None, interval: false };
    let mut batch = Batch::new(family(v6));
    batch.new_table();
    batch.new_set(&set("bridges", (nft::INTERFACE, 16)));
    batch.new_set(&set("internal", (nft::INTERFACE, 16)));
    batch.new_set(&set("same", (nft::INTERFACE << 6 | nft::INTERFACE, 32)));
    batch.new_set(&Set { interval: true, ..set("inner", (address, length)) });
    batch.new_set(&Set { data: to, ..set("ports", (service, 8)) });
    let at = (address << 12 | service, length + 8);
    batch.new_set(&Set { data: to, ..set("ports_at", at) });
    let own = if v6 { Family::V6 } else { Family::V4 };
    let applies = |family| family == Family::Both || family == own;
    for (_, chain) in CHAINS.iter().filter(|(family, _)| applies(*family)) {
        batch.new_chain(chain);
    }
    for (chain, _, steps) in RULES.iter().filter(|(_, family, _)| applies(*family)) {
        batch.new_rule(chain, steps);
    }
    batch
}

/// A rule: the chain, whether it is for one family only, and what it is made of.
type Rule = (&'static str, Family, &'static [Step]);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    Both,
    V4,
    V6,
}

const INPUT: i32 = libc::NFT_META_IIFNAME;
const OUTPUT: i32 = libc::NFT_META_OIFNAME;
const ZERO: &[u8] = &[0; 4];
/// What is meant for this host.
const LOCAL: &[u8] = &(libc::RTN_LOCAL as u32).to_ne_bytes();
/// The host's loopback as an interface's name.
const LO: &[u8] = b"lo\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

const CHAINS: &[(Family, Chain)] = &[
    (Family::Both, Chain { name: "prerouting", kind: "nat", hook: 0, priority: -100 }),
    (Family::Both, Chain { name: "output", kind: "nat", hook: 3, priority: -100 }),
    (Family::Both, Chain { name: "postrouting", kind: "nat", hook: 4, priority: 100 }),
    (Family::Both, Chain { name: "forward", kind: "filter", hook: 2, priority: 0 }),
];

const TO_ANY: &[Step] = &[
    Step::Kind,
    Step::Is(LOCAL),
    Step::Protocol { behind_address: false },
    Step::Service { behind_address: false },
    Step::Lookup("ports"),
    Step::Translate,
];
const TO_ONE: &[Step] = &[
    Step::Kind,
    Step::Is(LOCAL),
    Step::Destination,
    Step::Protocol { behind_address: true },
    Step::Service { behind_address: true },
    Step::Lookup("ports_at"),
    Step::Translate,
];
/// No other host answers to ::1: that is left to the socket.
const TO_ANY_V6: &[Step] = &[
    Step::Destination,
    Step::IsNot(&LOOPBACK_V6),
    Step::Kind,
    Step::Is(LOCAL),
    Step::Protocol { behind_address: false },
    Step::Service { behind_address: false },
    Step::Lookup("ports"),
    Step::Translate,
];

/// Published ports; the address that members show outside; what is forwarded: answers, published
/// ports, what stays in a network, what leaves one that is not internal. Nothing else gets into one.
const RULES: &[Rule] = &[
    (
        // What is published on 127.0.0.1 is published to this host, and whether a packet from
        // elsewhere may have such an address is looked at later only. Bridges route 127.0.0.0/8, see
        // `prepare_bridge`: members must not get at the host's loopback by it. Only the first packet
        // of a connection comes by here.
        "prerouting",
        Family::V4,
        &[Step::FirstByte(4), Step::Is(&[127]), Step::Meta(INPUT, 0), Step::IsNot(LO), Step::Drop],
    ),
    ("prerouting", Family::Both, TO_ONE),
    ("prerouting", Family::V4, TO_ANY),
    ("prerouting", Family::V6, TO_ANY_V6),
    ("output", Family::Both, TO_ONE),
    ("output", Family::V4, TO_ANY),
    ("output", Family::V6, TO_ANY_V6),
    (
        "postrouting",
        Family::Both,
        &[
            Step::Source,
            Step::In("inner"),
            Step::Meta(OUTPUT, 0),
            Step::NotIn("bridges"),
            // The bridge's own address is the host's to talk to itself.
            Step::IsNot(LO),
            Step::Masquerade,
        ],
    ),
    (
        // From a member to a published port: the answer must come back this way.
        "postrouting",
        Family::Both,
        &[
            Step::Meta(OUTPUT, 0),
            Step::In("bridges"),
            Step::Connection(libc::NFT_CT_STATUS),
            Step::Mask(TRANSLATED),
            Step::IsNot(ZERO),
            Step::Source,
            Step::In("inner"),
            Step::Masquerade,
        ],
    ),
    (
        // From the host's own 127.0.0.1, which means another host to the member.
        "postrouting",
        Family::V4,
        &[
            Step::Meta(OUTPUT, 0),
            Step::In("bridges"),
            Step::FirstByte(0),
            Step::Is(&[127]),
            Step::Masquerade,
        ],
    ),
    (
        "forward",
        Family::Both,
        &[Step::Connection(libc::NFT_CT_STATE), Step::Mask(KNOWN), Step::IsNot(ZERO), Step::Accept],
    ),
    (
        "forward",
        Family::Both,
        &[
            Step::Connection(libc::NFT_CT_STATUS),
            Step::Mask(TRANSLATED),
            Step::IsNot(ZERO),
            Step::Accept,
        ],
    ),
    (
        "forward",
        Family::Both,
        &[Step::Meta(INPUT, 0), Step::Meta(OUTPUT, 4), Step::In("same"), Step::Accept],
    ),
    ("forward", Family::Both, &[Step::Meta(INPUT, 0), Step::In("internal"), Step::Drop]),
    ("forward", Family::Both, &[Step::Meta(OUTPUT, 0), Step::In("bridges"), Step::Drop]),
];

/// The last rule of `forward` on a host that forwarded nothing before.
const GUARD: &[Step] = &[Step::Meta(INPUT, 0), Step::NotIn("bridges"), Step::Drop];

/// The directory and the name of the switch that has the host forward packets.
fn switch(v6: bool) -> Result<(Dir, &'static str)> {
    let (path, name) = match v6 {
        true => ("sys/net/ipv6/conf/all", "forwarding"),
        false => ("sys/net/ipv4", "ip_forward"),
    };
    Ok((proc::dir(path).context(format_args!("open /proc/{path}"))?, name))
}

/// Whether the host forwards packets of a family already.
pub fn forwards(v6: bool) -> Result<bool> {
    let (dir, name) = switch(v6)?;
    let value = control::read(&dir, name).context(format_args!("read {name}"))?;
    Ok(value.trim() != "0")
}

/// Has the host forward packets of a family.
pub fn forward(v6: bool) -> Result<()> {
    let (dir, name) = switch(v6)?;
    if v6 {
        keep_router_advertisements();
    }
    let what = || format!("set {name}");
    control::write(&dir, name, "1").context(what()).map_err(|error| match error.errno {
        Some(Errno::EROFS) => error.hint("/proc/sys must be writable here to use networks"),
        _ => error,
    })
}

/// A host that forwards stops listening to routers, unless each interface is told not to:
/// `accept_ra` 2. Source: Documentation/networking/ip-sysctl.rst.
fn keep_router_advertisements() {
    let Ok(all) = proc::dir("sys/net/ipv6/conf") else { return };
    for name in all.names().unwrap_or_default() {
        let Ok(dir) = all.dir(&name) else { continue };
        if name != "all" && control::read(&dir, "accept_ra").is_ok_and(|value| value.trim() == "1")
        {
            // One that just went needs no routers.
            let _ = control::write(&dir, "accept_ra", "2");
        }
    }
}

/// Sets what a bridge needs: nobody is told of a shorter way past it, or listened to as a router, and where the kernel has our
/// table, which keeps members from the host's 127.0.0.0/8, packets of 127.0.0.1 may leave by it, for
/// published ports.
pub fn prepare_bridge(name: &str, translated: bool) -> Result<()> {
    let path = format!("sys/net/ipv4/conf/{name}");
    let what = || format!("set /proc/{path}");
    let dir = proc::dir(&path).context(what())?;
    if translated {
        control::write(&dir, "route_localnet", "1").context(what())?;
    }
    control::write(&dir, "send_redirects", "0").context(what())?;
    // A member must not be the host's router.
    let path = format!("sys/net/ipv6/conf/{name}");
    match proc::dir(&path) {
        // A host without IPv6.
        Err(Errno::ENOENT) => Ok(()),
        dir => dir
            .and_then(|dir| control::write(&dir, "accept_ra", "0"))
            .context(format_args!("set /proc/{path}")),
    }
}

/// An error for what needs nf_tables on a kernel without.
pub fn missing() -> Error {
    Error::new("this kernel has no nf_tables with fib, nat and masquerade")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_is_a_key_and_data_padded_to_words() {
        let address = |text| Address::parse(text).unwrap();
        let mapping = Mapping {
            at: address("0.0.0.0"),
            port: 8080,
            udp: false,
            to: address("10.1.2.3"),
            to_port: 80,
        };
        let key = vec![6, 0, 0, 0, 0x1f, 0x90, 0, 0];
        assert_eq!(parts(&mapping), ("ports", key, vec![10, 1, 2, 3, 0, 80, 0, 0]));
        let mapping = Mapping { at: address("127.0.0.1"), udp: true, ..mapping };
        let (map, key, _) = parts(&mapping);
        assert_eq!(
            (map, &key[..]),
            ("ports_at", &[127, 0, 0, 1, 17, 0, 0, 0, 0x1f, 0x90, 0, 0][..])
        );
    }

    #[test]
    fn a_connection_is_known_by_the_port_it_came_by_and_who_answers() {
        let address = |text| Address::parse(text).unwrap();
        let host = address("192.0.2.5");
        let wanted = (host, 5000);
        let answers = (address("10.0.0.2"), 53);
        let flow = Flow { udp: true, wanted, answers, name: (Vec::new(), None) };
        let to = answers.0;
        let led = Mapping { at: address("0.0.0.0"), port: 5000, udp: true, to, to_port: 53 };
        assert!(led.leads(&flow) && !led.misses(&flow, &[host]));
        let other = Mapping { to_port: 54, ..led.clone() };
        assert!(!other.leads(&flow) && other.misses(&flow, &[host]));
        assert!(!other.misses(&flow, &[]), "it was meant for another host");
        for other in [
            Mapping { udp: false, ..led.clone() },
            Mapping { port: 5001, ..led.clone() },
            Mapping { at: address("127.0.0.1"), ..led },
        ] {
            assert!(!other.leads(&flow) && !other.misses(&flow, &[host]));
        }
    }
}
