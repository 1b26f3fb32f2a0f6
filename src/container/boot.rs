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
    start_marked(engine, &|_| true, failed)
}

/// The same while the machine runs: what has never been started waits for its user.
pub fn boot_again(engine: &Engine, failed: &mut dyn FnMut(Error)) -> Result<Vec<String>> {
    start_marked(engine, &|state| state.status != Status::Created, failed)
}

fn start_marked(
    engine: &Engine,
    chosen: &dyn Fn(&State) -> bool,
    failed: &mut dyn FnMut(Error),
) -> Result<Vec<String>> {
    let boot = boot_id()?;
    let mut waiting = Vec::new();
    for state in list(engine)?.into_iter().rev() {
        if state.status.is_alive() || !chosen(&state) {
            continue;
        }
        let record = match engine.open_id(&state.id)?.map(|container| container.record()) {
            Some(Ok(record)) => record,
            // `list` has warned of it.
            Some(Err(_)) | None => continue,
        };
        if is_wanted(&state, &record.restart, &boot) {
            waiting.push((state.id, record.name));
        }
    }
    let mut started = Vec::new();
    // One may need another that comes later, where the clock went back between their making: those
    // that fail get another chance as long as others come up.
    loop {
        let mut errors = Vec::new();
        let before = started.len();
        waiting.retain(|(id, name)| match start(engine, id, &AttachOptions::default()) {
            Ok(_) => {
                started.push(name.clone());
                false
            }
            Err(error) => {
                let message = format!("start {name}: {}", error.message);
                errors.push(error.message(message));
                true
            }
        });
        if waiting.is_empty() || started.len() == before {
            errors.into_iter().for_each(failed);
            return Ok(started);
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_ended_on_purpose_waits_for_the_next_boot_or_for_its_user() {
        let wanted = |policy: &str, status, boot: &str, change: &dyn Fn(&mut State)| {
            let mut state = State { status, boot_id: boot.to_owned(), ..State::default() };
            change(&mut state);
            is_wanted(&state, policy, "now")
        };
        let nothing: &dyn Fn(&mut State) = &|_| {};
        let killed: &dyn Fn(&mut State) = &|state| state.stopping = true;
        for boot in ["now", "before"] {
            for status in [Status::Created, Status::Exited, Status::Dead] {
                assert!(wanted("always", status, boot, nothing), "{status:?} {boot}");
                assert!(wanted("unless-stopped", status, boot, nothing), "{status:?} {boot}");
                assert!(!wanted("on-failure", status, boot, nothing), "{status:?} {boot}");
                assert!(!wanted("no", status, boot, nothing), "{status:?} {boot}");
            }
            let is_new = boot == "before";
            assert_eq!(wanted("always", Status::Stopped, boot, nothing), is_new);
            assert_eq!(wanted("always", Status::Exited, boot, killed), is_new);
            assert!(!wanted("unless-stopped", Status::Stopped, boot, nothing), "{boot}");
            assert!(!wanted("unless-stopped", Status::Exited, boot, killed), "{boot}");
        }
    }
}
