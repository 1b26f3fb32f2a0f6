//! Named volumes: directories that outlive containers, `ROOT/volumes/NAME/_data`.
//!
//! A volume is there when its `volume.json` is. The first container that mounts it while it is
//! empty gives it what its image has at that place.

use super::membership::is_set;
use super::record::{Mount, MountKind, Record};
use super::size;
use super::store::{Engine, LIMIT, RECORD, is_name};
use crate::error::{Cause, Context, Error, Result};
use crate::image::{self, Stage, holds_trees};
use crate::namespace::mounts::{Fill, tmpfs_options};
use crate::sys::fs::{self, Dir, Lock};
use crate::sys::{Errno, statfs, time};
use miniserde::{Deserialize, Serialize, json};
use std::collections::BTreeMap;
use std::os::fd::AsFd;

const DEFINITION: &str = "volume.json";
const DATA: &str = "_data";

/// `volume.json`: what is known of a volume.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Volume {
    pub name: String,
    /// Seconds since the epoch.
    pub created: i64,
    pub labels: BTreeMap<String, String>,
}

fn check_name(name: &str) -> Result<()> {
    match is_name(name) {
        true => Ok(()),
        false => Err(Error::new(format!(
            "volume name {name:?}: only letters, digits, '_', '.' and '-' are allowed, and at most 128 of them"
        ))
        .hint("a path of the host begins with /, ./ or ../")),
    }
}

fn directory(engine: &Engine) -> Result<Dir> {
    engine.subdirectory("volumes")
}

/// The directory of the volumes, locked until it is dropped: shared keeps them all, from making one until
/// what mounts it can be found; exclusive is for who removes any.
fn locked(engine: &Engine, lock: Lock) -> Result<Dir> {
    let dir = directory(engine)?;
    fs::lock(dir.as_fd(), lock).context("lock the volumes")?;
    Ok(dir)
}

fn read(dir: &Dir, name: &str) -> Result<Option<Volume>> {
    let what = || format!("read volume {name}");
    let bytes = match dir.read(format!("{name}/{DEFINITION}"), LIMIT) {
        Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(None),
        other => other.context(what())?,
    };
    let volume = std::str::from_utf8(&bytes).ok().and_then(|text| json::from_str(text).ok());
    volume.map(Some).ok_or_else(|| Error::new(format!("{}: {DEFINITION} is damaged", what())))
}

/// Where the content of a volume is.
pub fn path(engine: &Engine, name: &str) -> String {
    engine.root_path.join("volumes").join(name).join(DATA).to_string_lossy().into_owned()
}

/// Makes a volume, or gives the one of this name.
pub fn create(engine: &Engine, name: &str, labels: &BTreeMap<String, String>) -> Result<Volume> {
    make(&locked(engine, Lock::Shared)?, name, labels)
}

/// The same below the locked directory of the volumes.
fn make(dir: &Dir, name: &str, labels: &BTreeMap<String, String>) -> Result<Volume> {
    check_name(name)?;
    if let Some(volume) = read(dir, name)? {
        return Ok(volume);
    }
    let what = || format!("make volume {name}");
    if !holds_trees(dir).context(what())? {
        let why = "the file system of the state directory has no links and no owners";
        return Err(Error::new(format!("{}: {why}", what())).hint(
            "-v /DIRECTORY:/PLACE mounts a directory of another one, or of this one as it is",
        ));
    }
    let there = |made| match made {
        Err(Errno::EEXIST) => Ok(()),
        other => other,
    };
    there(dir.mkdir(name, 0o700)).context(what())?;
    let own = dir.dir(name).context(what())?;
    // Others may be making the same one.
    fs::lock(own.as_fd(), Lock::Exclusive).context(what())?;
    if let Some(volume) = read(dir, name)? {
        return Ok(volume);
    }
    there(own.mkdir(DATA, 0o755)).context(what())?;
    let created = time::seconds();
    let volume = Volume { name: name.to_owned(), created, labels: labels.clone() };
    own.replace(DEFINITION, json::to_string(&volume).as_bytes(), true).context(what())?;
    own.sync().and_then(|()| dir.sync()).context(what())?;
    Ok(volume)
}

/// All volumes, by name.
pub fn list(engine: &Engine) -> Result<Vec<Volume>> {
    let dir = directory(engine)?;
    let mut list = Vec::new();
    for name in dir.sorted_names().context("list the volumes")? {
        list.extend(read(&dir, &name)?);
    }
    Ok(list)
}

/// The volume of this name.
pub fn find(engine: &Engine, name: &str) -> Result<Volume> {
    let found = if is_name(name) { read(&directory(engine)?, name)? } else { None };
    found.ok_or_else(|| {
        Error::new(format!("No such volume: {}", name.escape_debug()))
            .cause(Cause::NotFound)
            .hint("rocker volume ls lists the volumes")
    })
}

/// The containers that mount each volume, running or not, by name. One that cannot be read may mount any.
fn users(engine: &Engine) -> Result<BTreeMap<String, Vec<String>>> {
    let mut users: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for id in engine.ids()? {
        let Some(container) = engine.open_id(&id)? else { continue };
        let record = match container.record() {
            // It is being made, and has no volumes: they would be locked. Or it has just gone.
            Err(_) if container.ephemeral && container.dir.stat(RECORD).is_err() => continue,
            Err(_) if engine.open_id(&id)?.is_none() => continue,
            other => other.context("which volumes are in use is not known")?,
        };
        for mount in record.mounts {
            users.entry(mount.volume).or_default().push(record.name.clone());
        }
    }
    Ok(users)
}

/// Removes a volume that no container mounts, with all that is in it.
pub fn remove(engine: &Engine, name: &str) -> Result<()> {
    // A container whose maker died uses nothing any more.
    super::state::sweep(engine)?;
    let dir = locked(engine, Lock::Exclusive)?;
    find(engine, name)?;
    if let Some(users) = users(engine)?.get_mut(name) {
        users.sort_unstable();
        users.dedup();
        let what = format!("volume {name} is in use by {}", users.join(", "));
        return Err(Error::new(what).hint("rocker rm removes containers"));
    }
    take_away(engine, &dir, name)
}

/// Removes all volumes that no container mounts. Gives their names.
pub fn prune(engine: &Engine) -> Result<Vec<String>> {
    super::state::sweep(engine)?;
    let dir = locked(engine, Lock::Exclusive)?;
    let users = users(engine)?;
    let mut removed = Vec::new();
    for volume in list(engine)?.into_iter().filter(|volume| !users.contains_key(&volume.name)) {
        take_away(engine, &dir, &volume.name)?;
        removed.push(volume.name);
    }
    Ok(removed)
}

fn take_away(engine: &Engine, dir: &Dir, name: &str) -> Result<()> {
    // Gone in one step; what a killed command leaves of it the next sweep removes.
    let stage = Stage::new(engine.images.directory(), "rm")?;
    dir.rename(name, &stage.dir, "volume").context(format_args!("remove volume {name}"))?;
    dir.sync().context(format_args!("remove volume {name}"))
}

/// Makes the volumes that a new container names, and notes where they are. Gives the lock that keeps
/// them until the container can be found, if there are any.
pub fn prepare(engine: &Engine, record: &mut Record) -> Result<Option<Dir>> {
    let mut hold = None;
    for mount in record.mounts.iter_mut().filter(|mount| !mount.volume.is_empty()) {
        let dir = match hold.take() {
            Some(dir) => dir,
            None => locked(engine, Lock::Shared)?,
        };
        make(&dir, &mount.volume, &BTreeMap::new())?;
        mount.source = path(engine, &mount.volume);
        hold = Some(dir);
    }
    Ok(hold)
}

/// Makes those volumes of a container anew that somebody has taken away.
pub fn restore(engine: &Engine, record: &Record) -> Result<()> {
    for mount in record.mounts.iter().filter(|mount| !mount.volume.is_empty()) {
        if matches!(fs::stat_path(&mount.source), Err(Errno::ENOENT)) {
            create(engine, &mount.volume, &BTreeMap::new())?;
        }
    }
    Ok(())
}

/// A volume's first content is what an image has at its place.
pub const FILL: Fill = Fill { is_wanted: is_unfilled, copy: fill };

/// Beside the content of a volume while it is being given its first.
const FILLING: &str = "filling";

/// Whether a volume is empty, or whoever filled it died over that.
fn is_unfilled(data: &Dir) -> Result<bool> {
    Ok(data.names()?.is_empty() || data.parent()?.stat(FILLING).is_ok())
}

/// Copies what an image has at the place of a volume into it, one container at a time.
fn fill(from: &Dir, into: &Dir) -> Result<()> {
    let own = into.parent()?;
    let turn = own.duplicate()?;
    fs::lock(turn.as_fd(), Lock::Exclusive)?;
    if !is_unfilled(into)? {
        return Ok(());
    }
    own.overwrite(FILLING, b"", 0o600)?;
    own.sync()?;
    for name in into.names()? {
        image::remove_tree(into, &name)?;
    }
    image::copy_tree(from, into)?;
    if !statfs::is_in_memory(into.as_fd()) {
        into.sync_filesystem()?;
    }
    Ok(own.unlink(FILLING)?)
}

/// The option of a volume that does not get what the image has at its place.
pub const NO_COPY: &str = "nocopy";

/// A mount of a named volume at an absolute place; its `options` are none or `NO_COPY`.
pub fn mount(name: &str, target: String, read_only: bool, options: &str) -> Result<Mount> {
    check_name(name)?;
    Ok(Mount {
        kind: MountKind::Bind,
        volume: name.to_owned(),
        source: String::new(),
        target,
        read_only,
        options: options.to_owned(),
    })
}

/// What `--mount` says, before the source of a bind is looked at.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Spec {
    pub kind: String,
    pub source: String,
    pub target: String,
    pub read_only: bool,
    /// Options of a tmpfs; `NO_COPY` of a volume.
    pub options: String,
}

/// The parts of what `--mount` says, as keys and values: one with commas stands in quotes. `None` where
/// quotes are not for a whole part.
fn parts(text: &str) -> Option<Vec<&str>> {
    let (mut list, mut rest) = (Vec::new(), Some(text));
    while let Some(parts) = rest {
        let (part, after) = match parts.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "\"")),
            None => parts.split_at(parts.find(',').unwrap_or(parts.len())),
        };
        rest = after.strip_prefix(',');
        if rest.is_none() && !after.is_empty() {
            return None;
        }
        list.push(part);
    }
    Some(list)
}

/// Reads `type=bind|volume|tmpfs,source=…,target=…,readonly`.
pub fn parse_mount(text: &str) -> Result<Spec> {
    let refuse = |why: String| Err(Error::new(format!("mount {text}: {why}")));
    let mut spec = Spec { kind: "volume".to_owned(), ..Spec::default() };
    let (mut tmpfs, mut no_copy, mut propagation) = (Vec::new(), false, false);
    let parts = match parts(text) {
        Some(parts) => parts,
        None => return refuse("quotes are for a whole part".to_owned()),
    };
    for part in parts {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        let switch = || match is_set(if value.is_empty() { "true" } else { value }) {
            Some(set) => Ok(set),
            None => Err(Error::new(format!("mount {text}: {part}: neither true nor false"))),
        };
        match &*key.to_ascii_lowercase() {
            "type" => spec.kind = value.to_ascii_lowercase(),
            "source" | "src" => value.clone_into(&mut spec.source),
            "target" | "dst" | "destination" => value.clone_into(&mut spec.target),
            "readonly" | "ro" => spec.read_only = switch()?,
            "volume-nocopy" => no_copy = switch()?,
            "bind-propagation" => match value {
                "private" | "rprivate" => propagation = true,
                _ => return refuse(format!("{part}: mounts are private here")),
            },
            "tmpfs-size" => {
                let bytes = size::parse(value).context(format_args!("mount {text}: {part}"))?;
                tmpfs.push(format!("size={bytes}"));
            }
            // For containers that run on another machine than their files lie on.
            "consistency" if !value.is_empty() => {}
            "tmpfs-mode" => tmpfs.push(format!("mode={value}")),
            _ => return refuse(format!("option {key:?} is not known")),
        }
    }
    for (given, of, what) in [
        (!tmpfs.is_empty(), "tmpfs", "tmpfs-size and tmpfs-mode are for a tmpfs"),
        (no_copy, "volume", "volume-nocopy is for a volume"),
        (propagation, "bind", "bind-propagation is for a bind"),
    ] {
        if given && spec.kind != of {
            return refuse(what.to_owned());
        }
    }
    if spec.kind == "tmpfs" && spec.read_only {
        tmpfs.push("ro".to_owned());
    }
    spec.options = if no_copy { NO_COPY.to_owned() } else { tmpfs.join(",") };
    check_mount(&spec).context(format_args!("mount {text}"))?;
    Ok(spec)
}

fn check_mount(spec: &Spec) -> Result<()> {
    match &*spec.kind {
        "bind" | "volume" | "tmpfs" if spec.target.is_empty() => Err(Error::new("has no target")),
        "volume" if spec.source.is_empty() => Err(Error::new("has no source")
            .hint("volumes without a name are not there yet: source=NAME makes one with it")),
        "bind" if spec.source.is_empty() => Err(Error::new("has no source")),
        "tmpfs" if !spec.source.is_empty() => Err(Error::new("a tmpfs has no source")),
        "tmpfs" => tmpfs_options(&spec.options).map(drop),
        "bind" | "volume" => Ok(()),
        kind => Err(Error::new(format!("type {kind:?} is none of bind, volume, tmpfs"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_read_with_each_spelling_of_its_options() {
        let spec = parse_mount("type=bind,src=/srv,dst=/data,readonly").unwrap();
        assert_eq!((&*spec.kind, &*spec.source, &*spec.target), ("bind", "/srv", "/data"));
        assert!(spec.read_only);
        let spec = parse_mount("source=v,target=/d,ro=false").unwrap();
        assert_eq!((&*spec.kind, spec.read_only), ("volume", false));
        let spec = parse_mount("type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=700").unwrap();
        assert_eq!(spec.options, "size=1048576,mode=700");
        let size = |text: &str| parse_mount(&format!("type=tmpfs,target=/t,tmpfs-size={text}"));
        assert_eq!(size("64MiB").unwrap().options, "size=67108864");
        assert!(size("banana").is_err() && size("").is_err() && size("50%").is_err());
        let spec = parse_mount(r#"TYPE=Bind,"src=/a,b",Target=/d,readonly=True"#).unwrap();
        assert_eq!((&*spec.kind, &*spec.source, spec.read_only), ("bind", "/a,b", true));
        assert_eq!(parse_mount("source=v,target=/d,volume-nocopy").unwrap().options, NO_COPY);
        assert!(parse_mount("type=bind,src=/a,dst=/d,bind-propagation=rprivate").is_ok());
        for kind in ["bind,source=/a", "volume,source=v", "tmpfs"] {
            let text = format!("type={kind},target=/d,consistency=cached");
            assert!(parse_mount(&text).is_ok(), "{text}");
        }
        for bad in [
            "",
            "type=nfs,target=/x",
            "type=bind,target=/x",
            "source=v",
            "type=tmpfs,source=v,target=/x",
            "source=v,target=/x,tmpfs-size=1m",
            "source=v,target=/x,shiny",
            "source=v,target=/x,consistency",
            "source=v,target=/x,ro=perhaps",
            "source=v,target=/x,\"ro",
            "source=v,target=/x,\"ro\"x",
            "source=v,target",
            "source=v,target=/x,bind-propagation=private",
            "type=bind,source=/v,target=/x,bind-propagation=rshared",
            "type=bind,source=/v,target=/x,volume-nocopy",
        ] {
            assert!(parse_mount(bad).is_err(), "{bad}");
        }
    }
}
