//! `inspect`: all that is known of containers and images, in docker's shape.

use super::Globals;
use crate::container::record::{Endpoint, Mount, MountKind, Port, Record, Security, State, Status};
use crate::container::userns::IdMap;
use crate::container::{self, Engine};
use crate::error::{Cause, Error, Result};
use crate::image::{Image, ImageConfig};
use crate::rocker::command::{Command, Rules, flag};
use crate::rocker::json::{self, Part};
use crate::rocker::list;
use crate::rocker::when;
use crate::sys::signal;
use miniserde::json::Value;

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
        flag("-f, --format FORMAT", "Show each by a template, or as json", |o, value| {
            value.set(&mut o.format)
        }),
        flag("--type KIND", "Look only for a container, or only for an image", |o, value| {
            value.set(&mut o.kind)?;
            match o.kind.as_deref() {
                Some("container" | "image") => Ok(()),
                _ => Err(Error::new("neither container nor image")),
            }
        }),
    ],
    word: |o, word| {
        o.names.push(word);
        Ok(())
    },
    run,
};

fn run(globals: &Globals, options: Options) -> Result<u8> {
    let spelled = globals.called.strip_suffix(" inspect");
    let kind = options.kind.as_deref().or(spelled).unwrap_or_default();
    list::inspect(globals, options.format.as_deref(), &options.names, |engine, name| {
        find(globals, engine, name, kind)
    })
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
    let unknown = |error: &Error| error.cause == Cause::NotFound;
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

/// docker's sets: the keys of an object whose values say nothing.
fn set(keys: &[String]) -> Part<'static> {
    let mut parts: Vec<_> = keys.iter().map(|key| (&**key, object(&mut []))).collect();
    object(&mut parts)
}

fn object(parts: &mut [(&str, Part<'_>)]) -> Part<'static> {
    Part::Value(json::object(parts))
}

fn of_image(engine: &Engine, image: &Image) -> Result<Value> {
    let all = engine.images.list()?;
    let same = all.iter().filter(|other| other.id == image.id);
    let names: Vec<String> = same.map(|other| format!("{}:{}", other.name, other.tag)).collect();
    let digests: Vec<String> =
        image.layers.iter().map(|layer| format!("sha256:{}", layer.digest)).collect();
    let layers = image.layers.iter().map(|layer| {
        json::object(&mut [
            ("Digest", Part::Text(&layer.digest)),
            ("Size", Part::Number(layer.size as i64)),
        ])
    });
    let layers = Part::Value(json::list(layers));
    Ok(json::object(&mut [
        ("Id", Part::Text(&format!("sha256:{}", image.id))),
        ("RepoTags", Part::Texts(&names)),
        ("RepoDigests", Part::Texts(&[])),
        ("Created", Part::Text(&when::rfc3339(image.created.saturating_mul(1_000_000_000)))),
        ("Author", Part::Text(&image.author)),
        ("Comment", Part::Text(&image.comment)),
        ("Architecture", Part::Text("amd64")),
        ("Os", Part::Text("linux")),
        ("Size", Part::Number(image.size as i64)),
        ("Config", of_config(&image.config)),
        (
            "RootFS",
            object(&mut [("Type", Part::Text("layers")), ("Layers", Part::Texts(&digests))]),
        ),
        ("Rocker", object(&mut [("Layers", layers)])),
    ]))
}

fn of_config(config: &ImageConfig) -> Part<'static> {
    object(&mut [
        ("Env", Part::Texts(&config.env)),
        ("Entrypoint", Part::Texts(&config.entrypoint)),
        ("Cmd", Part::Texts(&config.cmd)),
        ("WorkingDir", Part::Text(&config.working_dir)),
        ("User", Part::Text(&config.user)),
        ("StopSignal", Part::Text(&config.stop_signal)),
        ("Labels", Part::Value(json::map(&config.labels))),
        ("ExposedPorts", set(&config.exposed_ports)),
        ("Volumes", set(&config.volumes)),
    ])
}

fn of_container(globals: &Globals, record: &Record, state: &State) -> Value {
    let (path, args) = match &*record.args {
        [path, args @ ..] => (&**path, args),
        [] => ("", &[][..]),
    };
    let place = format!("{}/{}", globals.run_root(), record.name);
    let layer = if state.layer.is_empty() { &record.layer_mode } else { &state.layer };
    json::object(&mut [
        ("Id", Part::Text(&record.id)),
        ("Created", Part::Text(&when::rfc3339(record.created.saturating_mul(1_000_000_000)))),
        ("Path", Part::Text(path)),
        ("Args", Part::Texts(args)),
        ("State", of_state(state)),
        ("Image", Part::Text(&format!("sha256:{}", record.image_id))),
        ("LogPath", Part::Text(&format!("{place}/container.log"))),
        ("ResolvConfPath", Part::Text(&format!("{place}/resolv.conf"))),
        ("HostnamePath", Part::Text(&format!("{place}/hostname"))),
        ("HostsPath", Part::Text(&format!("{place}/hosts"))),
        ("Name", Part::Text(&format!("/{}", record.name))),
        ("RestartCount", Part::Number(state.restarts.into())),
        ("Driver", Part::Text(layer)),
        ("Platform", Part::Text("linux")),
        ("HostConfig", of_host(record)),
        ("Mounts", Part::Value(json::list(record.mounts.iter().map(of_mount)))),
        ("Config", of_command(record)),
        ("NetworkSettings", of_network(record, state)),
        (
            "Rocker",
            object(&mut [
                ("ConfigPath", Part::Text(&format!("{place}/config.json"))),
                ("KeeperPid", Part::Number(state.keeper.into())),
                ("LayerMode", Part::Text(layer)),
                ("Layers", Part::Texts(&record.layers)),
                ("Root", Part::Text(&globals.root())),
            ]),
        ),
    ])
}

/// The networks of a container: of one that has no addresses, or does not run, with nothing in them.
fn of_network(record: &Record, state: &State) -> Part<'static> {
    let net = &state.net;
    let mut networks: Vec<(&str, Part<'_>)> =
        net.endpoints.iter().map(|one| (&*one.network, of_endpoint(one))).collect();
    if networks.is_empty() {
        let nothing = || of_endpoint(&Endpoint::default());
        networks = record.network.split(',').map(|name| (name, nothing())).collect();
    }
    let first = net.endpoints.first();
    let first = first.and_then(|one| one.addresses.iter().find(|text| !text.contains(':')));
    let first = first.map_or("", String::as_str);
    object(&mut [
        ("IPAddress", Part::Text(first.split('/').next().unwrap_or_default())),
        ("Ports", of_ports(&net.ports, "0.0.0.0")),
        ("PublishMode", Part::Text(&net.publish_mode)),
        ("Networks", object(&mut networks)),
    ])
}

fn of_endpoint(endpoint: &Endpoint) -> Part<'static> {
    let address = |list: &[String], v6: bool| -> (String, i64) {
        let text = list.iter().find(|text| text.contains(':') == v6);
        let text = text.map_or("", String::as_str);
        let (address, prefix) = text.split_once('/').unwrap_or((text, "0"));
        (address.to_owned(), prefix.parse().unwrap_or(0))
    };
    let (v4, v4_prefix) = address(&endpoint.addresses, false);
    let (v6, v6_prefix) = address(&endpoint.addresses, true);
    object(&mut [
        ("Interface", Part::Text(&endpoint.interface)),
        ("MacAddress", Part::Text(&endpoint.mac)),
        ("IPAddress", Part::Text(&v4)),
        ("IPPrefixLen", Part::Number(v4_prefix)),
        ("Gateway", Part::Text(&address(&endpoint.gateways, false).0)),
        ("GlobalIPv6Address", Part::Text(&v6)),
        ("GlobalIPv6PrefixLen", Part::Number(v6_prefix)),
        ("IPv6Gateway", Part::Text(&address(&endpoint.gateways, true).0)),
    ])
}

/// Ports of the host by those of the container. `everywhere` stands for all addresses.
fn of_ports(list: &[Port], everywhere: &str) -> Part<'static> {
    let mut ports: Vec<(String, Vec<Value>)> = Vec::new();
    for port in list {
        let key = format!("{}/{}", port.inner, port.protocol());
        let at = if port.at.is_empty() { everywhere } else { &port.at };
        let host = if port.host == 0 { String::new() } else { port.host.to_string() };
        let place =
            json::object(&mut [("HostIp", Part::Text(at)), ("HostPort", Part::Text(&host))]);
        match ports.iter_mut().find(|(known, _)| *known == key) {
            Some((_, places)) => places.push(place),
            None => ports.push((key, vec![place])),
        }
    }
    let mut ports: Vec<_> = ports
        .iter_mut()
        .map(|(key, places)| (&**key, Part::Value(json::list(std::mem::take(places)))))
        .collect();
    object(&mut ports)
}

fn of_state(state: &State) -> Part<'static> {
    let is = |status: Status| Part::Flag(state.status == status);
    object(&mut [
        ("Status", Part::Text(state.status.word())),
        // Docker counts one that waits for its next start.
        ("Running", Part::Flag(state.status.is_alive())),
        ("Paused", is(Status::Paused)),
        ("Restarting", is(Status::Restarting)),
        ("OOMKilled", Part::Flag(state.oom_killed)),
        ("Dead", is(Status::Dead)),
        ("Pid", Part::Number(state.pid.into())),
        ("ExitCode", Part::Number(state.exit_code.into())),
        ("Error", Part::Text(&state.error)),
        ("StartedAt", Part::Text(&when::rfc3339(state.started))),
        ("FinishedAt", Part::Text(&when::rfc3339(state.finished))),
        // There are no health checks: a template finds that out by this.
        ("Health", Part::Value(Value::Null)),
    ])
}

fn of_host(record: &Record) -> Part<'static> {
    let limits = &record.limits;
    let number = |number: Option<u64>| Part::Number(number.unwrap_or(0) as i64);
    let binds: Vec<String> = record
        .mounts
        .iter()
        .filter(|mount| mount.kind == MountKind::Bind)
        .map(|mount| {
            let mode = if mount.read_only { ":ro" } else { "" };
            let source = if mount.volume.is_empty() { &mount.source } else { &mount.volume };
            format!("{source}:{}{mode}", mount.target)
        })
        .collect();
    let tmpfs = record.mounts.iter().filter(|mount| mount.kind == MountKind::Tmpfs);
    let mut tmpfs: Vec<_> =
        tmpfs.map(|mount| (&*mount.target, Part::Text(&mount.options))).collect();
    let usual = Security::usual();
    let security = record.security.as_ref().unwrap_or(&usual);
    let (added, dropped) = security.changed_capabilities();
    object(&mut [
        ("AutoRemove", Part::Flag(record.auto_remove)),
        ("Binds", Part::Texts(&binds)),
        ("CapAdd", Part::Texts(&added)),
        ("CapDrop", Part::Texts(&dropped)),
        ("CpuShares", number(limits.cpu_shares)),
        ("CpusetCpus", Part::Text(limits.cpuset.as_deref().unwrap_or_default())),
        ("Init", Part::Flag(record.init)),
        ("LogConfig", object(&mut [("Type", Part::Text("local")), ("Config", set(&[]))])),
        ("Memory", number(limits.memory)),
        ("MemorySwap", Part::Number(limits.memory_swap.unwrap_or(0))),
        ("NanoCpus", Part::Number(limits.milli_cpus.unwrap_or(0) as i64 * 1_000_000)),
        ("NetworkMode", Part::Text(&record.network)),
        ("OomScoreAdj", Part::Number(security.oom_score_adj.unwrap_or(0))),
        ("PidsLimit", Part::Number(limits.pids.unwrap_or(2048))),
        ("PortBindings", of_ports(&record.net.ports, "")),
        ("Privileged", Part::Flag(security.privileged)),
        ("ReadonlyRootfs", Part::Flag(record.read_only)),
        ("SecurityOpt", Part::Texts(&security.options())),
        ("ShmSize", Part::Number(security.shm_size.unwrap_or(64 << 20) as i64)),
        (
            "RestartPolicy",
            object(&mut [
                (
                    "Name",
                    Part::Text(if record.restart.is_empty() { "no" } else { &record.restart }),
                ),
                ("MaximumRetryCount", Part::Number(record.restart_most.into())),
            ]),
        ),
        ("Tmpfs", object(&mut tmpfs)),
        ("UsernsMode", Part::Text(&record.userns.map(IdMap::text).unwrap_or_default())),
    ])
}

fn of_mount(mount: &Mount) -> Value {
    let kind = match mount.kind {
        MountKind::Bind if !mount.volume.is_empty() => "volume",
        MountKind::Bind => "bind",
        MountKind::Tmpfs => "tmpfs",
    };
    json::object(&mut [
        ("Type", Part::Text(kind)),
        ("Name", Part::Text(&mount.volume)),
        ("Source", Part::Text(&mount.source)),
        ("Destination", Part::Text(&mount.target)),
        ("Mode", Part::Text(&mount.options)),
        ("RW", Part::Flag(!mount.read_only)),
    ])
}

fn of_command(record: &Record) -> Part<'static> {
    let (entrypoint, command) = record.entrypoint_and_command();
    object(&mut [
        ("Hostname", Part::Text(&record.hostname)),
        ("User", Part::Text(&record.user)),
        ("Tty", Part::Flag(record.tty)),
        ("OpenStdin", Part::Flag(record.interactive)),
        ("StdinOnce", Part::Flag(record.interactive && record.ends_stdin())),
        ("Env", Part::Texts(&record.env)),
        ("Entrypoint", Part::Texts(entrypoint)),
        ("Cmd", Part::Texts(command)),
        ("Image", Part::Text(&record.image)),
        ("WorkingDir", Part::Text(&record.workdir)),
        ("Labels", Part::Value(json::map(&record.labels))),
        ("StopSignal", Part::Text(&signal::name(record.stop_signal))),
        ("StopTimeout", Part::Number(record.stop_timeout)),
        // The container does not know those of its image.
        ("ExposedPorts", set(&[])),
        ("Volumes", set(&[])),
    ])
}
