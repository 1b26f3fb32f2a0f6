//! Where containers lie: their directories, their names, their locks.
//!
//! `ROOT/containers/ID` holds what survives a reboot. A container that removes itself lives in
//! `ROOT/tmp/ID`, where the next command sweeps away what a dead keeper left. `RUN/NAME` is a
//! link to either.

use super::record::{Record, State};
use crate::error::{Cause, Context, Error, Result};
use crate::image;
use crate::sys::fs::{self, Dir, Lock};
use crate::sys::{Errno, file};
use miniserde::json;
use std::ffi::{OsStr, OsString};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

const CONTAINERS: &str = "containers";
const TMP: &str = "tmp";
pub const RECORD: &str = "record.json";
pub const STATE: &str = "config.json";
/// Tells in which boot the links below RUN were made.
const LINKED: &str = ".boot";
/// The largest state file that is believed.
pub const LIMIT: u64 = 1 << 20;
/// What is left of it for what is added to a record later: networks, another name.
const ROOM: u64 = 64 << 10;

/// Everything that commands work on.
#[derive(Debug)]
pub struct Engine {
    pub images: image::Store,
    pub root_path: PathBuf,
    pub run_path: PathBuf,
}

/// One container, open.
#[derive(Debug)]
pub struct Container {
    pub id: String,
    pub dir: Dir,
    /// Whether it lies in `tmp`, because it removes itself.
    pub ephemeral: bool,
}

impl Engine {
    /// Opens the engine on its two directories; makes the first where it is missing.
    pub fn open(root: &Path, run_root: &Path) -> Result<Self> {
        let absolute = |path: &Path| {
            std::path::absolute(path)
                .map_err(fs::errno)
                .context(format_args!("find {}", path.display()))
        };
        let (root_path, run_path) = (absolute(root)?, absolute(run_root)?);
        let images = image::Store::open(&root_path).map_err(|error| match error.errno {
            Some(_) => error.hint("see rocker check, state directory"),
            None => error,
        })?;
        Ok(Self { images, root_path, run_path })
    }

    /// The directory of the names; made where it is missing.
    pub fn run_dir(&self) -> Result<Dir> {
        let made = || {
            file::make_path(&self.run_path, 0o700)?;
            Dir::open(&self.run_path)
        };
        let opened = match Dir::open(&self.run_path) {
            Err(Errno::ENOENT) => made(),
            other => other,
        };
        self.opened(opened)
    }

    /// The result of opening the directory of the names.
    fn opened(&self, opened: crate::sys::Result<Dir>) -> Result<Dir> {
        of_run(opened.context(format_args!("open {}", self.run_path.display())))
    }

    /// Opens one of rocker's own directories below the root; makes it where it is missing.
    pub fn subdirectory(&self, name: &str) -> Result<Dir> {
        let opened = file::subdirectory(self.images.directory(), name);
        opened.context(format_args!("open {}/{name}", self.root_path.display()))
    }

    /// Opens the directory of the containers; makes it where it is missing.
    pub fn containers(&self) -> Result<Dir> {
        self.subdirectory(CONTAINERS)
    }

    /// Opens the directory of what is being made or removed; makes it where it is missing.
    pub fn tmp(&self) -> Result<Dir> {
        self.subdirectory(TMP)
    }

    /// Makes a directory in `tmp` for a container with a new id, and locks it.
    pub fn new_directory(&self) -> Result<(String, Dir)> {
        let what = "make the directory of the container";
        loop {
            let id = random_id()?;
            let path = format!("{TMP}/{id}");
            if self.images.directory().stat(format!("{CONTAINERS}/{id}")).is_ok() {
                continue;
            }
            match self.images.directory().mkdir(&path, 0o700) {
                Err(Errno::EEXIST) => {}
                Err(Errno::ENOENT) => drop(self.tmp()?),
                Err(errno) => return Err(errno).context(what),
                Ok(()) => {
                    let locked = self.lock_new(&path).inspect_err(|_| {
                        // The next sweep, where this fails too.
                        let _ = self.images.directory().rmdir(&path);
                    });
                    if let Some(dir) = locked.context(what)? {
                        return Ok((id, dir));
                    }
                }
            }
        }
    }

    /// Locks a directory that was just made. `None` if a sweep was sooner, and took it for a dead
    /// container's.
    fn lock_new(&self, path: &str) -> crate::sys::Result<Option<Dir>> {
        let dir = match self.images.directory().dir(path) {
            Err(Errno::ENOENT) => return Ok(None),
            other => other?,
        };
        fs::lock(dir.as_fd(), Lock::Exclusive)?;
        Ok(self.images.directory().stat(path).is_ok().then_some(dir))
    }

    /// The path of a container's directory, as links name it.
    fn path(&self, id: &str, ephemeral: bool) -> PathBuf {
        self.root_path.join(if ephemeral { TMP } else { CONTAINERS }).join(id)
    }

    /// The path of a container's directory.
    pub fn home(&self, container: &Container) -> PathBuf {
        self.path(&container.id, container.ephemeral)
    }

    /// Opens the container with exactly this id; `None` when there is none.
    pub fn open_id(&self, id: &str) -> Result<Option<Container>> {
        for (parent, ephemeral) in [(CONTAINERS, false), (TMP, true)] {
            match self.images.directory().dir(format!("{parent}/{id}")) {
                Ok(dir) => return Ok(Some(Container { id: id.to_owned(), dir, ephemeral })),
                Err(Errno::ENOENT) => {}
                Err(errno) => return Err(errno).context(format_args!("open container {id}")),
            }
        }
        Ok(None)
    }

    /// The ids of all containers, in no order.
    pub fn ids(&self) -> Result<Vec<String>> {
        let mut ids = Vec::new();
        for (parent, _) in self.parents()? {
            ids.extend(self.ids_in(&parent)?);
        }
        Ok(ids)
    }

    /// The directories that hold containers, and whether those remove themselves.
    pub fn parents(&self) -> Result<Vec<(Dir, bool)>> {
        let mut parents = Vec::new();
        for (name, ephemeral) in [(CONTAINERS, false), (TMP, true)] {
            match self.images.directory().dir(name) {
                Err(Errno::ENOENT) => {}
                dir => parents.push((dir.context(format_args!("open {name}"))?, ephemeral)),
            }
        }
        Ok(parents)
    }

    /// The ids of the containers in one of those directories.
    pub fn ids_in(&self, parent: &Dir) -> Result<Vec<String>> {
        let names = parent.names().context("list the containers")?;
        Ok(names.iter().filter_map(|name| id_of(name)).collect())
    }

    /// Shows the record of every container. Damaged ones are passed over: their containers cannot run.
    /// What cannot be read now is an error: the container may use all that it names.
    pub fn each_record(&self, see: &mut dyn FnMut(Record)) -> Result<()> {
        for id in self.ids()? {
            if let Some(container) = self.open_id(&id)?
                && let Some(record) = container.sound_record()?
            {
                see(record);
            }
        }
        Ok(())
    }

    /// Finds a container by id, name, or the beginning of one id. A name may have docker's `/` before it.
    pub fn resolve(&self, name: &str) -> Result<Container> {
        let name = name.strip_prefix('/').unwrap_or(name);
        if is_id(name)
            && let Some(container) = self.open_id(name)?
        {
            return Ok(container);
        }
        if is_name(name) {
            let run = self.run_dir()?;
            self.link_names(&run)?;
            if let Some(id) = linked_id(&run, name)
                && let Some(container) = self.open_id(&id)?
            {
                return Ok(container);
            }
        }
        let starts = |id: &String| !name.is_empty() && id.starts_with(name);
        let mut found: Vec<String> = self.ids()?.into_iter().filter(starts).collect();
        found.sort_unstable();
        if let [one] = &found[..]
            && let Some(container) = self.open_id(one)?
        {
            return Ok(container);
        }
        if found.len() > 1 {
            let what = format!("{name} is the beginning of several ids: {}", found.join(", "));
            return Err(Error::new(what));
        }
        Err(no_such_container(name))
    }

    /// Finds a container and takes the lock that every change of it needs.
    pub fn resolve_locked(&self, name: &str) -> Result<Container> {
        let mut container = self.resolve(name)?;
        container.lock()?;
        if container.ephemeral {
            // One that was being made has come to its place meanwhile.
            let path = format!("{TMP}/{}", container.id);
            container.ephemeral = self.images.directory().stat(path).is_ok();
        }
        Ok(container)
    }

    /// Makes the links of this boot: after a reboot RUN is empty, or holds an older boot's links.
    pub fn link_names(&self, run: &Dir) -> Result<()> {
        let boot = boot_id()?;
        if run.read(LINKED, 64).is_ok_and(|stored| stored == boot.as_bytes()) {
            return Ok(());
        }
        fs::lock(run.as_fd(), Lock::Exclusive).context("lock the names")?;
        // What lies in `tmp` is linked by its maker, or did not survive the boot before.
        let containers = self.containers()?;
        for id in self.ids_in(&containers)? {
            let dir = match containers.dir(&id) {
                Err(Errno::ENOENT) => continue,
                other => other.context(format_args!("open container {id}"))?,
            };
            let container = Container { id, dir, ephemeral: false };
            // Gone, or damaged: it has no name. What cannot be read now still has one.
            if let Some(record) = container.sound_record()?
                && is_name(&record.name)
            {
                self.put_link(run, &record.name, &container)?;
            }
        }
        of_run(run.replace(LINKED, boot.as_bytes(), false).context("remember the boot"))?;
        fs::lock(run.as_fd(), Lock::Unlock).context("unlock the names")
    }

    fn put_link(&self, run: &Dir, name: &str, container: &Container) -> Result<()> {
        let path = self.path(&container.id, container.ephemeral);
        let linked = match run.symlink(&path, name) {
            Err(Errno::EEXIST) if run.readlink(name).is_ok_and(|there| there == *path) => Ok(()),
            Err(Errno::EEXIST) => relink(run, &path, name),
            other => other,
        };
        self.linked(linked, name)
    }

    /// The result of making a name's link.
    fn linked(&self, linked: crate::sys::Result<()>, name: &str) -> Result<()> {
        of_run(linked.context(format_args!("link {}/{name}", self.run_path.display())))
    }

    /// Takes a name for a container that is being made: only one can.
    ///
    /// The container's directory, in `tmp` still, shows others that the name is taken. A link
    /// that leads to no directory was left by a process that died, and is replaced; so is one to
    /// this very container, which the first command after a boot finds in `tmp` and links.
    pub fn take_name(&self, name: &str, id: &str, ephemeral: bool) -> Result<()> {
        let run = self.run_dir()?;
        let path = self.path(id, ephemeral);
        if name == id {
            return match run.symlink(&path, name) {
                Err(Errno::EEXIST) => Ok(()),
                other => self.linked(other, name),
            };
        }
        self.link_names(&run)?;
        fs::lock(run.as_fd(), Lock::Exclusive).context("lock the names")?;
        match run.symlink(&path, name) {
            Err(Errno::EEXIST) => {}
            other => return self.linked(other, name),
        }
        if let Some(owner) = linked_id(&run, name)
            && owner != id
            && self.open_id(&owner)?.is_some()
        {
            let text = format!("the name {name:?} is already in use by container {owner}");
            return Err(Error::new(text).hint(format!("rocker rm {name}, or take another name")));
        }
        self.linked(relink(&run, &path, name), name)
    }

    /// The directory of the names, where there is one. One that cannot be opened now may hold names.
    fn names(&self) -> Result<Option<Dir>> {
        match Dir::open(&self.run_path) {
            Err(Errno::ENOENT) => Ok(None),
            other => self.opened(other).map(Some),
        }
    }

    /// Lets go of a name, if it still is that container's.
    pub fn drop_name(&self, name: &str, id: &str) -> Result<()> {
        let Some(run) = self.names()? else { return Ok(()) };
        let what = || format!("unlink {}/{name}", self.run_path.display());
        let target = match run.readlink(name) {
            Err(Errno::ENOENT | Errno::EINVAL) => return Ok(()),
            other => other.context(what())?,
        };
        if Path::new(&target).file_name().and_then(id_of).as_deref() != Some(id) {
            return Ok(());
        }
        match run.unlink(name) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => of_run(Err(errno).context(what())),
        }
    }

    /// Lets go of all names of a container whose own record may be gone.
    pub fn drop_names_of(&self, id: &str) -> Result<()> {
        let Some(run) = self.names()? else { return Ok(()) };
        for name in run.names().context("list the names")? {
            if let Some(name) = name.to_str() {
                self.drop_name(name, id)?;
            }
        }
        Ok(())
    }
}

impl Container {
    /// Takes the lock that every change of the container needs. An error if it is gone by then.
    pub fn lock(&self) -> Result<()> {
        fs::lock(self.dir.as_fd(), Lock::Exclusive)
            .context(format_args!("lock container {}", self.id))?;
        match self.dir.stat(RECORD) {
            Err(Errno::ENOENT) => Err(no_such_container(&self.id)),
            _ => Ok(()),
        }
    }

    /// Takes the lock if nobody has it.
    pub fn try_lock(&self) -> bool {
        fs::lock(self.dir.as_fd(), Lock::TryExclusive).is_ok()
    }

    /// Lets go of the lock, for every process that shares it.
    pub fn unlock(&self) {
        // It can only fail for a bad descriptor.
        let _ = fs::lock(self.dir.as_fd(), Lock::Unlock);
    }

    /// Reads what the container is.
    pub fn record(&self) -> Result<Record> {
        let record: Record = self.read(RECORD)?;
        match record.version == 1 && record.id == self.id {
            true => Ok(record),
            false => Err(self.damaged(RECORD)),
        }
    }

    /// The same; `None` where it is gone or damaged. Such a container cannot run.
    pub fn sound_record(&self) -> Result<Option<Record>> {
        match self.record() {
            Err(error) if matches!(error.cause, Cause::NotFound | Cause::Damaged) => Ok(None),
            other => other.map(Some),
        }
    }

    /// Reads the state as it was stored; `state::current` tells whether it still holds.
    pub fn stored_state(&self) -> Result<State> {
        let state: State = self.read(STATE)?;
        // Groups are killed and removed by these paths.
        let own = format!("/{}", self.id);
        match state.id == self.id && state.cgroups.iter().all(|path| path.ends_with(&own)) {
            true => Ok(state),
            false => Err(self.damaged(STATE)),
        }
    }

    fn read<T: miniserde::Deserialize>(&self, name: &str) -> Result<T> {
        let bytes = match self.dir.read(name, LIMIT) {
            Err(Errno::ENOENT) if name == RECORD || self.dir.stat(RECORD).is_err() => {
                return Err(no_such_container(&self.id));
            }
            other => other.context(format_args!("read {name} of container {}", self.id))?,
        };
        let text = std::str::from_utf8(&bytes).map_err(|_| self.damaged(name))?;
        json::from_str(text).map_err(|_| self.damaged(name))
    }

    fn damaged(&self, name: &str) -> Error {
        Error::new(format!("container {}: {name} is damaged", self.id))
            .cause(Cause::Damaged)
            .hint(format!("rocker rm -f {} removes the container", self.id))
    }

    /// Stores the record so that it survives a reboot.
    pub fn write_record(&self, record: &Record) -> Result<()> {
        let text = json::to_string(record);
        check_size(RECORD, &text, LIMIT)?;
        self.dir
            .replace(RECORD, text.as_bytes(), !self.ephemeral)
            .context(format_args!("write {RECORD} of container {}", self.id))
    }

    /// Stores the state. Only a state that must survive a reboot is worth `durable`.
    pub fn write_state(&self, state: &State, durable: bool) -> Result<()> {
        let mut text = json::to_string(state);
        text.push('\n');
        check_size(STATE, &text, LIMIT)?;
        self.dir
            .replace(STATE, text.as_bytes(), durable && !self.ephemeral)
            .context(format_args!("write {STATE} of container {}", self.id))
    }
}

/// Refuses a new container whose file would be too large to be read again.
pub fn check_new(name: &str, text: &str) -> Result<()> {
    check_size(name, text, LIMIT - ROOM)
}

fn check_size(name: &str, text: &str, limit: u64) -> Result<()> {
    match text.len() as u64 > limit {
        false => Ok(()),
        true => Err(Error::new(format!(
            "{name} of the container would have {} bytes, and {limit} are allowed",
            text.len()
        ))
        .hint("give it fewer or shorter variables, labels, words or ports")),
    }
}

/// The error for a name that no container has.
pub fn no_such_container(name: &str) -> Error {
    Error::new(format!("No such container: {}", name.escape_debug()))
        .cause(Cause::NotFound)
        .hint("rocker ps lists the containers")
}

/// The error for what needs a container that runs.
pub fn not_running(name: &str) -> Error {
    Error::new(format!("container {} is not running", name.escape_debug()))
}

/// What failed on the directory of the names, with the line of `rocker check` that tells of it.
fn of_run<T>(result: Result<T>) -> Result<T> {
    result.map_err(|error| error.hint("see rocker check, run directory"))
}

/// Replaces a name's link.
fn relink(run: &Dir, path: &Path, name: &str) -> crate::sys::Result<()> {
    run.unlink(name)?;
    run.symlink(path, name)
}

/// The id at the end of a name's link.
fn linked_id(run: &Dir, name: &str) -> Option<String> {
    let target: OsString = run.readlink(name).ok()?;
    id_of(Path::new(&target).file_name()?)
}

fn id_of(name: &OsStr) -> Option<String> {
    name.to_str().filter(|name| is_id(name)).map(str::to_owned)
}

/// Whether a text has the form of an id: ten decimal digits.
pub fn is_id(text: &str) -> bool {
    text.len() == 10 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether a text may be a name: `[a-zA-Z0-9][a-zA-Z0-9_.-]*`, at most 128 bytes.
pub fn is_name(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    text.len() <= 128
        && text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric())
        && text.bytes().all(inner)
}

/// Checks a name that was asked for.
pub fn check_name(name: &str) -> Result<()> {
    let what = format!("name {:?}", name);
    match (is_name(name), is_id(name)) {
        (false, _) => Err(Error::new(format!(
            "{what}: only letters, digits, '_', '.' and '-' are allowed, and at most 128 of them"
        ))),
        (true, true) => Err(Error::new(format!("{what}: ten digits are an id, not a name"))),
        (true, false) => Ok(()),
    }
}

/// A new id.
pub fn random_id() -> Result<String> {
    let mut bytes = [0_u8; 8];
    file::random(&mut bytes).context("read random bytes")?;
    Ok(format!("{:010}", u64::from_le_bytes(bytes) % 10_000_000_000))
}

/// What the kernel calls this boot; another one makes every stored process a thing of the past.
pub fn boot_id() -> Result<String> {
    static KNOWN: OnceLock<String> = OnceLock::new();
    if let Some(known) = KNOWN.get() {
        return Ok(known.clone());
    }
    let text = crate::sys::proc::read("sys/kernel/random/boot_id");
    let text = text.context("read the boot id");
    let text = text.map_err(|error| error.hint("see rocker check, proc"))?;
    Ok(KNOWN.get_or_init(|| text.trim().to_owned()).clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_the_directory_or_look_like_an_id_are_refused() {
        for bad in ["", ".", "..", "a/b", "/a", "-a", "a b", "a\u{1b}", "1234567890", ".boot"] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
        for good in ["a", "web-1", "A_b.c", "12345"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn an_id_is_ten_digits() {
        assert!(is_id(&random_id().unwrap()));
        assert!(!is_id("123456789") && !is_id("123456789a"));
    }
}
