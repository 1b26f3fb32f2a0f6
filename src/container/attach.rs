//! Connects to the keeper of a container that runs already.

use super::options::{AttachOptions, Ran};
use super::protocol::{CHUNK, FromClient, FromKeeper};
use super::record::Status;
use super::relay::{self, Left, Relay};
use super::state::{current, on_socket};
use super::store::{Container, Engine, no_such_container, not_running};
use crate::error::{Context, Result};
use crate::runtime::processes;
use crate::sys::tty::Size;
use crate::sys::{Errno, io, process};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

fn connect(engine: &Engine, container: &Container, output: bool) -> Result<OwnedFd> {
    // A name below the working directory fits into a socket address, however deep it lies.
    let what = || format!("connect to the keeper of container {}", container.id);
    let socket = on_socket(engine, container, &|dir, name| {
        process::fchdir(dir.as_fd())?;
        io::connect(name).map(Some)
    });
    let socket = socket.and_then(|socket| socket.ok_or(Errno::ENOENT)).context(what())?;
    io::send(socket.as_fd(), &FromClient::Hello { output }.encode(), None).context(what())?;
    Ok(socket)
}

/// Has a program that draws on its terminal draw anew: the kernel tells it of a size only where that is
/// not the last one. The right size follows.
fn redraw(socket: BorrowedFd<'_>) -> Result<()> {
    let Size { rows, columns } = relay::terminal_size();
    if rows == 0 {
        return Ok(());
    }
    let other = FromClient::Resize(Size { rows: rows.saturating_add(1), columns });
    io::send(socket, &other.encode(), None).context("send to the keeper")
}

/// Shows the output of a running container from now on, and gives it the caller's input.
pub fn attach(engine: &Engine, name: &str, options: &AttachOptions) -> Result<Ran> {
    let keys = relay::parse_keys(options.detach_keys.as_deref().unwrap_or(relay::DETACH_KEYS))?;
    let container = engine.resolve(name)?;
    let state = current(engine, &container)?.ok_or_else(|| no_such_container(name))?;
    if state.status != Status::Running {
        return Err(not_running(name));
    }
    let record = container.record()?;
    let socket = connect(engine, &container, true)?;
    if record.tty {
        redraw(socket.as_fd())?;
    }
    let relay = Relay {
        socket,
        stdin: options.interactive && record.interactive,
        ends_stdin: record.ends_stdin(),
        terminal: record.tty,
        detach_keys: keys,
        signals: !options.no_signal_proxy && !record.tty,
    };
    Ok(match relay::run(relay)? {
        Left::Exited(code) => Ran::Ended(code),
        Left::Unread => Ran::Ended(relay::NO_READER),
        Left::Closed => return Err(relay::keeper_gone()),
        Left::Detached => Ran::Detached(container.id),
        Left::Failed(error) => return Err(error),
    })
}

/// Waits until a container does not run, and gives its exit code. One that waits for its next start
/// is waited for until it has ended again.
pub fn wait(engine: &Engine, name: &str) -> Result<u8> {
    let container = engine.resolve(name)?;
    // When it had ended before; nothing if it was running.
    let mut before = None;
    loop {
        let state = current(engine, &container)?.ok_or_else(|| no_such_container(name))?;
        let again = state.status == Status::Restarting;
        let ended = again.then_some(state.finished);
        // It may have run for so short a time that nobody saw it.
        if !state.status.is_alive() || again && before.is_some_and(|before| before != ended) {
            return Ok(state.exit_code);
        }
        before = Some(ended);
        if let Some(code) =
            connect(engine, &container, false).ok().and_then(|socket| hear_end(&socket))
        {
            return Ok(code);
        }
        // The keeper answers no more: it is writing down the end, or has been killed.
        for (pid, started) in [(state.keeper, state.keeper_start), (state.pid, state.pid_start)] {
            if let Some(pidfd) = processes::open(pid, started)? {
                // Or it starts its container again.
                let timeout = if again { 50 } else { 1000 };
                io::poll(&mut [io::Poll::readable(pidfd.as_fd())], timeout)
                    .context("wait for the end")?;
            }
        }
    }
}

/// Hears the exit code from the keeper; `None` when it ends without telling.
fn hear_end(socket: &OwnedFd) -> Option<u8> {
    let mut buffer = vec![0; CHUNK + 1];
    loop {
        let (length, _) = io::receive(socket.as_fd(), &mut buffer).ok()?;
        if let FromKeeper::Exited(code) = FromKeeper::decode(&buffer[..length])? {
            return Some(code);
        }
    }
}
