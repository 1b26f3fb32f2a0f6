//! `inspect`: all that is known of containers and images, in docker's shape.

use super::Globals;
use crate::container::record::{Mount, MountKind, Record, State, Status};
use crate::container::{self, Engine};
use crate::error::{ENGINE, Error, FAILURE, Result, report};
use crate::image::{Image, ImageConfig};
use crate::rocker::command::{Command, Flag, Rules};
use crate::rocker::list::{self, Format};
use crate::rocker::{json, print, when};
use crate::sys::signal;
use miniserde::json::Value;
use std::collections::BTreeMap;

#[derive(Default)]
pub struct Options {
    names: Vec<String>,
    format: Option<String>,
    kind: Option<String>,
}

pub static COMMAND: Command<Options> = Command {
    name: "inspect",
    aliases: "container inspect, image inspect",
    words: "NAME...",
    about: "Show all that is known of containers and images.",
    more: "\
Examples:
  rocker inspect web
  rocker inspect -f '{{.State.Status}} {{.State.ExitCode}}' web
  rocker inspect --type image busybox
",
    rules: Rules::Usual,
    flags: &[
        Flag {
            spec: "-f, --format FORMAT",
            about: "Show each by a template, or as json",
            set: |o, value| value.set(&mut o.format),
        },
        Flag {
            spec: "--type KIND",
            about: "Look only for a container, or only for an image",
            set: |o, value| {
                value.set(&mut o.kind)?;
                match o.kind.as_deref() {
                    Some("container" | "image") => Ok(()),
                    _ => Err(Error::new("neither container nor image")),
                }
            },
        },
    ],
    word: |o, word| {
        o.names.push(word);
        Ok(())
    },
    run,
};

fn run(globals: &Globals, options: Options) -> Result<u8> {
    let format = list::format(options.format.as_deref())?;
    if let Some(Format::Table(_)) = format {
        return Err(Error::new("--format: a table is for lists").code(ENGINE));
    }
    let spelled = globals.called.strip_suffix(" inspect");
    let kind = options.kind.as_deref().or(spelled).unwrap_or_default();
    let engine = globals.engine()?;
    let mut code = 0;
    let (mut found, mut errors) = (Vec::new(), Vec::new());
    for name in &options.names {
        match find(globals, &engine, name, kind) {
            Ok(value) => found.push(value),
            Err(error) => {
                errors.push(error);
                code = FAILURE;
            }
        }
    }
    let text = match format {
        None => json::pretty(&json::list(found)) + "\n",
        Some(Format::Json) => json::compact(&json::list(found)) + "\n",
        Some(format) => list::show(&format, &found, &[])?,
    };
    print::out(&text)?;
    errors.iter().for_each(report);
    Ok(code)
}

/// A container of that name, else an image.
fn find(globals: &Globals, engine: &Engine, name: &str, kind: &str) -> Result<Value> {
    let container = match kind {
        "image" => None,
        _ => match container::find(engine, name) {
            Ok((record, state)) => return Ok(of_container(globals, &record, &state)),
            Err(error) => Some(error),
        },
    };
    if kind == "container" {
        return Err(container.unwrap_or_else(|| no_object(name)));
    }
    let image = match engine.images.find(name) {
        Ok(image) => return of_image(engine, &image),
        Err(error) => error,
    };
    // Anything but "there is none" is worth telling.
    let unknown = |error: &Error| error.message.to_lowercase().contains("no such ");
    match container {
        Some(error) if !unknown(&error) => Err(error),
        None => Err(image),
        Some(_) if !unknown(&image) => Err(image),
        Some(_) => Err(no_object(name)),
    }
}

fn no_object(name: &str) -> Error {
    Error::new(format!("No such object: {name}"))
}

fn map(labels: &BTreeMap<String, String>) -> Value {
    json::object(labels.iter().map(|(key, value)| (&**key, json::text(value))).collect())
}

/// docker's sets: the keys of an object whose values say nothing.
fn set(keys: &[String]) -> Value {
    json::object(keys.iter().map(|key| (&**key, json::object(Vec::new()))).collect())
}

fn of_image(engine: &Engine, image: &Image) -> Result<Value> {
    let all = engine.images.list()?;
    let same = all.iter().filter(|other| other.id == image.id);
    let names: Vec<String> = same.map(|other| format!("{}:{}", other.name, other.tag)).collect();
    let digests = image.layers.iter().map(|layer| json::text(format!("sha256:{}", layer.digest)));
    let layers = image.layers.iter().map(|layer| {
        json::object(vec![
            ("Digest", json::text(&layer.digest)),
            ("Size", json::number(layer.size as i64)),
        ])
    });
    Ok(json::object(vec![
        ("Id", json::text(format!("sha256:{}", image.id))),
        ("RepoTags", json::texts(&names)),
        ("RepoDigests", json::list([])),
        ("Created", json::text(&image.created_time)),
        ("Author", json::text(&image.author)),
        ("Comment", json::text(&image.comment)),
        ("Architecture", json::text("amd64")),
        ("Os", json::text("linux")),
        ("Size", json::number(image.size as i64)),
        ("Config", of_config(&image.config)),
        (
            "RootFS",
            json::object(vec![("Type", json::text("layers")), ("Layers", json::list(digests))]),
        ),
        ("Rocker", json::object(vec![("Layers", json::list(layers))])),
    ]))
}

fn of_config(config: &ImageConfig) -> Value {
    json::object(vec![
        ("Env", json::texts(&config.env)),
        ("Entrypoint", json::texts(&config.entrypoint)),
        ("Cmd", json::texts(&config.cmd)),
        ("WorkingDir", json::text(&config.working_dir)),
        ("User", json::text(&config.user)),
        ("StopSignal", json::text(&config.stop_signal)),
        ("Labels", map(&config.labels)),
        ("ExposedPorts", set(&config.exposed_ports)),
        ("Volumes", set(&config.volumes)),
    ])
}

fn of_container(globals: &Globals, record: &Record, state: &State) -> Value {
    let (path, args) = match &*record.args {
        [path, args @ ..] => (path.clone(), args),
        [] => (String::new(), &[][..]),
    };
    let place = format!("{}/{}", globals.run_root(), record.name);
    json::object(vec![
        ("Id", json::text(&record.id)),
        ("Created", json::text(when::rfc3339(record.created.saturating_mul(1_000_000_000)))),
        ("Path", json::text(path)),
        ("Args", json::texts(args)),
        ("State", of_state(state)),
        ("Image", json::text(format!("sha256:{}", record.image_id))),
        ("LogPath", json::text(format!("{place}/container.log"))),
        ("Name", json::text(format!("/{}", record.name))),
        ("RestartCount", json::number(0)),
        ("Driver", json::text(&record.layer_mode)),
        ("Platform", json::text("linux")),
        ("HostConfig", of_host(record)),
        ("Mounts", json::list(record.mounts.iter().map(of_mount))),
        ("Config", of_command(record)),
        (
            "NetworkSettings",
            json::object(vec![
                ("Ports", json::object(Vec::new())),
                ("Networks", json::object(vec![(&*record.network, json::object(Vec::new()))])),
            ]),
        ),
        (
            "Rocker",
            json::object(vec![
                ("ConfigPath", json::text(format!("{place}/config.json"))),
                ("KeeperPid", json::number(state.keeper.into())),
                ("LayerMode", json::text(&record.layer_mode)),
                ("Layers", json::texts(&record.layers)),
                ("Root", json::text(globals.root())),
            ]),
        ),
    ])
}

fn of_state(state: &State) -> Value {
    let is = |status: Status| Value::Bool(state.status == status);
    json::object(vec![
        ("Status", json::text(state.status.word())),
        ("Running", Value::Bool(matches!(state.status, Status::Running | Status::Paused))),
        ("Paused", is(Status::Paused)),
        ("Restarting", is(Status::Restarting)),
        ("OOMKilled", Value::Bool(state.oom_killed)),
        ("Dead", is(Status::Dead)),
        ("Pid", json::number(state.pid.into())),
        ("ExitCode", json::number(state.exit_code.into())),
        ("Error", json::text(&state.error)),
        ("StartedAt", json::text(when::rfc3339(state.started))),
        ("FinishedAt", json::text(when::rfc3339(state.finished))),
    ])
}

fn of_host(record: &Record) -> Value {
    let limits = &record.limits;
    let bytes = |bytes: Option<u64>| json::number(bytes.unwrap_or(0) as i64);
    let binds: Vec<String> = record
        .mounts
        .iter()
        .filter(|mount| mount.kind == MountKind::Bind)
        .map(|mount| {
            let mode = if mount.read_only { ":ro" } else { "" };
            format!("{}:{}{mode}", mount.source, mount.target)
        })
        .collect();
    let tmpfs = record.mounts.iter().filter(|mount| mount.kind == MountKind::Tmpfs);
    let tmpfs = tmpfs.map(|mount| (&*mount.target, json::text(&mount.options)));
    json::object(vec![
        ("AutoRemove", Value::Bool(record.auto_remove)),
        ("Binds", json::texts(&binds)),
        ("CpuShares", bytes(limits.cpu_shares)),
        ("CpusetCpus", json::text(limits.cpuset.clone().unwrap_or_default())),
        ("Init", Value::Bool(record.init)),
        ("Memory", bytes(limits.memory)),
        ("MemorySwap", json::number(limits.memory_swap.unwrap_or(0))),
        ("NanoCpus", json::number(limits.milli_cpus.unwrap_or(0) as i64 * 1_000_000)),
        ("NetworkMode", json::text(&record.network)),
        ("PidsLimit", json::number(limits.pids.unwrap_or(2048))),
        ("ReadonlyRootfs", Value::Bool(record.read_only)),
        ("Tmpfs", json::object(tmpfs.collect())),
    ])
}

fn of_mount(mount: &Mount) -> Value {
    let kind = match mount.kind {
        MountKind::Bind => "bind",
        MountKind::Tmpfs => "tmpfs",
    };
    json::object(vec![
        ("Type", json::text(kind)),
        ("Source", json::text(&mount.source)),
        ("Destination", json::text(&mount.target)),
        ("Mode", json::text(&mount.options)),
        ("RW", Value::Bool(!mount.read_only)),
    ])
}

fn of_command(record: &Record) -> Value {
    json::object(vec![
        ("Hostname", json::text(&record.hostname)),
        ("User", json::text(&record.user)),
        ("Tty", Value::Bool(record.tty)),
        ("OpenStdin", Value::Bool(record.interactive)),
        ("Env", json::texts(&record.env)),
        ("Cmd", json::texts(&record.args)),
        ("Image", json::text(&record.image)),
        ("WorkingDir", json::text(&record.workdir)),
        ("Labels", map(&record.labels)),
        ("StopSignal", json::text(signal::name(record.stop_signal))),
        ("StopTimeout", json::number(record.stop_timeout)),
    ])
}
