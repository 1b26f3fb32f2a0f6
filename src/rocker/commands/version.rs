//! `version`: what this program is.

use crate::rocker::command::{Command, Rules, flag};
use crate::rocker::json::{self, Part};
use crate::rocker::{list, print};
use miniserde::json::Value;

#[derive(Default)]
pub struct Options {
    format: Option<String>,
}

/// The revision that was built, where the build knew it.
const COMMIT: Option<&str> = option_env!("ROCKER_COMMIT");

const LIBC: &str = if cfg!(target_env = "musl") { "musl" } else { "gnu" };

pub static COMMAND: Command<Options> = Command {
    name: "version",
    aliases: "",
    words: "",
    about: "Show the version and what is built in.",
    more: "",
    rules: Rules::Harmless,
    flags: &[flag("-f, --format FORMAT", "Show it by a template, or as json", |o, value| {
        value.set(&mut o.format)
    })],
    word: |_, _| Ok(()),
    run: |_, options| {
        let rows = [
            ("Version", env!("CARGO_PKG_VERSION").to_string()),
            ("Target", format!("{}-linux-{LIBC}", std::env::consts::ARCH)),
            ("Commit", COMMIT.unwrap_or_default().to_string()),
            ("Features", "cgroup v1 and v2, overlay and copy, tar, gzip and bzip2".to_string()),
        ];
        let text = match list::format(options.format.as_deref())? {
            None => {
                let known = rows.into_iter().filter(|(_, text)| !text.is_empty());
                let rows: Vec<_> =
                    known.map(|(name, text)| vec![format!("{name}:"), text]).collect();
                print::table(&rows)
            }
            Some(format) => {
                let mut parts = rows.each_ref().map(|(name, text)| (*name, Part::Text(text)));
                list::show(&format, &[json::object(&mut parts)], &[], &Value::Null)?
            }
        };
        print::out(&text)?;
        Ok(0)
    },
};
