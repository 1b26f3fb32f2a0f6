//! `check`: what this host can do, and why not.

use crate::container::check::{self, Fact, Verdict};
use crate::error::FAILURE;
use crate::rocker::command::{Command, Rules, flag};
use crate::rocker::json::{self, Part};
use crate::rocker::{list, print};
use miniserde::json::Value;

#[derive(Default)]
pub struct Options {
    format: Option<String>,
}

pub static COMMAND: Command<Options> = Command {
    name: "check",
    aliases: "",
    words: "",
    about: "Show what this host can do for containers, and why not.",
    more: "\
Each line is a fact: ok; limited, where containers run with less or in another way;
missing, where they cannot run. Nothing on the host is changed.
Fields of a template: .Name .Status .Detail

Exit codes:
  0 containers can run; 1 they cannot
",
    rules: Rules::Harmless,
    flags: &[flag(
        "-f, --format FORMAT",
        "Show each fact by a template, or as json",
        |o, value| value.set(&mut o.format),
    )],
    word: |_, _| Ok(()),
    run: |globals, options| {
        let format = list::format(options.format.as_deref())?;
        let facts = check::facts(globals.root().as_ref(), globals.run_root().as_ref());
        let text = match format {
            None => {
                let header = ["CHECK", "STATUS", "DETAIL"].map(str::to_string).to_vec();
                let rows = facts.iter().map(|fact| {
                    vec![fact.name.clone(), fact.verdict.word().to_string(), fact.detail.clone()]
                });
                print::table(&[header].into_iter().chain(rows).collect::<Vec<_>>())
            }
            Some(format) => {
                let rows: Vec<Value> = facts.iter().map(row).collect();
                list::show(&format, &rows, &[("Name", "CHECK")], &Value::Null)?
            }
        };
        print::out(&text)?;
        let bad = facts.iter().any(|fact| fact.verdict == Verdict::Missing);
        Ok(if bad { FAILURE } else { 0 })
    },
};

fn row(fact: &Fact) -> Value {
    json::object(&mut [
        ("Name", Part::Text(&fact.name)),
        ("Status", Part::Text(fact.verdict.word())),
        ("Detail", Part::Text(&fact.detail)),
    ])
}
