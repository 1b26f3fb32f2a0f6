//! One line on the terminal's standard error while an import takes long.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// What takes less is not worth a line.
const FIRST: Duration = Duration::from_millis(500);
const EACH: Duration = Duration::from_millis(100);

/// The line; dropped, it is erased.
pub struct Meter {
    started: Instant,
    next: Instant,
    enabled: bool,
    shown: bool,
}

impl Meter {
    /// A meter that shows something only if it is wanted and standard error is a terminal.
    pub fn new(wanted: bool) -> Self {
        let started = Instant::now();
        let enabled = wanted && std::io::stderr().is_terminal();
        Self { started, next: started + FIRST, enabled, shown: false }
    }

    /// Says how far it is; `done` is asked only when the line is due.
    pub fn tick(&mut self, done: impl FnOnce() -> (u64, Option<u64>)) {
        if !self.enabled {
            return;
        }
        let now = Instant::now();
        if now < self.next {
            return;
        }
        self.next = now + EACH;
        self.shown = true;
        let (done, total) = done();
        let line = line(done, total, now - self.started);
        let _ = std::io::stderr().write_all(format!("\r{line}\x1b[K").as_bytes());
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if self.shown {
            let _ = std::io::stderr().write_all(b"\r\x1b[K");
        }
    }
}

/// Whole numbers only: what formats fractions of every kind is 10 KB of program.
fn line(done: u64, total: Option<u64>, time: Duration) -> String {
    let megabytes = |bytes: u64| format!("{}.{}", bytes / 1_000_000, bytes / 100_000 % 10);
    let milliseconds = u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1);
    let rate = done / 1000 / milliseconds;
    match total {
        Some(total) => {
            let done = done.min(total);
            let percent = (done * 100).checked_div(total).unwrap_or(100);
            let (done, total) = (megabytes(done), megabytes(total));
            format!("importing: {done} of {total} MB, {percent} %, {rate} MB/s")
        }
        None => format!("importing: {} MB, {rate} MB/s", megabytes(done)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_tells_part_and_rate() {
        let second = Duration::from_secs(1);
        assert_eq!(
            line(50_000_000, Some(200_000_000), second),
            "importing: 50.0 of 200.0 MB, 25 %, 50 MB/s"
        );
        assert_eq!(line(5_490_000, None, second), "importing: 5.4 MB, 5 MB/s");
    }
}
