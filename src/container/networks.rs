//! What commands do with networks: who uses them, and connecting a container that is there.

use super::membership::{check_aliases, joined, plain_addresses};
use super::names;
use super::record::{Endpoint, Membership, NetState, Record, State, Status};
use super::state::settle;
use super::store::{Container, Engine, is_id, no_such_container};
use super::wiring::{self, lead_ports, lease, lives};
use crate::error::{Error, Result, warn};
use crate::network::links::Links;
use crate::network::store::{DEFAULT, Network, Wanted};
use crate::network::up;
use crate::network::{Store, ipam};
use crate::sys::fs::Lock;
use crate::sys::{Errno, time};
use std::os::fd::{AsFd, OwnedFd};

/// What `network connect` was asked for.
#[derive(Debug, Clone, Default)]
pub struct ConnectOptions {
    pub addresses: Vec<String>,
    pub aliases: Vec<String>,
}

/// Makes a network and brings it up.
pub fn create_network(engine: &Engine, wanted: Wanted) -> Result<Network> {
    let created = time::seconds();
    let (network, up) = up::create(&wiring::store(engine)?, &Wanted { created, ..wanted })?;
    wiring::complete(engine, &up)?;
    Ok(network)
}

/// All networks, by name, with a warning for each that is damaged.
pub fn networks(engine: &Engine) -> Result<Vec<Network>> {
    wiring::store(engine)?.list_all(&mut |error| warn(error))
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
fn users(engine: &Engine, store: &Store, network: &str) -> Result<Vec<String>> {
    let leases = store.leases(network)?;
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
    let users = match store.is_damaged(name) {
        true => try_forget(engine, &store, name)?,
        false => try_remove(engine, &store, &store.find(name)?)?,
    };
    if users.is_empty() {
        return Ok(());
    }
    let what = format!("network {name} is in use by {}", users.join(", "));
    Err(Error::new(what).hint(format!("rocker network disconnect {name} CONTAINER")))
}

/// Removes what is left of a network that cannot be read, as `try_remove` does. Which bridge was its own
/// nobody knows: that stays until the host boots.
fn try_forget(engine: &Engine, store: &Store, name: &str) -> Result<Vec<String>> {
    let turn = store.lock()?;
    let users = users(engine, store, name)?;
    if users.is_empty() {
        store.forget(name, &turn)?;
    }
    Ok(users)
}

/// Removes a network, unless it is in use: then the names of its users are given.
fn try_remove(engine: &Engine, store: &Store, network: &Network) -> Result<Vec<String>> {
    // Nobody takes an address of it meanwhile.
    let _held = store.hold(network, Lock::Exclusive)?;
    let users = users(engine, store, &network.name)?;
    if users.is_empty() {
        up::remove(store, network)?;
    }
    Ok(users)
}

/// Removes all networks that nobody uses, but for the default one. Gives their names.
pub fn prune_networks(engine: &Engine) -> Result<Vec<String>> {
    let store = wiring::store(engine)?;
    let mut removed = Vec::new();
    for network in store.list()? {
        if network.name != DEFAULT && try_remove(engine, &store, &network)?.is_empty() {
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
    let container = engine.resolve_locked(name)?;
    let state = settle(engine, &container)?.ok_or_else(|| no_such_container(name))?;
    let record = container.record()?;
    let pidfd = state.running()?;
    Ok(Open { container, record, state, pidfd })
}

/// Makes a container a member of a network; one that runs at once, another when it starts.
pub fn connect(engine: &Engine, name: &str, of: &str, options: &ConnectOptions) -> Result<()> {
    let store = wiring::store(engine)?;
    let network = match name {
        DEFAULT => up::default_network(&store, time::seconds())?,
        _ => store.find(name)?,
    };
    let Open { container, mut record, mut state, pidfd } = open(engine, of)?;
    let shown = &network.name;
    if record.net.memberships.is_empty() && record.network != "none" {
        let what = format!("container {of} is on --net {}: it cannot join others", record.network);
        return Err(Error::new(what));
    }
    if record.net.memberships.iter().any(|one| one.network == *shown) {
        return Err(Error::new(format!("container {of} is connected to network {shown} already")));
    }
    network.wanted(&options.addresses)?;
    check_aliases(&options.aliases, network.has_names())?;
    let membership = Membership {
        network: shown.clone(),
        addresses: plain_addresses(&options.addresses)?,
        mac: String::new(),
        aliases: options.aliases.clone(),
    };
    record.net.memberships.push(membership);
    let before = std::mem::replace(&mut record.network, joined(&record.net));
    if let Some(pidfd) = &pidfd {
        let leave =
            |state: &mut State| leave(&store, &container, shown, &before, state, Some(pidfd));
        // What a command left that died here is in no record.
        leave(&mut state)?;
        let connected = attach(engine, &store, &network, &record, &mut state, pidfd);
        // The record comes last: until it names the network the same command works again.
        let stored = connected.and_then(|()| {
            state.network.clone_from(&record.network);
            container.write_state(&state, false)?;
            lead_ports(&state.net, &[], &state.net.endpoints)
        });
        if let Err(error) = stored {
            // The first error is the one to report.
            let left = leave(&mut state);
            // One that has just ended joins when it starts again.
            if error.errno != Some(Errno::ESRCH) || left.is_err() {
                return Err(error);
            }
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
    store: &Store,
    network: &Network,
    record: &Record,
    state: &mut State,
    pidfd: &OwnedFd,
) -> Result<()> {
    let Some(membership) = record.net.memberships.last() else { return Ok(()) };
    let mut up = up::ensure(store, network)?;
    wiring::complete(engine, &up)?;
    let mut inside = up.inside(pidfd.as_fd())?;
    let mut endpoint = Endpoint {
        network: network.name.clone(),
        interface: free_interface(&inside, &state.net.endpoints)?,
        ..Default::default()
    };
    lease(engine, store, network, record, &mut endpoint, membership)?;
    let netns = inside.namespace()?;
    let connected = wiring::plug(&mut up, &record.id, &endpoint, netns.as_fd(), &state.net);
    let others = state.net.endpoints.len();
    state.net.endpoints.push(endpoint);
    // A way out stays where it is.
    wiring::lead_out(&mut state.net);
    connected?;
    wiring::configure(&mut inside, &state.net.endpoints[others..])
}

/// A name for one more interface, which neither an endpoint has nor what was renamed inside.
fn free_interface(inside: &Links, endpoints: &[Endpoint]) -> Result<String> {
    for number in 0..1000 {
        let name = format!("eth{number}");
        if !endpoints.iter().any(|one| one.interface == name) && inside.index(&name)?.is_none() {
            return Ok(name);
        }
    }
    Err(Error::new("the container has too many interfaces"))
}

/// Takes what a container has of a network away from it. `rest` names the networks that stay, as its
/// state shows them.
///
/// Its address is given back last: until then no port leads there any more, and the state does not
/// name it. Wherever this is interrupted, it may be done again.
fn leave(
    store: &Store,
    container: &Container,
    network: &str,
    rest: &str,
    state: &mut State,
    pidfd: Option<&OwnedFd>,
) -> Result<()> {
    let left = state.net.endpoints.iter().position(|one| one.network == network);
    let left = left.map(|index| state.net.endpoints.remove(index));
    lead_ports(&state.net, left.as_slice(), &[])?;
    if let Some(pidfd) = pidfd {
        // A network that has been removed has no bridge that could be joined.
        let network = store.open(network)?;
        up::unplug(&container.id, network.as_ref())?;
        if left.is_some_and(|left| !left.gateways.is_empty()) {
            for one in &mut state.net.endpoints {
                one.gateways = store.find(&one.network)?.gateways();
            }
            wiring::lead_out(&mut state.net);
            match up::inside(&Links::open()?, pidfd.as_fd()) {
                // It has just ended.
                Err(error) if error.errno == Some(Errno::ESRCH) => {}
                inside => configure_present(&mut inside?, &state.net)?,
            }
        }
    }
    if state.status == Status::Running {
        rest.clone_into(&mut state.network);
    }
    container.write_state(state, false)?;
    lead_ports(&state.net, &[], &state.net.endpoints)?;
    match store.leases(network) {
        Ok(leases) => ipam::give_back_all(&leases, &|id| Ok(id == container.id)),
        // The network may have been removed meanwhile.
        Err(_) => Ok(()),
    }
}

/// Gives interfaces their addresses and ways out anew; what was renamed inside is left alone.
fn configure_present(inside: &mut Links, net: &NetState) -> Result<()> {
    for endpoint in &net.endpoints {
        if inside.index(&endpoint.interface)?.is_some() {
            wiring::configure(inside, std::slice::from_ref(endpoint))?;
        }
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
    leave(&store, &container, &shown, &record.network, &mut state, pidfd.as_ref())?;
    if pidfd.is_some() && wiring::named(&state.net).is_empty() {
        wiring::write_own_names(&container, &record, &state.net)?;
    }
    // The record comes last: as long as it names the network the same command works again.
    container.write_record(&record)?;
    container.unlock();
    // The container itself has lost the names of the others.
    let mut rest = vec![shown.as_str()];
    for one in &record.net.memberships {
        rest.push(&one.network);
    }
    names::refresh(engine, &store, &rest)
}
