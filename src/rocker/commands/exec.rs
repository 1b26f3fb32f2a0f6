//! `exec`: another program in a running container.

use super::Globals;
use crate::container::options::{ExecOptions, Ran};
use crate::container::record::Status;
use crate::container::{self, Engine};
use crate::error::{FAILURE, Result, report};
use crate::rocker::command::{Command, Flag, Rules};

#[derive(Default)]
pub struct Options {
    container: Option<String>,
    exec: ExecOptions,
}

pub static COMMAND: Command<Options> = Command {
    name: "exec",
    aliases: "container exec",
    words: "CONTAINER COMMAND [ARG...]",
    about: "Run a command in a running container.",
    more: "\
Examples:
  rocker exec web ps aux
  rocker exec -it web sh

Exit codes:
  as of run; 1 when there is no such container or it does not run
",
    rules: Rules::Program,
    flags: &[
        Flag {
            spec: "-i, --interactive",
            about: "Connect stdin even where it is no terminal",
            set: |o, value| value.set(&mut o.exec.interactive),
        },
        Flag {
            spec: "-t, --tty",
            about: "Give it a terminal",
            set: |o, value| value.set(&mut o.exec.tty),
        },
        Flag {
            spec: "-d, --detach",
            about: "Run in the background",
            set: |o, value| value.set(&mut o.exec.detach),
        },
        Flag {
            spec: "-e, --env KEY[=VALUE]",
            about: "Set a variable; without a value take the caller's",
            set: |o, value| value.set(&mut o.exec.env),
        },
        Flag {
            spec: "-u, --user USER[:GROUP]",
            about: "User and group by name or number",
            set: |o, value| value.set(&mut o.exec.user),
        },
        Flag {
            spec: "-w, --workdir DIR",
            about: "Working directory inside",
            set: |o, value| value.set(&mut o.exec.workdir),
        },
        Flag {
            spec: "--privileged",
            about: "Give it all capabilities and all system calls",
            set: |o, value| value.set(&mut o.exec.privileged),
        },
    ],
    word: |o, word| {
        match o.container {
            None => o.container = Some(word),
            Some(_) => o.exec.words.push(word),
        }
        Ok(())
    },
    run,
};

fn run(globals: &Globals, options: Options) -> Result<u8> {
    let engine = globals.engine()?;
    let name = options.container.unwrap_or_default();
    match container::exec(&engine, &name, options.exec) {
        Ok(Ran::Ended(code)) => Ok(code),
        Ok(Ran::Detached(_)) => Ok(0),
        // As with docker, only what goes wrong in a running container counts as the engine's.
        Err(error) if error.code == FAILURE && !runs(&engine, &name) => {
            report(&error);
            Ok(FAILURE)
        }
        Err(error) => Err(error),
    }
}

fn runs(engine: &Engine, name: &str) -> bool {
    container::find(engine, name).is_ok_and(|(_, state)| state.status == Status::Running)
}
