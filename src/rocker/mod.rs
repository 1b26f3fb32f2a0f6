//! The command line: finds the command that the arguments name, runs it, reports how it ended.

pub mod change;
mod command;
pub mod commands;
mod completion;
mod help;
mod json;
pub mod list;
mod manual;
mod nearest;
mod parse;
mod print;
pub mod template;
pub mod units;
mod when;

use crate::container::Engine;
use crate::container::check;
use crate::error::{self, ENGINE, Error, FAILURE, Result, escape, show_debug, write_stderr};
use crate::sys::{io, process};
use command::{Command, Entry, Rules, flag};
use parse::{Parsed, Refusal};
use std::path::Path;
use std::process::ExitCode;

/// The options before the command, and what the command is told of the call.
#[derive(Default)]
pub struct Globals {
    root: Option<String>,
    run_root: Option<String>,
    debug: bool,
    version: bool,
    /// The caller's mask of file modes.
    mask: u32,
    /// The command and all that follows it.
    words: Vec<String>,
    /// The spelling that the command was called by: `ps` or `container ls`.
    called: String,
}

impl Globals {
    /// The directory of what outlives a reboot.
    pub fn root(&self) -> String {
        place(&self.root, "ROCKER_ROOT", "/var/lib/rocker")
    }

    /// The directory of what describes running containers.
    pub fn run_root(&self) -> String {
        place(&self.run_root, "ROCKER_RUN_ROOT", "/var/run/rocker")
    }

    /// Opens the engine on these directories.
    pub fn engine(&self) -> Result<Engine> {
        Engine::open(self.root().as_ref(), self.run_root().as_ref())
    }
}

fn place(option: &Option<String>, variable: &str, usual: &str) -> String {
    let given = option.clone().or_else(|| std::env::var(variable).ok());
    given.filter(|path| !path.is_empty()).unwrap_or_else(|| usual.to_string())
}

/// rocker itself: the options before the command.
pub static ROCKER: Command<Globals> = Command {
    name: "",
    aliases: "",
    words: "[COMMAND] [ARG...]",
    about: "A container engine in one static file.",
    more: "",
    rules: Rules::Verbatim,
    flags: &[
        flag(
            "--root DIR",
            "Where images and containers are kept (ROCKER_ROOT, /var/lib/rocker)",
            |o, value| value.set(&mut o.root),
        ),
        flag(
            "--run-root DIR",
            "Where running containers are described (ROCKER_RUN_ROOT, /var/run/rocker)",
            |o, value| value.set(&mut o.run_root),
        ),
        flag("--debug", "Show each step on stderr, as RUST_LOG=debug does", |o, value| {
            value.set(&mut o.debug)
        }),
        flag("-v, --version", "Show the version", |o, value| value.set(&mut o.version)),
    ],
    word: |o, word| {
        o.words.push(word);
        Ok(())
    },
    run: |call, globals| dispatch(Globals { mask: call.mask, ..globals }),
};

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|info| {
        let why = info.payload_as_str().unwrap_or_default();
        report(&match info.location() {
            Some(at) => Error::new(format!("internal error: {why} ({}:{})", at.file(), at.line())),
            None => Error::new(format!("internal error: {why}")),
        });
        process::exit_now(ENGINE)
    }));
    // Modes are given whole, whatever mask the caller has.
    let mask = process::umask(0);
    // Only a filter of system calls could forbid it, and the rest would fail too.
    let _ = io::take_back_signals();
    let globals = Globals { mask, ..Globals::default() };
    let words = match arguments() {
        Ok(words) => words,
        Err(error) => {
            report(&error);
            return ExitCode::from(error.code);
        }
    };
    ExitCode::from(call(&ROCKER, "", &globals, &words))
}

/// The arguments without the name of the program.
fn arguments() -> Result<Vec<String>> {
    let mut words = std::env::args_os();
    let name = words.next().unwrap_or_default();
    if Path::new(&name).file_name() == Some("init".as_ref()) && process::id() == 1 {
        // What the kernel adds are those of its own words that it did not understand.
        return Ok(vec!["init".to_owned()]);
    }
    words
        .map(|word| {
            word.into_string().map_err(|word| {
                let shown = escape(&word.to_string_lossy());
                Error::new(format!("an argument is not UTF-8: {shown}")).code(ENGINE)
            })
        })
        .collect()
}

/// Parses and runs one command, and reports its error. Gives the exit code.
fn call(entry: &'static dyn Entry, called: &str, globals: &Globals, words: &[String]) -> u8 {
    let facts = entry.facts();
    let mut call = entry.call();
    match parse::parse(entry, &mut *call, words) {
        Ok(Parsed::Act) => {}
        Ok(Parsed::Help) => return end(help::show(entry).map(|()| 0), FAILURE),
        Err(Refusal { error, usage }) => {
            let about = if called.is_empty() { String::new() } else { format!("{called}: ") };
            report(&error.clone().message(about + &error.message));
            if usage {
                let name = if called.is_empty() { "rocker" } else { facts.name };
                let name = if name == "rocker" { name.into() } else { format!("rocker {name}") };
                let usage = help::usage(&facts);
                write_stderr(&format!(
                    "\nUsage:  {usage}\n\nRun '{name} --help' for more information\n"
                ));
            }
            return error.code;
        }
    }
    if facts.rules.needs_root() && !process::is_root() {
        let why = "needs root: namespaces, mounts and cgroups are made by root only";
        return end(Err(Error::new(why).hint("use sudo")), facts.rules.failure());
    }
    end(call.run(globals), facts.rules.failure())
}

/// Shows an error on stderr, with a remedy or the line of `rocker check` that tells of it.
pub fn report(error: &Error) {
    error::report(&check::blame_privileges(error.clone()));
}

/// Reports an error; `failure` is the code of one that has none of its own.
fn end(result: Result<u8>, failure: u8) -> u8 {
    result.unwrap_or_else(|error| {
        report(&error);
        if error.code == FAILURE { failure } else { error.code }
    })
}

/// Runs the command that the words after the global options name.
fn dispatch(mut globals: Globals) -> Result<u8> {
    let level = std::env::var("RUST_LOG").unwrap_or_default();
    if globals.debug || level.contains("debug") || level.contains("trace") {
        show_debug();
    }
    if globals.version {
        print::out(concat!("rocker ", env!("CARGO_PKG_VERSION"), "\n"))?;
        return Ok(0);
    }
    let mut words = std::mem::take(&mut globals.words);
    if words.is_empty() {
        help::overview()?;
        return Ok(0);
    }
    let first = words.remove(0);
    if let Some(entry) = commands::find(&first) {
        globals.called = first;
        return Ok(call(entry, &globals.called, &globals, &words));
    }
    if !commands::is_noun(&first) {
        return Err(unknown(&first, ""));
    }
    match words.first().map(String::as_str) {
        None | Some("--help" | "-h") => {
            help::noun(&first)?;
            Ok(0)
        }
        Some(second) => {
            let spelling = format!("{first} {second}");
            let Some(entry) = commands::find(&spelling) else {
                return Err(unknown(second, &first));
            };
            globals.called = spelling;
            Ok(call(entry, &globals.called, &globals, &words[1..]))
        }
    }
}

fn unknown(word: &str, noun: &str) -> Error {
    let before = if noun.is_empty() { String::new() } else { format!("{noun} ") };
    let known = commands::spellings().filter_map(|spelling| match noun {
        "" => (!spelling.contains(' ')).then_some(spelling),
        _ => spelling.strip_prefix(&*before),
    });
    let error = Error::new(format!("unknown command: {before}{word}"));
    match nearest::nearest(word, known.chain(commands::NOUNS.iter().copied())) {
        Some(near) => error.hint(format!("did you mean 'rocker {before}{near}'?")),
        None => error.hint("see 'rocker --help'"),
    }
}
