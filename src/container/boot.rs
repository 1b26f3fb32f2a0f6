//! Starts the containers that shall run whenever the machine does.

use super::lifecycle::start;
use super::options::AttachOptions;
use super::record::{State, Status};
use super::restart::{ALWAYS, UNLESS_STOPPED};
use super::state::list;
use super::store::{Engine, boot_id};
use crate::error::{Error, Result};

/// Starts what is marked `always` or `unless-stopped` and does not run, in the order in which it
/// was made. May be called at any time, twice. Gives the names of what was started, and tells
/// `failed` of each container that could not be.
pub fn boot(engine: &Engine, failed: &mut dyn FnMut(Error)) -> Result<Vec<String>> {
    let boot = boot_id()?;
    let mut started = Vec::new();
    let mut states = list(engine)?;
    states.reverse();
    for state in states.iter().filter(|state| !state.status.is_alive()) {
        let record = match engine.open_id(&state.id)?.map(|container| container.record()) {
            Some(Ok(record)) => record,
            // `list` has warned of it.
            Some(Err(_)) | None => continue,
        };
        if !is_wanted(state, &record.restart, &boot) {
            continue;
        }
        match start(engine, &state.id, &AttachOptions::default()) {
            Ok(_) => started.push(record.name),
            Err(error) => {
                let message = format!("start {}: {}", record.name, error.message);
                failed(error.message(message));
            }
        }
    }
    Ok(started)
}

/// Whether a container that does not run shall be started. What was ended on purpose since the
/// machine was started is left alone, so that a second call does nothing.
fn is_wanted(state: &State, policy: &str, boot: &str) -> bool {
    let on_purpose = state.stopping || state.stay_down || state.status == Status::Stopped;
    match policy {
        ALWAYS => !on_purpose || state.boot_id != boot,
        UNLESS_STOPPED => !on_purpose,
        _ => false,
    }
}
