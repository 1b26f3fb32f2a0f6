//! What a container finds under a name: /etc/hosts, which is kept up to date while members of its
//! networks come and go, and /etc/resolv.conf.

use super::record::{NetRecord, Record};
use super::store::{Engine, is_id};
use crate::error::{Context, Result, warn};
use crate::image;
use crate::network::{Address, Store, ipam};
use crate::sys::Errno;
use crate::sys::fs::Dir;
use std::ffi::OsStr;
use std::fmt::Write;

/// Where systemd-resolved writes the servers that its stub on a loopback address asks.
const UPSTREAM: &str = "/run/systemd/resolve/resolv.conf";
const RESOLV: &str = "/etc/resolv.conf";
/// What a name is for whom the host itself is meant.
const HOST: &str = "host-gateway";

/// An address, and the names of whoever has it.
pub type Entry = (Address, String);

/// The text of /etc/hosts: the container itself, then what was asked for, then other members.
pub fn hosts(record: &Record, own: &[Entry], gateway: Option<&str>, others: &[Entry]) -> String {
    let name = &record.hostname;
    let own_name = if own.is_empty() { format!(" {name}") } else { String::new() };
    let mut text = format!(
        "127.0.0.1\tlocalhost{own_name}\n::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::0\tip6-localnet\nff00::0\tip6-mcastprefix\nff02::1\tip6-allnodes\n\
         ff02::2\tip6-allrouters\n"
    );
    let put = |text: &mut String, entries: &[Entry]| {
        for (address, names) in entries {
            let _ = writeln!(text, "{address}\t{names}");
        }
    };
    put(&mut text, own);
    for host in &record.net.hosts {
        let (name, address) = host.split_once([':', '=']).unwrap_or((host, ""));
        let address = match address {
            HOST => gateway.unwrap_or("127.0.0.1"),
            address => address.trim_matches(['[', ']']),
        };
        let _ = writeln!(text, "{address}\t{name}");
    }
    put(&mut text, others);
    text
}

/// The text of /etc/resolv.conf. A resolver that listens on a loopback of the host cannot be
/// reached from a network namespace of the container's own.
pub fn resolv(net: &NetRecord, own_namespace: bool) -> String {
    // A host without one has a container without one.
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let host = read(RESOLV);
    let text = if own_namespace { reachable(host, || read(UPSTREAM)) } else { host };
    replace(&text, net)
}

/// The servers of the host that another network namespace reaches.
fn reachable(host: String, upstream: impl FnOnce() -> String) -> String {
    let text = if is_stub(&host) { upstream() } else { String::new() };
    let text = if is_stub(&text) { host } else { text };
    let kept = |line: &&str| !servers(line).any(Address::is_loopback);
    text.lines().filter(kept).flat_map(|line| [line, "\n"]).collect()
}

fn servers(text: &str) -> impl Iterator<Item = Address> {
    let words = text.lines().map(str::split_ascii_whitespace);
    words.filter_map(|mut words| match (words.next(), words.next()) {
        (Some("nameserver"), Some(server)) => Address::parse(server).ok(),
        _ => None,
    })
}

/// Whether all servers are on a loopback address, if there are any.
fn is_stub(text: &str) -> bool {
    servers(text).count() == 0 || servers(text).all(Address::is_loopback)
}

/// Puts what was asked for in the place of the host's.
fn replace(text: &str, net: &NetRecord) -> String {
    let given =
        [("nameserver", &net.dns), ("search", &net.dns_search), ("options", &net.dns_options)];
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        let word = line.split_ascii_whitespace().next().unwrap_or_default();
        let word = if word == "domain" { "search" } else { word };
        if !given.iter().any(|(key, values)| *key == word && !values.is_empty()) {
            lines.push(line.to_owned());
        }
    }
    lines.extend(net.dns.iter().map(|server| format!("nameserver {server}")));
    for (key, values) in &given[1..] {
        if !values.is_empty() {
            lines.push(format!("{key} {}", values.join(" ")));
        }
    }
    lines.into_iter().flat_map(|line| [line, "\n".to_owned()]).collect()
}

/// What a lease says of its owner: the id, and the names by which others find it.
pub fn lease_text(record: &Record, aliases: &[String]) -> String {
    let mut words = vec![record.id.as_str()];
    let names = [&record.name, &record.hostname].into_iter().chain(aliases);
    for name in names {
        if !words.contains(&name.as_str()) && !name.contains(' ') {
            words.push(name);
        }
    }
    words.join(" ")
}

/// The names in a lease, its id last.
fn shown(text: &str) -> String {
    match text.split_once(' ') {
        Some((id, names)) => format!("{names} {id}"),
        None => text.to_owned(),
    }
}

/// Writes /etc/hosts anew for all members of these networks: somebody has come or gone.
pub fn refresh(engine: &Engine, store: &Store, networks: &[&str]) -> Result<()> {
    let _turn = store.lock()?;
    let mut all = Vec::new();
    let list = store.list()?;
    for network in list.iter().filter(|network| network.has_names()) {
        let members = ipam::members(&store.leases(&network.name)?)?;
        all.push((network, members));
    }
    let id = |text: &str| text.split(' ').next().unwrap_or_default().to_owned();
    let mut ids: Vec<String> = Vec::new();
    for (_, members) in all.iter().filter(|(network, _)| networks.contains(&&*network.name)) {
        ids.extend(members.iter().map(|(_, text)| id(text)));
    }
    ids.sort_unstable();
    ids.dedup();
    for member in ids.iter().filter(|id| is_id(id)) {
        // One that died a moment ago needs no names.
        let Ok(Some(container)) = engine.open_id(member) else { continue };
        let Ok(record) = container.record() else { continue };
        let (mut own, mut others) = (Vec::new(), Vec::new());
        for (_, members) in &all {
            if !members.iter().any(|(_, text)| id(text) == *member) {
                continue;
            }
            for (address, text) in members {
                match id(text) == *member {
                    // Its host name first: that is what a look for the address finds.
                    true if record.hostname == *member => own.push((*address, text.clone())),
                    true => own.push((*address, format!("{} {}", record.hostname, shown(text)))),
                    false => others.push((*address, shown(text))),
                }
            }
        }
        // The host is where the way out leads, if there is one.
        let joined = record.net.memberships.iter();
        let joined = joined.filter_map(|one| list.iter().find(|other| other.name == one.network));
        let range =
            joined.min_by_key(|network| network.internal).and_then(|one| one.ranges.first());
        let gateway = range.map(|range| range.gateway.as_str());
        let written = write(&container.dir, &hosts(&record, &own, gateway, &others));
        match written.context(format_args!("container {}", record.name)) {
            Err(error) if error.errno == Some(Errno::ENOENT) => {}
            // What one member's file has must not keep others from their names.
            Err(error) => warn(&error),
            Ok(()) => {}
        }
    }
    Ok(())
}

/// Replaces the content of the file that the container has mounted.
pub fn write(dir: &Dir, text: &str) -> Result<()> {
    insist(dir, "hosts", &|name| dir.rewrite(name, text.as_bytes(), 0o644))
}

/// Writes one of the files that the container has mounted, and can keep from being written: it runs
/// as a program, has a lease, or is marked immutable. Then a new file takes its place, which the
/// container sees from its next start on.
pub fn insist(dir: &Dir, name: &str, write: &dyn Fn(&str) -> crate::sys::Result<()>) -> Result<()> {
    let what = format_args!("write {name}");
    match write(name) {
        Err(Errno::ETXTBSY | Errno::EAGAIN | Errno::EPERM) => {}
        other => return other.context(what),
    }
    let old = dir.stat(name).context(what)?;
    image::remove_tree(dir, OsStr::new(name))?;
    write(name).context(what)?;
    dir.set_owner(name, old.uid, old.gid).context(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_takes_the_place_of_the_hosts() {
        let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect();
        let net = NetRecord {
            dns: words(&["1.1.1.1"]),
            dns_search: words(&["a.example", "b.example"]),
            ..Default::default()
        };
        let text = "# comment\nnameserver 9.9.9.9\ndomain old\noptions ndots:2\n";
        assert_eq!(
            replace(text, &net),
            "# comment\noptions ndots:2\nnameserver 1.1.1.1\nsearch a.example b.example\n"
        );
        assert_eq!(replace(text, &<NetRecord as Default>::default()), text);
    }

    #[test]
    fn a_stub_is_told_by_its_loopback_address() {
        assert!(is_stub("nameserver 127.0.0.53\n") && is_stub("nameserver ::1\n") && is_stub(""));
        assert!(!is_stub("nameserver 127.0.0.53\nnameserver 9.9.9.9\n"));
        let reached =
            |host: &str, upstream: &str| reachable(host.to_owned(), || upstream.to_owned());
        let (stub, good) = ("nameserver 127.0.0.53\nsearch x\n", "nameserver 9.9.9.9\n");
        assert_eq!(reached(stub, good), good);
        assert_eq!(reached(stub, stub), "search x\n");
        assert_eq!(reached(&format!("{stub}{good}"), "x"), format!("search x\n{good}"));
    }
}
