//! Runs a further program in a container that runs already.

use super::PROTECT;
use super::create::{Process, set_oom_score};
use super::init::open_streams;
use super::program::{self, Prepared, Streams, Tie};
use super::spec::{Program, Stdio, StdioKind};
use crate::cgroups::{Entry, Group};
use crate::error::{Context, FAILURE, Result};
use crate::namespace::credentials;
use crate::namespace::userns;
use crate::sys::fs::Dir;
use crate::sys::lend::{self, Ends};
use crate::sys::process::{self, Child, Namespaces};
use crate::sys::{Errno, control, exe, file, io, proc};
use std::cell::Cell;
use std::convert::Infallible;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The container that a program is to run in.
pub struct Target<'a> {
    /// Its first process.
    pub pidfd: BorrowedFd<'a>,
    pub pid: u32,
    pub group: &'a Group,
    pub namespaces: Namespaces,
    /// Whether its programs may trace every process that they see.
    pub can_trace: bool,
}

struct Start<'a> {
    program: &'a Program,
    tasks: &'a [OwnedFd],
    stdio: StdioKind,
    outside: Option<Outside<'a>>,
}

/// Where nothing that still has rights of ours may be seen in the container: the process that
/// gives them up stays outside the namespace of processes, and makes one that is inside.
struct Outside<'a> {
    /// A process in that namespace.
    pidfd: BorrowedFd<'a>,
    /// The number of the process that was made, for the one that lends its memory; else 0.
    made: Cell<u32>,
}

/// Starts a program in the namespaces and the group of a container.
///
/// Errors: `ESRCH` for a container that ends.
/// The calling process itself is in those namespaces afterwards, all but the one of processes:
/// it can name no file of the host any more.
pub fn exec(target: &Target<'_>, program: &Program, stdio: Stdio) -> Result<Process> {
    let (near, far) = io::socket_pair().context("make a socket pair")?;
    let (kind, [stdin, stdout, stderr]) = stdio.split();
    if let Some(root) = program.ids {
        credentials::let_raise(0, &program.rights.limits)?;
        for end in [&stdin, &stdout, &stderr].into_iter().flatten() {
            // So that the program can open it once more, as /dev/stdout.
            file::set_owner(end.as_fd(), root.uid, root.gid).context("give the output away")?;
        }
    }
    let entry = target.group.entry()?;
    // Like others, where its own group is none for processes, join its first one.
    let first = match target.group.is_divided() {
        true => Some(proc::dir(&target.pid.to_string()).context("look at the first process")?),
        false => None,
    };
    if let Some(score) = program.oom_score_adj {
        // Of this process, whose child the program is: afterwards its /proc is not ours.
        set_oom_score("self", score)?;
    }
    // Before anything of ours can be seen from inside.
    let own = exe::unwritable().context(PROTECT)?;
    exe::run_from(own.file.as_fd()).context(PROTECT)?;
    process::set_not_dumpable().context("protect this process")?;
    let (pidfd, outside) = (target.pidfd, Outside { pidfd: target.pidfd, made: Cell::new(0) });
    let (namespaces, outside) = match target.can_trace {
        true => (target.namespaces.without(Namespaces::PID), Some(outside)),
        false => (target.namespaces, None),
    };
    match process::setns(pidfd, namespaces) {
        Err(Errno::ESRCH) => return Err(Errno::ESRCH.into()),
        other => other.context("enter the namespaces of the container")?,
    }
    let inner = match &first {
        // From here its path begins at the container's own group.
        Some(first) => first_group(target, first)?,
        None => None,
    };
    let into = inner.as_ref().map(AsFd::as_fd).or(entry.into);
    let start = Start { program, tasks: &entry.tasks, stdio: kind, outside };
    let ends = [stdin, stdout, stderr, Some(far)];
    let child = lend::lend_into(Namespaces::default(), into, &start, ends, main)
        .context("clone the process")?;
    drop(own);
    let made = start.outside.map_or(0, |outside| outside.made.get());
    if made == 0 {
        return Ok(Process::new(child, near));
    }
    process::wait(child.pidfd.as_fd()).context("wait for the process outside")?;
    // It is a child of ours, so the number is its own until we wait for it.
    let pidfd = process::pidfd_open(made).context("watch the process")?;
    Ok(Process::new(Child { pid: made, pidfd }, near))
}

/// The group of the first process below the container's own one.
fn first_group(target: &Target<'_>, first: &Dir) -> Result<Option<Dir>> {
    let groups = control::read(first, "cgroup");
    if io::is_ready(target.pidfd) {
        // The number may be another's by now.
        return Err(Errno::ESRCH.into());
    }
    target.group.inner(&groups.context("look at the groups of the first process")?)
}

fn main(start: &Start<'_>, [stdin, stdout, stderr, socket]: Ends) -> ! {
    let Some(socket) = socket else { process::exit_now(FAILURE) };
    let ends = [&stdin, &stdout, &stderr].into_iter().flatten().chain([&socket]);
    let outside = start.outside.iter().map(|outside| outside.pidfd);
    let keep = start.tasks.iter().chain(ends).map(AsFd::as_fd).chain(outside);
    // From here on this process can be seen in the container, unless it stays outside.
    if process::close_all_but(&keep.collect::<Vec<_>>()).is_err() {
        process::exit_now(FAILURE);
    }
    let Err(error) = become_program(start, [stdin, stdout, stderr], &socket);
    program::give_up(socket.as_fd(), &error)
}

fn become_program(
    start: &Start<'_>,
    ends: [Option<OwnedFd>; 3],
    socket: &OwnedFd,
) -> Result<Infallible> {
    Entry::join(start.tasks)?;
    if start.program.ids.is_some() {
        userns::become_root()?;
    }
    // Detached, it outlives the command, and the container's first process inherits it.
    let tie = if matches!(start.stdio, StdioKind::Null) { Tie::Loose } else { Tie::Tied };
    let streams = open_streams(start.stdio, ends, socket)?;
    let prepared = program::prepare(start.program)?;
    let Some(outside) = &start.outside else {
        program::give_up_rights(&prepared, &streams)?;
        return program::execute(&prepared, &streams, tie, Some(socket.as_fd()));
    };
    // For what this process makes. It takes a right that goes next.
    match process::setns(outside.pidfd, Namespaces::PID) {
        Err(Errno::ESRCH) => return Err(Errno::ESRCH.into()),
        other => other.context("enter the processes of the container")?,
    }
    // What is made is a copy: nothing of the host's may be in it.
    streams.connect()?;
    let keep = streams.ends().chain([socket.as_fd()]);
    process::close_all_but(&keep.collect::<Vec<_>>()).context("close the groups")?;
    process::forget_environment();
    program::give_up_rights(&prepared, &streams)?;
    program::seal(&prepared)?;
    let inside = Inside { prepared: &prepared, streams: &streams, tie, socket: socket.as_fd() };
    let made = process::clone_sibling(&inside, Inside::main);
    let made = made.context("clone the process inside; a seccomp profile has to allow it")?;
    outside.made.set(made);
    process::exit_now(0)
}

/// What runs in sight of the container, and has no more rights than its programs.
struct Inside<'a> {
    prepared: &'a Prepared,
    streams: &'a Streams,
    tie: Tie,
    socket: BorrowedFd<'a>,
}

impl Inside<'_> {
    fn main(&self) -> ! {
        let Self { prepared, streams, tie, socket } = *self;
        let settled = program::settle(prepared, streams, tie, Some(socket));
        let error = settled.map_or_else(|error| error, |()| program::try_paths(prepared));
        program::give_up(socket, &error)
    }
}
