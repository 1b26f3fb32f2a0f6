//! A container that has ended is started again by its keeper, where its policy says so.

use super::Keeper;
use super::start::{bring_up, note_failure};
use crate::container::record::State;
use crate::container::state::clean_up;
use crate::container::{layer, restart};
use crate::sys::{io, time, tty};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

impl Keeper {
    /// How long to wait before the next start; `None` when there is none. `stored` is the state
    /// under the lock: what was asked for meanwhile counts.
    pub(super) fn next_start(&mut self, stored: &State, code: u8) -> Option<Duration> {
        if self.ending || stored.stopping || stored.stay_down {
            return None;
        }
        let ran = time::since_boot() - stored.started_uptime;
        self.pause = restart::pause(&self.record, code, stored.restarts, self.pause, ran)?;
        Some(self.pause)
    }

    /// Waits for that long, then starts the container. False when it stays down.
    pub(super) fn start_again(&mut self, pause: Duration) -> bool {
        self.sleep(pause);
        if self.container.lock().is_err() {
            // It has been removed.
            return false;
        }
        let stored = self.container.stored_state().unwrap_or_else(|_| self.state.clone());
        if self.ending || stored.stopping || stored.stay_down {
            self.stay_down(stored);
            return false;
        }
        self.state =
            State { restarts: stored.restarts.saturating_add(1), oom_killed: false, ..stored };
        if let Ok(record) = self.container.record() {
            // It may have been connected to other networks.
            self.record = record;
        }
        let Self { engine, container, record, state, .. } = self;
        match bring_up(engine, container, record, state, tty::Size::default(), None) {
            Ok(running) => {
                self.running = running;
                self.container.unlock();
                true
            }
            Err(error) => {
                // The next sweep repeats what fails here.
                let _ = clean_up(&self.engine, &self.container, &self.state);
                layer::release(&self.engine, &self.container, &self.state);
                note_failure(&self.container, self.state.clone(), &error.before_program());
                self.container.unlock();
                false
            }
        }
    }

    /// Waits, unless this keeper is told to end.
    fn sleep(&mut self, pause: Duration) {
        let deadline = Instant::now() + pause;
        while !self.ending {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let milliseconds = i32::try_from(left.as_millis()).unwrap_or(i32::MAX);
            let mut list = [io::Poll::readable(self.signals.as_fd())];
            let _ = io::poll(&mut list, milliseconds.saturating_add(1));
            while let Some(signal) = io::next_signal(self.signals.as_fd()) {
                self.ending |= signal == libc::SIGTERM as u32;
            }
        }
    }

    /// Writes down that the container does not run, and unlocks it.
    fn stay_down(&self, mut state: State) {
        layer::release(&self.engine, &self.container, &state);
        state.end();
        state.cgroups.clear();
        // Where the disk is full it still is shown as exited, from the kernel's facts.
        let _ = self.container.write_state(&state, true);
        self.container.unlock();
    }
}
