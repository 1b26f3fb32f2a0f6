//! From the record of a container to what the runtime is told to run.

use super::record::{COPY, Mount, MountKind, Record, State, TMPFS};
use super::spec::{ETC_FILES, set};
use super::store::{Container, Engine, no_such_container};
use super::userns::{self, IdMap};
use super::{membership, security, volumes, wiring};
use crate::error::{Error, Result};
use crate::image::{LAYERS, PLACES, WHOLE};
use crate::namespace::mounts::{Source, Volume, tmpfs_options};
use crate::namespace::root::{Root, RootKind, c_string};
use crate::runtime::{Program, Spec};
use crate::sys::mount::Attr;
use crate::sys::process::Namespaces;
use crate::sys::{fs, statfs};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// What one mount call takes as options, its NUL included.
const MOUNT_OPTIONS: usize = 4096;

/// Namespaces that a container gets anew; the one of control groups is made after the join.
pub fn namespaces(record: &Record) -> Namespaces {
    let own = Namespaces::MOUNT.and(Namespaces::PID).and(Namespaces::UTS).and(Namespaces::IPC);
    match membership::has_own_namespace(record) {
        false => own,
        true => own.and(Namespaces::NET),
    }
}

/// The runtime's view of a container whose directory is there.
pub fn of(engine: &Engine, container: &Container, record: &Record, state: &State) -> Result<Spec> {
    let layer = &*state.layer;
    let home =
        format!("{}/{}", if container.ephemeral { "../tmp" } else { "../containers" }, record.id);
    let own = engine.root_path.join(home.trim_start_matches("../"));
    // Layers that were unpacked lie in memory as they would in the store, below the container's own.
    let is_there = |name| layer == TMPFS && fs::stat_path(own.join("work").join(name)).is_ok();
    let (base, home) = match is_there(LAYERS) {
        true => (own.join("work").join(LAYERS), "../..".to_owned()),
        false => (engine.root_path.join(LAYERS), home),
    };
    // What is never read again need not be brought to the disk. Where nothing ever is, the
    // kernel's mark of such a layer would be work for nothing.
    let volatile = container.ephemeral && !statfs::is_in_memory(container.dir.as_fd());
    let kind = match layer {
        COPY => RootKind::Directory { path: c_string(&format!("{home}/rootfs"))? },
        TMPFS if is_there(WHOLE) => {
            RootKind::Directory { path: c_string(&format!("{home}/work/{WHOLE}"))? }
        }
        TMPFS => {
            let scratch = format!("{home}/work");
            RootKind::Overlay { options: c_string(&overlay(record, &scratch, volatile)?)? }
        }
        _ => RootKind::Overlay { options: c_string(&overlay(record, &home, volatile)?)? },
    };
    let text = |path: &Path| match path.to_str() {
        Some(text) => Ok(text.to_owned()),
        None => Err(Error::new(format!("{}: is not UTF-8", path.display()))),
    };
    let mut volumes = Vec::new();
    for mount in &record.mounts {
        volumes.push(runtime_volume(mount, record.userns, state.started == 0)?);
    }
    let names = known_names(engine, record)?;
    // What lies outside of the layer has no bound. Otherwise it would be a call more for each file.
    let attr = match record.read_only {
        true => Attr::READ_ONLY | Attr::NO_SUID | Attr::NO_DEV | Attr::NO_EXEC,
        false => Attr::default(),
    };
    for file in ETC_FILES {
        let target = format!("/etc/{file}");
        // A volume that the user put there comes first.
        if !record.mounts.iter().any(|mount| mount.target == target) {
            let home = names.as_ref().filter(|_| file != "hostname").unwrap_or(&own);
            let source = Source::Bind(text(&home.join(file))?);
            volumes.push(Volume { source, target, attr });
        }
    }
    let kept = record.security.as_ref();
    Ok(Spec {
        root: Root {
            base: c_string(&text(&base)?)?,
            // Its own directory: what lies below is held open by the overlay itself.
            target: c_string(&home)?,
            kind,
            attr: security::root_attr(record),
        },
        volumes,
        hostname: record.hostname.clone(),
        read_only: record.read_only,
        namespaces: namespaces(record),
        mapped: userns::mapped(engine, record, layer),
        cgroup2: false,
        devices: kept.map_or(Ok(Vec::new()), |kept| security::devices(kept, record.userns))?,
        // Where there is nobody to talk to it would be work for nothing.
        opens_network: !record.net.memberships.is_empty(),
        sysctls: kept.map_or(Ok(Vec::new()), security::sysctls)?,
        shm_bytes: kept.and_then(|kept| kept.shm_size),
        unmasked: kept.is_some_and(|kept| kept.unmasked),
        privileged: kept.is_some_and(|kept| kept.privileged),
        init: record.init,
        shared: record.mounts.iter().any(|mount| mount.kind != MountKind::Tmpfs),
        program: program(record),
    })
}

/// The directory of the container whose network this one shares, if it does: who shares a network knows
/// the same names, as they come and go.
fn known_names(engine: &Engine, record: &Record) -> Result<Option<PathBuf>> {
    let Some(id) = wiring::shared(record) else { return Ok(None) };
    let other = engine.open_id(id)?.ok_or_else(|| no_such_container(id))?;
    // That one may share another one's.
    Ok(known_names(engine, &other.record()?)?.or_else(|| Some(engine.home(&other))))
}

/// The options of the overlay, relative to the directory of the layers.
///
/// A `volatile` one is not brought to the disk at its end.
fn overlay(record: &Record, home: &str, volatile: bool) -> Result<String> {
    let lower: Vec<&str> = record.layers.iter().rev().map(String::as_str).collect();
    let volatile = if volatile { ",volatile" } else { "" };
    let options = format!(
        "lowerdir={}:../{PLACES},upperdir={home}/upper,workdir={home}/work,\
         redirect_dir=off,metacopy=off,index=off{volatile}",
        lower.join(":")
    );
    match options.len() < MOUNT_OPTIONS {
        true => Ok(options),
        false => Err(Error::new(format!(
            "image {} has {} layers: more than one mount takes",
            record.image,
            lower.len()
        ))),
    }
}

/// The `first` start of a container gives an empty volume what the image has at its place. What the
/// container removes stays removed.
fn runtime_volume(mount: &Mount, userns: Option<IdMap>, first: bool) -> Result<Volume> {
    let target = mount.target.clone();
    if mount.kind == MountKind::Tmpfs {
        let (attr, data) = match userns {
            None => tmpfs_options(&mount.options)?,
            Some(map) => tmpfs_options(&userns::tmpfs_options(map, &mount.options)?)?,
        };
        return Ok(Volume { source: Source::Tmpfs(data), target, attr });
    }
    let attr = Attr::NO_SUID | Attr::NO_DEV;
    let attr = if mount.read_only { attr | Attr::READ_ONLY } else { attr };
    let path = mount.source.clone();
    let fills = !mount.volume.is_empty() && mount.options != volumes::NO_COPY;
    let source = match first && fills {
        true => Source::Named(path, volumes::FILL),
        false => Source::Bind(path),
    };
    Ok(Volume { source, target, attr })
}

/// The container's own program.
pub fn program(record: &Record) -> Program {
    // Whatever the image or the user has under these names counts.
    let mut env = vec![format!("HOSTNAME={}", record.hostname)];
    if record.tty {
        let term = std::env::var("TERM").ok().filter(|term| !term.is_empty());
        env.push(format!("TERM={}", term.as_deref().unwrap_or("xterm")));
    }
    record.env.iter().for_each(|entry| set(&mut env, entry.clone()));
    Program {
        args: record.args.clone(),
        env,
        user: record.user.clone(),
        workdir: record.workdir.clone(),
        rights: security::rights(record),
        ids: record.userns,
        oom_score_adj: record.security.as_ref().and_then(|kept| kept.oom_score_adj),
    }
}
