//! How a running container is ended: a signal, patience, SIGKILL, and what its keeper leaves.

use super::options::StopOptions;
use super::record::{Record, State, Status};
use super::state::{self, settle};
use super::store::{Container, Engine, not_running};
use crate::error::{Cause, Context, Error, Result, debug};
use crate::runtime::processes;
use crate::sys::{Errno, io, process};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// Ends what a command could not end by asking.
const KILL: u32 = libc::SIGKILL as u32;
/// How long the kernel and a keeper may take to clean up after SIGKILL.
const PATIENCE: Duration = Duration::from_secs(30);

/// A container that was asked to stop.
pub struct Stopping {
    container: Container,
    /// Its processes, where it ran, and how many seconds they have; below zero for ever.
    processes: Option<(Processes, i64)>,
    /// Why it could not be written down that it was asked.
    unwritten: Option<Error>,
}

/// The first process and the keeper of a container, after a signal to the first.
struct Processes {
    first: Option<OwnedFd>,
    keeper: Option<OwnedFd>,
    signal: u32,
    asked: Instant,
}

/// Asks a container to stop, by the signal that is given or that it wants for that. Several are asked
/// before the first is waited for, so that they take no longer together than the slowest of them.
pub fn ask_to_stop(engine: &Engine, name: &str, options: &StopOptions) -> Result<Stopping> {
    let container = engine.resolve_locked(name)?;
    let state = settle(engine, &container)?;
    let Some(state) = state.filter(|state| state.status.is_alive()) else {
        container.unlock();
        return Ok(Stopping { container, processes: None, unwritten: None });
    };
    let record = container.record()?;
    if options.again && record.auto_remove {
        container.unlock();
        let what =
            format!("cannot restart {}: it removes itself when it ends", name.escape_debug());
        return Err(Error::new(what).hint("without --rm it would stay"));
    }
    // Before the signal: the keeper shall find the mark when the program ends.
    let unwritten = note(&container, &record, &State { stopping: true, ..state.clone() })?;
    container.unlock();
    let signal = options.signal.unwrap_or(record.stop_signal);
    let processes = Processes::signal(&container, &state, signal)?;
    let seconds = options.seconds.unwrap_or(record.stop_timeout);
    Ok(Stopping { container, processes: Some((processes, seconds)), unwritten })
}

/// Writes down what was asked for. Where that cannot be, as on a full disk, it is done all the same:
/// the keeper is told that the container is not to be started again, and the error is given, for the end.
pub(super) fn note(container: &Container, record: &Record, state: &State) -> Result<Option<Error>> {
    let Err(error) = container.write_state(state, false) else { return Ok(None) };
    if !record.restart.is_empty() {
        tell_keeper_to_end(state)?;
    }
    Ok(Some(error))
}

/// Writes down of a container that has ended that it was asked to.
fn mark_stopped(container: &Container, state: State) -> Result<()> {
    if !lock_if_there(container)? {
        // It has been removed.
        return Ok(());
    }
    let stopped = State { status: Status::Stopped, stopping: true, ..state };
    let written = container.write_state(&stopped, true);
    container.unlock();
    written
}

fn unless(unwritten: Option<Error>) -> Result<()> {
    unwritten.map_or(Ok(()), Err)
}

impl Stopping {
    /// Waits for the end, which is SIGKILL when the time is over. Returns when nothing of the
    /// container runs any more.
    pub fn finish(self, engine: &Engine) -> Result<()> {
        let Some((processes, seconds)) = self.processes else { return Ok(()) };
        processes.wait(&self.container, seconds)?;
        match (settle_what_is_left(engine, &self.container)?, self.unwritten) {
            // There may be room for it by now.
            (Some(state), Some(error)) if state.status == Status::Exited => {
                mark_stopped(&self.container, state).map_err(|_| error)
            }
            _ => Ok(()),
        }
    }
}

impl Processes {
    fn signal(container: &Container, state: &State, signal: u32) -> Result<Self> {
        let keeper = processes::open(state.keeper, state.keeper_start)?;
        let first = processes::open(state.pid, state.pid_start)?;
        if let Some(pidfd) = &first {
            debug(format_args!(
                "container {}: signal {signal} to process {}",
                container.id, state.pid
            ));
            send(pidfd.as_fd(), signal)?;
        }
        if let (0, Some(keeper)) = (state.pid, &keeper) {
            // It waits to start the container again, and finds that this is not wanted any more.
            send(keeper.as_fd(), libc::SIGTERM as u32)?;
        }
        Ok(Self { first, keeper, signal, asked: Instant::now() })
    }

    /// Waits until process and keeper have gone; sends SIGKILL that many seconds after the signal.
    fn wait(&self, container: &Container, seconds: i64) -> Result<()> {
        if let Some(pidfd) = &self.first {
            let patience = u64::try_from(seconds).ok().map(Duration::from_secs);
            if self.signal == KILL || !wait_for(pidfd.as_fd(), self.asked, patience) {
                send(pidfd.as_fd(), KILL)?;
                if !wait_for(pidfd.as_fd(), Instant::now(), Some(PATIENCE)) {
                    let what =
                        format!("container {}: the kernel does not let it end", container.id);
                    return Err(Error::new(what).hint("a process of it hangs in a system call"));
                }
            }
        }
        // A keeper that was killed leaves the rest to us.
        match &self.keeper {
            Some(keeper) if !wait_for(keeper.as_fd(), Instant::now(), Some(PATIENCE)) => {
                let what = format!("container {}: its keeper does not end", container.id);
                Err(Error::new(what))
            }
            _ => Ok(()),
        }
    }
}

/// Kills the processes of a container and waits until they have gone.
pub fn kill_processes(container: &Container, state: &State) -> Result<()> {
    Processes::signal(container, state, KILL)?.wait(container, 0)
}

fn send(pidfd: BorrowedFd<'_>, signal: u32) -> Result<()> {
    match process::send_signal(pidfd, signal) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(errno).context(format_args!("send signal {signal}")),
    }
}

/// Has a keeper not start its container again.
pub fn tell_keeper_to_end(state: &State) -> Result<()> {
    match processes::open(state.keeper, state.keeper_start)? {
        Some(keeper) => send(keeper.as_fd(), libc::SIGTERM as u32),
        None => Ok(()),
    }
}

/// Waits for the end of a process; false when the time since `from` is over first. Without
/// `patience` it never is.
fn wait_for(pidfd: BorrowedFd<'_>, from: Instant, patience: Option<Duration>) -> bool {
    loop {
        let left = patience.map(|patience| patience.saturating_sub(from.elapsed()));
        let milliseconds =
            left.map_or(-1, |left| i32::try_from(left.as_millis()).unwrap_or(i32::MAX));
        match io::poll(&mut [io::Poll::readable(pidfd)], milliseconds) {
            Ok(0) if milliseconds == 0 => return false,
            Ok(0) => {}
            _ => return true,
        }
    }
}

/// Takes the lock; false when the container is not there any more.
pub fn lock_if_there(container: &Container) -> Result<bool> {
    match container.lock() {
        Ok(()) => Ok(true),
        Err(error) if error.cause == Cause::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Settles what a keeper that died could not.
fn settle_what_is_left(engine: &Engine, container: &Container) -> Result<Option<State>> {
    if !lock_if_there(container)? {
        // It removed itself.
        return Ok(None);
    }
    let settled = settle(engine, container);
    container.unlock();
    settled
}

/// Sends a signal to the first process of a container that runs. One that ends by the signals
/// that are meant to end it is not started again.
pub fn kill(engine: &Engine, name: &str, signal: u32) -> Result<()> {
    let container = engine.resolve(name)?;
    let mut state = state::current(engine, &container)?;
    let record = container.record()?;
    let mut unwritten = None;
    if !record.restart.is_empty() && [KILL, record.stop_signal].contains(&signal) {
        container.lock()?;
        let now = settle(engine, &container)?.filter(|state| state.status.is_alive());
        let Some(now) = now else { return Err(not_running(name)) };
        unwritten = note(&container, &record, &State { stay_down: true, ..now.clone() })?;
        container.unlock();
        if now.pid == 0 {
            Processes::signal(&container, &now, signal)?.wait(&container, 0)?;
            settle_what_is_left(engine, &container)?;
            return unless(unwritten);
        }
        // It may have been started again since we looked first.
        state = Some(now);
    }
    let pidfd = state.map_or(Ok(None), |state| state.running())?;
    let pidfd = pidfd.ok_or_else(|| not_running(name))?;
    send(pidfd.as_fd(), signal)?;
    unless(unwritten)
}
