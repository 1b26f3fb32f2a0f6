//! `wait`: until containers end.

use super::Globals;
use crate::container;
use crate::error::{FAILURE, Result};
use crate::rocker::command::{Command, Rules};
use crate::rocker::{print, report};

#[derive(Default)]
pub struct Options {
    containers: Vec<String>,
}

pub static COMMAND: Command<Options> = Command {
    name: "wait",
    aliases: "container wait",
    words: "CONTAINER...",
    about: "Wait until containers end, and print their exit codes.",
    more: "",
    rules: Rules::Usual,
    flags: &[],
    word: |o, word| {
        o.containers.push(word);
        Ok(())
    },
    run,
};

fn run(globals: &Globals, options: Options) -> Result<u8> {
    let engine = globals.engine()?;
    let mut code = 0;
    for name in &options.containers {
        match container::wait(&engine, name) {
            Ok(ended) => print::line(&ended.to_string())?,
            Err(error) => {
                report(&error);
                code = FAILURE;
            }
        }
    }
    Ok(code)
}
