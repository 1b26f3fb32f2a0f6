//! `exec`: another program in a running container.

use super::Globals;
use crate::container;
use crate::container::options::{ExecOptions, Ran};
use crate::error::{FAILURE, Result};
use crate::rocker::command::{Command, Rules, flag};
use crate::rocker::report;

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
        flag("-i, --interactive", "Connect stdin even where it is no terminal", |o, value| {
            value.set(&mut o.exec.interactive)
        }),
        flag("-t, --tty", "Give it a terminal", |o, value| value.set(&mut o.exec.tty)),
        flag("-d, --detach", "Run in the background", |o, value| value.set(&mut o.exec.detach)),
        flag(
            "-e, --env KEY[=VALUE]",
            "Set a variable; without a value take the caller's",
            |o, value| value.set(&mut o.exec.env),
        ),
        flag("--env-file FILE", "Set the variables that a file lists", |o, value| {
            value.set(&mut o.exec.env_files)
        }),
        flag("-u, --user USER[:GROUP]", "User and group by name or number", |o, value| {
            value.set(&mut o.exec.user)
        }),
        flag("-w, --workdir DIR", "Working directory inside", |o, value| {
            value.set(&mut o.exec.workdir)
        }),
        flag("--privileged", "Give it all capabilities and all system calls", |o, value| {
            value.set(&mut o.exec.privileged)
        }),
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
        // There is no such container, or it does not run.
        Err(error) if error.code == FAILURE => {
            report(&error);
            Ok(FAILURE)
        }
        Err(error) => Err(error),
    }
}
