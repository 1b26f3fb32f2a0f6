//! Makes the first process of a container, and lets it go.

use super::PROTECT;
use super::init::{self, Start};
use super::report::{self, Message};
use super::spec::{Network, Spec, Stdio};
use super::userns;
use crate::cgroups::Group;
use crate::error::{Context, Error, Result};
use crate::namespace;
use crate::sys::process::{self, Child, Namespaces};
use crate::sys::{Errno, control, exe, io, lend, limits, proc};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A process that is being set up, or runs.
#[derive(Debug)]
pub struct Process {
    pub child: Child,
    socket: OwnedFd,
}

/// How setting up ended.
#[derive(Debug)]
pub enum Setup {
    /// The program runs; with the master end of its terminal where it has one.
    Running(Option<OwnedFd>),
    /// The kernel or the file system has no overlay; nothing has run.
    NoOverlay(Error),
}

impl Process {
    /// Takes a child that reports through the other end of `socket`.
    pub fn new(child: Child, socket: OwnedFd) -> Self {
        Self { child, socket }
    }

    /// Gives the process its network namespace, which it waits for (`Network::FromParent`).
    pub fn give_network(&self, netns: BorrowedFd<'_>) -> Result<()> {
        sent(report::send_network(self.socket.as_fd(), netns)).context("hand over the network")
    }

    /// Lets the process go on to its program as soon as it is set up.
    pub fn start(&self) -> Result<()> {
        sent(report::send_start(self.socket.as_fd())).context("start the first process")
    }

    /// Waits until the program has been executed. An error is the child's own.
    pub fn executed(&self) -> Result<Setup> {
        let mut terminal = None;
        loop {
            match report::receive(self.socket.as_fd()).context("wait for the first process")? {
                Message::Terminal(master) => terminal = Some(master),
                Message::Executed => return Ok(Setup::Running(terminal)),
                Message::Failed(error) => return Err(self.bury(error)),
                Message::NoOverlay(error) => return Ok(Setup::NoOverlay(self.bury(error))),
            }
        }
    }

    fn bury(&self, error: Error) -> Error {
        // It ends by itself; its status says no more than the error.
        let _ = process::wait(self.child.pidfd.as_fd());
        error
    }
}

/// Takes it for no error that something was not sent because the process has given up already: that one
/// says why in a message that waits for us.
fn sent(result: crate::sys::Result<()>) -> crate::sys::Result<()> {
    match result {
        Err(Errno::EPIPE | Errno::ECONNRESET) => Ok(()),
        other => other,
    }
}

/// Starts the first process of a container. It sets everything up and then waits for `start`.
pub fn create(spec: &Spec, group: &Group, stdio: Stdio, network: Network<'_>) -> Result<Process> {
    let process = launch(spec, group, stdio, network, true)?;
    if let Some(score) = spec.program.oom_score_adj {
        // It waits for `start`, and ends by itself when that does not come.
        set_oom_score(&process.child.pid.to_string(), score)?;
    }
    Ok(process)
}

/// Starts the first process of a container and lets it go on to its program as soon as it can.
///
/// Where nothing is to be done to it between, this returns when it has got there or has failed,
/// and is faster than `create` and `start`, because nothing of this process needs to be copied.
pub fn run(spec: &Spec, group: &Group, stdio: Stdio, network: Network<'_>) -> Result<Process> {
    // With `init` it never gets there: it stays what it is.
    match spec.init || spec.program.oom_score_adj.is_some() {
        false => launch(spec, group, stdio, network, false),
        true => {
            let process = create(spec, group, stdio, network)?;
            process.start()?;
            Ok(process)
        }
    }
}

fn launch(
    spec: &Spec,
    group: &Group,
    stdio: Stdio,
    network: Network<'_>,
    wait: bool,
) -> Result<Process> {
    let namespaces = match (&spec.mapped, network) {
        (Some(_), _) => userns::namespaces(spec),
        (None, Network::New) => spec.namespaces,
        (None, _) => spec.namespaces.without(Namespaces::NET),
    };
    let own = match spec.can_look_ahead() {
        true => None,
        false => Some(exe::unwritable().context(PROTECT)?),
    };
    let (near, far) = io::socket_pair().context("make a socket pair")?;
    let entry = group.entry()?;
    let (kind, [stdin, stdout, stderr]) = stdio.split();
    let ends = [stdin, stdout, stderr, Some(far)];
    let (tasks, parents) = (&entry.tasks[..], near.as_fd());
    let start =
        Start { spec, tasks, stdio: kind, network, wait, parents, own: None, handover: None };
    // A copy in memory shall go with the first process: then that has memory of its own.
    let child = if let Some(mapped) = &spec.mapped {
        // From inside it could not be done without the host's rights, on some kernels.
        if let Some(own) = &own {
            exe::run_from(own.file.as_fd()).context(PROTECT)?;
        }
        userns::launch(start, mapped, entry.into, ends)
    } else if wait || own.as_ref().is_some_and(exe::Unwritable::is_copy) {
        let start = Start { own: own.as_ref().map(|own| own.file.as_fd()), ..start };
        process::clone_into(namespaces, entry.into, (&start, ends), |(start, ends)| {
            init::main(start, ends)
        })
        .map(Ok)
    } else {
        if let Some(own) = &own {
            exe::run_from(own.file.as_fd()).context(PROTECT)?;
        }
        lend::lend_into(namespaces, entry.into, &start, ends, init::main).map(Ok)
    };
    let child = match child {
        Err(Errno::EPERM | Errno::EUSERS) if spec.mapped.is_some() => {
            Err(Error::new("no user namespace can be made here")
                .hint("see rocker check, namespace user, or leave out --userns"))
        }
        other => other.map_err(|errno| namespace::refused(errno, namespaces)),
    };
    Ok(Process { child: child.context("clone the first process")??, socket: near })
}

/// Takes from this process what its caller chose for itself, so that its children do not get it:
/// limits, and how readily the kernel kills it. Only what cannot be taken away stays.
pub fn forget_caller() {
    limits::lift_usual();
    let score = control::read_path("/proc/self/oom_score_adj").unwrap_or_default();
    if !matches!(score.trim_end(), "" | "0") {
        let _ = set_oom_score("self", 0);
    }
}

/// Tells the kernel how readily to kill a process when memory is short.
///
/// `process` is its number, or `self`. The file is the host's: nothing inside can lead elsewhere.
pub fn set_oom_score(process: &str, score: i64) -> Result<()> {
    let written = proc::dir(process)
        .and_then(|dir| control::write(&dir, "oom_score_adj", &score.to_string()));
    written.context(format_args!("set oom_score_adj to {score}"))
}
