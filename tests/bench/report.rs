//! What the bench prints: tables, the command lines behind them, and the goals that they met.

#![allow(clippy::print_stdout, reason = "printing is what it is for")]

use crate::measure::Series;
use std::fmt::Write;

/// A row of the project's numbers: what was measured and what it should be at most.
pub struct Goal {
    pub what: String,
    pub measured: f64,
    pub unit: &'static str,
    pub reach: f64,
    pub then: f64,
}

/// The goals that were measured so far.
pub struct Report {
    goals: Vec<Goal>,
    /// The state directory, shortened to `$B` in what is printed.
    base: String,
}

impl Report {
    pub fn new(base: &str) -> Self {
        Self { goals: Vec::new(), base: base.to_string() }
    }

    /// A figure with what it should be at most.
    pub fn goal(
        &mut self,
        what: impl Into<String>,
        measured: f64,
        unit: &'static str,
        [reach, then]: [f64; 2],
    ) {
        self.goals.push(Goal { what: what.into(), measured, unit, reach, then });
    }

    /// A ratio to another series with what it should be at most; nothing where one is missing.
    pub fn ratio(&mut self, all: &[Series], a: &str, b: &str, what: &str, limits: [f64; 2]) {
        if let (Some(series), Some(other)) = (find(all, a), find(all, b)) {
            self.goal(format!("{what}, x {b}"), series.ratio(other), "", limits);
        }
    }

    /// A table of series, with their ratios to those of these names, and their command lines.
    pub fn table(&self, title: &str, all: &[Series], beside: &[&str]) {
        println!("\n## {title}\n");
        let mut head = "| | median ms | min ms | CPU ms |".to_string();
        let mut rule = "|---|---|---|---|".to_string();
        for name in beside {
            let _ = write!(head, " x {name} |");
            rule.push_str("---|");
        }
        println!("{head}\n{rule}");
        for series in all {
            let mut line = format!(
                "| {} | {:.2} | {:.2} | {:.2} |",
                series.name,
                series.median(),
                series.least(),
                series.cpu()
            );
            for name in beside {
                let ratio = find(all, name).map_or(f64::NAN, |other| series.ratio(other));
                let _ = write!(line, " {ratio:.2} |");
            }
            println!("{line}");
        }
        println!();
        for series in all {
            println!("    {}: {}", series.name, series.words.join(" ").replace(&self.base, "$B"));
        }
    }

    /// All goals and whether they were met.
    pub fn finish(&self) {
        println!("\n## The numbers\n");
        println!("| | measured | reach | then | |\n|---|---|---|---|---|");
        for goal in &self.goals {
            let verdict = match goal.measured {
                value if value <= goal.then => "met",
                value if value <= goal.reach => "reached",
                _ => "MISSED",
            };
            println!(
                "| {} | {} | {} | {} | {verdict} |",
                goal.what,
                figure(goal.measured, goal.unit),
                figure(goal.reach, goal.unit),
                figure(goal.then, goal.unit),
            );
        }
        let reached = self.goals.iter().filter(|goal| goal.measured <= goal.reach).count();
        println!("\n{reached} of {} reached", self.goals.len());
    }
}

fn figure(value: f64, unit: &str) -> String {
    match value {
        1000.0.. => format!("{value:.0}{unit}"),
        ..0.1 => format!("{value:.4}{unit}"),
        _ => format!("{value:.2}{unit}"),
    }
}

/// The series of this name.
pub fn find<'a>(all: &'a [Series], name: &str) -> Option<&'a Series> {
    all.iter().find(|series| series.name == name)
}

/// Something the reader must know, in its place among the tables.
pub fn note(text: &str) {
    println!("note: {text}");
}

/// A line of a table or of text.
pub fn line(text: &str) {
    println!("{text}");
}
