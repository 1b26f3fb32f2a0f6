//! `--help`, from the tables of the commands.

use super::command::{Entry, Facts, flags};
use super::{ROCKER, commands, print};
use crate::error::Result;

/// `rocker stop [OPTIONS] CONTAINER...`
pub fn usage(facts: &Facts) -> String {
    let mut text = String::from("rocker");
    for word in [facts.name, "[OPTIONS]", facts.words] {
        if !word.is_empty() {
            text.push(' ');
            text.push_str(word);
        }
    }
    text
}

/// Shows the help of a command, or of rocker itself.
pub fn show(entry: &dyn Entry) -> Result<()> {
    let facts = entry.facts();
    if facts.name.is_empty() {
        return overview();
    }
    let mut text = format!("Usage:  {}\n\n{}\n", usage(&facts), facts.about);
    if !facts.aliases.is_empty() {
        text.push_str("\nAliases:\n");
        for alias in facts.aliases.split(", ") {
            text.push_str(&format!("  rocker {alias}\n"));
        }
    }
    options(entry, &mut text);
    if !facts.more.is_empty() {
        text.push('\n');
        text.push_str(facts.more);
    }
    print::out(&text)
}

/// Shows what rocker is and which commands it has.
pub fn overview() -> Result<()> {
    let facts = ROCKER.facts();
    let mut text = format!("Usage:  rocker [OPTIONS] COMMAND [ARG...]\n\n{}\n", facts.about);
    for (title, entries) in commands::COMMANDS {
        text.push_str(&format!("\n{title}:\n"));
        let rows = entries.iter().map(|entry| entry.facts()).map(|facts| (facts.name, facts.about));
        columns(&mut text, rows.filter(|(name, _)| !name.starts_with("__")).collect());
    }
    options(&ROCKER, &mut text);
    text.push_str("\nRun 'rocker COMMAND --help' for more information on a command\n");
    print::out(&text)
}

/// Shows the commands of `container`, `image` or another noun.
pub fn noun(noun: &str) -> Result<()> {
    let mut text = format!("Usage:  rocker {noun} COMMAND [ARG...]\n\nCommands:\n");
    let mut rows = Vec::new();
    for entry in commands::entries() {
        let facts = entry.facts();
        for alias in [facts.name].into_iter().chain(facts.aliases.split(", ")) {
            if let Some(verb) = alias.strip_prefix(noun).and_then(|rest| rest.strip_prefix(' ')) {
                rows.push((verb, facts.about));
            }
        }
    }
    columns(&mut text, rows);
    text.push_str(&format!("\nRun 'rocker {noun} COMMAND --help' for more information\n"));
    print::out(&text)
}

/// The options of a command, sorted by their long names, and the help that each has.
pub fn sorted_flags(entry: &dyn Entry) -> Vec<(&'static str, &'static str)> {
    let short_help = !flags(entry).any(|(spec, _)| spec.starts_with("-h,"));
    let help = if short_help { "-h, --help" } else { "--help" };
    let mut list: Vec<_> = flags(entry).chain([(help, "Show this help")]).collect();
    list.sort_by_key(|(spec, _)| spec.find("--").map(|at| &spec[at..]));
    list
}

fn options(entry: &dyn Entry, text: &mut String) {
    text.push_str("\nOptions:\n");
    let list = sorted_flags(entry);
    let indent = |spec: &str| if spec.starts_with("--") { 4 } else { 0 };
    let width = list.iter().map(|(spec, _)| spec.len() + indent(spec)).max().unwrap_or(0);
    for (spec, about) in list {
        print::pad(text, 2 + indent(spec));
        text.push_str(spec);
        print::pad(text, width + 3 - spec.len() - indent(spec));
        text.push_str(about);
        text.push('\n');
    }
}

fn columns(text: &mut String, rows: Vec<(&str, &str)>) {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, about) in rows {
        print::pad(text, 2);
        text.push_str(name);
        print::pad(text, width + 3 - name.len());
        text.push_str(about);
        text.push('\n');
    }
}
