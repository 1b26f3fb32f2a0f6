//! Makes, starts, stops and removes containers: the order of the steps, and what is undone.

use super::keeper::{self, Order};
use super::options::{AttachOptions, Options, Ran};
use super::record::{Record, State, Status};
use super::relay::{self, Left, Relay};
use super::spec::{self, ETC_FILES};
use super::state::{self, clean_up, erase, is_running, settle, sweep};
use super::store::{self, Container, Engine, boot_id};
use super::{userns, volumes, wiring};
use crate::error::{Context, ENGINE, Error, FAILURE, Result, debug, warn};
use crate::image;
use crate::runtime::state as processes;
use crate::sys::fs::{self, Dir, Lock};
use crate::sys::tty::Size;
use crate::sys::{Errno, io, process};
use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// Ends what a command could not end by asking.
const KILL: u32 = libc::SIGKILL as u32;
/// How long the kernel and a keeper may take to clean up after SIGKILL.
const PATIENCE: Duration = Duration::from_secs(30);

/// A container that is being made in `tmp`: dropped, it goes again.
struct Making<'a> {
    engine: &'a Engine,
    container: Option<Container>,
    name: Option<String>,
}

impl Drop for Making<'_> {
    fn drop(&mut self) {
        let Some(container) = &self.container else { return };
        if let Some(name) = &self.name {
            self.engine.drop_name(name, &container.id);
        }
        if let (Ok(tmp), Ok(containers)) = (self.engine.tmp(), self.engine.containers()) {
            // It may have come to its place already, and not to the disk.
            let _ = containers.rename_new(&container.id, &tmp, &container.id);
            // What is left the next sweep removes.
            let _ = image::remove_tree(&tmp, OsStr::new(&container.id));
        }
    }
}

/// Makes a container that does not run yet: its directory, locked, with record and state.
fn make(engine: &Engine, options: &Options, ephemeral: bool) -> Result<(Container, Record, State)> {
    // Held until the record names the layers, so that nobody removes them meanwhile.
    let _hold = engine.images.hold()?;
    let (image, words) = spec::image_and_words(options)?;
    let image = engine.images.find(image)?;
    let (id, dir) = engine.new_directory()?;
    let container = Container { id: id.clone(), dir, ephemeral };
    let mut making = Making { engine, container: Some(container), name: None };
    let Some(container) = &making.container else { return Err(Error::new("no container")) };
    fs::lock(container.dir.as_fd(), Lock::Exclusive).context("lock the new container")?;
    let mut record = spec::record(options, &image, words, id)?;
    let (userns, turn) = userns::choose(engine, options.userns)?;
    record.userns = userns;
    volumes::prepare(engine, &mut record)?;
    let mut state = spec::first_state(&record);
    if !ephemeral {
        // One that removes itself does not outlive this boot, and its keeper writes it down.
        state.boot_id = boot_id()?;
    }
    fill(container, &record, &state)?;
    drop(turn);
    engine.take_name(&record.name, &record.id, ephemeral)?;
    making.name = Some(record.name.clone());
    if !ephemeral {
        let what = || "store the container";
        container.dir.sync().context(what())?;
        let (tmp, containers) = (engine.tmp()?, engine.containers()?);
        tmp.rename_new(&record.id, &containers, &record.id).context(what())?;
        containers.sync().context(what())?;
    }
    debug(format_args!("container {}: made of image {}", record.id, record.image));
    match making.container.take() {
        Some(container) => Ok((container, record, state)),
        None => Err(Error::new("no container")),
    }
}

/// Puts everything into the directory of a new container.
fn fill(container: &Container, record: &Record, state: &State) -> Result<()> {
    let dir = &container.dir;
    dir.mkdir("upper", 0o755).context("make the writable layer")?;
    dir.mkdir("work", 0o700).context("make the writable layer")?;
    give(dir, record, &["upper", "work"])?;
    write_etc(container, record)?;
    if !container.ephemeral {
        // So that `cat` finds it even when the container never writes.
        dir.append(super::log::LOG).context("make the log")?;
    }
    let write = |name: &str, text: String, durable| -> Result<()> {
        use std::io::Write;
        let mut file = dir.create(name, 0o600).context(format_args!("write {name}"))?;
        file.write_all(text.as_bytes()).map_err(fs::errno).context(format_args!("write {name}"))?;
        match durable {
            true => fs::sync(file.as_fd()).context(format_args!("write {name}")),
            false => Ok(()),
        }
    };
    let kept = !container.ephemeral;
    if kept {
        // One that removes itself starts at once, and its keeper writes its first state.
        write(store::STATE, miniserde::json::to_string(state) + "\n", kept)?;
    }
    write(store::RECORD, miniserde::json::to_string(record), kept)
}

/// Writes the files below /etc anew; what an earlier run changed in them is gone.
fn write_etc(container: &Container, record: &Record) -> Result<()> {
    for (name, content) in ETC_FILES.into_iter().zip(spec::etc_files(record)) {
        container.dir.overwrite(name, &content, 0o644).context(format_args!("write {name}"))?;
    }
    give(&container.dir, record, &ETC_FILES)
}

/// Gives what is a container's to its own root, where it has users of its own.
fn give(dir: &Dir, record: &Record, names: &[&str]) -> Result<()> {
    let Some(map) = record.userns else { return Ok(()) };
    names.iter().try_for_each(|name| {
        dir.set_owner(name, map.uid, map.gid).context(format_args!("give {name} to the container"))
    })
}

/// Makes a container and leaves it at that. Gives its id.
pub fn create(engine: &Engine, options: Options) -> Result<String> {
    sweep(engine)?;
    let mut options = options;
    wiring::resolve(engine, &mut options.net)?;
    let cidfile = Cidfile::make(&options)?;
    let (container, ..) = make(engine, &options, false)?;
    cidfile.write(&container.id)?;
    Ok(container.id)
}

/// The file that a new container's id is written into; gone again if there is no container.
struct Cidfile(Option<(std::fs::File, String)>);

impl Cidfile {
    /// Takes the file before anything is made: an old one may name another container.
    fn make(options: &Options) -> Result<Self> {
        let Some(path) = &options.cidfile else { return Ok(Self(None)) };
        let file = std::fs::File::create_new(path).map_err(fs::errno);
        Ok(Self(Some((file.context(format_args!("make the cidfile {path}"))?, path.clone()))))
    }

    fn write(mut self, id: &str) -> Result<()> {
        use std::io::Write;
        let Some((mut file, path)) = self.0.take() else { return Ok(()) };
        let written = file.write_all(id.as_bytes()).map_err(fs::errno);
        written.context(format_args!("write the cidfile {path}"))
    }
}

impl Drop for Cidfile {
    fn drop(&mut self) {
        if let Some((_, path)) = &self.0 {
            // It is ours and empty.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Makes a container and runs it: attached until it ends, or detached.
pub fn run(engine: &Engine, options: Options) -> Result<Ran> {
    let mut options = options;
    let on_terminal = relay::stdin_is_terminal();
    if options.tty && !on_terminal && !options.detach {
        warn("standard input is no terminal: the container has one, but its keys are not yours");
    }
    // A terminal is connected even unasked: a shell that reads nothing helps nobody.
    let stdin = options.interactive || options.tty || on_terminal && !options.detach;
    options.interactive = stdin;
    let keys = relay::parse_keys(options.detach_keys.as_deref().unwrap_or(relay::DETACH_KEYS))?;
    let cidfile = Cidfile::make(&options)?;
    wiring::resolve(engine, &mut options.net)?;
    if options.net.wants_default() && !wiring::prepare(engine, options.net.by_default())? {
        options.net.networks = vec!["none".to_owned()];
    }
    let (container, record, state) = make(engine, &options, options.rm)?;
    let id = container.id.clone();
    let tty = record.tty;
    // An attached client hears of the end, or of a failure: it need not be woken for the start.
    let announce = options.detach || options.cidfile.is_some() || options.pidfile.is_some();
    let order = Order {
        root_path: engine.root_path.clone(),
        run_path: engine.run_path.clone(),
        container,
        record,
        state,
        attached: !options.detach,
        owns_input: !options.detach && stdin,
        announce,
        size: if tty { relay::terminal_size() } else { Size::default() },
        remove_on_failure: true,
    };
    let (child, socket) = keeper::launch(order)?;
    debug(format_args!("container {id}: its keeper is process {}", child.pid));
    if announce {
        relay::wait_started(socket.as_fd())
            .inspect_err(|_| relay::bury_keeper(child.pidfd.as_fd()))?;
        debug(format_args!("container {id}: runs"));
        cidfile.write(&id)?;
        if let Some(path) = &options.pidfile {
            write_pidfile(engine, &id, path)?;
        }
        if options.detach {
            return Ok(Ran::Detached(id));
        }
    }
    let relay = Relay {
        socket,
        stdin,
        terminal: tty,
        detach_keys: keys,
        signals: !options.no_signal_proxy && !tty,
    };
    relay_to_end(relay, child, id)
}

fn relay_to_end(relay: Relay, keeper: process::Child, id: String) -> Result<Ran> {
    match relay::run(relay)? {
        Left::Failed(error) => {
            relay::bury_keeper(keeper.pidfd.as_fd());
            Err(error)
        }
        Left::Detached => Ok(Ran::Detached(id)),
        Left::Exited(code) => Ok(Ran::Ended(code)),
        Left::Unread => Ok(Ran::Ended(relay::NO_READER)),
        Left::Closed => Ok(Ran::Ended(relay::code_of_keeper(keeper.pidfd.as_fd())?)),
    }
}

fn write_pidfile(engine: &Engine, id: &str, path: &str) -> Result<()> {
    let pid = match engine.open_id(id)? {
        Some(container) => container.stored_state()?.pid,
        None => 0,
    };
    let written = std::fs::write(path, format!("{pid}\n")).map_err(fs::errno);
    written.context(format_args!("write the pidfile {path}"))
}

/// Starts a container that does not run. One that runs is left as it is.
pub fn start(engine: &Engine, name: &str, options: &AttachOptions) -> Result<Ran> {
    sweep(engine)?;
    let keys = relay::parse_keys(options.detach_keys.as_deref().unwrap_or(relay::DETACH_KEYS))?;
    let container = engine.resolve(name)?;
    container.lock()?;
    let state = settle(engine, &container)?.ok_or_else(|| store::no_such_container(name))?;
    if state.status.is_alive() {
        container.unlock();
        return match options.attach {
            true => super::attach(engine, name, options),
            false => Ok(Ran::Detached(container.id)),
        };
    }
    let mut record = container.record()?;
    if record.net.wants_default() && !wiring::prepare(engine, record.net.by_default)? {
        record.network = "none".to_owned();
        record.net.memberships.clear();
    }
    write_etc(&container, &record)?;
    // What a crash left of the log socket is in the way of the next one.
    clean_up(engine, &container, &state)?;
    let (id, tty) = (container.id.clone(), record.tty);
    let stdin = options.interactive && record.interactive;
    let fresh = State {
        stopping: false,
        stay_down: false,
        restarts: 0,
        oom_killed: false,
        exit_code: 0,
        error: String::new(),
        ..state
    };
    let order = Order {
        root_path: engine.root_path.clone(),
        run_path: engine.run_path.clone(),
        container,
        record,
        state: fresh,
        attached: options.attach,
        owns_input: options.attach && stdin,
        announce: true,
        size: relay::terminal_size(),
        remove_on_failure: false,
    };
    let (child, socket) = keeper::launch(order)?;
    relay::wait_started(socket.as_fd())
        .inspect_err(|_| relay::bury_keeper(child.pidfd.as_fd()))
        .map_err(|error| if error.code == FAILURE { error.code(ENGINE) } else { error })?;
    if !options.attach {
        return Ok(Ran::Detached(id));
    }
    let signals = !options.no_signal_proxy && !tty;
    let relay = Relay { socket, stdin, terminal: tty, detach_keys: keys, signals };
    relay_to_end(relay, child, id)
}

/// Stops a container: the stop signal, then after some seconds SIGKILL. Below zero waits for ever.
/// Returns when nothing of it runs any more.
pub fn stop(engine: &Engine, name: &str, seconds: Option<i64>) -> Result<()> {
    let container = engine.resolve(name)?;
    container.lock()?;
    let state = settle(engine, &container)?;
    let Some(state) = state.filter(|state| state.status.is_alive()) else {
        container.unlock();
        return Ok(());
    };
    let record = container.record()?;
    // Before the signal: the keeper shall find the mark when the program ends.
    container.write_state(&State { stopping: true, ..state.clone() }, false)?;
    container.unlock();
    let signal = record.stop_signal;
    end_processes(&container, &state, signal, seconds.unwrap_or(record.stop_timeout))?;
    finish(engine, &container)
}

/// Sends a signal, waits, sends SIGKILL, and waits until process and keeper have gone.
fn end_processes(container: &Container, state: &State, signal: u32, seconds: i64) -> Result<()> {
    let keeper = processes::open(state.keeper, state.keeper_start)?;
    if let Some(pidfd) = processes::open(state.pid, state.pid_start)? {
        debug(format_args!("container {}: signal {signal} to process {}", container.id, state.pid));
        send(pidfd.as_fd(), signal)?;
        let milliseconds = match seconds {
            ..0 => -1,
            _ => i32::try_from(seconds.saturating_mul(1000)).unwrap_or(i32::MAX),
        };
        if signal == KILL || !wait_for(pidfd.as_fd(), milliseconds) {
            send(pidfd.as_fd(), KILL)?;
            if !wait_for(pidfd.as_fd(), PATIENCE.as_millis() as i32) {
                let what = format!("container {}: the kernel does not let it end", container.id);
                return Err(Error::new(what).hint("a process of it hangs in a system call"));
            }
        }
    }
    if let (0, Some(keeper)) = (state.pid, &keeper) {
        // It waits to start the container again, and finds that this is not wanted any more.
        send(keeper.as_fd(), libc::SIGTERM as u32)?;
    }
    // A keeper that was killed leaves the rest to us.
    if let Some(keeper) = keeper
        && !wait_for(keeper.as_fd(), PATIENCE.as_millis() as i32)
    {
        return Err(Error::new(format!("container {}: its keeper does not end", container.id)));
    }
    Ok(())
}

fn send(pidfd: std::os::fd::BorrowedFd<'_>, signal: u32) -> Result<()> {
    match process::send_signal(pidfd, signal) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(errno).context(format_args!("send signal {signal}")),
    }
}

/// Waits for the end of a process; false when the time is over first.
fn wait_for(pidfd: std::os::fd::BorrowedFd<'_>, milliseconds: i32) -> bool {
    let deadline = Instant::now() + Duration::from_millis(milliseconds.max(0) as u64);
    loop {
        let left = match milliseconds {
            ..0 => -1,
            _ => deadline.saturating_duration_since(Instant::now()).as_millis() as i32,
        };
        let mut list = [io::Poll::readable(pidfd)];
        match io::poll(&mut list, left) {
            Ok(0) if left == 0 => return false,
            Ok(0) => {}
            _ => return true,
        }
    }
}

/// Takes the lock; false when the container is not there any more.
fn lock_if_there(container: &Container) -> Result<bool> {
    match container.lock() {
        Ok(()) => Ok(true),
        Err(error) if error.errno.is_none() => Ok(false),
        Err(error) => Err(error),
    }
}

/// Settles what a keeper that died could not.
fn finish(engine: &Engine, container: &Container) -> Result<()> {
    if !lock_if_there(container)? {
        // It removed itself.
        return Ok(());
    }
    let settled = settle(engine, container);
    container.unlock();
    settled.map(drop)
}

/// Stops a container if it runs, and starts it again.
pub fn restart(engine: &Engine, name: &str, seconds: Option<i64>) -> Result<()> {
    stop(engine, name, seconds)?;
    start(engine, name, &AttachOptions::default()).map(drop)
}

/// Sends a signal to the first process of a container that runs. One that ends by the signals
/// that are meant to end it is not started again.
pub fn kill(engine: &Engine, name: &str, signal: u32) -> Result<()> {
    let container = engine.resolve(name)?;
    let mut state = state::current(engine, &container)?;
    let record = container.record()?;
    if !record.restart.is_empty() && [KILL, record.stop_signal].contains(&signal) {
        container.lock()?;
        let now = settle(engine, &container)?.filter(|state| state.status.is_alive());
        let Some(now) = now else { return Err(not_running(name)) };
        container.write_state(&State { stay_down: true, ..now.clone() }, false)?;
        container.unlock();
        if now.pid == 0 {
            end_processes(&container, &now, signal, 0)?;
            return finish(engine, &container);
        }
        // It may have been started again since we looked first.
        state = Some(now);
    }
    let pidfd = match state.filter(|state| state.status == Status::Running) {
        Some(state) => processes::open(state.pid, state.pid_start)?,
        None => None,
    };
    let pidfd = pidfd.ok_or_else(|| not_running(name))?;
    send(pidfd.as_fd(), signal)
}

/// The error for what needs a container that runs.
pub fn not_running(name: &str) -> Error {
    Error::new(format!("container {} is not running", name.escape_debug()))
}

/// Removes a container; one that runs only with `force`, which kills it.
pub fn remove(engine: &Engine, name: &str, force: bool) -> Result<()> {
    sweep(engine)?;
    let container = engine.resolve(name)?;
    container.lock()?;
    let state = match settle(engine, &container) {
        Ok(None) => return Ok(()),
        Ok(Some(state)) => state,
        // Its files are damaged: what runs under its id is found by its groups.
        Err(error) if !force => return Err(error),
        Err(_) => State::empty(),
    };
    let runs = state.status == Status::Restarting || is_running(&state, &boot_id()?);
    if runs && !force {
        container.unlock();
        return Err(Error::new(format!(
            "cannot remove a running container {}",
            name.escape_debug()
        ))
        .hint(format!("rocker stop {name} first, or rocker rm -f {name}")));
    }
    let record = container.record();
    if runs {
        container.unlock();
        if record.as_ref().is_ok_and(|record| !record.restart.is_empty())
            && let Some(keeper) = processes::open(state.keeper, state.keeper_start)?
        {
            // So that it does not start the container again.
            send(keeper.as_fd(), libc::SIGTERM as u32)?;
        }
        end_processes(&container, &state, KILL, 0)?;
        if !lock_if_there(&container)? {
            return Ok(());
        }
    }
    clean_up(engine, &container, &state)?;
    let shown = record.as_ref().map_or(container.id.as_str(), |record| &record.name);
    erase(engine, &container, shown)?;
    wiring::sweep(engine)?;
    // The last user of an image that has been removed takes its layers with it.
    let known = record.is_ok_and(|record| {
        engine.images.find(&record.image).is_ok_and(|image| image.id == record.image_id)
    });
    match known {
        true => Ok(()),
        false => super::commit::collect(engine),
    }
}
