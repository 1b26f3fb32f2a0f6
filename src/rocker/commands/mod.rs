//! The commands. A new one is a new file and one line in `COMMANDS`.

mod attach;
mod boot;
mod check;
mod commit;
mod exec;
mod images;
mod import;
mod inspect;
mod kill;
mod logs;
mod network;
mod port;
mod ps;
mod rm;
mod rmi;
mod run;
pub mod security;
mod start;
mod stop;
mod tag;
mod version;
mod volume;
mod wait;

use super::command::Entry;
use super::{Globals, completion, print, report};
use crate::container::Engine;
use crate::error::{Cause, Error, FAILURE, Result};

/// All commands, under the titles of the help.
pub static COMMANDS: &[(&str, &[&dyn Entry])] = &[
    (
        "Containers",
        &[
            &run::RUN,
            &exec::COMMAND,
            &ps::COMMAND,
            &logs::COMMAND,
            &stop::STOP,
            &rm::COMMAND,
            &run::CREATE,
            &start::COMMAND,
            &stop::RESTART,
            &kill::COMMAND,
            &attach::COMMAND,
            &wait::COMMAND,
            &inspect::COMMAND,
            &commit::COMMAND,
            &port::COMMAND,
        ],
    ),
    ("Images", &[&import::COMMAND, &images::COMMAND, &tag::COMMAND, &rmi::COMMAND]),
    (
        "Networks",
        &[
            &network::CREATE,
            &network::LIST,
            &network::INSPECT,
            &network::CONNECT,
            &network::DISCONNECT,
            &network::REMOVE,
            &network::PRUNE,
        ],
    ),
    (
        "Volumes",
        &[&volume::CREATE, &volume::LIST, &volume::INSPECT, &volume::REMOVE, &volume::PRUNE],
    ),
    (
        "Other",
        &[
            &check::COMMAND,
            &boot::BOOT,
            &boot::INIT,
            &version::COMMAND,
            &super::manual::COMMAND,
            &completion::COMMAND,
            &completion::COMPLETE,
        ],
    ),
];

/// The words that may stand before a command, as in `container ls`.
pub const NOUNS: &[&str] = &["container", "image", "network", "volume"];

/// Whether this is the first word of longer spellings.
pub fn is_noun(word: &str) -> bool {
    NOUNS.contains(&word)
}

/// All commands in the order of the help.
pub fn entries() -> impl Iterator<Item = &'static dyn Entry> {
    COMMANDS.iter().flat_map(|(_, entries)| entries.iter().copied())
}

/// All spellings of all commands, those that are shown nowhere left out.
pub fn spellings() -> impl Iterator<Item = &'static str> {
    let all = entries().map(|entry| entry.facts()).flat_map(|facts| {
        [facts.name].into_iter().chain(facts.aliases.split(", ")).filter(|name| !name.is_empty())
    });
    all.filter(|name| !name.starts_with("__"))
}

/// The command with this spelling: `ps`, `container ls`.
pub fn find(spelling: &str) -> Option<&'static dyn Entry> {
    entries().find(|entry| {
        let facts = entry.facts();
        facts.name == spelling || facts.aliases.split(", ").any(|alias| alias == spelling)
    })
}

/// Does something with each named object and prints its name; goes on after an error.
fn each(
    globals: &Globals,
    names: &[String],
    act: &mut dyn FnMut(&Engine, &str) -> Result<()>,
) -> Result<u8> {
    act_on_each(globals, names, &|_| FAILURE, act)
}

/// The same for removals.
fn remove_each(
    globals: &Globals,
    names: &[String],
    force: bool,
    remove: &mut dyn FnMut(&Engine, &str) -> Result<()>,
) -> Result<u8> {
    act_on_each(globals, names, &|error| code_of_removal(error, force), remove)
}

/// The exit code for something that was not removed: with `force` it may be that it is not there.
fn code_of_removal(error: &Error, force: bool) -> u8 {
    if force && error.cause == Cause::NotFound { 0 } else { FAILURE }
}

fn act_on_each(
    globals: &Globals,
    names: &[String],
    code_of: &dyn Fn(&Error) -> u8,
    act: &mut dyn FnMut(&Engine, &str) -> Result<()>,
) -> Result<u8> {
    let engine = globals.engine()?;
    let mut code = 0;
    for name in names {
        match act(&engine, name) {
            Ok(()) => print::line(name)?,
            Err(error) => {
                report(&error);
                code = code.max(code_of(&error));
            }
        }
    }
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::super::command::{flags, names};
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_two_commands_share_a_spelling() {
        let mut seen = BTreeSet::new();
        for spelling in spellings() {
            assert!(seen.insert(spelling), "{spelling}");
        }
    }

    #[test]
    fn no_command_has_an_option_twice() {
        for entry in entries() {
            let mut seen = BTreeSet::new();
            for (spec, about) in flags(entry) {
                assert!(!about.is_empty(), "{spec}");
                for name in names(spec) {
                    assert!(seen.insert(name), "{} {name}", entry.facts().name);
                }
            }
        }
    }

    #[test]
    fn run_and_create_have_the_options_that_are_promised() {
        let run = "--image --tty --interactive --detach --rm --name --hostname --env --env-file \
            --workdir --user --entrypoint --volume --tmpfs --read-only --label --memory \
            --memory-swap --cpushare --cpu-shares --cpuset --cpuset-cpus --cpus --pids-limit \
            --stop-signal --stop-timeout --init --detach-keys --cidfile --pidfile --net \
            --sig-proxy -t -i -d -h -e -w -u -v -l -m -c";
        let names = |command: &str| -> Vec<&'static str> {
            let entry = find(command).expect("it is in the table");
            flags(entry).flat_map(|(spec, _)| names(spec)).collect()
        };
        for name in run.split_ascii_whitespace() {
            assert!(names("run").contains(&name), "run {name}");
            let only_run = ["--detach", "-d", "--detach-keys", "--sig-proxy"].contains(&name);
            assert_eq!(names("create").contains(&name), !only_run, "create {name}");
        }
    }
}
