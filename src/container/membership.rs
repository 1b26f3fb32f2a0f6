//! What a container shall have of networks, as it was asked for: networks, addresses, ports,
//! names. Decisions only; `wiring` makes it true.

use super::record::{Membership, NetRecord, Port, Record};
use crate::error::{Cause, Error, Result};
use crate::network::Address;
use crate::network::store::DEFAULT;

/// What the command line asks for, word by word.
#[derive(Debug, Clone, Default)]
pub struct NetOptions {
    pub networks: Vec<String>,
    pub publish: Vec<String>,
    pub publish_all: bool,
    /// Ports like those that the image exposes.
    pub expose: Vec<String>,
    pub publish_mode: Option<String>,
    pub ip: Vec<String>,
    pub mac: Option<String>,
    pub aliases: Vec<String>,
    pub dns: Vec<String>,
    pub dns_search: Vec<String>,
    pub dns_options: Vec<String>,
    pub add_host: Vec<String>,
}

impl NetOptions {
    /// Whether the default network is among those that are meant.
    pub fn wants_default(&self) -> bool {
        let default = |name: &String| matches!(&**name, DEFAULT | "default" | "bridge");
        self.networks.is_empty() || self.networks.iter().any(default)
    }

    /// Whether loopback only will do where the kernel cannot: nothing was asked for that takes a
    /// network.
    pub fn by_default(&self) -> bool {
        self.networks.is_empty()
            && self.publish.is_empty()
            && !self.publish_all
            && self.ip.is_empty()
            && self.mac.is_none()
            && self.aliases.is_empty()
    }
}

impl NetRecord {
    /// Whether the default network is among those of the container.
    pub fn wants_default(&self) -> bool {
        self.memberships.iter().any(|one| one.network == DEFAULT)
    }
}

impl Port {
    /// `tcp` or `udp`.
    pub fn protocol(&self) -> &'static str {
        if self.udp { "udp" } else { "tcp" }
    }

    /// `0.0.0.0:8080->80/tcp`, as docker shows it.
    pub fn text(&self) -> String {
        format!("{}:{}->{}/{}", self.shown_at(), self.host, self.inner, self.protocol())
    }

    /// The address as it is shown: with brackets where it has colons.
    pub fn shown_at(&self) -> String {
        match &*self.at {
            "" => "0.0.0.0".to_owned(),
            at if at.contains(':') => format!("[{at}]"),
            at => at.to_owned(),
        }
    }
}

/// Reads a switch.
pub fn is_set(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" | "t" | "T" | "1" => Some(true),
        "false" | "False" | "FALSE" | "f" | "F" | "0" => Some(false),
        _ => None,
    }
}

/// Reads a MAC address; one for a group of hosts is none of an interface.
pub fn parse_mac(text: &str) -> Result<[u8; 6]> {
    let bytes: Vec<Option<u8>> =
        text.split(':').map(|part| u8::from_str_radix(part, 16).ok()).collect();
    match bytes[..] {
        [Some(a), Some(b), Some(c), Some(d), Some(e), Some(f)] if a & 1 == 0 => {
            Ok([a, b, c, d, e, f])
        }
        _ => Err(Error::new(format!("{text:?} is no MAC address of an interface"))),
    }
}

/// A hardware address as `parse_mac` reads it: `02:42:ac:11:00:02`.
pub fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// A number or a range of ports, both ends included.
pub fn ports(text: &str) -> Option<(u16, u16)> {
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    let number = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
    match (number(from), number(to)) {
        (Some(from), Some(to)) if from <= to => Some((from, to)),
        _ => None,
    }
}

/// Reads `[IP:][HOST]:CTR[/tcp|udp]`, both as ranges of the same length.
pub fn parse_publish(text: &str) -> Result<Vec<Port>> {
    let refuse = |why: &str| Err(Error::new(format!("port {text:?}: {why}")));
    let (rest, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let udp = match &*protocol.to_ascii_lowercase() {
        "tcp" => false,
        "udp" => true,
        _ => return refuse("the protocol is tcp or udp"),
    };
    let (rest, inner) = rest.rsplit_once(':').unwrap_or(("", rest));
    let (at, host) = rest.rsplit_once(':').unwrap_or(("", rest));
    let at = at.strip_prefix('[').and_then(|at| at.strip_suffix(']')).unwrap_or(at);
    let at = match at {
        "" => String::new(),
        at => match Address::parse(at) {
            // As without an address, but in this family only.
            Ok(address) => address.to_string(),
            Err(_) => return refuse("is not [IP:][HOST]:CONTAINER[/PROTOCOL]"),
        },
    };
    let Some(inner) = ports(inner) else {
        return refuse("ports are numbers from 1 to 65535");
    };
    let host = match host {
        "" | "0" => None,
        host => match ports(host) {
            Some(host) => Some(host),
            None => return refuse("ports are numbers from 1 to 65535"),
        },
    };
    if host.is_some_and(|host| host.1 - host.0 != inner.1 - inner.0) {
        return refuse("the ranges have different lengths");
    }
    let port = |offset| Port {
        at: at.clone(),
        host: host.map_or(0, |host| host.0 + offset),
        inner: inner.0 + offset,
        udp,
    };
    Ok((0..=inner.1 - inner.0).map(port).collect())
}

/// The networks part of a new record, and the mode that is shown. `exposed` are the image's ports.
pub fn plan(options: &NetOptions, exposed: &[String]) -> Result<(String, NetRecord)> {
    let mut net = NetRecord {
        by_default: options.by_default(),
        publish_mode: options.publish_mode.clone().unwrap_or_default(),
        dns: options.dns.clone(),
        dns_search: options.dns_search.clone(),
        dns_options: options.dns_options.clone(),
        hosts: options.add_host.clone(),
        ..Default::default()
    };
    for server in &net.dns {
        Address::parse(server)?;
    }
    for host in &net.hosts {
        check_host(host)?;
    }
    let mut publish = |text: &str, again: bool| -> Result<()> {
        for port in parse_publish(text)? {
            let same = |other: &Port| other.inner == port.inner && other.udp == port.udp;
            if again || !net.ports.iter().any(same) {
                net.ports.push(port);
            }
        }
        Ok(())
    };
    for text in &options.publish {
        publish(text, true)?;
    }
    for text in &options.expose {
        check_exposed(text)?;
    }
    if options.publish_all {
        for text in exposed.iter().chain(&options.expose) {
            publish(text, false)?;
        }
    }
    for (index, port) in net.ports.iter().enumerate() {
        let same = |other: &Port| other == port && port.host != 0;
        if net.ports[..index].iter().any(same) {
            return Err(allocated(port));
        }
    }
    let mode = mode(options, &mut net)?;
    check_aliases(&options.aliases, net.memberships.iter().any(|one| one.network != DEFAULT))?;
    Ok((mode, net))
}

/// Checks that a text is a port, or a range of them, and says nothing of the host.
fn check_exposed(text: &str) -> Result<()> {
    match parse_publish(text) {
        Ok(_) if !text.contains(':') => Ok(()),
        _ => Err(Error::new(format!("exposed port {text:?}: not PORT[-PORT][/PROTOCOL]"))),
    }
}

/// The error for a port of the host that is in use.
pub fn allocated(port: &Port) -> Error {
    Error::new(format!(
        "{}:{}/{}: port is already allocated",
        port.shown_at(),
        port.host,
        port.protocol()
    ))
    .cause(Cause::InUse)
}

impl NetRecord {
    /// Whether names or those who know them were asked for.
    fn has_names(&self) -> bool {
        let asked = [&self.hosts, &self.dns, &self.dns_search, &self.dns_options];
        asked.iter().any(|list| !list.is_empty())
    }
}

/// Whether a text can be a name in /etc/hosts.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Checks further names of a container; `named`: it is in a network that has names.
pub fn check_aliases(aliases: &[String], named: bool) -> Result<()> {
    for alias in aliases {
        if !named || !is_plain(alias) {
            let why = if named { "is not usable" } else { "the default network has no names" };
            return Err(Error::new(format!("network alias {alias:?}: {why}")));
        }
    }
    Ok(())
}

fn check_host(text: &str) -> Result<()> {
    let (name, address) = text.split_once([':', '=']).unwrap_or((text, ""));
    let good =
        address == "host-gateway" || Address::parse(address.trim_matches(['[', ']'])).is_ok();
    match is_plain(name) && good {
        true => Ok(()),
        false => Err(Error::new(format!("host {text:?}: is not NAME:ADDRESS"))),
    }
}

/// Which networks it is: `none`, `host`, `container:ID`, or the names of those it joins.
fn mode(options: &NetOptions, net: &mut NetRecord) -> Result<String> {
    let mut names: Vec<&str> = options.networks.iter().map(String::as_str).collect();
    if names.is_empty() {
        names.push(DEFAULT);
    }
    let alone = |name: &str| matches!(name, "none" | "host") || name.starts_with("container:");
    match names[..] {
        [name] if alone(name) => {
            let refuse = |what: &str| Err(Error::new(format!("--net {name} has no {what}")));
            let shares = name.starts_with("container:");
            match () {
                () if shares && net.has_names() => refuse("names of its own"),
                () if !net.ports.is_empty() && name != "host" => refuse("ports to publish"),
                () if !options.ip.is_empty() => refuse("addresses to choose"),
                () if options.mac.is_some() => refuse("interface to choose an address for"),
                () if !options.aliases.is_empty() => refuse("names"),
                () => {
                    // The ports of the host are its own.
                    net.ports.clear();
                    Ok(name.to_owned())
                }
            }
        }
        _ => {
            for (index, name) in names.iter().enumerate() {
                if alone(name) {
                    return Err(Error::new(format!("--net {name} goes with no other network")));
                }
                // docker's word for its own default.
                let name = if matches!(*name, "default" | "bridge") { DEFAULT } else { *name };
                let first = index == 0;
                if net.memberships.iter().any(|other| other.network == name) {
                    return Err(Error::new(format!("network {name} is named twice")));
                }
                net.memberships.push(Membership {
                    network: name.to_owned(),
                    addresses: if first { plain_addresses(&options.ip)? } else { Vec::new() },
                    mac: match &options.mac {
                        Some(mac) if first => mac_text(parse_mac(mac)?),
                        _ => String::new(),
                    },
                    aliases: options.aliases.clone(),
                });
            }
            Ok(joined(net))
        }
    }
}

/// The names of the networks, as they are shown.
pub fn joined(net: &NetRecord) -> String {
    let names: Vec<&str> = net.memberships.iter().map(|one| one.network.as_str()).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(",") }
}

/// Checks addresses that were asked for: at most one of each family.
pub fn plain_addresses(texts: &[String]) -> Result<Vec<String>> {
    let mut found: Vec<Address> = Vec::new();
    for text in texts {
        let address = Address::parse(text)?;
        if found.iter().any(|other| other.v6 == address.v6) {
            return Err(Error::new(format!("address {text}: only one of each family is possible")));
        }
        found.push(address);
    }
    Ok(found.iter().map(Address::to_string).collect())
}

/// Whether a container has a network namespace of its own.
pub fn has_own_namespace(record: &Record) -> bool {
    is_own(&record.network)
}

/// The same by the mode of its network.
pub fn is_own(mode: &str) -> bool {
    mode != "host" && !mode.starts_with("container:")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published(text: &str) -> Vec<String> {
        parse_publish(text).unwrap().iter().map(Port::text).collect()
    }

    #[test]
    fn a_published_port_is_read_in_each_of_its_forms() {
        assert_eq!(published("8080:80"), ["0.0.0.0:8080->80/tcp"]);
        assert_eq!(published("80"), ["0.0.0.0:0->80/tcp"]);
        assert_eq!(published("8080:80/TCP"), ["0.0.0.0:8080->80/tcp"]);
        assert_eq!(published("127.0.0.1:8080:80/udp"), ["127.0.0.1:8080->80/udp"]);
        assert_eq!(published("127.0.0.1::80"), ["127.0.0.1:0->80/tcp"]);
        assert_eq!(published("[::1]:8080:80"), ["[::1]:8080->80/tcp"]);
        assert_eq!(published("8080-8081:80-81"), ["0.0.0.0:8080->80/tcp", "0.0.0.0:8081->81/tcp"]);
        for bad in [
            "",
            ":",
            "70000:1",
            "1:70000",
            "0",
            "80:0",
            "80:80/sctp",
            "a:80",
            "9-8:80",
            "x:1:2",
            "80-82:80",
            "-1:80",
            "1:2:3:4",
        ] {
            assert!(parse_publish(bad).is_err(), "{bad}");
        }
    }

    fn planned(options: NetOptions) -> Result<(String, NetRecord)> {
        plan(&options, &["80/tcp".to_owned(), "53/udp".to_owned()])
    }

    #[test]
    fn networks_are_joined_or_one_mode_stands_alone() {
        let networks = |names: &[&str]| {
            let networks = names.iter().map(|name| (*name).to_owned()).collect();
            planned(NetOptions { networks, ..NetOptions::default() }).map(|(mode, _)| mode)
        };
        assert_eq!(networks(&[]).unwrap(), "rocker0");
        assert_eq!(networks(&["a", "b"]).unwrap(), "a,b");
        assert_eq!(networks(&["bridge"]).unwrap(), "rocker0");
        assert_eq!(networks(&["host"]).unwrap(), "host");
        assert!(networks(&["a", "none"]).is_err() && networks(&["a", "a"]).is_err());
    }

    #[test]
    fn all_exposed_ports_are_published_and_none_twice() {
        let all = NetOptions { publish_all: true, ..NetOptions::default() };
        assert_eq!(planned(all.clone()).unwrap().1.ports.len(), 2);
        let also = NetOptions { publish: vec!["9000:80".to_owned(), "81".to_owned()], ..all };
        let ports: Vec<String> = planned(also).unwrap().1.ports.iter().map(Port::text).collect();
        let wanted = ["0.0.0.0:9000->80/tcp", "0.0.0.0:0->81/tcp", "0.0.0.0:0->53/udp"];
        assert_eq!(ports, wanted);
        let expose = vec!["80".to_owned(), "90-91/udp".to_owned()];
        let of =
            |publish_all| NetOptions { publish_all, expose: expose.clone(), ..Default::default() };
        assert_eq!([false, true].map(|all| planned(of(all)).unwrap().1.ports.len()), [0, 4]);
        for bad in ["x", "80:80", "", "0", "70000", "9-8"] {
            let expose = vec![bad.to_owned()];
            assert!(planned(NetOptions { expose, ..Default::default() }).is_err(), "{bad}");
        }
        let publish = vec!["80:80".to_owned(), "80:80".to_owned()];
        let twice = planned(NetOptions { publish, ..NetOptions::default() }).unwrap_err();
        assert!(twice.message.ends_with("port is already allocated"), "{}", twice.message);
    }

    #[test]
    fn an_alias_is_one_word_in_a_network_that_has_names() {
        let with = |network: &str, alias: &str| {
            let (networks, aliases) = (vec![network.to_owned()], vec![alias.to_owned()]);
            planned(NetOptions { networks, aliases, ..NetOptions::default() }).is_ok()
        };
        assert!(
            with("app", "db") && !with("app", "a b") && !with("app", "") && !with("app", "a\n")
        );
        assert!(!with("rocker0", "db") && !with("bridge", "db"));
    }

    #[test]
    fn addresses_that_are_none_are_refused() {
        for bad in ["", "02:00", "01:00:00:00:00:00", "02:00:00:00:00:0x"] {
            assert!(parse_mac(bad).is_err(), "{bad}");
        }
        assert_eq!(mac_text(parse_mac("02:00:00:00:00:aB").unwrap()), "02:00:00:00:00:ab");
        for bad in ["x", "x:", ":1.2.3.4", "x:1.2.3", "a b:1.2.3.4"] {
            assert!(check_host(bad).is_err(), "{bad}");
        }
        assert!(check_host("db:10.0.0.1").is_ok() && check_host("h:host-gateway").is_ok());
        assert!(check_host("six:fd00::1").is_ok());
    }
}
