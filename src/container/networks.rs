//! What commands do with networks: who uses them, and connecting a container that is there.

use super::membership::{joined, mac_text, plain_addresses};
use super::names;
use super::record::{Endpoint, Membership, Record, State, Status};
use super::state::settle;
use super::store::{Container, Engine, is_id, no_such_container, not_running};
use super::wiring::{self, endpoint_addresses, lease, lives};
use crate::error::{Error, Result};
use crate::network::ipam;
use crate::network::links::{End, Links};
use crate::network::store::{DEFAULT, Network, Wanted};
use crate::network::up;
use crate::runtime::state as processes;
use crate::sys::time;
use std::os::fd::{AsFd, OwnedFd};

/// What `network connect` was asked for.
#[derive(Debug, Clone, Default)]
pub struct ConnectOptions {
    pub addresses: Vec<String>,
    pub aliases: Vec<String>,
}

/// Makes a network and brings it up.
pub fn create_network(engine: &Engine, wanted: Wanted) -> Result<Network> {
    let created = time::now() / 1_000_000_000;
    up::create(&wiring::store(engine)?, &Wanted { created, ..wanted })
}

/// All networks, by name.
pub fn networks(engine: &Engine) -> Result<Vec<Network>> {
    wiring::store(engine)?.list()
}

/// A network, and the running containers that are its members.
pub fn network(engine: &Engine, name: &str) -> Result<(Network, Vec<(State, Endpoint)>)> {
    let network = wiring::store(engine)?.find(name)?;
    let mut members = Vec::new();
    for state in super::state::list(engine)? {
        let endpoint = state.net.endpoints.iter().find(|one| one.network == network.name).cloned();
        members
            .extend(endpoint.filter(|_| state.status == Status::Running).map(|one| (state, one)));
    }
    Ok((network, members))
}

/// The owners of leases who live: by their names where they have one.
fn users(engine: &Engine, network: &Network) -> Result<Vec<String>> {
    let leases = wiring::store(engine)?.leases(&network.name)?;
    let mut users = Vec::new();
    for (_, text) in ipam::members(&leases)? {
        let mut words = text.split(' ');
        let id = words.next().unwrap_or_default();
        let name = words.next().unwrap_or(id).to_owned();
        if is_id(id) && lives(engine, id) && !users.contains(&name) {
            users.push(name);
        }
    }
    Ok(users)
}

/// Removes a network that no running container uses.
pub fn remove_network(engine: &Engine, name: &str) -> Result<()> {
    let store = wiring::store(engine)?;
    let network = store.find(name)?;
    let users = users(engine, &network)?;
    if !users.is_empty() {
        let name = &network.name;
        let what = format!("network {name} is in use by {}", users.join(", "));
        return Err(Error::new(what).hint(format!("rocker network disconnect {name} CONTAINER")));
    }
    up::remove(&store, &network)
}

/// Removes all networks that nobody uses, but for the default one. Gives their names.
pub fn prune_networks(engine: &Engine) -> Result<Vec<String>> {
    let store = wiring::store(engine)?;
    let mut removed = Vec::new();
    for network in store.list()? {
        if network.name != DEFAULT && users(engine, &network)?.is_empty() {
            up::remove(&store, &network)?;
            removed.push(network.name);
        }
    }
    Ok(removed)
}

/// A container, locked, with its record, its state of now, and its first process where it runs.
struct Open {
    container: Container,
    record: Record,
    state: State,
    pidfd: Option<OwnedFd>,
}

fn open(engine: &Engine, name: &str) -> Result<Open> {
    let container = engine.resolve(name)?;
    container.lock()?;
    let state = settle(engine, &container)?.ok_or_else(|| no_such_container(name))?;
    let record = container.record()?;
    let pidfd = match state.status {
        Status::Running => processes::open(state.pid, state.pid_start)?,
        _ => None,
    };
    Ok(Open { container, record, state, pidfd })
}

/// Makes a container a member of a network; one that runs at once, another when it starts.
pub fn connect(engine: &Engine, name: &str, of: &str, options: &ConnectOptions) -> Result<()> {
    let store = wiring::store(engine)?;
    let network = store.find(name)?;
    let Open { container, mut record, mut state, pidfd } = open(engine, of)?;
    let shown = &network.name;
    if record.net.memberships.is_empty() && record.network != "none" {
        let what = format!("container {of} is on --net {}: it cannot join others", record.network);
        return Err(Error::new(what));
    }
    if record.net.memberships.iter().any(|one| one.network == *shown) {
        return Err(Error::new(format!("container {of} is connected to network {shown} already")));
    }
    let membership = Membership {
        network: shown.clone(),
        addresses: plain_addresses(&options.addresses)?,
        mac: String::new(),
        aliases: options.aliases.clone(),
    };
    record.net.memberships.push(membership.clone());
    record.network = joined(&record.net);
    if let Some(pidfd) = &pidfd {
        // What a command left that died here is in no record.
        for left in state.net.endpoints.extract_if(.., |one| one.network == *shown) {
            withdraw(&store, &record.id, &left, pidfd)?;
        }
        let taken = |name: &str| state.net.endpoints.iter().any(|one| one.interface == name);
        let interface = (0..1000).map(|number| format!("eth{number}")).find(|name| !taken(name));
        let mut endpoint = Endpoint {
            network: shown.clone(),
            interface: interface.unwrap_or_default(),
            mac: mac_text(up::mac(&format!("{} {shown}", record.id))),
            ..Default::default()
        };
        let connected =
            attach(engine, &store, &network, &record, &membership, &mut endpoint, pidfd);
        // The record comes last: until it names the network the same command works again.
        let stored = connected.and_then(|()| {
            state.net.endpoints.push(endpoint.clone());
            state.network.clone_from(&record.network);
            container.write_state(&state, false)
        });
        if let Err(error) = stored {
            // The first error is the one to report.
            let _ = withdraw(&store, &record.id, &endpoint, pidfd);
            return Err(error);
        }
    }
    container.write_record(&record)?;
    container.unlock();
    match pidfd.is_some() && network.has_names() {
        true => names::refresh(engine, &store, &[shown]),
        false => Ok(()),
    }
}

fn attach(
    engine: &Engine,
    store: &crate::network::Store,
    network: &Network,
    record: &Record,
    membership: &Membership,
    endpoint: &mut Endpoint,
    pidfd: &OwnedFd,
) -> Result<()> {
    let mut up = up::ensure(store, network)?;
    let mut inside = up.inside(pidfd.as_fd())?;
    // What a connect left that was ended in between.
    inside.delete(&endpoint.interface)?;
    lease(engine, store, network, record, endpoint, membership)?;
    // The way out stays where it is.
    endpoint.gateways.clear();
    let netns = inside.namespace()?;
    let mac = super::membership::parse_mac(&endpoint.mac)?;
    let end = End { name: &endpoint.interface, mac, netns: netns.as_fd() };
    up.connect(&record.id, &end, false)?;
    wiring::configure(&mut inside, std::slice::from_ref(endpoint))
}

/// Takes an interface away from a container that runs, and gives its addresses back.
fn withdraw(
    store: &crate::network::Store,
    id: &str,
    endpoint: &Endpoint,
    pidfd: &OwnedFd,
) -> Result<()> {
    up::inside(&Links::open()?, pidfd.as_fd())?.delete(&endpoint.interface)?;
    give_back(store, id, endpoint)
}

fn give_back(store: &crate::network::Store, id: &str, endpoint: &Endpoint) -> Result<()> {
    let leases = store.leases(&endpoint.network)?;
    for (address, _) in endpoint_addresses(std::slice::from_ref(endpoint))? {
        ipam::give_back(&leases, &address.to_string(), id)?;
    }
    Ok(())
}

/// Takes a container out of a network.
pub fn disconnect(engine: &Engine, name: &str, of: &str) -> Result<()> {
    let store = wiring::store(engine)?;
    let Open { container, mut record, mut state, pidfd } = open(engine, of)?;
    let shown = store.find(name).map_or_else(|_| name.to_owned(), |network| network.name);
    let member = |one: &Membership| one.network == shown;
    if !record.net.memberships.iter().any(member) {
        return Err(Error::new(format!("container {of} is not connected to network {shown}")));
    }
    record.net.memberships.retain(|one| !member(one));
    record.network = joined(&record.net);
    let endpoint = state.net.endpoints.iter().position(|one| one.network == shown);
    if let Some(endpoint) = endpoint.map(|index| state.net.endpoints.remove(index)) {
        let pidfd = pidfd.as_ref().ok_or_else(|| not_running(of))?;
        withdraw(&store, &record.id, &endpoint, pidfd)?;
    }
    if state.status == Status::Running {
        state.network.clone_from(&record.network);
    }
    // The record comes last: as long as it names the network the same command works again.
    container.write_state(&state, false)?;
    container.write_record(&record)?;
    container.unlock();
    // The container itself has lost the names of the others.
    let rest: Vec<&str> =
        record.net.memberships.iter().map(|one| one.network.as_str()).chain([&*shown]).collect();
    names::refresh(engine, &store, &rest)
}
