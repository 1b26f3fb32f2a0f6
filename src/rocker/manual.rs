//! `man`: the manual page of all commands, from their tables.

use super::command::{Command, Entry, Rules, names, value_name};
use super::help::{sorted_flags, usage};
use super::{ROCKER, commands, print};

pub static COMMAND: Command<()> = Command {
    name: "man",
    aliases: "",
    words: "",
    about: "Print the manual page.",
    more: "\
Examples:
  rocker man > /usr/local/share/man/man8/rocker.8
  rocker man | man -l -
",
    rules: Rules::Harmless,
    flags: &[],
    word: |_, _| Ok(()),
    run: |_, ()| {
        print::out(&page())?;
        Ok(0)
    },
};

const FILES: &[(&str, &str)] = &[
    ("/var/lib/rocker", "images and containers (ROCKER_ROOT)"),
    ("/var/run/rocker/NAME/config.json", "what a container is doing (ROCKER_RUN_ROOT)"),
    ("/var/run/rocker/NAME/container.log", "what it wrote"),
];

const CODES: &[(&str, &str)] = &[
    ("0", "all went well"),
    ("1", "a failure; with several arguments the others were done"),
    ("125", "a wrong option, or run, create or exec failed before the command"),
    ("126", "the command cannot be executed"),
    ("127", "the command was not found"),
    ("128+n", "signal n ended the command"),
];

fn page() -> String {
    let version = concat!("rocker ", env!("CARGO_PKG_VERSION"));
    let mut out = format!(".TH ROCKER 8 \"\" \"{version}\"\n.SH NAME\nrocker \\- ");
    out.push_str("a container engine in one static file\n.SH SYNOPSIS\n");
    out.push_str(&text("rocker [OPTIONS] COMMAND [ARG...]\n"));
    out.push_str(".SH OPTIONS\n");
    options(&ROCKER, &mut out);
    for (title, entries) in commands::COMMANDS {
        out.push_str(&format!(".SH {}\n", title.to_ascii_uppercase()));
        for entry in *entries {
            if !entry.facts().name.starts_with("__") {
                command(*entry, &mut out);
            }
        }
    }
    out.push_str(".SH EXIT STATUS\n");
    pairs(CODES, &mut out);
    out.push_str(".SH FILES\n");
    pairs(FILES, &mut out);
    out
}

fn command(entry: &dyn Entry, out: &mut String) {
    let facts = entry.facts();
    out.push_str(&format!(".SS {}\n{}\n", text(&usage(&facts)), text(facts.about)));
    if !facts.aliases.is_empty() {
        out.push_str(&format!(".PP\nAlso: {}\n", text(facts.aliases)));
    }
    options(entry, out);
    if !facts.more.is_empty() {
        out.push_str(&format!(".PP\n.nf\n{}.fi\n", text(facts.more)));
    }
}

fn options(entry: &dyn Entry, out: &mut String) {
    for (spec, about) in sorted_flags(entry) {
        let bold: Vec<String> = names(spec).map(|name| format!("\\fB{}\\fR", text(name))).collect();
        out.push_str(&format!(".TP\n{}", bold.join(", ")));
        if let Some(value) = value_name(spec) {
            out.push_str(&format!(" \\fI{}\\fR", text(value)));
        }
        out.push_str(&format!("\n{}\n", text(about)));
    }
}

fn pairs(pairs: &[(&str, &str)], out: &mut String) {
    for (term, about) in pairs {
        out.push_str(&format!(".TP\n\\fB{}\\fR\n{}\n", text(term), text(about)));
    }
}

/// The text with what roff would obey escaped: backslashes, dashes, and a dot or a quote that
/// starts a line.
fn text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        if line.starts_with(['.', '\'']) {
            out.push_str("\\&");
        }
        for character in line.chars() {
            match character {
                '\\' => out.push_str("\\e"),
                '-' => out.push_str("\\-"),
                _ => out.push(character),
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::command::flags;
    use super::*;

    #[test]
    fn every_command_and_option_is_in_the_manual() {
        let page = page();
        for entry in commands::entries().filter(|entry| !entry.facts().name.starts_with("__")) {
            let usage = text(&usage(&entry.facts()));
            assert!(page.contains(&format!(".SS {usage}\n")), "{usage}");
            for (spec, _) in flags(entry) {
                for name in names(spec) {
                    assert!(page.contains(&format!("\\fB{}\\fR", text(name))), "{name}");
                }
            }
        }
    }

    #[test]
    fn no_text_is_taken_for_a_request() {
        assert_eq!(text(".x\n'y \\ -z\n"), "\\&.x\n\\&'y \\e \\-z\n");
    }
}
