//! The first process of a container, from the clone to the program.
//!
//! It runs in a copy of its parent and never returns into it: it leaves by execve or `exit_now`.

use super::PROTECT;
use super::program::{self, Streams, Tie};
use super::reaper;
use super::report;
use super::spec::{Network, Spec, StdioKind};
use crate::cgroups::Entry;
use crate::error::{Context, Error, Result};
use crate::namespace::{capabilities, dev, lock, mounts, net, root, userns};
use crate::sys::lend::Ends;
use crate::sys::mount::Propagation;
use crate::sys::process::Namespaces;
use crate::sys::{Errno, exe, process};
use std::convert::Infallible;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

const GONE: &str = "the keeper is gone";

/// The two ends of the socket between the first process and the one that makes its mounts; the second is not the first process's.
#[derive(Clone, Copy)]
pub struct Handover<'a> {
    pub own: BorrowedFd<'a>,
    pub others: BorrowedFd<'a>,
}

/// What the first process is given, besides the ends of its streams and of the socket.
pub struct Start<'a> {
    pub spec: &'a Spec,
    /// The `tasks` files of the v1 groups to join.
    pub tasks: &'a [OwnedFd],
    pub stdio: StdioKind,
    pub network: Network<'a>,
    /// Whether it waits, set up, until it is told to go on.
    pub wait: bool,
    /// The parent's end of the socket.
    pub parents: BorrowedFd<'a>,
    /// The file to run from from here on, unless the parent saw to that.
    pub own: Option<BorrowedFd<'a>>,
    /// To the process that makes the mounts, where another one does.
    pub handover: Option<Handover<'a>>,
}

/// Becomes the container's first program, or reports why not.
pub fn main(start: &Start<'_>, [stdin, stdout, stderr, mut socket]: Ends) -> ! {
    process::close_parents(start.parents);
    if let Some(handover) = start.handover {
        process::close_parents(handover.others);
    }
    let protect = || start.own.map_or(Ok(()), exe::run_from);
    if let (Err(error), Some(socket)) = (protect().context(PROTECT), &socket) {
        program::give_up(socket.as_fd(), &error);
    }
    let Err(error) = become_container(start, [stdin, stdout, stderr], &mut socket);
    match &socket {
        Some(socket) => program::give_up(socket.as_fd(), &error),
        // The program was started, and its report has been given.
        None => process::exit_now(error.code),
    }
}

fn become_container(
    start: &Start<'_>,
    ends: [Option<OwnedFd>; 3],
    report: &mut Option<OwnedFd>,
) -> Result<Infallible> {
    let Some(socket) = report else { return Err(Error::new("there is nobody to report to")) };
    let Start { spec, tasks, stdio, network, wait, .. } = *start;
    process::set_not_dumpable().context("protect the new process")?;
    Entry::join(tasks)?;
    // After the join, so that the namespace begins at the container's own group.
    match process::unshare(Namespaces::CGROUP) {
        // A kernel without cgroups.
        Ok(()) | Err(Errno::EINVAL) => {}
        Err(errno) => return Err(errno).context("make the cgroup namespace"),
    }
    match start.handover {
        None => build(spec, Some(network), socket, None)?,
        Some(handover) => {
            userns::enter(handover.own)?;
            if spec.namespaces.has(Namespaces::NET) {
                net::loopback_up()?;
            }
        }
    }
    let streams = set_up(spec, stdio, ends, socket)?;
    let prepared = program::prepare(&spec.program)?;
    program::make_workdir(&spec.program)?;
    if spec.can_look_ahead() && !prepared.is_certain()? {
        exe::run_from_copy().context(PROTECT)?;
    }
    if wait && !report::wait_for_start(socket.as_fd()) {
        return Err(Error::new(GONE));
    }
    program::give_up_rights(&prepared, &streams)?;
    match spec.init {
        true => reaper::run(&prepared, streams, report),
        false => program::execute(&prepared, &streams, Tie::Tied, Some(socket.as_fd())),
    }
}

/// Builds the mounts that the container sees and enters them; the network namespace too where it
/// is said where that comes from. A container with users of its own is shown its image by the map
/// of the `user_namespace`.
pub fn build(
    spec: &Spec,
    network: Option<Network<'_>>,
    socket: &OwnedFd,
    user_namespace: Option<BorrowedFd<'_>>,
) -> Result<()> {
    root::cut_off(Propagation::Private)?;
    // Before the root is mounted, which covers the directory that some of it lies in.
    let held = mounts::hold(&spec.volumes)?;
    let shifted = || match (&spec.mapped, user_namespace) {
        (Some(mapped), Some(namespace)) => root::shift(&spec.root, mapped, namespace),
        _ => Ok(()),
    };
    if let Err(error) = shifted().and_then(|()| root::mount_root(&spec.root)) {
        if matches!(spec.root.kind, root::RootKind::Overlay { .. }) {
            report::send_error(socket.as_fd(), &error, true);
            process::exit_now(1);
        }
        return Err(error);
    }
    let dir = root::enter_root()?;
    let devices = mounts::Devices {
        shm_bytes: spec.shm_bytes,
        nodes: &spec.devices,
        // Of groups of its own the container may have too few for that one.
        terminals: spec.mapped.as_ref().map_or(dev::Group::Usual, |mapped| {
            mapped.ids.outside(dev::TERMINALS, true).map_or(dev::Group::None, dev::Group::Of)
        }),
    };
    let mounted = mounts::mount_proc_and_dev(&dir, &devices);
    let own_net = spec.namespaces.has(Namespaces::NET);
    if let (true, Some(network)) = (own_net, network) {
        // Late: it may still be on its way. Where there can be none that is the error to tell.
        enter_network(network, socket)?;
    }
    mounted?;
    if own_net {
        mounts::mount_sys(spec.cgroup2, spec.privileged)?;
    }
    // While /proc, /dev and /sys are what was just mounted and nothing lies over a part of them.
    let covers = (!spec.unmasked).then(|| mounts::Covers::hold(&dir)).transpose()?;
    let owner = spec.mapped.as_ref().map(|mapped| mapped.ids);
    if spec.opens_network {
        mounts::open_network(owner)?;
    }
    mounts::set_sysctls(&spec.sysctls, owner)?;
    mounts::place(&dir, held)?;
    if let Some(covers) = &covers {
        mounts::mask(covers)?;
    }
    match spec.read_only {
        true => mounts::protect_root(spec.root.attr),
        false => Ok(()),
    }
}

/// Sets up what else is the container's own. The mounts are there.
fn set_up(
    spec: &Spec,
    stdio: StdioKind,
    ends: [Option<OwnedFd>; 3],
    socket: &OwnedFd,
) -> Result<Streams> {
    process::sethostname(&spec.hostname)
        .context(format_args!("set the host name {}", spec.hostname))?;
    let streams = open_streams(stdio, ends, socket)?;
    if let Streams::Terminal(peer) = &streams {
        dev::mount_console(peer)?;
    }
    // Those of a container with users of its own are locked already.
    if spec.mapped.is_none() && spec.program.rights.capabilities & capabilities::SYS_ADMIN != 0 {
        match lock::lock_mounts() {
            // It can do anything to the host as it is.
            Err(_) if spec.privileged => {}
            other => other?,
        }
    }
    Ok(streams)
}

fn enter_network(network: Network<'_>, parent: &OwnedFd) -> Result<()> {
    let enter = |netns| process::setns(netns, Namespaces::NET).context("enter the network");
    match network {
        Network::New => net::loopback_up(),
        Network::FromParent => match report::wait_for_network(parent.as_fd()) {
            Some(netns) => enter(netns.as_fd()),
            None => Err(Error::new(GONE)),
        },
        Network::Arriving(socket) => match report::receive_network(socket) {
            Some(netns) => enter(netns.as_fd()),
            None => net::enter_new(),
        },
    }
}

/// Opens the program's standard descriptors inside the container.
pub fn open_streams(
    stdio: StdioKind,
    ends: [Option<OwnedFd>; 3],
    socket: &OwnedFd,
) -> Result<Streams> {
    if let StdioKind::Terminal(size) = stdio {
        let terminal = dev::open_terminal(size)?;
        report::send_terminal(socket.as_fd(), &terminal.master)
            .context("hand over the terminal")?;
        return Ok(Streams::Terminal(terminal.peer));
    }
    let [stdin, stdout, stderr] = ends.map(|end| end.map_or_else(dev::open_null, Ok));
    Ok(Streams::Pipes { stdin: stdin?, stdout: stdout?, stderr: stderr? })
}
