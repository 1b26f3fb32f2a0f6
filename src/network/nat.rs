//! What the kernel does with the packets of networks: translation, published ports, borders.
//!
//! One table for each family, `rocker`, whose rules never change: networks and published ports
//! are elements of its sets and maps. Doc: doc/networks.md.

use super::address::Address;
use super::explain;
use super::nft::{self, Batch, Chain, Element, R0, Set, Step};
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

    /// Makes the table of a family, unless it is there. `guard`: nothing but what comes from or
    /// goes to our networks is forwarded. False where the kernel lacks a part of it.
    pub fn make_table(&mut self, v6: bool, guard: bool) -> Result<bool> {
        match table(v6, guard).send(&mut self.0) {
            Err(Refused { errno: Errno::EEXIST, .. }) => Ok(true),
            Err(refused) if is_missing(&refused) => Ok(false),
            other => explain(other, "make the table rocker").map(|()| true),
        }
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
        Ok(())
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

/// The whole table of a family.
fn table(v6: bool, guard: bool) -> Batch {
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
    put_translation(&mut batch, v6, length);
    put_borders(&mut batch, guard);
    batch
}

/// Published ports, and the address that members show outside.
fn put_translation(batch: &mut Batch, v6: bool, length: u32) {
    let (source, destination) = if v6 { (8, 24) } else { (12, 16) };
    let (protocol, output) = (libc::NFT_META_L4PROTO, libc::NFT_META_OIFNAME);
    // Registers behind the address: one, or four.
    let next = R0 + length / 4;
    for (name, hook) in
        [("prerouting", libc::NF_INET_PRE_ROUTING), ("output", libc::NF_INET_LOCAL_OUT)]
    {
        batch.new_chain(&Chain { name, kind: "nat", hook, priority: libc::NF_IP_PRI_NAT_DST });
        // Only what is meant for this host: RTN_LOCAL.
        let local: [u8; 4] = u32::from(libc::RTN_LOCAL).to_ne_bytes();
        let mut is_local = vec![Step::Destination(R0), Step::Is(R0, &local)];
        if v6 {
            // No other host answers to ::1: that is left to the socket.
            is_local.push(Step::Payload(1, destination, length, R0));
            is_local.push(Step::IsNot(R0, &LOOPBACK_V6));
        }
        let at = [
            Step::Payload(1, destination, length, R0),
            Step::Meta(protocol, next),
            Step::Payload(2, 2, 2, next + 1),
            Step::Lookup("ports_at", R0),
            Step::Translate(R0, next),
        ];
        batch.new_rule(name, &[&is_local[..], &at].concat());
        let any = [
            Step::Meta(protocol, R0),
            Step::Payload(2, 2, 2, R0 + 1),
            Step::Lookup("ports", R0),
            Step::Translate(R0, next),
        ];
        batch.new_rule(name, &[&is_local[..], &any].concat());
    }
    let (name, hook) = ("postrouting", libc::NF_INET_POST_ROUTING);
    batch.new_chain(&Chain { name, kind: "nat", hook, priority: libc::NF_IP_PRI_NAT_SRC });
    let from_member = [Step::Payload(1, source, length, R0), Step::In("inner", R0)];
    let to_bridge = [Step::Meta(output, R0), Step::In("bridges", R0)];
    let own = interface("lo");
    let outside = [
        Step::Meta(output, R0),
        Step::NotIn("bridges", R0),
        // The bridge's own address is the host's to talk to itself.
        Step::IsNot(R0, &own),
        Step::Masquerade,
    ];
    batch.new_rule(name, &[&from_member[..], &outside].concat());
    // From a member to a published port: the answer must come back this way.
    let translated = [
        Step::Connection(libc::NFT_CT_STATUS, R0),
        Step::Mask(R0, TRANSLATED),
        Step::IsNot(R0, &[0; 4]),
    ];
    let masquerade = [Step::Masquerade];
    batch.new_rule(name, &[&to_bridge[..], &translated, &from_member, &masquerade].concat());
    if !v6 {
        // From the host's own 127.0.0.1, which means another host to the member.
        let loopback = [Step::Payload(1, source, 1, R0), Step::Is(R0, &[127]), Step::Masquerade];
        batch.new_rule(name, &[&to_bridge[..], &loopback].concat());
        // A bridge routes 127.0.0.0/8 for that; members must not get at the host's loopback by it.
        let name = "loopback";
        let (hook, priority) = (libc::NF_INET_PRE_ROUTING, libc::NF_IP_PRI_RAW);
        batch.new_chain(&Chain { name, kind: "filter", hook, priority });
        let from_bridge = [Step::Meta(libc::NFT_META_IIFNAME, R0), Step::In("bridges", R0)];
        let loopback = [Step::Payload(1, destination, 1, R0), Step::Is(R0, &[127]), Step::Drop];
        batch.new_rule(name, &[&from_bridge[..], &loopback].concat());
    }
}

/// What is forwarded: answers, published ports, what stays in a network, what leaves one that is
/// not internal. Nothing else gets into a network.
fn put_borders(batch: &mut Batch, guard: bool) {
    let (name, hook) = ("forward", libc::NF_INET_FORWARD);
    let (input, output) = (libc::NFT_META_IIFNAME, libc::NFT_META_OIFNAME);
    batch.new_chain(&Chain { name, kind: "filter", hook, priority: libc::NF_IP_PRI_FILTER });
    for (key, bits) in [(libc::NFT_CT_STATE, KNOWN), (libc::NFT_CT_STATUS, TRANSLATED)] {
        let has = [Step::Connection(key, R0), Step::Mask(R0, bits), Step::IsNot(R0, &[0; 4])];
        batch.new_rule(name, &[&has[..], &[Step::Accept]].concat());
    }
    let same = [Step::Meta(input, R0), Step::Meta(output, R0 + 4), Step::In("same", R0)];
    batch.new_rule(name, &[&same[..], &[Step::Accept]].concat());
    batch.new_rule(name, &[Step::Meta(input, R0), Step::In("internal", R0), Step::Drop]);
    batch.new_rule(name, &[Step::Meta(output, R0), Step::In("bridges", R0), Step::Drop]);
    if guard {
        batch.new_rule(name, &[Step::Meta(input, R0), Step::NotIn("bridges", R0), Step::Drop]);
    }
}

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

/// Sets what a bridge needs: packets of 127.0.0.1 may leave by it, for published ports, and nobody
/// is told of a shorter way past them.
pub fn prepare_bridge(name: &str) -> Result<()> {
    let path = format!("sys/net/ipv4/conf/{name}");
    let what = || format!("set /proc/{path}");
    let dir = proc::dir(&path).context(what())?;
    for (key, value) in [("route_localnet", "1"), ("send_redirects", "0")] {
        control::write(&dir, key, value).context(what())?;
    }
    Ok(())
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
}
