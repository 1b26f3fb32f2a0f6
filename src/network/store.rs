//! Networks as files: `ROOT/networks/NAME/network.json`, with the leases beside it.
//!
//! A network is there when its `network.json` is. The lock on `networks` is held for every change.

use super::address::{Address, Subnet};
use super::links::{Links, Route};
use super::{hash, ipam};
use crate::error::{Cause, Context, Error, Result};
use crate::sys::fs::{self, Dir, Lock};
use crate::sys::{Errno, file, proc};
use miniserde::{Deserialize, Serialize, json};
use std::collections::BTreeMap;
use std::os::fd::AsFd;

/// The network of containers that ask for none.
pub const DEFAULT: &str = "rocker0";
const DEFINITION: &str = "network.json";
const LEASES: &str = "leases";
/// Which families rocker has had the host forward, in which boot and network namespace.
const FORWARDING: &str = ".forwarding";
/// The kernel's limit for the name of an interface.
const LONGEST: usize = 15;
/// Words that mean something else where a network is named.
const RESERVED: [&str; 4] = ["none", "host", "bridge", "default"];

/// `network.json`: what a network is. Survives a reboot.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Network {
    /// Version of this layout: 1.
    pub version: u32,
    /// Twelve hexadecimal digits.
    pub id: String,
    pub name: String,
    /// The interface that its members are connected to; the name of the network wherever it can.
    pub bridge: String,
    /// Seconds since the epoch.
    pub created: i64,
    /// Whether its members reach nobody outside.
    pub internal: bool,
    pub labels: BTreeMap<String, String>,
    /// One for each family.
    pub ranges: Vec<Range>,
}

/// Addresses of a network as they are stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Range {
    pub subnet: String,
    pub gateway: String,
}

/// The same as numbers.
#[derive(Debug, Clone, Copy)]
pub struct Pool {
    pub subnet: Subnet,
    /// The bridge's own address.
    pub gateway: Address,
}

/// What a new network shall be.
#[derive(Debug, Default)]
pub struct Wanted {
    pub name: String,
    pub subnets: Vec<Subnet>,
    pub gateways: Vec<Address>,
    pub internal: bool,
    pub v6: bool,
    pub labels: BTreeMap<String, String>,
    pub created: i64,
}

impl Network {
    /// Its ranges as numbers, one for each family. An error where what is stored is no address.
    pub fn pools(&self) -> Result<Vec<Pool>> {
        let pool = |range: &Range| {
            let subnet = Subnet::parse(&range.subnet)?;
            Ok(Pool { subnet, gateway: Address::parse(&range.gateway)? })
        };
        let pools: Result<Vec<Pool>> = self.ranges.iter().map(pool).collect();
        pools.context(format_args!("network {}", self.name))
    }

    /// Reads addresses that are wanted in it: each must be one that a member can have.
    pub fn wanted(&self, texts: &[String]) -> Result<Vec<Address>> {
        let pools = self.pools()?;
        let mut addresses = Vec::new();
        for text in texts {
            let address = Address::parse(text)?;
            let fits = |pool: &Pool| pool.subnet.has_room_for(address) && address != pool.gateway;
            if !pools.iter().any(fits) {
                let what = format!("address {text}: is not for members of {}", self.name);
                return Err(Error::new(what));
            }
            addresses.push(address);
        }
        Ok(addresses)
    }

    /// The ways out for its members.
    pub fn gateways(&self) -> Vec<String> {
        let mut gateways = Vec::new();
        for range in self.ranges.iter().filter(|_| !self.internal) {
            gateways.push(range.gateway.clone());
        }
        gateways
    }

    /// Whether its interface is one that it can have been given: by another name it could be that
    /// of another network, which is removed with this one.
    fn owns(&self) -> bool {
        let number = self.bridge.strip_prefix("rocker").map(str::parse::<u32>);
        self.bridge == self.name || self.name == DEFAULT && matches!(number, Some(Ok(_)))
    }

    /// Whether its members find each other by name: all but those of the default network.
    pub fn has_names(&self) -> bool {
        self.name != DEFAULT
    }
}

/// The networks of an engine.
#[derive(Debug)]
pub struct Store {
    dir: Dir,
    /// Another for each ROOT of the host.
    pub mark: u64,
}

impl Store {
    /// `dir` is `ROOT/networks`, `root` the path of ROOT.
    pub fn new(dir: Dir, root: &str) -> Self {
        Self { dir, mark: hash(root) }
    }

    /// The lock on all networks, until it is dropped.
    pub fn lock(&self) -> Result<Dir> {
        let turn = self.dir.dir(".").context("open the networks")?;
        fs::lock(turn.as_fd(), Lock::Exclusive).context("lock the networks")?;
        Ok(turn)
    }

    /// The lock on one network, until it is dropped: shared while an address of it is taken,
    /// exclusive while it is removed. Whoever takes both takes this one before that on all.
    pub fn hold(&self, network: &Network, lock: Lock) -> Result<Dir> {
        let name = &network.name;
        let what = || format!("lock network {name}");
        let held = match self.dir.dir(name) {
            Err(Errno::ENOENT) => return Err(no_such_network(name)),
            other => other.context(what())?,
        };
        fs::lock(held.as_fd(), lock).context(what())?;
        self.check(network).map(|()| held)
    }

    /// An error where a network has been removed since it was found.
    pub fn check(&self, network: &Network) -> Result<()> {
        match self.open(&network.name)? {
            Some(now) if now.id == network.id => Ok(()),
            _ => Err(no_such_network(&network.name)),
        }
    }

    /// The network of exactly this name.
    pub fn open(&self, name: &str) -> Result<Option<Network>> {
        if !is_name(name) {
            return Ok(None);
        }
        let what = || format!("read network {name}");
        let bytes = match self.dir.read(format!("{name}/{DEFINITION}"), 1 << 20) {
            Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(None),
            other => other.context(what())?,
        };
        let network = std::str::from_utf8(&bytes).ok().and_then(|text| json::from_str(text).ok());
        let network = network.filter(|network: &Network| network.name == name && network.owns());
        network.map(Some).ok_or_else(|| {
            let place = format!("networks/{name}/{DEFINITION}");
            Error::new(format!("{}: {place} is damaged", what())).cause(Cause::Damaged)
        })
    }

    /// Whether there is a network of this name that cannot be read.
    pub fn is_damaged(&self, name: &str) -> bool {
        self.open(name).is_err_and(|error| error.cause == Cause::Damaged)
    }

    /// The network of this name, or whose id begins so.
    pub fn find(&self, name: &str) -> Result<Network> {
        if let Some(network) = self.open(name)? {
            return Ok(network);
        }
        let mut found = self.list()?;
        found.retain(|network| name.len() > 1 && network.id.starts_with(name));
        match (found.pop(), found.is_empty()) {
            (Some(network), true) => Ok(network),
            _ => Err(no_such_network(name)),
        }
    }

    /// All networks, by name. Nobody else's work ends because one of them is damaged.
    pub fn list(&self) -> Result<Vec<Network>> {
        self.list_all(&mut |_| {})
    }

    /// All networks, by name; `damaged` is told of each that cannot be read.
    pub fn list_all(&self, damaged: &mut dyn FnMut(Error)) -> Result<Vec<Network>> {
        let mut list = Vec::new();
        for name in self.dir.sorted_names().context("list the networks")? {
            match self.open(&name) {
                Ok(network) => list.extend(network),
                Err(error) => damaged(error),
            }
        }
        Ok(list)
    }

    /// Whether it was rocker that had this host forward packets of a family, since it booted.
    pub fn forwarding_is_ours(&self, v6: bool, links: &Links) -> Result<bool> {
        let noted = match self.dir.read(FORWARDING, 4096) {
            Err(Errno::ENOENT) => return Ok(false),
            other => other.context(format_args!("read networks/{FORWARDING}"))?,
        };
        let line = forwarding_line(v6, links)?;
        Ok(String::from_utf8_lossy(&noted).lines().any(|noted| noted == line))
    }

    /// Notes that it was; `_turn` is the lock.
    pub fn note_forwarding(&self, v6: bool, links: &Links, _turn: &Dir) -> Result<()> {
        let mut lines = forwarding_line(v6, links)?;
        if self.forwarding_is_ours(!v6, links)? {
            lines = format!("{lines}\n{}", forwarding_line(!v6, links)?);
        }
        let text = format!("{lines}\n");
        let noted = self.dir.replace(FORWARDING, text.as_bytes(), false);
        noted.context(format_args!("write networks/{FORWARDING}"))
    }

    /// The leases of a network.
    pub fn leases(&self, name: &str) -> Result<Dir> {
        self.dir
            .dir(format!("{name}/{LEASES}"))
            .context(format_args!("open the leases of network {name}"))
    }

    /// Makes a network; `_turn` is the lock. Its bridge is another step.
    pub fn create(&self, wanted: &Wanted, _turn: &Dir) -> Result<Network> {
        let name = &wanted.name;
        check_name(name)?;
        if self.open(name)?.is_some() {
            return Err(Error::new(format!("network with name {name} already exists")));
        }
        let others = self.list()?;
        let mut links = Links::open()?;
        let bridge = self.bridge(name, &links, &others)?;
        let routes = links.routes()?;
        let ranges = ranges(wanted, &others, &routes)?;
        let mut bytes = [0_u8; 6];
        file::random(&mut bytes).context("read random bytes")?;
        let id = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let (created, internal) = (wanted.created, wanted.internal);
        let labels = wanted.labels.clone();
        let name = name.clone();
        let network = Network { version: 1, id, name, bridge, created, internal, labels, ranges };
        self.write(&network)?;
        Ok(network)
    }

    /// The interface for a network. The default one takes another where its own is in use
    /// already: by an engine with another ROOT.
    fn bridge(&self, name: &str, links: &Links, others: &[Network]) -> Result<String> {
        let taken = |bridge: &str| -> Result<bool> {
            let ours = others.iter().any(|other| other.bridge == bridge);
            Ok(ours || links.index(bridge)?.is_some())
        };
        if !taken(name)? {
            return Ok(name.to_owned());
        }
        if name == DEFAULT {
            for number in 1..1000 {
                let bridge = format!("rocker{number}");
                if !taken(&bridge)? {
                    return Ok(bridge);
                }
            }
        }
        Err(Error::new(format!("an interface {name} is there already"))
            .hint("a network is called as its bridge: take another name"))
    }

    fn write(&self, network: &Network) -> Result<()> {
        let name = &network.name;
        let what = || format!("store network {name}");
        for path in [name.clone(), format!("{name}/{LEASES}")] {
            match self.dir.mkdir(&path, 0o700) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(errno) => return Err(errno).context(what()),
            }
        }
        let dir = self.dir.dir(name).context(what())?;
        let text = json::to_string(network) + "\n";
        dir.replace(DEFINITION, text.as_bytes(), true).context(what())?;
        dir.sync().and_then(|()| self.dir.sync()).context(what())
    }

    /// Forgets a network; `_turn` is the lock. May be called at any time, twice.
    pub fn forget(&self, name: &str, _turn: &Dir) -> Result<()> {
        let what = || format!("remove network {name}");
        let dir = match self.dir.dir(name) {
            Err(Errno::ENOENT) => return Ok(()),
            other => other.context(what())?,
        };
        match dir.unlink(DEFINITION) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno).context(what()),
        }
        if let Ok(leases) = dir.dir(LEASES) {
            for (address, _) in ipam::members(&leases)? {
                leases.unlink(address.to_string()).context(what())?;
            }
            dir.rmdir(LEASES).context(what())?;
        }
        self.dir.rmdir(name).context(what())
    }
}

/// What is noted of a family that this host forwards since rocker asked for it.
fn forwarding_line(v6: bool, links: &Links) -> Result<String> {
    let boot = proc::read("sys/kernel/random/boot_id").context("read the id of this boot")?;
    let namespace = fs::stat(links.namespace()?.as_fd()).context("look at the network")?.inode;
    Ok(format!("ipv{} {} {namespace}", if v6 { 6 } else { 4 }, boot.trim()))
}

fn no_such_network(name: &str) -> Error {
    Error::new(format!("No such network: {}", name.escape_debug()))
        .cause(Cause::NotFound)
        .hint("rocker network ls lists the networks")
}

/// Whether a text can be the name of a network, and so of an interface.
fn is_name(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    name.len() <= LONGEST
        && name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric())
        && name.bytes().all(inner)
}

fn check_name(name: &str) -> Result<()> {
    let refuse = |why: &str| Err(Error::new(format!("network name {name:?}: {why}")));
    match name {
        _ if name.len() > LONGEST => refuse("an interface name has at most 15 characters"),
        _ if !is_name(name) => refuse("only letters, digits, '_', '.' and '-' are allowed"),
        _ if RESERVED.contains(&name) => refuse("has another meaning"),
        "lo" | "all" => refuse("is an interface of the kernel's"),
        _ => Ok(()),
    }
}

/// Whether a subnet would take from a route of the host all that it leads to, or a part of what is
/// near.
fn collides(route: &Route, subnet: Subnet) -> bool {
    route.to.overlaps(subnet) && !(route.far && route.to.prefix < subnet.prefix)
}

/// The ranges of a new network: what was asked for, checked, or what is free.
fn ranges(wanted: &Wanted, others: &[Network], routes: &[Route]) -> Result<Vec<Range>> {
    let mut known = Vec::new();
    for other in others {
        known.extend(other.pools()?.iter().map(|pool| (other.name.as_str(), pool.subnet)));
    }
    let mut subnets = wanted.subnets.clone();
    for (index, subnet) in subnets.iter().enumerate() {
        subnet.check()?;
        if subnets[..index].iter().any(|other| other.base.v6 == subnet.base.v6) {
            return Err(Error::new("only one subnet of each family is possible"));
        }
        if let Some((name, other)) = known.iter().find(|(_, other)| other.overlaps(*subnet)) {
            let what = format!("subnet {subnet} overlaps with {other} of network {name}");
            return Err(Error::new(what));
        }
        if let Some(route) = routes.iter().find(|route| collides(route, *subnet)) {
            let route = route.to;
            return Err(Error::new(format!("subnet {subnet} overlaps with {route} of this host")));
        }
    }
    let is_new = |subnet: &Subnet| !known.iter().any(|(_, other)| other.overlaps(*subnet));
    // One that no route leads to at all, if there is one.
    let is_free =
        |subnet: &Subnet| is_new(subnet) && !routes.iter().any(|route| route.to.overlaps(*subnet));
    let is_possible =
        |subnet: &Subnet| is_new(subnet) && !routes.iter().any(|route| collides(route, *subnet));
    if !subnets.iter().any(|subnet| !subnet.base.v6) {
        let free = candidates().find(is_free).or_else(|| candidates().find(is_possible));
        let free = free.ok_or_else(|| {
            Error::new("every private subnet is in use here").hint("name one by --subnet")
        })?;
        subnets.insert(0, free);
    }
    if wanted.v6 && !subnets.iter().any(|subnet| subnet.base.v6) {
        let mut bytes = [0_u8; 8];
        file::random(&mut bytes).context("read random bytes")?;
        // RFC 4193: fd, forty random bits, a subnet.
        let number = 0xfd_u128 << 120 | u128::from(u64::from_le_bytes(bytes) >> 24) << 80;
        subnets.push(Subnet::of(Address { v6: true, number }, 64));
    }
    let range = |subnet: &Subnet| {
        let of = |gateway: &&Address| gateway.v6 == subnet.base.v6;
        let gateway = wanted.gateways.iter().find(of).copied();
        let gateway = gateway.unwrap_or_else(|| subnet.base.plus(1));
        match subnet.has_room_for(gateway) {
            true => Ok(Range { subnet: subnet.to_string(), gateway: gateway.to_string() }),
            false => {
                Err(Error::new(format!("gateway {gateway}: is no usable address of {subnet}")))
            }
        }
    };
    let ranges: Result<Vec<Range>> = subnets.iter().map(range).collect();
    let unused = wanted
        .gateways
        .iter()
        .find(|gateway| !subnets.iter().any(|subnet| subnet.base.v6 == gateway.v6));
    match unused {
        Some(gateway) => Err(Error::new(format!("gateway {gateway}: has no subnet"))),
        None => ranges,
    }
}

/// Subnets for networks that name none: of the private ranges, those that are least used first.
fn candidates() -> impl Iterator<Item = Subnet> {
    let subnet =
        |number: u32, prefix| Subnet::of(Address { v6: false, number: number.into() }, prefix);
    let ten = (88..=127).map(move |second| subnet(10 << 24 | second << 16, 16));
    let middle = (16..=31).map(move |second| subnet(172 << 24 | second << 16, 16));
    let small = (0..=255).map(move |third| subnet(192 << 24 | 168 << 16 | third << 8, 24));
    ten.chain(middle).chain(small)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(subnets: &[&str], gateways: &[&str]) -> Wanted {
        Wanted {
            name: "web".to_owned(),
            subnets: subnets.iter().map(|text| Subnet::parse(text).unwrap()).collect(),
            gateways: gateways.iter().map(|text| Address::parse(text).unwrap()).collect(),
            ..Wanted::default()
        }
    }

    fn chosen(wanted: &Wanted, routes: &[&str]) -> Result<String> {
        let route = |text: &&str| {
            let (subnet, far) = text.strip_suffix(" via").map_or((*text, false), |to| (to, true));
            Route { to: Subnet::parse(subnet).unwrap(), far }
        };
        let routes: Vec<Route> = routes.iter().map(route).collect();
        let ranges = ranges(wanted, &[], &routes)?;
        let texts: Vec<String> =
            ranges.iter().map(|range| format!("{} {}", range.subnet, range.gateway)).collect();
        Ok(texts.join(", "))
    }

    #[test]
    fn a_free_subnet_avoids_the_routes_of_the_host() {
        let plain = wanted(&[], &[]);
        assert_eq!(chosen(&plain, &[]).unwrap(), "10.88.0.0/16 10.88.0.1");
        assert_eq!(chosen(&plain, &["10.88.3.0/24"]).unwrap(), "10.89.0.0/16 10.89.0.1");
        assert_eq!(chosen(&plain, &["10.0.0.0/8"]).unwrap(), "172.16.0.0/16 172.16.0.1");
        let all = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"];
        assert!(chosen(&plain, &all).is_err());
    }

    #[test]
    fn broad_routes_through_a_gateway_leave_room() {
        let plain = wanted(&[], &[]);
        let tunnel = ["0.0.0.0/1 via", "128.0.0.0/1 via"];
        assert_eq!(chosen(&plain, &tunnel).unwrap(), "10.88.0.0/16 10.88.0.1");
        let company = ["10.0.0.0/8 via", "172.16.0.0/12 via", "192.168.0.0/16 via"];
        assert_eq!(chosen(&plain, &company).unwrap(), "10.88.0.0/16 10.88.0.1");
        assert_eq!(chosen(&plain, &company[..1]).unwrap(), "172.16.0.0/16 172.16.0.1");
        let asked = wanted(&["10.9.0.0/24"], &[]);
        assert!(chosen(&asked, &company).is_ok());
        assert!(chosen(&asked, &["10.9.0.0/24 via"]).is_err());
        assert!(chosen(&asked, &["10.9.0.128/25 via"]).is_err());
    }

    #[test]
    fn what_was_asked_for_is_checked() {
        let good = wanted(&["fd00:9::/64", "10.9.0.0/24"], &["10.9.0.254"]);
        assert_eq!(chosen(&good, &[]).unwrap(), "fd00:9::/64 fd00:9::1, 10.9.0.0/24 10.9.0.254");
        assert!(chosen(&good, &["10.0.0.0/8"]).is_err());
        for (subnets, gateways) in [
            (&["10.9.0.0/24", "10.8.0.0/24"][..], &[][..]),
            (&["10.9.0.0/31"], &[]),
            (&["10.9.0.0/24"], &["10.8.0.1"]),
            (&["10.9.0.0/24"], &["10.9.0.255"]),
            (&["10.9.0.0/24"], &["fd00::1"]),
        ] {
            assert!(chosen(&wanted(subnets, gateways), &[]).is_err(), "{subnets:?} {gateways:?}");
        }
    }

    #[test]
    fn a_wanted_address_is_one_for_members() {
        let ranges = ranges(&wanted(&["fd00:9::/64", "10.9.0.0/24"], &[]), &[], &[]).unwrap();
        let network = Network {
            version: 1,
            id: String::new(),
            name: "web".to_owned(),
            bridge: "web".to_owned(),
            created: 0,
            internal: false,
            labels: BTreeMap::new(),
            ranges,
        };
        let wanted = |text: &str| network.wanted(&[text.to_owned()]);
        assert!(wanted("10.9.0.2").is_ok() && wanted("fd00:9::2").is_ok());
        for outside in ["10.9.0.0", "10.9.0.1", "10.9.0.255", "10.8.0.2", "fd00:9::1", "fd00::2"] {
            assert!(wanted(outside).is_err(), "{outside}");
        }
    }

    #[test]
    fn a_network_is_called_as_an_interface_can_be() {
        for bad in ["", "a/b", "-a", "sixteen-letters-", "none", "lo", "a b", "container:x"] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
        assert!(check_name("fifteen-letters").is_ok());
    }
}
