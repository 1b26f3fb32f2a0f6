//! `rm`: removes containers.

use super::remove_each;
use crate::container;
use crate::rocker::command::{Command, Rules, flag};

#[derive(Default)]
pub struct Options {
    containers: Vec<String>,
    force: bool,
    volumes: bool,
}

pub static COMMAND: Command<Options> = Command {
    name: "rm",
    aliases: "container rm, container remove",
    words: "CONTAINER...",
    about: "Remove containers that do not run.",
    more: "\
Examples:
  rocker rm web
  rocker rm -f web db
",
    rules: Rules::Usual,
    flags: &[
        flag(
            "-f, --force",
            "Kill them first where they run; a missing one is no failure",
            |o, value| value.set(&mut o.force),
        ),
        flag("-v, --volumes", "Remove unnamed volumes too (none are ever made)", |o, value| {
            value.set(&mut o.volumes)
        }),
    ],
    word: |o, word| {
        o.containers.push(word);
        Ok(())
    },
    run: |globals, options| {
        remove_each(globals, &options.containers, options.force, &mut |engine, name| {
            container::remove(engine, name, options.force)
        })
    },
};
