//! The first process of a container that was asked for with `--init`: it starts the program,
//! hands signals on to it, and takes away the status of whatever the program leaves behind.

use super::program::{self, Prepared, Streams, Tie};
use crate::error::{Context, Result};
use crate::sys::process::Namespaces;
use crate::sys::{Errno, io, process};
use std::convert::Infallible;
use std::os::fd::{AsFd, OwnedFd};

/// Starts the program as a child and serves it until it ends; then this process ends as it did.
///
/// The program's copy of the `socket` closes when it is executed; ours must not stay open longer.
pub fn run(
    prepared: &Prepared,
    streams: Streams,
    socket: &mut Option<OwnedFd>,
) -> Result<Infallible> {
    // Blocked before the clone, so that no end of a child is missed.
    let watched = io::SignalSet::FORWARDABLE;
    io::block_signals(watched).context("block the signals")?;
    let signals = io::signal_fd(watched).context("watch the signals")?;
    process::setsid().context("start a session")?;
    let context = (prepared, &streams, socket.as_ref());
    let child = process::clone_into(Namespaces::default(), None, context, become_program)
        .context("start the program")?;
    program::give_up_the_rest(prepared)?;
    // The program's copies remain: when those close, their readers see the end.
    drop((streams, socket.take()));
    for number in 0..3 {
        process::close_standard(number);
    }
    // Directories of the host among them, which a container that may trace us could go through.
    process::close_all_but(&[signals.as_fd(), child.pidfd.as_fd()])
        .context("close the open files")?;
    process::die_with_parent().context("tie the first process to its keeper")?;
    loop {
        let _ = io::poll(&mut [io::Poll::readable(signals.as_fd())], -1);
        while let Some(signal) = io::next_signal(signals.as_fd()) {
            if signal != libc::SIGCHLD as u32 {
                // It may just have ended.
                let _ = process::send_signal(child.pidfd.as_fd(), signal);
            }
        }
        loop {
            match process::reap(false) {
                Ok(Some((pid, exit))) if pid == child.pid => process::exit_now(exit.code()),
                Ok(Some(_)) => {}
                Ok(None) | Err(Errno::ECHILD) => break,
                Err(errno) => return Err(errno).context("wait for the program"),
            }
        }
    }
}

fn become_program((prepared, streams, socket): (&Prepared, &Streams, Option<&OwnedFd>)) -> ! {
    let Err(error) = program::execute(prepared, streams, Tie::Tied, None);
    match socket {
        Some(socket) => program::give_up(socket.as_fd(), &error),
        None => process::exit_now(error.code),
    }
}
