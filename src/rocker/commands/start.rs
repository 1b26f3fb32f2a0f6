//! `start`: a container that was made, or that has ended.

use super::{Globals, each};
use crate::container;
use crate::container::options::{AttachOptions, Ran};
use crate::error::{Error, Result};
use crate::rocker::command::{Command, Rules, flag};

#[derive(Default)]
pub struct Options {
    containers: Vec<String>,
    attach: AttachOptions,
}

pub static COMMAND: Command<Options> = Command {
    name: "start",
    aliases: "container start",
    words: "CONTAINER...",
    about: "Start containers that do not run.",
    more: "\
Examples:
  rocker start web
  rocker start -ai shell
",
    rules: Rules::Usual,
    flags: &[
        flag(
            "-a, --attach",
            "Show the output, forward signals, and exit as the container does",
            |o, value| value.set(&mut o.attach.attach),
        ),
        flag("-i, --interactive", "Connect stdin too", |o, value| {
            value.set(&mut o.attach.interactive)
        }),
        flag(
            "--detach-keys KEYS",
            "Keys that leave the container running (default ctrl-p,ctrl-q)",
            |o, value| value.set(&mut o.attach.detach_keys),
        ),
    ],
    word: |o, word| {
        o.containers.push(word);
        Ok(())
    },
    run,
};

fn run(globals: &Globals, mut options: Options) -> Result<u8> {
    let attach = &mut options.attach;
    attach.attach |= attach.interactive;
    if !attach.attach {
        return each(globals, &options.containers, &mut |engine, name| {
            container::start(engine, name, &options.attach).map(drop)
        });
    }
    let [name] = &*options.containers else {
        return Err(Error::new("start: only one container can be attached at a time"));
    };
    match container::start(&globals.engine()?, name, attach)? {
        Ran::Ended(code) => Ok(code),
        Ran::Detached(_) => Ok(0),
    }
}
