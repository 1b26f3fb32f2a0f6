//! Whether a process that was remembered still is the one that it was.

use crate::error::{Context, Result};
use crate::sys::{Errno, proc, process};
use std::os::fd::OwnedFd;

/// When a process started, in clock ticks since the boot. With the number it names a process.
///
/// `ESRCH` or `ENOENT` when it is gone; one that has ended but still has a number counts as gone.
pub fn start_time(pid: u32) -> Result<u64> {
    let what = || format!("read /proc/{pid}/stat");
    let stat = proc::read(&format!("{pid}/stat")).context(what())?;
    parse_start_time(&stat).ok_or(Errno::ESRCH).context(what())
}

/// Fields 3 and 22; the second, the name, is in brackets and may hold anything: proc_pid_stat(5).
fn parse_start_time(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    let started = fields.nth(18)?.parse().ok()?;
    (!matches!(state, "Z" | "X")).then_some(started)
}

/// Opens a process that was remembered by number and start time; `None` when it is gone.
pub fn open(pid: u32, started: u64) -> Result<Option<OwnedFd>> {
    if pid == 0 {
        return Ok(None);
    }
    let pidfd = match process::pidfd_open(pid) {
        Err(Errno::ESRCH) => return Ok(None),
        other => other.context(format_args!("open process {pid}"))?,
    };
    // Looked at after the open: if it is the one now, the descriptor is of that one.
    Ok(is_the_one(pid, started)?.then_some(pidfd))
}

fn is_the_one(pid: u32, started: u64) -> Result<bool> {
    match start_time(pid) {
        Err(error) if matches!(error.errno, Some(Errno::ESRCH | Errno::ENOENT)) => Ok(false),
        found => Ok(found? == started),
    }
}

/// Whether the process is still there and has not ended. One that cannot be looked at just now is
/// taken to be there: what is taken to be gone is cleaned up after.
pub fn is_running(pid: u32, started: u64) -> bool {
    pid != 0 && is_the_one(pid, started).unwrap_or(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_running_and_one_with_another_start_time_is_not() {
        let pid = process::id();
        let started = start_time(pid).unwrap();
        assert!(is_running(pid, started));
        assert!(!is_running(pid, started + 1));
        assert!(!is_running(0, 0));
    }

    #[test]
    fn the_start_time_is_found_behind_any_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 1 2";
        assert_eq!(parse_start_time(stat), Some(4711));
        assert_eq!(parse_start_time(&stat.replace(") S", ") Z")), None);
        assert_eq!(parse_start_time("7 (a"), None);
    }
}
