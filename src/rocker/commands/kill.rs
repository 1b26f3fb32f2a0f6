//! `kill`: a signal for containers.

use super::each;
use crate::container;
use crate::error::Error;
use crate::rocker::command::{Command, Rules, flag};
use crate::sys::signal;

#[derive(Default)]
pub struct Options {
    containers: Vec<String>,
    signal: Option<u32>,
}

pub static COMMAND: Command<Options> = Command {
    name: "kill",
    aliases: "container kill",
    words: "CONTAINER...",
    about: "Send a signal to running containers.",
    more: "\
Examples:
  rocker kill web
  rocker kill -s HUP web
",
    rules: Rules::Usual,
    flags: &[flag("-s, --signal SIGNAL", "Signal by name or number (default KILL)", |o, value| {
        o.signal = signal::parse(&value.text());
        o.signal.map(drop).ok_or_else(|| Error::new("no such signal"))
    })],
    word: |o, word| {
        o.containers.push(word);
        Ok(())
    },
    run: |globals, options| {
        let number = options.signal.or(signal::parse("KILL")).unwrap_or_default();
        each(globals, &options.containers, &mut |engine, name| {
            container::kill(engine, name, number)
        })
    },
};
