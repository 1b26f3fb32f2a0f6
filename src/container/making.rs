//! Makes containers that do not run yet: their directories, and the names that lead there.
//!
//! In two steps, because `run` leaves the second to the keeper: the command makes the network
//! namespace meanwhile.

use super::options::Options;
use super::record::{Record, State};
use super::spec::{self, ETC_FILES};
use super::store::{self, Container, Engine, boot_id};
use super::{log, names, userns, volumes};
use crate::error::{Context, Result, debug};
use crate::image;
use crate::sys::fs::{self, Dir};
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd};

/// What nobody else may take or remove until a new container that has it can be found.
pub struct Holds {
    layers: image::Hold,
    ids: Option<Dir>,
    volumes: Option<Dir>,
}

impl Holds {
    /// The locks, which end with the last process that has them open.
    pub fn files(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let others = self.ids.iter().chain(&self.volumes).map(AsFd::as_fd);
        std::iter::once(self.layers.as_fd()).chain(others)
    }
}

/// A container that is being made: dropped, it goes again.
struct Making<'a> {
    engine: &'a Engine,
    id: &'a str,
    name: Option<&'a str>,
    done: bool,
}

impl Drop for Making<'_> {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let dropped = self.name.map_or(Ok(()), |name| self.engine.drop_name(name, self.id));
        if let (Ok(tmp), Ok(containers)) = (self.engine.tmp(), self.engine.containers()) {
            // It may have come to its place already, and not to the disk.
            let _ = containers.rename_new(self.id, &tmp, self.id);
            // What is left the next sweep removes, and the name that leads to it.
            if dropped.is_ok() {
                let _ = image::remove_tree(&tmp, OsStr::new(self.id));
            }
        }
    }
}

/// Removes what `begin` made of a container.
pub fn discard(engine: &Engine, id: &str, name: &str) {
    drop(Making { engine, id, name: Some(name), done: false });
}

/// Decides what a new container is, makes its directory, empty and locked, and takes its name: who
/// asks for it by that waits for the lock. Whoever does not `finish` it has to `discard` it.
pub fn begin(
    engine: &Engine,
    options: &Options,
    ephemeral: bool,
) -> Result<(Container, Record, State, Holds)> {
    let layers = engine.images.hold()?;
    let (image, words) = spec::image_and_words(options)?;
    let image = engine.images.find(image)?;
    let (id, dir) = engine.new_directory()?;
    let mut making = Making { engine, id: &id, name: None, done: false };
    let mut record = spec::record(options, &image, words, id.clone())?;
    let (userns, ids) = userns::choose(engine, options.userns)?;
    record.userns = userns;
    let volumes = volumes::prepare(engine, &mut record)?;
    let mut state = spec::first_state(&record);
    if !ephemeral {
        // One that removes itself does not outlive this boot, and its keeper writes it down.
        state.boot_id = boot_id()?;
    }
    engine.take_name(&record.name, &id, ephemeral)?;
    making.done = true;
    drop(making);
    Ok((Container { id, dir, ephemeral }, record, state, Holds { layers, ids, volumes }))
}

/// Fills the directory of a new container and brings it to its place. On failure it is gone.
pub fn finish(
    engine: &Engine,
    container: &Container,
    record: &Record,
    state: &State,
    holds: Holds,
) -> Result<()> {
    let name = Some(record.name.as_str());
    let mut making = Making { engine, id: &container.id, name, done: false };
    fill(container, record, state)?;
    if !container.ephemeral {
        let what = || "store the container";
        container.dir.sync().context(what())?;
        let (tmp, containers) = (engine.tmp()?, engine.containers()?);
        tmp.rename_new(&record.id, &containers, &record.id).context(what())?;
        containers.sync().context(what())?;
    }
    // Not sooner: who lists the containers of both places could miss one that moves between them.
    drop(holds);
    debug(format_args!("container {}: made of image {}", record.id, record.image));
    making.done = true;
    Ok(())
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
        dir.append(log::LOG).context("make the log")?;
    }
    let write = |name: &str, text: String, durable| -> Result<()> {
        use std::io::Write;
        store::check_new(name, &text)?;
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
pub fn write_etc(container: &Container, record: &Record) -> Result<()> {
    for (name, content) in ETC_FILES.into_iter().zip(spec::etc_files(record)) {
        let dir = &container.dir;
        names::insist(dir, name, &|name| dir.overwrite(name, &content, 0o644))?;
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
