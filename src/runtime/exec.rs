//! Runs a further program in a container that runs already.

use super::create::{PROTECT, Process, set_oom_score};
use super::init::open_streams;
use super::program::{self, Tie};
use super::spec::{Program, Stdio, StdioKind};
use crate::cgroups::{Entry, Group};
use crate::error::{Context, Error, FAILURE, Result};
use crate::namespace::credentials;
use crate::namespace::userns;
use crate::sys::lend::{self, Ends};
use crate::sys::process::{self, Namespaces};
use crate::sys::{Errno, exe, fs, io};
use std::convert::Infallible;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

struct Start<'a> {
    program: &'a Program,
    tasks: &'a [OwnedFd],
    stdio: StdioKind,
}

/// Starts a program in the namespaces and the group of the process that `pidfd` names.
///
/// The calling process itself is in those namespaces afterwards, all but the one of processes:
/// it can name no file of the host any more.
pub fn exec(
    pidfd: BorrowedFd<'_>,
    group: &Group,
    namespaces: Namespaces,
    program: &Program,
    stdio: Stdio,
) -> Result<Process> {
    let (near, far) = io::socket_pair().context("make a socket pair")?;
    let (kind, [stdin, stdout, stderr]) = stdio.split();
    if let Some(root) = program.ids {
        credentials::let_raise(0, &program.rights.limits)?;
        for end in [&stdin, &stdout, &stderr].into_iter().flatten() {
            // So that the program can open it once more, as /dev/stdout.
            fs::chown(end.as_fd(), root.uid, root.gid).context("give the output away")?;
        }
    }
    let entry = group.entry()?;
    if let Some(score) = program.oom_score_adj {
        // Of this process, whose child the program is: afterwards its /proc is not ours.
        set_oom_score("self", score)?;
    }
    // Before anything of ours can be seen from inside.
    let own = exe::unwritable().context(PROTECT)?;
    exe::run_from(own.file.as_fd()).context(PROTECT)?;
    drop(own);
    process::set_not_dumpable().context("protect this process")?;
    match process::setns(pidfd, namespaces) {
        Err(Errno::ESRCH) => return Err(Error::new("it is not running")),
        other => other.context("enter the namespaces of the container")?,
    }
    let start = Start { program, tasks: &entry.tasks, stdio: kind };
    let ends = [stdin, stdout, stderr, Some(far)];
    let child = lend::lend_into(Namespaces::default(), entry.into, &start, ends, main)
        .context("clone the process")?;
    Ok(Process::new(child, near))
}

fn main(start: &Start<'_>, [stdin, stdout, stderr, socket]: Ends) -> ! {
    let Some(socket) = socket else { process::exit_now(FAILURE) };
    let ends = [&stdin, &stdout, &stderr].into_iter().flatten().chain([&socket]);
    let keep: Vec<_> = start.tasks.iter().chain(ends).map(AsFd::as_fd).collect();
    // From here on this process can be seen in the container.
    if process::close_all_but(&keep).is_err() {
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
    program::give_up_rights(&prepared, &streams)?;
    program::execute(&prepared, &streams, tie, Some(socket.as_fd()))
}
