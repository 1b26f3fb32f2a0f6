//! How a container comes to run: its groups, its first process, what is written down of it.

use crate::cgroups::Group;
use crate::container::log::Writer;
use crate::container::record::{Record, State, Status};
use crate::container::state::{on_socket, remove_socket};
use crate::container::store::{Container, Engine, boot_id};
use crate::container::streams::Streams;
use crate::container::wiring::{self, Wiring};
use crate::container::{layer, membership, runtime_spec, security};
use crate::error::{Context, Error, Result};
use crate::namespace::net;
use crate::runtime::create::Setup;
use crate::runtime::processes::start_time;
use crate::runtime::{self, Network, Process, Spec, Stdio, report};
use crate::sys::{io, proc, process, time, tty};
use std::os::fd::{AsFd, OwnedFd};

/// Whether the command that starts a keeper makes the network namespace of the container.
pub fn makes_network(record: &Record) -> bool {
    membership::has_own_namespace(record) && record.userns.is_none()
}

/// A socket that other commands connect to; without one they can still stop the container.
fn listen(engine: &Engine, container: &Container) -> Option<OwnedFd> {
    if !container.ephemeral {
        // What an earlier run of it may have left.
        remove_socket(engine, container);
    }
    // A name below the working directory fits into a socket address, however deep it lies.
    let listener = on_socket(engine, container, &|dir, name| {
        process::fchdir(dir.as_fd())?;
        io::listen(name).map(Some)
    });
    let _ = process::chdir(c"/");
    listener.ok().flatten()
}

/// Makes the groups and the first process, and waits until the program runs.
pub fn bring_up(
    engine: &Engine,
    container: &Container,
    record: &mut Record,
    state: &mut State,
    size: tty::Size,
    arriving: Option<OwnedFd>,
) -> Result<Running> {
    let mut wiring = wiring::reserve(engine, container, record, state)?;
    let mut arriving = arriving.filter(|_| makes_network(record));
    let mut ways = layer::Ways::of(engine, container, record);
    loop {
        let layer = ways.next(engine, container, record)?;
        layer.clone_into(&mut state.layer);
        let group = security::group(record)?;
        let making = Making { engine, container, record, group: &group, size };
        // A second attempt finds nothing on its way any more.
        match making.attempt(state, &mut wiring, arriving.take()) {
            Ok(Attempt::Running { process, streams, log, listener, mounts }) => {
                return Ok(Running { process, group, streams, log, listener, mounts, wiring });
            }
            Ok(Attempt::NoOverlay(error)) => {
                group.destroy()?;
                layer::release(engine, container, state);
                ways.refuse(engine, record, layer, error)?;
            }
            Err(error) => {
                // The first error is the one to report; the next sweep finds the group.
                let _ = group.destroy();
                return Err(error);
            }
        }
    }
}

/// A container whose program runs.
pub struct Running {
    pub process: Process,
    pub group: Group,
    pub streams: Streams,
    pub log: Writer,
    pub listener: Option<OwnedFd>,
    /// What holds its mounts, for the command that started it to let go of. `None` where nothing of it
    /// remains anyway.
    pub mounts: Option<OwnedFd>,
    /// What it holds of networks.
    pub wiring: Wiring,
}

/// What an attempt to start a container came to.
enum Attempt {
    Running {
        process: Process,
        streams: Streams,
        log: Writer,
        listener: Option<OwnedFd>,
        mounts: Option<OwnedFd>,
    },
    NoOverlay(Error),
}

/// What the first process is made of.
struct Making<'a> {
    engine: &'a Engine,
    container: &'a Container,
    record: &'a Record,
    group: &'a Group,
    size: tty::Size,
}

impl Making<'_> {
    /// Starts the program with the layer that the state names.
    fn attempt(
        &self,
        state: &mut State,
        wiring: &mut Wiring,
        arriving: Option<OwnedFd>,
    ) -> Result<Attempt> {
        let (process, pipes) = self.create(state, wiring, arriving)?;
        // One that has ended has reported why.
        let streams = match process.executed()? {
            Setup::NoOverlay(error) => return Ok(Attempt::NoOverlay(error)),
            Setup::Running(Some(master)) => {
                Streams::terminal(master).context("prepare the terminal")
            }
            Setup::Running(None) => pipes.ok_or_else(|| Error::new("the terminal did not arrive")),
        };
        // Before anything else: it may end any time. The next start of one that stays needs them gone.
        let mounts = self
            .record
            .auto_remove
            .then(|| proc::mount_namespace(process.child.pid).ok())
            .flatten();
        let noted = streams.and_then(|streams| {
            note_running(self.container, state, self.group, &process)?;
            let dir = self.container.dir.duplicate().context("open the container")?;
            Ok((streams, Writer::new(dir), listen(self.engine, self.container)))
        });
        let (streams, log, listener) = noted.inspect_err(|_| end(&process))?;
        Ok(Attempt::Running { process, streams, log, listener, mounts })
    }

    /// Makes the first process and lets it go on; gives our ends of its pipes with it.
    fn create(
        &self,
        state: &State,
        wiring: &mut Wiring,
        arriving: Option<OwnedFd>,
    ) -> Result<(Process, Option<Streams>)> {
        let Self { engine, container, record, group, size } = *self;
        let mut spec = runtime_spec::of(engine, container, record, state)?;
        spec.cgroup2 = group.is_unified();
        let (stdio, pipes) = stdio(record, size)?;
        let process = if record.net.memberships.is_empty() {
            let network = arriving.as_ref().map_or(Network::New, |s| Network::Arriving(s.as_fd()));
            let run = || runtime::run(&spec, group, stdio, network);
            wiring::create_process(engine, record, run)?
        } else {
            self.create_member(&spec, stdio, state, wiring, arriving)?
        };
        Ok((process, pipes))
    }

    /// The same for a container that is on networks.
    fn create_member(
        &self,
        spec: &Spec,
        stdio: Stdio,
        state: &State,
        wiring: &mut Wiring,
        arriving: Option<OwnedFd>,
    ) -> Result<Process> {
        // That of a container with users of its own belongs to them, and comes with them.
        let is_made = spec.mapped.is_some();
        let network = if is_made { Network::New } else { Network::FromParent };
        let process = runtime::create(spec, self.group, stdio, network)?;
        let join = || {
            // Meanwhile the process mounts its root.
            let netns = if is_made { None } else { Some(network_of(&process, arriving)?) };
            let there = netns.as_ref().unwrap_or(&process.child.pidfd);
            wiring.join(self.record, &state.net, there)?;
            process.start()
        };
        join().inspect_err(|_| end(&process))?;
        Ok(process)
    }
}

/// Waits for the network namespace that the client makes, or makes it, and gives it to the process.
fn network_of(process: &Process, arriving: Option<OwnedFd>) -> Result<OwnedFd> {
    let made = arriving.and_then(|socket| report::receive_network(socket.as_fd()));
    let netns = made.map_or_else(net::make, Ok)?;
    process.give_network(netns.as_fd())?;
    Ok(netns)
}

/// Ends a first process that cannot be kept.
fn end(process: &Process) {
    // It may have ended by itself.
    let _ = process::send_signal(process.child.pidfd.as_fd(), libc::SIGKILL as u32);
    let _ = process::wait(process.child.pidfd.as_fd());
}

/// A terminal or pipes for the program, and our ends of the pipes.
fn stdio(record: &Record, size: tty::Size) -> Result<(Stdio, Option<Streams>)> {
    if record.tty {
        return Ok((Stdio::Terminal(size), None));
    }
    let (stdio, streams) = Streams::pipes(record.interactive).context("make the pipes")?;
    Ok((stdio, Some(streams)))
}

/// Writes down the processes of the container; from here on others can find and end them.
fn note_running(
    container: &Container,
    state: &mut State,
    group: &Group,
    process: &Process,
) -> Result<()> {
    state.status = Status::Running;
    state.boot_id = boot_id()?;
    state.pid = process.child.pid;
    // One that has ended already reports why; its start time does not matter any more.
    state.pid_start = start_time(process.child.pid).unwrap_or(0);
    state.keeper = process::id();
    state.keeper_start = start_time(state.keeper)?;
    state.cgroups = group.paths();
    state.started = time::now();
    state.started_uptime = time::since_boot();
    container.write_state(state, false)
}

/// Writes down that the container could not be started: that is an end too, with its code and time.
pub fn note_failure(container: &Container, mut state: State, error: &Error) {
    state.end();
    state.forget_networks();
    state.cgroups.clear();
    state.finished = time::now();
    state.finished_uptime = time::since_boot();
    state.exit_code = error.code;
    state.error = error.to_string();
    // The error is told all the same.
    let _ = container.write_state(&state, false);
}
