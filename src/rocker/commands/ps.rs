//! `ps`: the containers.

use super::Globals;
use crate::container::record::{Mount, MountKind, Record, State, Status};
use crate::container::{self, Engine};
use crate::error::{ENGINE, Error, Result};
use crate::image::Image;
use crate::rocker::command::{Command, Rules, flag};
use crate::rocker::json::{self, Part};
use crate::rocker::list::{self, Filter};
use crate::rocker::print;
use crate::rocker::when::{self, Now};
use miniserde::json::Value;

#[derive(Default)]
pub struct Options {
    all: bool,
    quiet: bool,
    full: bool,
    latest: bool,
    last: Option<i64>,
    filters: Vec<String>,
    format: Option<String>,
}

const FILTERS: &[&str] = &[
    "id", "name", "status", "label", "ancestor", "exited", "before", "since", "network", "volume",
    "publish", "expose",
];

/// How wide a command is shown.
const WIDTH: usize = 20;

pub static COMMAND: Command<Options> = Command {
    name: "ps",
    aliases: "ls, container ls, container list, container ps",
    words: "",
    about: "List the containers.",
    more: "\
Filters: id, name, status, label, ancestor, exited, before and since (a container), network, volume
(its name, or a place), publish and expose (PORT[/PROTOCOL]).
Fields of a template: .ID .Names .Image .Command .CreatedAt .RunningFor .State .Status .Pid
.Ports .Labels .Mounts .Networks

Examples:
  rocker ps
  rocker ps -q --filter status=running
  rocker ps --format '{{.Names}}: {{.Status}}'
",
    rules: Rules::Usual,
    flags: &[
        flag("-a, --all", "Show all containers (always so)", |o, value| value.set(&mut o.all)),
        flag("-q, --quiet", "Show only ids", |o, value| value.set(&mut o.quiet)),
        flag("--no-trunc", "Show the whole command", |o, value| value.set(&mut o.full)),
        flag("-l, --latest", "Show only the newest container", |o, value| value.set(&mut o.latest)),
        flag("-n, --last NUMBER", "Show only that many of the newest containers", |o, value| {
            value.set(&mut o.last)
        }),
        flag("-f, --filter KEY=VALUE", "Show only what this holds for", |o, value| {
            value.set(&mut o.filters)
        }),
        flag("--format FORMAT", "Show each by a template, or as json", |o, value| {
            value.set(&mut o.format)
        }),
    ],
    word: |_, _| Ok(()),
    run,
};

fn run(globals: &Globals, options: Options) -> Result<u8> {
    let format = list::format(options.format.as_deref())?;
    let filters = list::filters(&options.filters, FILTERS)?;
    filters.iter().try_for_each(check)?;
    let engine = globals.engine()?;
    let ancestors = filters.iter().filter(|filter| filter.key == "ancestor");
    let ancestors: Vec<Image> =
        ancestors.filter_map(|filter| engine.images.find(&filter.value).ok()).collect();
    let mut states = Vec::new();
    let stored = ["label", "ancestor", "volume"];
    for state in between(container::list(&engine)?, &engine, &filters)? {
        let needed = filters.iter().any(|filter| stored.contains(&&*filter.key));
        let record = needed.then(|| record(&engine, &state)).flatten();
        if list::passes(&filters, |filter| holds(&state, record.as_ref(), &ancestors, filter)) {
            states.push(state);
        }
    }
    let last = if options.latest { Some(1) } else { options.last };
    if let Some(last) = last.and_then(|last| usize::try_from(last).ok()) {
        states.truncate(last);
    }
    let text = match format {
        Some(format) => {
            // Only these fields are not in the state, and a second file for each takes time.
            let needed = format.uses(&["Label", "Labels", "LocalVolumes", "Mounts"]);
            let row = |state: &State| {
                let record = needed.then(|| record(&engine, state)).flatten();
                row(state, record.as_ref(), options.full)
            };
            let rows: Vec<Value> = states.iter().map(row).collect();
            let headers = [
                ("ID", "CONTAINER ID"),
                ("CreatedAt", "CREATED AT"),
                ("RunningFor", "CREATED"),
                ("LocalVolumes", "LOCAL VOLUMES"),
            ];
            let empty = self::row(&State::default(), None, false);
            list::show(&format, &rows, &headers, &empty)?
        }
        None if options.quiet => states.iter().map(|state| state.id.clone() + "\n").collect(),
        None => table(&states, options.full),
    };
    print::out(&text)?;
    Ok(0)
}

/// Of containers, the newest first, those that are older and younger than the filters say.
fn between(mut states: Vec<State>, engine: &Engine, filters: &[Filter]) -> Result<Vec<State>> {
    for filter in filters.iter().filter(|filter| matches!(&*filter.key, "before" | "since")) {
        let id = engine.resolve(&filter.value)?.id;
        let mut parts = states.split(|state| state.id == id);
        let (younger, older) = (parts.next(), parts.next());
        let part = if filter.key == "since" { younger } else { older };
        states = part.unwrap_or_default().to_vec();
    }
    Ok(states)
}

/// What a container is, where that can be read.
fn record(engine: &Engine, state: &State) -> Option<Record> {
    engine.open_id(&state.id).ok()??.record().ok()
}

fn table(states: &[State], full: bool) -> String {
    let header = ["ID", "NAME", "PID", "STATUS", "COMMAND", "CREATED"];
    let mut rows = vec![header.map(str::to_string).to_vec()];
    for state in states {
        rows.push(vec![
            state.id.clone(),
            state.name.clone(),
            if state.pid == 0 { "-".to_string() } else { state.pid.to_string() },
            state.status.word().to_string(),
            if full { state.command.clone() } else { print::cut(&state.command, WIDTH) },
            when::local_text(state.created),
        ]);
    }
    print::table(&rows)
}

fn check(filter: &Filter) -> Result<()> {
    const WORDS: &[&str] =
        &["created", "running", "paused", "restarting", "exited", "stopped", "dead"];
    let good = match &*filter.key {
        "status" => WORDS.contains(&&*filter.value),
        "exited" => filter.value.parse::<u8>().is_ok(),
        _ => true,
    };
    match good {
        true => Ok(()),
        false => {
            let why = format!("invalid filter '{}={}'", filter.key, filter.value);
            Err(Error::new(why).code(ENGINE))
        }
    }
}

/// Whether a filter holds. The record is needed for `label`, `volume` and `ancestor`. Of that one
/// there are the images that are meant; one that is gone is known by its name or id only.
fn holds(state: &State, record: Option<&Record>, ancestors: &[Image], filter: &Filter) -> bool {
    let wanted = &*filter.value;
    match &*filter.key {
        "id" => list::matches(&state.id, wanted),
        "name" => list::matches(&state.name, wanted),
        // What was stopped has exited too.
        "status" if wanted == "exited" => ended(state),
        "status" => state.status.word() == wanted,
        "exited" => ended(state) && wanted.parse() == Ok(state.exit_code),
        "label" => record.is_some_and(|record| list::has_label(&record.labels, wanted)),
        "ancestor" => {
            let image = &state.image_name;
            let id = wanted.strip_prefix("sha256:").unwrap_or(wanted);
            let by_id = |record: &Record| {
                id.len() >= 4 && record.image_id.starts_with(id)
                    || ancestors.iter().any(|image| descends(record, image))
            };
            image == wanted
                || image.strip_prefix(wanted) == Some(":latest")
                || record.is_some_and(by_id)
        }
        // Looked at already, see `between`.
        "before" | "since" => true,
        "network" => state.network.split(',').any(|network| network == wanted),
        "volume" => record.is_some_and(|record| {
            let is_it = |mount: &Mount| {
                [&mount.volume, &mount.source, &mount.target].contains(&&filter.value)
            };
            record.mounts.iter().any(is_it)
        }),
        "publish" | "expose" => {
            // `0.0.0.0:8080->80/tcp`
            let ports = state.port_mapping.iter().filter_map(|port| port.split_once("->"));
            let (wanted, protocol) = wanted.split_once('/').unwrap_or((wanted, "tcp"));
            ports.into_iter().any(|(host, inner)| {
                let (inner, of) = inner.split_once('/').unwrap_or((inner, "tcp"));
                let host = host.rsplit(':').next().unwrap_or_default();
                of == protocol && wanted == if filter.key == "publish" { host } else { inner }
            })
        }
        _ => false,
    }
}

/// Whether a container's image is this one, or was made of it: then it has further layers on top.
fn descends(record: &Record, image: &Image) -> bool {
    let (own, below) = (&record.layers, &image.layers);
    let is_made_of =
        own.len() > below.len() && own.iter().zip(below).all(|(own, below)| *own == below.digest);
    is_made_of || record.image_id == image.id
}

fn ended(state: &State) -> bool {
    matches!(state.status, Status::Exited | Status::Stopped)
}

/// One container under docker's keys.
fn row(state: &State, record: Option<&Record>, full: bool) -> Value {
    let now = Now::read();
    let command = if full { state.command.clone() } else { print::cut(&state.command, WIDTH) };
    let mounts: Vec<String> = record
        .iter()
        .flat_map(|record| &record.mounts)
        .map(|mount| match mount.kind {
            MountKind::Bind if !mount.volume.is_empty() => mount.volume.clone(),
            MountKind::Bind => mount.source.clone(),
            MountKind::Tmpfs => mount.target.clone(),
        })
        .collect();
    let created = state.created.saturating_mul(1_000_000_000);
    let volumes = record.iter().flat_map(|record| &record.mounts);
    let volumes = volumes.filter(|mount| !mount.volume.is_empty()).count();
    let ago = now.since(created, state.created_uptime) + " ago";
    let labels = record.map_or(String::new(), |record| list::labels_text(&record.labels));
    json::object(&mut [
        ("Command", Part::Text(&json::compact(&json::text(command)))),
        ("CreatedAt", Part::Text(&when::local_text_with_zone(state.created))),
        ("HealthStatus", Part::Text("")),
        ("ID", Part::Text(&state.id)),
        ("Image", Part::Text(&state.image_name)),
        ("Labels", Part::Text(&labels)),
        ("LocalVolumes", Part::Text(&volumes.to_string())),
        ("Mounts", Part::Text(&mounts.join(","))),
        ("Names", Part::Text(&state.name)),
        ("Networks", Part::Text(&state.network)),
        ("Pid", Part::Number(state.pid.into())),
        ("Platform", Part::Text("linux/amd64")),
        ("Ports", Part::Text(&state.port_mapping.join(", "))),
        ("RunningFor", Part::Text(&ago)),
        ("Size", Part::Text("")),
        ("State", Part::Text(state.status.word())),
        ("Status", Part::Text(&status(state, now))),
    ])
}

/// `Up 3 minutes`, `Exited (0) 2 hours ago`.
fn status(state: &State, now: Now) -> String {
    let up = || now.since(state.started, state.started_uptime);
    let ended = || now.since(state.finished, state.finished_uptime);
    match state.status {
        Status::Created => "Created".to_string(),
        Status::Running => format!("Up {}", up()),
        Status::Paused => format!("Up {} (Paused)", up()),
        Status::Restarting => format!("Restarting ({}) {} ago", state.exit_code, ended()),
        Status::Exited | Status::Stopped => {
            format!("Exited ({}) {} ago", state.exit_code, ended())
        }
        Status::Dead => "Dead".to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> State {
        State {
            id: "0123456789".into(),
            name: "web".into(),
            command: "/bin/sleep 1000 and more".into(),
            status: Status::Stopped,
            network: "none".into(),
            net: Default::default(),
            image_name: "busybox:latest".into(),
            created: 1_768_381_637,
            started: 1,
            finished: 120_000_000_000,
            exit_code: 143,
            port_mapping: vec!["0.0.0.0:8080->80/tcp".into()],
            stopping: true,
            ..State::default()
        }
    }

    #[test]
    fn the_table_has_the_columns_of_the_seed_two_blanks_apart() {
        let text = table(&[sample()], false);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "ID          NAME  PID  STATUS   COMMAND               CREATED");
        assert!(
            lines[1].starts_with("0123456789  web   -    stopped  /bin/sleep 1000 and…  2026-01-1")
        );
        assert_eq!(table(&[], false), "ID  NAME  PID  STATUS  COMMAND  CREATED\n");
    }

    #[test]
    fn the_status_tells_how_long_and_how_it_ended() {
        let mut state = sample();
        let at = |wall| Now { wall, uptime: 90_000_000_000 };
        assert_eq!(status(&state, at(240_000_000_000)), "Exited (143) 2 minutes ago");
        state.status = Status::Running;
        assert_eq!(status(&state, at(60_000_000_001)), "Up About a minute");
        // Somebody has set the clock meanwhile.
        state.started_uptime = 30_000_000_000;
        assert_eq!(status(&state, at(0)), "Up About a minute");
    }

    #[test]
    fn filters_hold_for_what_they_name_and_stopped_counts_as_exited() {
        let filter = |text: &str| list::filters(&[text.to_string()], FILTERS).unwrap();
        for (text, expected) in [
            ("status=exited", true),
            ("status=stopped", true),
            ("status=running", false),
            ("exited=143", true),
            ("exited=0", false),
            ("ancestor=busybox", true),
            ("ancestor=busybox:1", false),
            ("name=^we", true),
            ("label=a", false),
            ("publish=8080", true),
            ("publish=80", false),
            ("expose=80/tcp", true),
            ("expose=80/udp", false),
        ] {
            assert!(check(&filter(text)[0]).is_ok());
            let holds = holds(&sample(), None, &[], &filter(text)[0]);
            assert_eq!(holds, expected, "{text}");
        }
        assert!(check(&filter("status=sleeping")[0]).is_err());
    }
}
