//! `stop` and `restart`.

use super::{Globals, each};
use crate::container::options::{AttachOptions, StopOptions};
use crate::container::{self, Engine};
use crate::error::{Error, Result};
use crate::rocker::command::{Command, Flag, Rules, flag};
use crate::sys::signal;

#[derive(Default)]
pub struct Options {
    containers: Vec<String>,
    stop: StopOptions,
}

pub static STOP: Command<Options> = Command {
    name: "stop",
    aliases: "container stop",
    words: "CONTAINER...",
    about: "Stop running containers.",
    more: "\
The stop signal is sent first, to all of them at once; KILL when the time is over.

Examples:
  rocker stop web
  rocker stop -t 2 web db
",
    rules: Rules::Usual,
    flags: FLAGS,
    word,
    run: |globals, options| stop_each(globals, &options, &mut |_, _| Ok(())),
};

pub static RESTART: Command<Options> = Command {
    name: "restart",
    aliases: "container restart",
    words: "CONTAINER...",
    about: "Stop containers where they run, and start them.",
    more: "Not those of --rm, which their end removes.\n",
    rules: Rules::Usual,
    flags: FLAGS,
    word,
    run: |globals, mut options| {
        options.stop.again = true;
        stop_each(globals, &options, &mut |engine, name| {
            container::start(engine, name, &AttachOptions::default()).map(drop)
        })
    },
};

/// Asks all containers to stop, and then waits for one after the other.
fn stop_each(
    globals: &Globals,
    options: &Options,
    then: &mut dyn FnMut(&Engine, &str) -> Result<()>,
) -> Result<u8> {
    let engine = globals.engine()?;
    let ask = |name: &String| container::ask_to_stop(&engine, name, &options.stop);
    let mut asked = options.containers.iter().map(ask).collect::<Vec<_>>().into_iter();
    each(globals, &options.containers, &mut |engine, name| {
        asked.next().map_or(Ok(()), |stopping| stopping?.finish(engine))?;
        then(engine, name)
    })
}

const FLAGS: &[Flag<Options>] = &[
    flag(
        "-t, --time, --timeout SECONDS",
        "Wait this long before KILL (default 10; -1 for ever)",
        |o, value| value.set(&mut o.stop.seconds),
    ),
    flag("-s, --signal SIGNAL", "Signal that asks them to stop (default their own)", |o, value| {
        o.stop.signal = signal::parse(&value.text());
        o.stop.signal.map(drop).ok_or_else(|| Error::new("no such signal"))
    }),
];

fn word(options: &mut Options, word: String) -> Result<()> {
    options.containers.push(word);
    Ok(())
}
