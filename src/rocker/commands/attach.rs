//! `attach`: the terminal or the streams of a running container.

use crate::container;
use crate::container::options::{AttachOptions, Ran};
use crate::rocker::command::{Command, Rules, flag};

#[derive(Default)]
pub struct Options {
    container: String,
    no_stdin: bool,
    attach: AttachOptions,
}

pub static COMMAND: Command<Options> = Command {
    name: "attach",
    aliases: "container attach",
    words: "CONTAINER",
    about: "Connect to the terminal or the streams of a running container.",
    more: "",
    rules: Rules::Usual,
    flags: &[
        flag("--no-stdin", "Do not connect stdin", |o, value| value.set(&mut o.no_stdin)),
        flag("--sig-proxy", "Forward signals to the command (default true)", |o, value| {
            value.set_off(&mut o.attach.no_signal_proxy)
        }),
        flag(
            "--detach-keys KEYS",
            "Keys that leave the container running (default ctrl-p,ctrl-q)",
            |o, value| value.set(&mut o.attach.detach_keys),
        ),
    ],
    word: |o, word| {
        o.container = word;
        Ok(())
    },
    run: |globals, mut options| {
        options.attach.attach = true;
        options.attach.interactive = !options.no_stdin;
        match container::attach(&globals.engine()?, &options.container, &options.attach)? {
            Ran::Ended(code) => Ok(code),
            Ran::Detached(_) => Ok(0),
        }
    },
};
