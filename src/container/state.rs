//! What is true of a container now: the stored state, believed only where the kernel agrees.

use super::record::{Record, State, Status};
use super::store::{Container, Engine, RECORD, STATE, boot_id};
use super::wiring;
use crate::cgroups;
use crate::error::{Result, warn};
use crate::image;
use crate::sys::fs::{self, Dir, Lock};
use crate::sys::{self, Errno, time};
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};

/// The code of a container whose end nobody saw, as with docker.
const UNSEEN: u8 = 255;
const SOCKET: &str = "attach.sock";
/// What the directory of a removed container is called below `tmp`, its id behind it.
const GONE: &str = "gone-";

/// Acts on the socket of a keeper, given its directory and its name there, in the first of the places
/// where it can be: beside the record, or below RUN where the file system of that has no sockets.
pub fn on_socket(
    engine: &Engine,
    container: &Container,
    act: &dyn Fn(&Dir, &str) -> sys::Result<Option<OwnedFd>>,
) -> sys::Result<Option<OwnedFd>> {
    act(&container.dir, SOCKET).or_else(|errno| match Dir::open(&engine.run_path) {
        Ok(run) => act(&run, &format!(".{}.sock", container.id)).map_err(|_| errno),
        Err(_) => Err(errno),
    })
}

/// Removes the socket of a keeper. One that is not there is what is wanted.
pub fn remove_socket(engine: &Engine, container: &Container) {
    let _ = on_socket(engine, container, &|dir, name| dir.unlink(name).map(|()| None));
}

/// The directory whose lock a keeper holds.
const ALIVE: &str = "upper";

/// The most that is read of the host's locks: tens of thousands.
const LOCKS_LIMIT: u64 = 4 << 20;

/// Takes the lock that shows others that the container's keeper lives, and tells its inode.
/// Without it they look at its process, which takes longer. After the clone: only the keeper
/// may have it.
pub fn hold_alive(container: &Container) -> Option<(Dir, u64)> {
    let dir = container.dir.dir(ALIVE).ok()?;
    fs::lock(dir.as_fd(), Lock::Exclusive).ok()?;
    let inode = fs::stat(dir.as_fd()).ok()?.inode;
    Some((dir, inode))
}

/// Whether a keeper holds the lock of the container.
fn is_held(container: &Container) -> bool {
    let dir = container.dir.dir(ALIVE);
    dir.is_ok_and(|dir| fs::lock(dir.as_fd(), Lock::TryShared) == Err(Errno::EWOULDBLOCK))
}

/// Every lock by `flock` on this host that is held, as process and inode.
///
/// One look for all containers. Where the kernel does not tell, none seems to be held, and each
/// container is looked at by itself.
fn held_locks() -> BTreeSet<(u32, u64)> {
    let text = Dir::open("/proc").and_then(|proc| proc.read_special("locks", LOCKS_LIMIT));
    let text = text.unwrap_or_default();
    String::from_utf8_lossy(&text).lines().filter_map(held_lock).collect()
}

/// One line of `/proc/locks`: `1: FLOCK  ADVISORY  WRITE 712 fe:00:1835 0 EOF`.
fn held_lock(line: &str) -> Option<(u32, u64)> {
    // One that waits for a lock has `->` there.
    let mut fields = line.split_ascii_whitespace().skip(1);
    (fields.next()? == "FLOCK").then_some(())?;
    let pid = fields.nth(2)?.parse().ok()?;
    let (_, inode) = fields.next()?.rsplit_once(':')?;
    Some((pid, inode.parse().ok()?))
}

/// The state without the times since another boot.
fn in_this_boot(state: State, boot: &str) -> State {
    match state.boot_id == boot {
        true => state,
        false => State { created_uptime: 0, started_uptime: 0, finished_uptime: 0, ..state },
    }
}

/// The stored state, made true: what stopped unseen is shown as exited.
fn derive(state: State, boot: &str) -> (State, bool) {
    let mut state = in_this_boot(state, boot);
    if !state.status.is_alive() || state.has_processes(boot) {
        return (state, false);
    }
    if state.status != Status::Restarting {
        state.exit_code = UNSEEN;
    }
    state.end();
    (state, true)
}

/// The state of a container as it is now. One that ended unseen is cleaned up on the way.
///
/// `None` when that removed it, because it was one that removes itself.
pub fn current(engine: &Engine, container: &Container) -> Result<Option<State>> {
    let boot = boot_id()?;
    let (state, unseen) = derive(container.stored_state()?, &boot);
    if unseen && is_held(container) {
        return in_another_namespace(container);
    }
    match unseen && container.try_lock() {
        true => {
            let settled = settle(engine, container);
            container.unlock();
            settled
        }
        false => Ok(Some(state)),
    }
}

/// The stored state of a container whose keeper lives, though under another number than the one
/// that is stored: that is one of another pid namespace, and so are all its processes.
fn in_another_namespace(container: &Container) -> Result<Option<State>> {
    container.stored_state().map(Some)
}

/// Makes the stored state true, under the lock, and removes what the container left running.
/// `None` when it removed the container.
pub fn settle(engine: &Engine, container: &Container) -> Result<Option<State>> {
    let (mut state, unseen) = derive(container.stored_state()?, &boot_id()?);
    if !unseen {
        return Ok(Some(state));
    }
    if is_held(container) {
        return in_another_namespace(container);
    }
    clean_up(engine, container, &state)?;
    let record = container.record()?;
    if record.auto_remove {
        erase(engine, container, &record.name)?;
        return Ok(None);
    }
    state.finished = time::now();
    state.cgroups.clear();
    state.forget_networks();
    if let Err(error) = container.write_state(&state, true) {
        // As on a full disk: it is so all the same, and the next command finds it out anew.
        warn(&error);
    }
    Ok(Some(state))
}

/// Removes what a container needs only while it runs. May be called at any time, twice.
pub fn clean_up(engine: &Engine, container: &Container, state: &State) -> Result<()> {
    remove_socket(engine, container);
    wiring::release(engine, container, &state.net)?;
    match state.cgroups.is_empty() {
        false => cgroups::open(&state.cgroups)?.destroy(),
        true => cgroups::remove_leftovers(&cgroups::Host::read()?, &container.id),
    }
}

/// Removes a container that does not run, with its name. It is gone in one step: whatever is
/// interrupted afterwards, the next sweep ends.
pub fn erase(engine: &Engine, container: &Container, name: &str) -> Result<()> {
    let tmp = engine.tmp()?;
    let gone = format!("{GONE}{}", container.id);
    if !container.ephemeral {
        let containers = engine.containers()?;
        containers.rename(&container.id, &tmp, &gone)?;
        containers.sync()?;
    } else {
        tmp.rename(&container.id, &tmp, &gone)?;
    }
    // Where this fails, what is left of the directory has the next sweep do it.
    engine.drop_name(name, &container.id)?;
    remove_usual(&container.dir);
    match tmp.rmdir(&gone) {
        Ok(()) => Ok(()),
        Err(_) => image::remove_tree(&tmp, OsStr::new(&gone)),
    }
}

/// Removes what every container's directory holds by name, which spares looking for it. Whatever
/// is not there, or not empty, is left to the walk. The record first: a commit looks whether it is
/// there still.
fn remove_usual(dir: &Dir) {
    // The mark of a volatile overlay; Documentation/filesystems/overlayfs.rst.
    let dirty = "work/work/incompat/volatile/dirty";
    for name in [RECORD, STATE, "hosts", "hostname", "resolv.conf", dirty] {
        let _ = dir.unlink(name);
    }
    let inner = ["work/work/incompat/volatile", "work/work/incompat", "work/work"];
    for name in inner.into_iter().chain(["work", "upper"]) {
        let _ = dir.rmdir(name);
    }
}

/// Finds a container and its state of now.
pub fn find(engine: &Engine, name: &str) -> Result<(Record, State)> {
    let container = engine.resolve(name)?;
    let state = current(engine, &container)?;
    let state = state.ok_or_else(|| super::store::no_such_container(name))?;
    Ok((container.record()?, state))
}

/// All containers, the newest first. A damaged one is shown as dead, with a warning.
pub fn list(engine: &Engine) -> Result<Vec<State>> {
    engine.link_names(&engine.run_dir()?)?;
    let boot = boot_id()?;
    let locks = held_locks();
    let mut states = Vec::new();
    let mut buffer = vec![0; 4096];
    for (parent, ephemeral) in engine.parents()? {
        for id in engine.ids_in(&parent)? {
            // Most of the time a look at the state will do. A keeper that holds its lock lives:
            // another process with its number would not have locked this directory.
            let is_held = |state: &State| locks.contains(&(state.keeper, state.keeper_lock));
            let container = match read_state(&parent, &id, &mut buffer) {
                // It is being made, or was when its maker died: no name leads to it.
                Some(state) if ephemeral && !state.status.is_alive() => continue,
                Some(state) if !state.status.is_alive() || is_held(&state) => {
                    states.push(in_this_boot(state, &boot));
                    continue;
                }
                _ => match parent.dir(&id) {
                    Ok(dir) => Container { id, dir, ephemeral },
                    // It has just gone.
                    Err(_) => continue,
                },
            };
            match container.stored_state() {
                Ok(stored) => {
                    let (state, unseen) = derive(stored, &boot);
                    match unseen {
                        true => states.extend(current(engine, &container)?),
                        false => states.push(state),
                    }
                }
                // It is being made, or has just gone.
                Err(_) if container.dir.stat(STATE).is_err() => {}
                // It was being made when its maker died: the record comes last.
                Err(_) if ephemeral && container.dir.stat(RECORD).is_err() => {}
                Err(error) => {
                    warn(&error);
                    states.push(dead(&container));
                }
            }
        }
    }
    // Each is moved once: they are large.
    states.sort_by_cached_key(|state| {
        (Reverse((state.created, state.created_time.clone())), state.id.clone())
    });
    Ok(states)
}

/// The stored state of a container, where it fits into the buffer, can be read and is its own.
fn read_state(parent: &Dir, id: &str, buffer: &mut [u8]) -> Option<State> {
    let length = parent.read_into(format!("{id}/{STATE}"), buffer).ok()?;
    let text = std::str::from_utf8(buffer.get(..length)?).ok()?;
    let state: State = miniserde::json::from_str(text).ok()?;
    (state.id == id).then_some(state)
}

/// What can be said of a container whose state cannot be read.
fn dead(container: &Container) -> State {
    let record = container.record().ok();
    let name = record.as_ref().map_or(container.id.clone(), |record| record.name.clone());
    State {
        id: container.id.clone(),
        name,
        status: Status::Dead,
        image_name: record.map(|record| record.image).unwrap_or_default(),
        ..State::default()
    }
}

/// Removes what dead processes left below `tmp`: half-made containers, and those that ended
/// without their keeper. Every command that makes or removes something calls it. What cannot be
/// removed is told, and keeps nobody from going on.
pub fn sweep(engine: &Engine) -> Result<()> {
    engine.images.sweep()?;
    let tmp = engine.tmp()?;
    for name in tmp.names()? {
        if let Some(text) = name.to_str()
            && let Err(error) = sweep_one(engine, &tmp, text)
        {
            warn(&error);
        }
    }
    wiring::sweep(engine)
}

/// Removes what a dead process left under this name, if it is a container's.
fn sweep_one(engine: &Engine, tmp: &Dir, name: &str) -> Result<()> {
    let id = name.strip_prefix(GONE).unwrap_or(name);
    if !super::store::is_id(id) {
        return Ok(());
    }
    let Ok(dir) = tmp.dir(name) else { return Ok(()) };
    let container = Container { id: id.to_owned(), dir, ephemeral: true };
    if !container.try_lock() {
        return Ok(());
    }
    if name.starts_with(GONE) {
        engine.drop_names_of(id)?;
        return image::remove_tree(tmp, OsStr::new(name));
    }
    let boot = boot_id()?;
    let state = container.stored_state();
    // Its keeper lives, whatever its state says: it may be in another pid namespace.
    if state.as_ref().is_ok_and(|state| state.has_processes(&boot)) || is_held(&container) {
        return Ok(());
    }
    // Nothing of it runs under a keeper; named by its id, its groups can be found.
    let state = state.unwrap_or_else(|_| State::default());
    clean_up(engine, &container, &state)?;
    let name = container.record().map(|record| record.name).unwrap_or_else(|_| id.to_owned());
    erase(engine, &container, &name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_is_held_is_told_from_one_that_is_waited_for() {
        let held = "3: FLOCK  ADVISORY  WRITE 712 fe:00:1835 0 EOF";
        assert_eq!(held_lock(held), Some((712, 1835)));
        for other in [
            "3: -> FLOCK  ADVISORY  WRITE 713 fe:00:1835 0 EOF",
            "4: POSIX  ADVISORY  WRITE 712 fe:00:1835 0 EOF",
            "5: FLOCK  ADVISORY  WRITE",
            "",
        ] {
            assert_eq!(held_lock(other), None, "{other}");
        }
    }
}
