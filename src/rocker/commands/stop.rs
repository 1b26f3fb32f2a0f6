//! `stop` and `restart`.

use super::each;
use crate::container;
use crate::error::Result;
use crate::rocker::command::{Command, Flag, Rules};

#[derive(Default)]
pub struct Options {
    containers: Vec<String>,
    seconds: Option<i64>,
}

pub static STOP: Command<Options> = Command {
    name: "stop",
    aliases: "container stop",
    words: "CONTAINER...",
    about: "Stop running containers.",
    more: "\
The stop signal is sent first, KILL when the time is over.

Examples:
  rocker stop web
  rocker stop -t 2 web db
",
    rules: Rules::Usual,
    flags: FLAGS,
    word,
    run: |globals, options| {
        each(globals, &options.containers, &mut |engine, name| {
            container::stop(engine, name, options.seconds)
        })
    },
};

pub static RESTART: Command<Options> = Command {
    name: "restart",
    aliases: "container restart",
    words: "CONTAINER...",
    about: "Stop containers where they run, and start them.",
    more: "",
    rules: Rules::Usual,
    flags: FLAGS,
    word,
    run: |globals, options| {
        each(globals, &options.containers, &mut |engine, name| {
            container::restart(engine, name, options.seconds)
        })
    },
};

const FLAGS: &[Flag<Options>] = &[Flag {
    spec: "-t, --time, --timeout SECONDS",
    about: "Wait this long before KILL (default 10; -1 for ever)",
    set: |o, value| value.set(&mut o.seconds),
}];

fn word(options: &mut Options, word: String) -> Result<()> {
    options.containers.push(word);
    Ok(())
}
