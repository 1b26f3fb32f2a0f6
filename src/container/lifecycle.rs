//! Makes, starts and removes containers: the order of the steps, and what is undone.

use super::ending::{kill_processes, lock_if_there, note};
use super::keeper::{self, Order};
use super::making::{self, write_etc};
use super::notice::Notice;
use super::options::{AttachOptions, Options, Ran};
use super::record::{State, Status};
use super::relay::{self, Left, Relay};
use super::state::{clean_up, erase, settle, sweep};
use super::store::{self, Engine, boot_id};
use super::{volumes, wiring};
use crate::error::{Error, Result, debug, warn};
use crate::sys::process;
use crate::sys::tty::Size;
use std::os::fd::AsFd;

/// Makes a container and leaves it at that. Gives its id.
pub fn create(engine: &Engine, options: Options) -> Result<String> {
    sweep(engine)?;
    let mut options = options;
    wiring::resolve(engine, &mut options)?;
    let cidfile = Notice::of_id(&options)?;
    let (container, record, state, holds) = making::begin(engine, &options, false)?;
    making::finish(engine, &container, &record, &state, holds)?;
    cidfile.write(&container.id)?;
    Ok(container.id)
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
    let cidfile = Notice::of_id(&options)?;
    let pidfile = Notice::of_process(&options)?;
    wiring::resolve(engine, &mut options)?;
    if options.net.wants_default() && !wiring::prepare(engine, options.net.by_default())? {
        options.net.networks = vec!["none".to_owned()];
    }
    let (container, record, state, holds) = making::begin(engine, &options, options.rm)?;
    let (id, name) = (container.id.clone(), record.name.clone());
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
        unfinished: Some(holds),
    };
    let launched = keeper::launch(order);
    let (child, socket) = launched.inspect_err(|_| making::discard(engine, &id, &name))?;
    debug(format_args!("container {id}: its keeper is process {}", child.pid));
    if announce {
        relay::wait_started(socket.as_fd())
            .inspect_err(|_| relay::bury_keeper(child.pidfd.as_fd()))?;
        debug(format_args!("container {id}: runs"));
        cidfile.write(&id)?;
        if options.pidfile.is_some() {
            let container = engine.open_id(&id)?;
            let pid = container.map_or(Ok(0), |one| one.stored_state().map(|state| state.pid))?;
            pidfile.write(&format!("{pid}\n"))?;
        }
        if options.detach {
            return Ok(Ran::Detached(id));
        }
    }
    let relay = Relay {
        socket,
        stdin,
        ends_stdin: true,
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

/// Starts a container that does not run. One that runs is left as it is.
pub fn start(engine: &Engine, name: &str, options: &AttachOptions) -> Result<Ran> {
    sweep(engine)?;
    let keys = relay::parse_keys(options.detach_keys.as_deref().unwrap_or(relay::DETACH_KEYS))?;
    let container = engine.resolve_locked(name)?;
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
    volumes::restore(engine, &record)?;
    // What a crash left: the socket is in the way of the next one, groups and addresses are still taken.
    clean_up(engine, &container, &state)?;
    let (id, tty) = (container.id.clone(), record.tty);
    let stdin = options.interactive && record.interactive;
    let ends_stdin = record.ends_stdin();
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
        owns_input: options.attach && stdin && ends_stdin,
        announce: true,
        size: relay::terminal_size(),
        unfinished: None,
    };
    let (child, socket) = keeper::launch(order)?;
    relay::wait_started(socket.as_fd())
        .inspect_err(|_| relay::bury_keeper(child.pidfd.as_fd()))
        .map_err(Error::before_program)?;
    if !options.attach {
        return Ok(Ran::Detached(id));
    }
    let signals = !options.no_signal_proxy && !tty;
    let relay = Relay { socket, stdin, ends_stdin, terminal: tty, detach_keys: keys, signals };
    relay_to_end(relay, child, id)
}

/// Removes a container; one that runs only with `force`, which kills it.
pub fn remove(engine: &Engine, name: &str, force: bool) -> Result<()> {
    sweep(engine)?;
    let container = engine.resolve_locked(name)?;
    let state = match settle(engine, &container) {
        Ok(None) => return Ok(()),
        Ok(Some(state)) => state,
        // Its files are damaged: what runs under its id is found by its groups.
        Err(error) if !force => return Err(error),
        Err(_) => State::default(),
    };
    let runs = state.status == Status::Restarting || state.has_first_process(&boot_id()?);
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
        if let Ok(record) = record.as_ref()
            && !record.restart.is_empty()
        {
            // Its keeper may be about to start it again, and is at our lock.
            note(&container, record, &State { stay_down: true, ..state.clone() })?;
        }
        container.unlock();
        kill_processes(&container, &state)?;
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
        false => super::commit::collect(engine).map(drop),
    }
}
