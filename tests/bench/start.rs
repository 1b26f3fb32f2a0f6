//! Starts, and commands in what runs already.

use crate::live::{Live, Other};
use crate::measure::{Case, Series, median, must, rounds};
use crate::report::{Report, find};
use crate::setup::{PODMAN, Setup, TRUE};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

const REST: Duration = Duration::from_millis(60);
const RUN: [&str; 7] = ["run", "--rm", "--net", "none", "--image", "busybox", TRUE];

fn cases(setup: &Setup) -> Vec<Case> {
    let rootfs = setup.rootfs.as_str();
    let bwrap = [
        "bwrap",
        "--unshare-all",
        "--die-with-parent",
        "--bind",
        rootfs,
        "/",
        "--proc",
        "/proc",
        "--dev",
        "/dev",
        "--tmpfs",
        "/dev/shm",
        "--hostname",
        "bench",
        TRUE,
    ];
    let bundle = |name| setup.bundle(name, &[TRUE]);
    let runtime = |name: &'static str| {
        setup.runtime(name, &["run", "-b", &bundle(name), &format!("{}-{name}", setup.group)])
    };
    vec![
        Case::new("floor", [format!("{}/true", setup.programs)]),
        Case::new("limit", setup.limit_run(false, &[], &[TRUE])),
        Case::new("equal limit", setup.limit_run(true, &[], &[TRUE])),
        Case::new("rocker", setup.rocker(&RUN)),
        Case::new("bwrap", bwrap),
        Case::new("crun", runtime("crun")),
        Case::new("runc", runtime("runc")),
    ]
}

const BESIDE: [&str; 3] = ["limit", "equal limit", "crun"];

/// A container from nothing to nothing, back to back.
pub fn hot(setup: &Setup, report: &mut Report, count: usize) {
    let all = rounds(cases(setup), count, Duration::ZERO);
    report.table("run --rm true, back to back", &all, &BESIDE);
    report.ratio(&all, "rocker", "limit", "run --rm, hot", [1.5, 1.25]);
    report.ratio(&all, "rocker", "crun", "run --rm, hot", [0.35, 0.28]);
}

/// The same with less and less of what protects the host: what each of them costs.
pub fn rights(setup: &Setup, report: &mut Report, count: usize) {
    let case = |name: &'static str, options: &[&str]| {
        let words = [&RUN[..4], options, &RUN[4..]].concat();
        Case::new(name, setup.rocker(&words))
    };
    const UNFILTERED: &str = "--security-opt=seccomp=unconfined";
    const UNMASKED: &str = "--security-opt=systempaths=unconfined";
    const UNPROTECTED: [&str; 5] =
        [UNFILTERED, UNMASKED, "--cap-add=ALL", "--cap-drop=SYS_ADMIN", "--cap-drop=MKNOD"];
    let cases = vec![
        case("rocker", &[]),
        case("no filter", &[UNFILTERED]),
        case("no masks", &[UNFILTERED, UNMASKED]),
        // SYS_ADMIN would lock the mounts, which costs more than dropping it.
        // MKNOD would have the devices restricted, which the others need not.
        case("unprotected", &UNPROTECTED),
    ];
    let all = rounds(cases, count, Duration::ZERO);
    report.table("run --rm true, with less and less protection", &all, &["unprotected"]);
    report.ratio(&all, "rocker", "unprotected", "protection of run --rm", [1.15, 1.10]);
}

/// The same after a rest, as a person meets it.
pub fn cold(setup: &Setup, report: &mut Report, count: usize) {
    let all = rounds(cases(setup), count / 2, REST);
    report.table("run --rm true, after 60 ms of rest", &all, &BESIDE);
    report.ratio(&all, "rocker", "limit", "run --rm, cold", [1.5, 1.25]);
    report.ratio(&all, "rocker", "crun", "run --rm, cold", [0.20, 0.15]);
}

/// The same beside podman, which takes too long for every round.
pub fn engines(setup: &Setup, report: &mut Report, count: usize) {
    let mut cases = cases(setup);
    cases.retain(|case| ["limit", "rocker"].contains(&case.name));
    let words = [&["run"][..], &PODMAN, &["busybox", TRUE]].concat();
    cases.extend(setup.podman(&words).map(|words| Case::new("podman", words)));
    let all = rounds(cases, (count / 5).max(3), Duration::ZERO);
    report.table("run --rm true, engines", &all, &["limit", "podman"]);
}

/// `true` in a container that runs already.
pub fn exec(setup: &Setup, report: &mut Report, count: usize) {
    const SLEEP: [&str; 2] = ["/bin/sleep", "100000"];
    let pid_file = format!("{}/limit.pid", setup.base);
    let start = setup.limit_run(true, &["-P", &pid_file], &SLEEP);
    // The namespace's first process is not ours to kill by the runtime: by its pid, then.
    let limit =
        Other::new(&start, vec!["sh".into(), "-c".into(), format!("kill -9 $(cat {pid_file})")]);
    let id = format!("{}-exec", setup.group);
    let start = setup.runtime("crun", &["run", "-d", "-b", &setup.bundle("exec", &SLEEP), &id]);
    let crun = Other::new(&start, setup.runtime("crun", &["delete", "-f", &id]));
    let mut live = Live::new(setup);
    live.add("exec", &SLEEP);
    wait_for(|| fs::read_to_string(&pid_file).is_ok_and(|text| text.ends_with('\n')));
    wait_for(|| Path::new(&format!("{}/crun/{id}/status", setup.base)).exists());

    let pid = fs::read_to_string(&pid_file).unwrap();
    let cases = || {
        vec![
            Case::new("limit", setup.limit(false, &["-x", pid.trim(), TRUE])),
            Case::new("equal limit", setup.limit(true, &["-x", pid.trim(), TRUE])),
            Case::new("rocker", setup.rocker(&["exec", "exec", TRUE])),
            Case::new("crun", setup.runtime("crun", &["exec", &id, TRUE])),
        ]
    };
    let all = rounds(cases(), count, Duration::ZERO);
    report.table("exec true, back to back", &all, &BESIDE);
    report.ratio(&all, "rocker", "limit", "exec, hot", [2.0, 1.5]);
    report.ratio(&all, "rocker", "crun", "exec, hot", [0.25, 0.25]);
    let all = rounds(cases(), count / 2, REST);
    report.table("exec true, after 60 ms of rest", &all, &BESIDE);
    report.ratio(&all, "rocker", "limit", "exec, cold", [2.0, 1.5]);
    report.ratio(&all, "rocker", "crun", "exec, cold", [0.10, 0.10]);
    drop((limit, crun));
}

fn wait_for(mut condition: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if condition() {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("a container did not start in 5 s");
}

/// A start beside many containers that run, against the same beside one.
pub fn beside(setup: &Setup, report: &mut Report, count: usize) {
    let mut live = Live::new(setup);
    let mut first: Option<Vec<Series>> = None;
    for (number, limits) in [(1, None), (100, Some([1.1, 1.05])), (500, Some([1.2, 1.1]))] {
        live.grow(number);
        let mut cases = cases(setup);
        cases.retain(|case| ["limit", "rocker"].contains(&case.name));
        let all = rounds(cases, count, Duration::ZERO);
        report.table(&format!("run --rm true beside {number} running"), &all, &["limit"]);
        let alone = first.get_or_insert_with(|| {
            all.iter()
                .map(|s| Series { name: s.name, words: s.words.clone(), runs: s.runs.clone() })
                .collect()
        });
        let (Some(now), Some(then)) = (find(&all, "rocker"), find(alone, "rocker")) else { return };
        if let Some(limits) = limits {
            // What the yardstick says of itself tells the machine's own unrest from rocker's doing.
            let limit = find(&all, "limit").zip(find(alone, "limit"));
            let limit = limit.map_or(f64::NAN, |(now, then)| now.median() / then.median());
            let what = format!("run --rm beside {number}, x beside 1 (limit: {limit:.2})");
            report.goal(what, now.median() / then.median(), "", limits);
        }
    }
}

/// What stays in memory beside each running container.
pub fn keeper(setup: &Setup, report: &mut Report) {
    let mut live = Live::new(setup);
    crate::report::line("\n## Memory of what stays beside each running container\n");
    for number in [1, 10] {
        live.grow(number);
        std::thread::sleep(Duration::from_millis(300));
        let sizes = keepers(&setup.rocker);
        let (count, each) = (sizes.len() as f64 / number as f64, median(sizes));
        crate::report::line(&format!(
            "beside {number}: {count} processes each, {each} KiB PSS the middle one"
        ));
        report.goal(format!("keeper, {number} running"), each, " KiB", [150.0, 64.0]);
        report.goal(format!("keeper, {number} running, processes"), count, "", [1.0, 1.0]);
    }
}

/// The proportional sizes of all processes that run this program, in KiB.
fn keepers(program: &str) -> Vec<f64> {
    let mut sizes = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        // By its file: what a keeper calls that has no name of the host's.
        let identity =
            |path: &Path| fs::metadata(path).map(|about| (about.dev(), about.ino())).ok();
        let own = identity(&entry.path().join("exe"));
        if own.is_some() && own == identity(Path::new(program)) {
            let text = fs::read_to_string(entry.path().join("smaps_rollup")).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
            sizes.extend(line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok()));
        }
    }
    sizes
}

/// Listing beside 100 containers.
pub fn lists(setup: &Setup, report: &mut Report, count: usize) {
    let mut live = Live::new(setup);
    live.add("talker", &["/bin/sh", "-c", "seq 100; exec sleep 100000"]);
    live.grow(100);
    let cases = vec![
        Case::new("ps", setup.rocker(&["ps"])),
        Case::new("images", setup.rocker(&["images"])),
        Case::new("logs", setup.rocker(&["logs", "talker"])),
        Case::new("inspect", setup.rocker(&["inspect", "talker"])),
    ];
    let all = rounds(cases, count, Duration::ZERO);
    report.table("Looking, beside 100 running containers", &all, &[]);
    for series in &all {
        let what = format!("{} beside 100", series.name);
        report.goal(what, series.median(), " ms", [2.0, 1.0]);
    }
}

/// The forced removal of a running container.
pub fn remove(setup: &Setup, report: &mut Report, count: usize) {
    let mut walls = Vec::new();
    let words = setup.rocker(&["rm", "-f", "victim"]);
    for _ in 0..count {
        let run = ["run", "-d", "--net", "none", "--name", "victim", "--image", "busybox"];
        must(&[&[setup.rocker.as_str()][..], &run, &["/bin/sleep", "100000"]].concat());
        std::thread::sleep(Duration::from_millis(20));
        walls.extend(crate::measure::run(&words).map(|run| run.wall.as_secs_f64() * 1e3));
    }
    crate::report::line("\n## rm -f of a running container\n");
    crate::report::line(&format!("median {:.2} ms of {}", median(walls.clone()), walls.len()));
    report.goal("rm -f of a running container", median(walls), " ms", [5.0, 2.0]);
}
