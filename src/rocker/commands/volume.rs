//! `volume`: makes, shows and removes volumes.

use super::{Globals, each, remove_each};
use crate::container::volumes::{self, Volume};
use crate::error::{Error, Result};
use crate::rocker::command::{Command, Rules, flag};
use crate::rocker::json::{self, Part};
use crate::rocker::list;
use crate::rocker::{print, when};
use miniserde::json::Value as Json;
use std::collections::BTreeMap;

/// What any of these commands was asked for.
#[derive(Default)]
pub struct Options {
    words: Vec<String>,
    labels: Vec<String>,
    quiet: bool,
    force: bool,
    filters: Vec<String>,
    format: Option<String>,
}

fn word(options: &mut Options, word: String) -> Result<()> {
    options.words.push(word);
    Ok(())
}

pub static CREATE: Command<Options> = Command {
    name: "volume create",
    aliases: "",
    words: "VOLUME",
    about: "Make a volume.",
    more: "",
    rules: Rules::Usual,
    flags: &[
        flag("-l, --label KEY[=VALUE]", "Attach a label", |o, value| value.set(&mut o.labels)),
        flag("-d, --driver DRIVER", "What it is made of: local", |_, value| match &*value.text() {
            "local" => Ok(()),
            _ => Err(Error::new("the only driver is local")),
        }),
    ],
    word,
    run: |globals, options| {
        let mut labels = BTreeMap::new();
        for label in &options.labels {
            let (key, value) = label.split_once('=').unwrap_or((label, ""));
            labels.insert(key.to_owned(), value.to_owned());
        }
        each(globals, &options.words, &mut |engine, name| {
            volumes::create(engine, name, &labels).map(drop)
        })
    },
};

pub static LIST: Command<Options> = Command {
    name: "volume ls",
    aliases: "volume list",
    words: "",
    about: "List the volumes.",
    more: "\
Filters: name, label.
Fields of a template: .Name .Driver .Mountpoint .Scope .Labels .CreatedAt
",
    rules: Rules::Usual,
    flags: &[
        flag("-q, --quiet", "Show only names", |o, value| value.set(&mut o.quiet)),
        flag("-f, --filter KEY=VALUE", "Show only what this holds for", |o, value| {
            value.set(&mut o.filters)
        }),
        flag("--format FORMAT", "Show each by a template, or as json", |o, value| {
            value.set(&mut o.format)
        }),
    ],
    word,
    run: list_volumes,
};

pub static INSPECT: Command<Options> = Command {
    name: "volume inspect",
    aliases: "",
    words: "VOLUME...",
    about: "Show all that is known of volumes.",
    more: "",
    rules: Rules::Usual,
    flags: &[flag("-f, --format FORMAT", "Show each by a template, or as json", |o, value| {
        value.set(&mut o.format)
    })],
    word,
    run: inspect,
};

pub static REMOVE: Command<Options> = Command {
    name: "volume rm",
    aliases: "volume remove",
    words: "VOLUME...",
    about: "Remove volumes that no container mounts, with all that is in them.",
    more: "",
    rules: Rules::Usual,
    flags: &[flag("-f, --force", "Let a missing one be no failure", |o, value| {
        value.set(&mut o.force)
    })],
    word,
    run: |globals, options| {
        remove_each(globals, &options.words, options.force, &mut volumes::remove)
    },
};

pub static PRUNE: Command<Options> = Command {
    name: "volume prune",
    aliases: "",
    words: "",
    about: "Remove all volumes that no container mounts.",
    more: "",
    rules: Rules::Usual,
    flags: &[
        flag("-a, --all", "Changes nothing: each has a name", |o, value| value.set(&mut o.force)),
        flag("-f, --force", "Do not ask (it never does)", |o, value| value.set(&mut o.force)),
    ],
    word,
    run: |globals, _| {
        for name in volumes::prune(&globals.engine()?)? {
            print::line(&name)?;
        }
        Ok(0)
    },
};

/// One volume under docker's keys: of a list, where labels are a text, or with all there is.
fn row(volume: &Volume, path: &str, is_whole: bool) -> Json {
    let text = list::labels_text(&volume.labels);
    let mut parts = [
        ("CreatedAt", Part::Text(&when::rfc3339(volume.created.saturating_mul(1_000_000_000)))),
        ("Driver", Part::Text("local")),
        ("Labels", Part::Text(&text)),
        ("Mountpoint", Part::Text(path)),
        ("Name", Part::Text(&volume.name)),
        ("Scope", Part::Text("local")),
        ("Options", Part::Value(json::object(&mut []))),
    ];
    if is_whole {
        parts[2].1 = Part::Value(json::map(&volume.labels));
    }
    json::object(&mut parts[..if is_whole { 7 } else { 6 }])
}

fn list_volumes(globals: &Globals, options: Options) -> Result<u8> {
    let format = list::format(options.format.as_deref())?;
    let filters = list::filters(&options.filters, &["name", "label"])?;
    let engine = globals.engine()?;
    let mut found = volumes::list(&engine)?;
    found.retain(|volume| {
        list::passes(&filters, |filter| match &*filter.key {
            "name" => list::matches(&volume.name, &filter.value),
            _ => list::has_label(&volume.labels, &filter.value),
        })
    });
    let text = match format {
        Some(format) => {
            let rows: Vec<Json> = found
                .iter()
                .map(|volume| row(volume, &volumes::path(&engine, &volume.name), false))
                .collect();
            let headers = [("Name", "VOLUME NAME"), ("CreatedAt", "CREATED AT")];
            list::show(&format, &rows, &headers, &row(&Volume::default(), "", false))?
        }
        None if options.quiet => found.iter().map(|volume| volume.name.clone() + "\n").collect(),
        None => {
            let header = ["DRIVER", "VOLUME NAME"].map(str::to_owned).to_vec();
            let rows = found.iter().map(|volume| vec!["local".to_owned(), volume.name.clone()]);
            print::table(&[header].into_iter().chain(rows).collect::<Vec<_>>())
        }
    };
    print::out(&text)?;
    Ok(0)
}

fn inspect(globals: &Globals, options: Options) -> Result<u8> {
    list::inspect(globals, options.format.as_deref(), &options.words, |engine, name| {
        let volume = volumes::find(engine, name)?;
        Ok(row(&volume, &volumes::path(engine, name), true))
    })
}
