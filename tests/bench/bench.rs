//! `make bench`: rocker beside its yardsticks and other engines, side by side in one run.
//!
//! run.sh starts it in namespaces of its own. `BENCH_ROUNDS` (60) sets how often a start is
//! repeated, `BENCH_SECTIONS` which sections run.

#![allow(clippy::unwrap_used, reason = "what does not work ends the bench, and shows where")]

mod images;
mod live;
mod measure;
mod network;
mod report;
mod setup;
mod start;

use report::{Report, line};
use setup::Setup;

/// A section by its name; the number is how often a start is repeated.
type Section = (&'static str, fn(&Setup, &mut Report, usize));

const SECTIONS: [Section; 17] = [
    ("hot", start::hot),
    ("rights", start::rights),
    ("cold", start::cold),
    ("engines", start::engines),
    ("bridge", network::bridge),
    ("bridge-engines", network::engines),
    ("bridge-beside", network::beside),
    ("throughput", network::throughput),
    ("exec", start::exec),
    ("beside", start::beside),
    ("keeper", |setup, report, _| start::keeper(setup, report)),
    ("memory", |setup, report, _| images::memory(setup, report)),
    ("lists", start::lists),
    ("remove", |setup, report, count| start::remove(setup, report, (count / 2).max(3))),
    ("import", |setup, report, count| images::import(setup, report, (count / 10).clamp(2, 7))),
    ("commit", |setup, report, count| images::commit(setup, report, (count / 4).max(3))),
    ("size", |setup, report, _| images::size(setup, report)),
];

fn main() {
    let number = |text: String| text.parse().expect("BENCH_ROUNDS is a number");
    let count = std::env::var("BENCH_ROUNDS").map_or(60, number);
    let wanted = std::env::var("BENCH_SECTIONS").ok();
    let setup = Setup::new();
    let mut report = Report::new(&setup.base);
    machine();
    for (name, section) in SECTIONS {
        if wanted.as_ref().is_none_or(|wanted| wanted.split(',').any(|word| word == name)) {
            section(&setup, &mut report, count);
        }
    }
    report.finish();
}

/// What the figures were measured on.
fn machine() {
    let version = |program: &str| {
        let output = std::process::Command::new(program).arg("--version").output();
        let text = output.map(|output| output.stdout).unwrap_or_default();
        String::from_utf8_lossy(&text).lines().next().unwrap_or("none").to_string()
    };
    let read = |path| std::fs::read_to_string(path).unwrap_or_default().trim().to_string();
    let v2 = std::fs::exists("/sys/fs/cgroup/cgroup.controllers").unwrap_or(false);
    line(&format!(
        "Linux {}, {} processors, cgroup {}, load {}, state in memory",
        read("/proc/sys/kernel/osrelease"),
        std::thread::available_parallelism().map_or(0, usize::from),
        if v2 { "v2" } else { "v1" },
        read("/proc/loadavg"),
    ));
    let all = ["crun", "runc", "podman", "bwrap"].map(version);
    line(&format!("{}; $B is the state directory", all.join("; ")));
}
