//! The start of a container that has a user namespace of its own.
//!
//! Its first process begins in all the namespaces, without a right to anything of the host. So a
//! second one, which has the host's rights, comes into them beside it, makes the mounts as for any
//! other container, and hands them over locked; then it ends.

use super::init::{self, Handover, Start};
use super::program;
use super::spec::Spec;
use crate::error::{Context, Result};
use crate::namespace::credentials;
use crate::namespace::userns::{self, Mapped};
use crate::sys::fs::{self, Kind};
use crate::sys::lend::Ends;
use crate::sys::process::{self, Child, Namespaces};
use crate::sys::{file, ids, io, proc};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The namespaces that the first process begins in: its mounts come later.
pub fn namespaces(spec: &Spec) -> Namespaces {
    spec.namespaces.without(Namespaces::MOUNT).and(Namespaces::USER)
}

/// What the process that makes the mounts is given.
struct Builder<'a> {
    spec: &'a Spec,
    mapped: &'a Mapped,
    first: BorrowedFd<'a>,
    user_namespace: OwnedFd,
    socket: OwnedFd,
    report: OwnedFd,
}

/// Makes the first process and its surroundings. It waits, or goes on, as `start` says.
///
/// What is wrong with the mounts comes through the socket of reports, as from the process itself.
pub fn launch(
    start: Start<'_>,
    mapped: &Mapped,
    cgroup: Option<BorrowedFd<'_>>,
    ends: Ends,
) -> crate::sys::Result<Result<Child>> {
    let (near, far) = io::socket_pair()?;
    let spec = start.spec;
    for end in ends.iter().take(3).flatten() {
        // So that the program can open it once more, as /dev/stdout.
        if fs::stat(end.as_fd())?.kind == Kind::Fifo {
            file::set_owner(end.as_fd(), mapped.ids.uid, mapped.ids.gid)?;
        }
    }
    let report = match &ends[3] {
        Some(report) => report.try_clone().map_err(fs::errno)?,
        None => return Err(crate::sys::Errno::EBADF),
    };
    let handover = Handover { own: near.as_fd(), others: far.as_fd() };
    let start = Start { handover: Some(handover), ..start };
    let child = process::clone_into(namespaces(spec), cgroup, (&start, ends), |(start, ends)| {
        init::main(start, ends)
    })?;
    drop(near);
    let built = surround(spec, mapped, &child, far, report);
    if built.is_err() {
        // It may have ended by itself.
        let _ = process::send_signal(child.pidfd.as_fd(), libc::SIGKILL as u32);
        let _ = process::wait(child.pidfd.as_fd());
    }
    Ok(built.map(|()| child))
}

/// Gives a first process its ids and limits, and has its mounts made.
fn surround(
    spec: &Spec,
    mapped: &Mapped,
    child: &Child,
    socket: OwnedFd,
    report: OwnedFd,
) -> Result<()> {
    mapped.ids.write(child.pid)?;
    credentials::let_raise(child.pid, &spec.program.rights.limits)?;
    let what = "open the user namespace";
    let namespaces = proc::dir(&format!("{}/ns", child.pid)).context(what)?;
    let user_namespace = ids::namespace(&namespaces, "user").context(what)?;
    let first = child.pidfd.as_fd();
    let builder = Builder { spec, mapped, first, user_namespace, socket, report };
    // In the pid namespace from the beginning on: it mounts the /proc of that.
    let built = ids::with_children_in(first, || {
        process::clone_into(Namespaces::MOUNT, None, builder, main)
    });
    let built = built.and_then(|built| built).context("clone the process that makes the mounts")?;
    // It reports by itself what went wrong.
    process::wait(built.pidfd.as_fd()).context("wait for the mounts").map(drop)
}

fn main(builder: Builder<'_>) -> ! {
    if !userns::wait_for_first(builder.socket.as_fd()) {
        // The first process has said why.
        process::exit_now(1);
    }
    match build(&builder) {
        Ok(()) => process::exit_now(0),
        Err(error) => program::give_up(builder.report.as_fd(), &error),
    }
}

fn build(builder: &Builder<'_>) -> Result<()> {
    let Builder { spec, mapped, first, user_namespace, socket, report } = builder;
    let beside = spec.namespaces.without(Namespaces::MOUNT).without(Namespaces::PID);
    userns::enter_beside(*first, beside)?;
    ids::make_files_for(mapped.ids.uid, mapped.ids.gid).context("make files for the container")?;
    init::build(spec, None, report, Some(user_namespace.as_fd()))?;
    let mounts = userns::hand_mounts_over(user_namespace.as_fd())?;
    userns::send_mounts(socket.as_fd(), &mounts)
}
