//! `logs`: what a container wrote.

use super::Globals;
use crate::container::options::LogsOptions;
use crate::container::{self, Stream};
use crate::error::{Error, Result};
use crate::rocker::command::{Command, Rules, flag};
use crate::rocker::{print, units, when};
use crate::sys::{io, time};
use std::os::fd::AsFd;

#[derive(Default)]
pub struct Options {
    container: String,
    logs: LogsOptions,
}

pub static COMMAND: Command<Options> = Command {
    name: "logs",
    aliases: "container logs",
    words: "CONTAINER",
    about: "Show what a container wrote.",
    more: "\
A TIME is like 2026-01-14T17:07:17Z (local without a zone), seconds since the epoch,
or how long ago: 10m, 1h30m.

Examples:
  rocker logs web
  rocker logs -f --tail 20 -t web
",
    rules: Rules::Usual,
    flags: &[
        flag("-f, --follow", "Go on with what is written from now on", |o, value| {
            value.set(&mut o.logs.follow)
        }),
        flag("-n, --tail LINES", "Only that many lines from the end (default all)", |o, value| {
            o.logs.tail = match &*value.text() {
                "all" => None,
                // As with docker.
                text if text.parse::<i64>().is_ok_and(|lines| lines < 0) => None,
                text => Some(
                    units::whole(text)?
                        .try_into()
                        .map_err(|_| Error::new("neither a number of lines nor all"))?,
                ),
            };
            Ok(())
        }),
        flag("--since TIME", "Only what was written from then on", |o, value| {
            o.logs.since = Some(when::parse(&value.text(), time::now())?);
            Ok(())
        }),
        flag("--until TIME", "Only what was written before", |o, value| {
            o.logs.until = Some(when::parse(&value.text(), time::now())?);
            Ok(())
        }),
        flag("-t, --timestamps", "Show the time of each line", |o, value| {
            value.set(&mut o.logs.timestamps)
        }),
    ],
    word: |o, word| {
        o.container = word;
        Ok(())
    },
    run,
};

fn run(globals: &Globals, options: Options) -> Result<u8> {
    let timestamps = options.logs.timestamps;
    let mut failure = None;
    let mut write = |stream: Stream, bytes: &[u8]| match stream {
        Stream::Stdout => print::out_bytes(bytes).unwrap_or_else(|error| {
            failure = Some(error);
            false
        }),
        Stream::Stderr => io::write_all(std::io::stderr().as_fd(), bytes).is_ok(),
    };
    let mut sink = |stream: Stream, time: Option<i64>, bytes: &[u8]| match time {
        Some(time) if timestamps => {
            let mut line = when::rfc3339(time).into_bytes();
            line.push(b' ');
            line.extend_from_slice(bytes);
            write(stream, &line)
        }
        _ => write(stream, bytes),
    };
    container::logs(&globals.engine()?, &options.container, &options.logs, &mut sink)?;
    failure.map_or(Ok(0), Err)
}
