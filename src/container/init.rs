//! The first process of a machine that has nothing else: it makes a usable system of a bare one,
//! starts the containers, takes away what ends, and in the end stops everything.

use super::boot::{boot, boot_again};
use super::record::State;
use super::state::list;
use super::store::Engine;
use crate::error::{Context, Error, Result, report, warn};
use crate::namespace::net;
use crate::runtime::processes;
use crate::sys::fs;
use crate::sys::io::{self, Poll};
use crate::sys::mount::{self, Attr};
use crate::sys::process::{self, End, Exit};
use crate::sys::{Errno, file, probe, proc};
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

const PSEUDO: u64 = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;

/// File system, place, attributes, options: mounted in this order where the place is no mount.
const MOUNTS: [(&CStr, &CStr, u64, &CStr); 8] = [
    (c"proc", c"/proc", PSEUDO, c""),
    (c"sysfs", c"/sys", PSEUDO, c""),
    (c"devtmpfs", c"/dev", libc::MS_NOSUID, c"mode=755"),
    (c"devpts", c"/dev/pts", libc::MS_NOSUID | libc::MS_NOEXEC, c"gid=5,mode=620,ptmxmode=666"),
    (c"tmpfs", c"/dev/shm", libc::MS_NOSUID | libc::MS_NODEV, c"mode=1777"),
    (c"tmpfs", c"/run", libc::MS_NOSUID | libc::MS_NODEV, c"mode=755"),
    (c"tmpfs", c"/tmp", libc::MS_NOSUID | libc::MS_NODEV, c"mode=1777"),
    (c"cgroup2", c"/sys/fs/cgroup", PSEUDO, c""),
];

/// How long what is not a container may take to end.
const GRACE: Duration = Duration::from_secs(2);
/// How long after the end of a keeper its container is started again.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a keeper may take besides its container's time to stop.
const SLACK: Duration = Duration::from_secs(10);

/// Runs the machine until a signal ends it.
pub fn run(root: &Path, run_root: &Path) -> Result<()> {
    if process::id() != 1 {
        return Err(Error::new("this is not process 1 of a machine")
            .hint("rocker boot starts the containers under another init"));
    }
    // Before anything is started, so that no end is missed.
    let set = io::SignalSet::FORWARDABLE;
    io::block_signals(set).context("block the signals")?;
    let signals = io::signal_fd(set).context("watch the signals")?;
    // From here on an error must not end this process: the kernel would panic.
    set_up();
    let engine = loop {
        match Engine::open(root, run_root) {
            Ok(engine) => break engine,
            Err(error) => report(&error),
        }
        if let Some(end) = wait(&signals, 10_000).end {
            leave(None, &signals, end);
        }
    };
    tell_started(boot(&engine, &mut |error| report(&error)));
    loop {
        let woken = wait(&signals, -1);
        let end = match woken.keeper_killed {
            true => woken.end.or_else(|| pause(&signals)),
            false => woken.end,
        };
        if let Some(end) = end {
            leave(Some(&engine), &signals, end);
        }
        if woken.keeper_killed {
            tell_started(boot_again(&engine, &mut |error| report(&error)));
        }
    }
}

/// Waits so that what ends again and again does not keep the machine busy. The processes of a
/// container that end with its keeper end meanwhile.
fn pause(signals: &OwnedFd) -> Option<End> {
    let deadline = Instant::now() + PAUSE;
    loop {
        let rest = milliseconds_until(deadline);
        if let Some(end) = wait(signals, rest).end {
            return Some(end);
        }
        if rest == 0 {
            return None;
        }
    }
}

fn milliseconds_until(deadline: Instant) -> i32 {
    let rest = deadline.saturating_duration_since(Instant::now()).as_micros().div_ceil(1000);
    i32::try_from(rest).unwrap_or(i32::MAX)
}

fn tell_started(started: Result<Vec<String>>) {
    match started {
        Ok(names) => names.iter().for_each(|name| tell(&format!("started {name}"))),
        Err(error) => report(&error),
    }
}

fn tell(text: &str) {
    crate::error::write_stderr(&format!("rocker: {text}\n"));
}

/// What a wait came to.
struct Woken {
    end: Option<End>,
    /// A process of ours was killed: it may have been a keeper, whose container is down then.
    keeper_killed: bool,
}

/// Waits for a signal, and takes away the status of what has ended.
fn wait(signals: &OwnedFd, milliseconds: i32) -> Woken {
    let mut woken = Woken { end: None, keeper_killed: false };
    let _ = io::poll(&mut [io::Poll::readable(signals.as_fd())], milliseconds);
    while let Some(signal) = io::next_signal(signals.as_fd()) {
        woken.end = end_of(signal).or(woken.end);
    }
    while let Ok(Some((_, exit))) = process::reap(false) {
        woken.keeper_killed |= matches!(exit, Exit::Signal(_));
    }
    woken
}

/// The signals that end a machine, as busybox and systemd know them.
fn end_of(signal: u32) -> Option<End> {
    const RTMIN: i32 = 34;
    match signal as i32 {
        // SIGINT is what the kernel makes of ctrl-alt-del.
        libc::SIGTERM | libc::SIGINT => Some(End::Restart),
        libc::SIGUSR1 => Some(End::Halt),
        libc::SIGUSR2 | libc::SIGPWR => Some(End::PowerOff),
        signal if signal == RTMIN + 3 => Some(End::Halt),
        signal if signal == RTMIN + 4 => Some(End::PowerOff),
        signal if signal == RTMIN + 5 => Some(End::Restart),
        _ => None,
    }
}

/// Makes of a bare machine one that containers can run on. What does not work is told and left.
fn set_up() {
    for (kind, place, attr, options) in MOUNTS {
        if let Err(error) = mount_missing(kind, place, attr, options) {
            warn(error);
        }
    }
    if let Err(error) = net::loopback_up() {
        warn(error);
    }
    if let Ok(name) = std::fs::read_to_string("/etc/hostname") {
        let named = process::sethostname(name.trim()).context("set the host name");
        named.unwrap_or_else(warn);
    }
    // In a namespace of processes there is no such key.
    let _ = process::catch_ctrl_alt_del();
}

fn mount_missing(kind: &CStr, place: &CStr, attr: u64, options: &CStr) -> Result<()> {
    let what = || format!("mount {} on {}", kind.to_string_lossy(), place.to_string_lossy());
    let path = Path::new(place.to_str().unwrap_or_default());
    if place == c"/tmp" && probe::writable(path).is_ok() {
        // It is not a pseudo file system: what is on the disk stays to be seen.
        return Ok(());
    }
    file::make_path(path, 0o755).context(what())?;
    let device = |path: &Path| fs::stat_path(path).map(|stat| stat.device);
    if device(path) != path.parent().map_or(Err(Errno::EINVAL), device) {
        return Ok(());
    }
    match mount::create(kind, place, Attr(attr), options) {
        Err(Errno::EBUSY) => Ok(()),
        other => other.context(what()),
    }
}

/// Stops the containers and everything else, brings all to the disk, and ends the machine.
fn leave(engine: Option<&Engine>, signals: &OwnedFd, end: End) -> ! {
    tell("stopping");
    if let Some(engine) = engine {
        stop_all(engine, signals);
    }
    for signal in [libc::SIGTERM, libc::SIGKILL] {
        process::signal_all(signal as u32);
        let deadline = Instant::now() + GRACE;
        // ECHILD: nobody is left.
        while Instant::now() < deadline && process::reap(false) != Err(Errno::ECHILD) {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    file::sync_all();
    if is_the_machine() {
        unmount_all();
        file::sync_all();
    }
    loop {
        if let Err(errno) = process::end_machine(end) {
            report(&Error::from(errno).message("end the machine".into()));
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// Asks all keepers at once to stop their containers, and waits for those that they wait for. A
/// second signal that ends the machine says not to wait.
fn stop_all(engine: &Engine, signals: &OwnedFd) {
    let states = list(engine).unwrap_or_else(|error| {
        report(&error);
        Vec::new()
    });
    let mut keepers = Vec::new();
    let mut longest = Duration::ZERO;
    for state in states.iter().filter(|state| state.status.is_alive()) {
        match stop_one(engine, state) {
            Ok(Some((keeper, limit))) => {
                longest = longest.max(limit);
                keepers.push((&state.name, keeper));
            }
            Ok(None) => {}
            Err(error) => report(&error),
        }
    }
    // Each keeper bounds its own wait: by the container's time to stop, and SIGKILL after it. But
    // what hangs in the kernel does not end by that.
    let deadline = Instant::now().checked_add(longest.saturating_add(SLACK));
    let mut in_time = true;
    for (name, keeper) in keepers {
        in_time = in_time && has_ended(&keeper, signals, deadline);
        match in_time {
            true => tell(&format!("stopped {name}")),
            false => tell(&format!("did not wait for {name}")),
        }
    }
}

/// Asks a keeper to stop its container. Gives the keeper and the time that the container has.
fn stop_one(engine: &Engine, state: &State) -> Result<Option<(OwnedFd, Duration)>> {
    let Some(keeper) = processes::open(state.keeper, state.keeper_start)? else { return Ok(None) };
    // It may have ended just now.
    let _ = process::send_signal(keeper.as_fd(), libc::SIGTERM as u32);
    let record = engine.open_id(&state.id)?.and_then(|container| container.record().ok());
    let seconds = record.map_or(0, |record| u64::try_from(record.stop_timeout).unwrap_or(u64::MAX));
    Ok(Some((keeper, Duration::from_secs(seconds))))
}

/// Whether a keeper ends before the time is over and before a signal says not to wait.
fn has_ended(keeper: &OwnedFd, signals: &OwnedFd, deadline: Option<Instant>) -> bool {
    loop {
        let rest = deadline.map_or(-1, milliseconds_until);
        let mut watched = [Poll::readable(keeper.as_fd()), Poll::readable(signals.as_fd())];
        let _ = io::poll(&mut watched, rest);
        if watched[0].ready() {
            return true;
        }
        if rest == 0 || wait(signals, 0).end.is_some() {
            return false;
        }
    }
}

/// Whether this is process 1 of the machine itself. In a namespace of processes the file systems
/// are mounted elsewhere too, and others write to them.
fn is_the_machine() -> bool {
    // Source: include/uapi/linux/nsfs.h, `PID_NS_INIT_INO`.
    fs::stat_path("/proc/self/ns/pid").is_ok_and(|stat| stat.inode == 0xEFFF_FFFC)
}

/// Unmounts what can be, the last mount first, and makes what stays read-only.
fn unmount_all() {
    // However long it is: what is left out stays mounted.
    let list = proc::dir("self").and_then(|own| own.read_special("mountinfo", 16 << 20));
    for line in String::from_utf8_lossy(&list.unwrap_or_default()).lines().rev() {
        let point = proc::unescape(line.split(' ').nth(4).unwrap_or_default());
        let Ok(path) = CString::new(point.as_str()) else { continue };
        // What is pseudo is in nobody's way.
        let kept = ["/proc", "/sys", "/dev"];
        if kept.iter().any(|kept| Path::new(&point).starts_with(kept)) {
            continue;
        }
        if point == "/" || mount::unmount(&path).is_err() {
            let _ = mount::remount_read_only(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_end_a_machine_as_under_other_inits() {
        for (signals, end) in [
            (&[libc::SIGTERM as u32, libc::SIGINT as u32, 39][..], End::Restart),
            (&[libc::SIGUSR2 as u32, libc::SIGPWR as u32, 38], End::PowerOff),
            (&[libc::SIGUSR1 as u32, 37], End::Halt),
        ] {
            assert!(signals.iter().all(|signal| end_of(*signal) == Some(end)), "{end:?}");
        }
        assert_eq!(end_of(libc::SIGHUP as u32), None);
        assert_eq!(end_of(libc::SIGCHLD as u32), None);
    }
}
