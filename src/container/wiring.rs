//! Connects a container to its networks when it starts, and lets go of what it had there.

use super::membership::{allocated, mac_text, parse_mac};
use super::names::{self, lease_text};
use super::options::Options;
use super::record::{Endpoint, Membership, NetState, Port, Record, State};
use super::store::{Container, Engine, STATE, boot_id, no_such_container, not_running};
use crate::error::{Cause, Context, Error, Result, warn};
use crate::network::ipam::{self, Owner};
use crate::network::links::{End, Links};
use crate::network::nat::{self, Mapping, Nat};
use crate::network::proxy::{Proxy, Socket};
use crate::network::store::{DEFAULT, Network, Pool};
use crate::network::up::{self, Up};
use crate::network::{Address, Store};
use crate::runtime::Process;
use crate::runtime::processes;
use crate::sys::fs::Lock;
use crate::sys::inet::{self, Peer};
use crate::sys::process::{self, Namespaces};
use crate::sys::{Errno, limits, proc, time};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Where a published port leads when there is no network: no socket connects to all hosts.
const NOBODY: Address = Address { v6: false, number: 0xffff_ffff };
/// So many files are left to the keeper for all else that it does, however many connect from outside.
const FILES: usize = 64;
/// A file beside the record of a container whose network others have joined: it does not go with the
/// last process of that container.
const SHARED: &str = "shared";
/// How often a free port is looked for that is free in both families.
const TRIES: usize = 16;

/// What a container holds of networks while it runs.
#[derive(Default)]
pub struct Wiring {
    /// One for each endpoint, in the same order.
    ups: Vec<Up>,
    /// Holds the published ports, and carries what arrives there.
    pub proxy: Option<Proxy>,
    /// Which file of the state it was last told of.
    told: u64,
}

/// The networks of an engine.
pub fn store(engine: &Engine) -> Result<Store> {
    let root = engine.root_path.to_string_lossy();
    Ok(Store::new(engine.subdirectory("networks")?, &root))
}

/// Whether a container of this id still has a use for its leases: somebody is at work on it, or
/// it runs.
pub fn lives(engine: &Engine, id: &str) -> bool {
    let Ok(found) = engine.open_id(id) else { return true };
    let Some(container) = found else { return false };
    if !container.try_lock() {
        return true;
    }
    container.unlock();
    let state = container.stored_state();
    state.is_ok_and(|state| boot_id().is_ok_and(|boot| state.has_processes(&boot)))
}

/// Has nothing lead any more to what a container that was killed had of networks: who takes its
/// address over is a stranger.
fn evict(engine: &Engine, id: &str) -> Result<()> {
    let Some(container) = engine.open_id(id)? else { return Ok(()) };
    // Otherwise somebody is at work on it, who does the same.
    if container.try_lock() {
        if let Ok(state) = container.stored_state() {
            release(engine, &container, &state.net)?;
        }
        container.unlock();
    }
    Ok(())
}

/// Makes the default network where it is missing, before a container is started that wants it.
/// False where the kernel cannot have any: then the container has its loopback only, with a
/// warning, unless the network was asked for.
pub fn prepare(engine: &Engine, by_default: bool) -> Result<bool> {
    let defined = format!("networks/{DEFAULT}/network.json");
    if engine.images.directory().stat(defined).is_ok()
        && Links::open().and_then(|links| links.index(DEFAULT)).is_ok_and(|index| index.is_some())
    {
        return Ok(true);
    }
    let ready = store(engine).and_then(|store| {
        let network = up::default_network(&store, time::seconds())?;
        up::ensure(&store, &network)
    });
    match ready {
        Err(error) if by_default && up::is_missing(&error) => {
            warn(format_args!("no network but the loopback: {error}"));
            Ok(false)
        }
        ready => ready.map(|_| true),
    }
}

/// The container whose network another one shares: `container:ID`.
pub fn shared(record: &Record) -> Option<&str> {
    record.network.strip_prefix("container:")
}

/// Puts the id into `container:NAME`, so that it stays the same container; its host name is that of
/// the new one too, unless another is asked for, and with `host` that of the host.
pub fn resolve(engine: &Engine, options: &mut Options) -> Result<()> {
    for network in &mut options.net.networks {
        if let Some(name) = network.strip_prefix("container:") {
            let other = engine.resolve(name)?;
            *network = format!("container:{}", other.id);
            if options.hostname.is_none() {
                options.hostname = Some(other.record()?.hostname);
            }
        } else if network == "host" && options.hostname.is_none() {
            let name = proc::read("sys/kernel/hostname").context("read the host name")?;
            options.hostname = Some(name.trim().to_owned());
        }
    }
    Ok(())
}

/// Makes the first process of a container: where it shares the network of another one, from there.
pub fn create_process(
    engine: &Engine,
    record: &Record,
    create: impl FnOnce() -> Result<Process>,
) -> Result<Process> {
    let Some(id) = shared(record) else { return create() };
    let other = engine.open_id(id)?.ok_or_else(|| no_such_container(id))?;
    let state = other.stored_state()?;
    // Before its process is looked for: once that has ended, `release` looks for the mark.
    match other.dir.create(SHARED, 0o600) {
        Ok(_) | Err(Errno::EEXIST) => {}
        Err(errno) => return Err(errno).context("mark the network as shared"),
    }
    let pidfd = processes::open(state.pid, state.pid_start)?.ok_or_else(|| not_running(id))?;
    let home = Links::open()?.namespace()?;
    process::setns(pidfd.as_fd(), Namespaces::NET).context("enter the other's network")?;
    let made = create();
    process::setns(home.as_fd(), Namespaces::NET).context("come back from the other's network")?;
    made
}

/// Tells tables that had to be made anew, since somebody had removed them, of the published ports of
/// all containers that run.
pub fn complete(engine: &Engine, up: &Up) -> Result<()> {
    if !up.anew {
        return Ok(());
    }
    let boot = boot_id()?;
    for (parent, _) in engine.parents()? {
        for id in engine.ids_in(&parent)? {
            // What has just gone, or is damaged, publishes nothing.
            if let Ok(Some(container)) = engine.open_id(&id)
                && let Ok(state) = container.stored_state()
                && state.has_processes(&boot)
            {
                lead_ports(&state.net, &[], &state.net.endpoints)?;
            }
        }
    }
    Ok(())
}

/// Takes addresses and ports for a container that is about to start, and notes them in its state.
/// What is taken is given back by `release`, whatever happens.
pub fn reserve(
    engine: &Engine,
    container: &Container,
    record: &Record,
    state: &mut State,
) -> Result<Wiring> {
    state.forget_networks();
    state.network.clone_from(&record.network);
    let mut wiring = Wiring::default();
    if record.net.memberships.is_empty() {
        return Ok(wiring);
    }
    let store = store(engine)?;
    let mut translated = true;
    for (index, wanted) in record.net.memberships.iter().enumerate() {
        let interface = format!("eth{index}");
        let (up, endpoint) = connect(engine, &store, record, wanted, &interface)?;
        complete(engine, &up)?;
        translated &= up.translated;
        wiring.ups.push(up);
        state.net.endpoints.push(endpoint);
    }
    lead_out(&mut state.net);
    take_ports(record, state, &mut wiring, translated)?;
    if !state.net.ports.is_empty() {
        // Named in the state before they are made: whoever cleans up must know of them.
        container.write_state(state, false)?;
    }
    let named = named(&state.net);
    match named.is_empty() {
        true => write_own_names(container, record, &state.net)?,
        false => names::refresh(engine, &store, &named)?,
    }
    Ok(wiring)
}

/// Brings up one network of a container, and takes its address there.
fn connect(
    engine: &Engine,
    store: &Store,
    record: &Record,
    wanted: &Membership,
    interface: &str,
) -> Result<(Up, Endpoint)> {
    loop {
        let network = match &*wanted.network {
            // It may have been removed while this container waited to be started again.
            DEFAULT => up::default_network(store, time::seconds())?,
            name => store.find(name)?,
        };
        let mut endpoint = Endpoint {
            network: network.name.clone(),
            interface: interface.to_owned(),
            ..Default::default()
        };
        let connected = up::ensure(store, &network).and_then(|up| {
            lease(engine, store, &network, record, &mut endpoint, wanted).map(|()| up)
        });
        match connected {
            // Removed a moment ago: others stay so.
            Err(_) if network.name == DEFAULT && store.check(&network).is_err() => {}
            other => return other.map(|up| (up, endpoint)),
        }
    }
}

/// Writes /etc/hosts of a container that is on no network with names: of others it knows nothing.
pub fn write_own_names(container: &Container, record: &Record, net: &NetState) -> Result<()> {
    let mut own = Vec::new();
    for (address, _) in endpoint_addresses(&net.endpoints)? {
        own.push((address, record.hostname.clone()));
    }
    let gateway = net.endpoints.first().and_then(|one| one.gateways.first());
    let text = names::hosts(record, &own, gateway.map(String::as_str), &[]);
    names::write(&container.dir, &text)
}

/// The networks whose members find each other by name.
pub fn named(net: &NetState) -> Vec<&str> {
    let mut named = Vec::new();
    for endpoint in &net.endpoints {
        if endpoint.network != DEFAULT {
            named.push(endpoint.network.as_str());
        }
    }
    named
}

/// Takes an address of each family that the network has. The hardware address follows from that: who
/// remembers the one of a container that had the address before finds this one.
pub fn lease(
    engine: &Engine,
    store: &Store,
    network: &Network,
    record: &Record,
    endpoint: &mut Endpoint,
    wanted: &Membership,
) -> Result<()> {
    let _held = store.hold(network, Lock::Shared)?;
    let leases = store.leases(&network.name)?;
    let asked = network.wanted(&wanted.addresses)?;
    let text = lease_text(record, &wanted.aliases);
    let owner = Owner {
        id: &record.id,
        text: &text,
        place: crate::network::hash(&record.id),
        lives: &|id| lives(engine, id),
        evict: &|id| evict(engine, id),
    };
    for Pool { subnet, gateway } in network.pools()? {
        let wanted = asked.iter().find(|address| address.v6 == subnet.base.v6).copied();
        let address = ipam::take(&leases, subnet, gateway, wanted, &owner)
            .context(format_args!("network {}", network.name))?;
        // Of IPv6 hardly any is ever had by two.
        if endpoint.mac.is_empty() || !address.v6 {
            endpoint.mac = mac_text(up::mac_of(address));
        }
        endpoint.addresses.push(format!("{address}/{}", subnet.prefix));
    }
    if !wanted.mac.is_empty() {
        endpoint.mac.clone_from(&wanted.mac);
    }
    endpoint.gateways = network.gateways();
    endpoint.internal = network.internal.then_some(true);
    Ok(())
}

/// Only the first network that leads out, in each family, has the way out.
pub fn lead_out(net: &mut NetState) {
    let (mut v4, mut v6) = (false, false);
    for endpoint in &mut net.endpoints {
        endpoint.gateways.retain(|gateway| {
            let seen = if gateway.contains(':') { &mut v6 } else { &mut v4 };
            !std::mem::replace(seen, true)
        });
    }
}

/// The addresses of endpoints as numbers, with the lengths of their prefixes.
pub fn endpoint_addresses(endpoints: &[Endpoint]) -> Result<Vec<(Address, u8)>> {
    let mut list = Vec::new();
    for text in endpoints.iter().flat_map(|endpoint| &endpoint.addresses) {
        let (address, prefix) = text.split_once('/').unwrap_or((text, ""));
        let prefix = prefix.parse().map_err(|_| Error::new(format!("{text:?}: no prefix")))?;
        list.push((Address::parse(address)?, prefix));
    }
    Ok(list)
}

/// The addresses that published ports can lead to: nobody outside reaches an internal network.
fn published_addresses(endpoints: &[Endpoint]) -> Result<Vec<(Address, u8)>> {
    let mut list = Vec::new();
    for endpoint in endpoints.iter().filter(|endpoint| endpoint.internal.is_none()) {
        list.extend(endpoint_addresses(std::slice::from_ref(endpoint))?);
    }
    Ok(list)
}

fn peer(address: Address, port: u16) -> Peer {
    Peer { v6: address.v6, number: address.number, port }
}

/// Takes the ports of the host that shall lead to the container.
fn take_ports(
    record: &Record,
    state: &mut State,
    wiring: &mut Wiring,
    translated: bool,
) -> Result<()> {
    if record.net.ports.is_empty() {
        return Ok(());
    }
    state.net.publish_mode = match &*record.net.publish_mode {
        "nft" if !translated => return Err(nat::missing()),
        "" if !translated => "proxy".to_owned(),
        "" => "nft".to_owned(),
        mode => mode.to_owned(),
    };
    let inner = published_addresses(&state.net.endpoints)?;
    let mut all = Vec::new();
    for port in &record.net.ports {
        let mut taken = None;
        for _ in 0..TRIES {
            match take_port(port, &inner) {
                // A free port of one family is taken in the other: another one, then.
                Err(error) if port.host == 0 && error.cause == Cause::InUse => {
                    taken = Some(Err(error));
                }
                other => {
                    taken = Some(other);
                    break;
                }
            }
        }
        let (port, sockets) = taken.unwrap_or_else(|| Err(allocated(port)))?;
        all.extend(sockets);
        state.port_mapping.push(port.text());
        state.net.ports.push(port);
    }
    let most = limits::raise_open_files().context("raise the limit of open files")?;
    let most = usize::try_from(most).unwrap_or(usize::MAX).saturating_sub(FILES + all.len());
    wiring.proxy = Some(Proxy::new(all, most).context("watch the published ports")?);
    Ok(())
}

/// The addresses of the host that a port is published at.
fn places(port: &Port) -> Result<Vec<Address>> {
    let any = |v6| Address { v6, number: 0 };
    match &*port.at {
        "" => Ok(vec![any(false), any(true)]),
        at => Ok(vec![Address::parse(at)?]),
    }
}

fn take_port(port: &Port, inner: &[(Address, u8)]) -> Result<(Port, Vec<Socket>)> {
    let mut port = port.clone();
    let mut sockets = Vec::new();
    let places = places(&port)?;
    for at in &places {
        let file = match inet::listen(peer(*at, port.host), port.udp) {
            Err(Errno::EADDRINUSE) => return Err(allocated(&port)),
            // All addresses, on a host without IPv6.
            Err(Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL) if at.v6 && places.len() > 1 => {
                continue;
            }
            other => other.context(format_args!("listen on port {}:{}", at, port.host))?,
        };
        if port.host == 0 {
            port.host = inet::local_port(file.as_fd()).context("look at the port")?;
        }
        let to = peer(target(inner, at.v6), port.inner);
        sockets.push(Socket { file, udp: port.udp, v6: at.v6, to });
    }
    Ok((port, sockets))
}

/// Where the socket on a port of a family leads.
fn target(inner: &[(Address, u8)], v6: bool) -> Address {
    let same = inner.iter().find(|(address, _)| address.v6 == v6);
    same.or(inner.first()).map_or(NOBODY, |(address, _)| *address)
}

/// What nf_tables is told of the published ports of a container that has these endpoints.
fn mappings(net: &NetState, endpoints: &[Endpoint]) -> Result<Vec<Mapping>> {
    let inner = published_addresses(endpoints)?;
    let mut list = Vec::new();
    for port in &net.ports {
        for at in places(port)? {
            // To ::1 and to another family only the socket leads.
            let to = inner.iter().find(|(address, _)| address.v6 == at.v6);
            if let Some((to, _)) = to.filter(|_| !(at.v6 && at.is_loopback())) {
                let (udp, to) = (port.udp, *to);
                list.push(Mapping { at, port: port.host, udp, to, to_port: port.inner });
            }
        }
    }
    Ok(list)
}

/// Has nf_tables lead the published ports no longer to the first endpoints, but to the second.
pub fn lead_ports(net: &NetState, from: &[Endpoint], to: &[Endpoint]) -> Result<()> {
    if net.publish_mode == "nft"
        && let Some(mut nat) = Nat::open()?
    {
        nat.withdraw(&mappings(net, from)?)?;
        nat.publish(&mappings(net, to)?)?;
    }
    Ok(())
}

impl Wiring {
    /// Carries what arrived at the published ports.
    pub fn carry(&mut self, container: &Container) {
        let Some(proxy) = &mut self.proxy else { return };
        // Networks come and go while the container runs. That is in the state before another one can
        // have an address that was given back.
        if let Ok(stat) = container.dir.stat(STATE)
            && let file = stat.inode ^ stat.modified.1 as u64
            && self.told != file
            && let Ok(state) = container.stored_state()
            && let Ok(inner) = published_addresses(&state.net.endpoints)
        {
            self.told = file;
            proxy.lead([false, true].map(|v6| target(&inner, v6)));
        }
        proxy.serve();
    }

    /// Connects the first process, which waits, to the networks of its container. One that has
    /// ended already tells why itself. `there` is its network namespace, or that process.
    pub fn join(&mut self, record: &Record, net: &NetState, there: &OwnedFd) -> Result<()> {
        match self.try_join(record, net, there) {
            Err(error) if error.errno == Some(Errno::ESRCH) => Ok(()),
            other => other,
        }
    }

    fn try_join(&mut self, record: &Record, net: &NetState, there: &OwnedFd) -> Result<()> {
        let Some(home) = self.ups.first() else { return Ok(()) };
        let mut inside = home.inside(there.as_fd())?;
        let netns = inside.namespace()?;
        for (up, endpoint) in self.ups.iter_mut().zip(&net.endpoints) {
            plug(up, &record.id, endpoint, netns.as_fd(), net)?;
        }
        configure(&mut inside, &net.endpoints)?;
        lead_ports(net, &[], &net.endpoints)
    }
}

/// Connects a container, whose network namespace `netns` is, to one of its networks.
pub fn plug(
    up: &mut Up,
    id: &str,
    endpoint: &Endpoint,
    netns: BorrowedFd<'_>,
    net: &NetState,
) -> Result<()> {
    let end = End { name: &endpoint.interface, mac: parse_mac(&endpoint.mac)?, netns };
    up.connect(id, &end, !net.ports.is_empty())
}

/// Gives the interfaces of a container their addresses.
pub fn configure(inside: &mut Links, endpoints: &[Endpoint]) -> Result<()> {
    for endpoint in endpoints {
        let addresses = endpoint_addresses(std::slice::from_ref(endpoint))?;
        let gateways: Result<Vec<Address>> =
            endpoint.gateways.iter().map(|text| Address::parse(text)).collect();
        inside.configure(&endpoint.interface, &addresses, &gateways?)?;
    }
    Ok(())
}

/// Gives back what a container that has just ended had of networks, as `release` does: those that it
/// was started with, and those that were connected while it ran.
pub fn end(engine: &Engine, container: &Container, started_with: &NetState) {
    // Of one that goes, and was on none, nobody waits for what it may have been given since.
    if started_with.endpoints.is_empty() && container.ephemeral {
        return;
    }
    let now = container.stored_state().map(|state| state.net);
    // What cannot be given back is taken by whoever finds that its owner has gone.
    let _ = release(engine, container, now.as_ref().unwrap_or(started_with));
}

/// Gives back the addresses of containers that are gone: a keeper that was killed may not have
/// written down yet which it had.
pub fn sweep(engine: &Engine) -> Result<()> {
    let networks = match engine.images.directory().dir("networks") {
        Err(Errno::ENOENT) => return Ok(()),
        other => other.context("open the networks")?,
    };
    for name in networks.names().context("list the networks")? {
        let path = std::path::Path::new(&name).join("leases");
        let Ok(leases) = networks.dir(&path) else { continue };
        ipam::give_back_all(&leases, &|id| Ok(engine.open_id(id)?.is_none()))?;
    }
    Ok(())
}

/// Gives back what a container that has ended had of networks. May be called at any time, twice.
pub fn release(engine: &Engine, container: &Container, net: &NetState) -> Result<()> {
    if net.endpoints.is_empty() {
        return Ok(());
    }
    lead_ports(net, &net.endpoints, &[])?;
    if container.dir.stat(SHARED).is_ok() {
        // Who stays in that network must not answer for the next owner of the addresses.
        up::unplug(&container.id, None)?;
        container.dir.unlink(SHARED).context("note that the network is not shared")?;
    }
    let store = store(engine)?;
    for endpoint in &net.endpoints {
        // The network may have been removed meanwhile.
        if let Ok(leases) = store.leases(&endpoint.network) {
            for text in &endpoint.addresses {
                let address = text.split('/').next().unwrap_or_default();
                ipam::give_back(&leases, address, &container.id)?;
            }
        }
    }
    let named = named(net);
    match named.is_empty() {
        true => Ok(()),
        false => names::refresh(engine, &store, &named),
    }
}
