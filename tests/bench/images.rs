//! Import and commit; the most memory that each command takes; the size of the program.

use crate::measure::{Case, Series, median, must, run};
use crate::report::{Report, line, note};
use crate::setup::Setup;
use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Unpacking a realistic image: archive and compressed archive, each on a new file system.
pub fn import(setup: &Setup, report: &mut Report, count: usize) {
    let base = &setup.base;
    let (tar, gz, out) = (archive(setup), format!("{base}/big.tar.gz"), format!("{base}/disk/out"));
    must(&["sh", "-c", &format!("gzip -6 -c {tar} > {gz}")]);
    let root = format!("{base}/disk/rocker");
    let rocker = |file: &str| setup.rocker(&["--root", &root, "import", file, "big"]);
    let untar = format!("{}/untar", setup.programs);
    let gnu = ["tar", "--numeric-owner", "-C", &out];
    let cases = vec![
        Case::new("limit (untar)", [untar.as_str(), &tar, &out]),
        Case::new("GNU tar", [&gnu[..], &["-xf", &tar]].concat()),
        Case::new("rocker", rocker(&tar)),
        Case::new("GNU tar -z", [&gnu[..], &["-xzf", &gz]].concat()),
        Case::new("rocker .gz", rocker(&gz)),
    ];
    let mut all: Vec<Series> = cases
        .into_iter()
        .map(|case| Series { name: case.name, words: case.words, runs: Vec::new() })
        .collect();
    // Never where a tree was deleted a moment ago: ext4 then searches for inodes that are old enough.
    for round in 0..=count {
        for series in &mut all {
            fresh_disk(base);
            fs::create_dir(&out).unwrap();
            let run = run(&series.words);
            // The first round only warms up: memory that the machine never touched costs extra.
            series.runs.extend((round > 0).then_some(run));
        }
    }
    let megabytes = fs::metadata(&tar).map_or(0.0, |meta| meta.len() as f64 / 1e6);
    let entries = must(&["tar", "-tf", &tar]).lines().count();
    let title = format!("Import of {megabytes:.0} MB, {entries} entries, on a new ext4 in memory");
    report.table(&title, &all, &["limit (untar)", "GNU tar", "GNU tar -z"]);
    report.ratio(&all, "rocker", "limit (untar)", "import .tar", [1.2, 0.75]);
    report.ratio(&all, "rocker", "GNU tar", "import .tar", [0.95, 0.95]);
    report.ratio(&all, "rocker .gz", "GNU tar -z", "import .tar.gz", [0.45, 0.30]);
    for (name, file) in [("import .tar, peak memory", &tar), ("import .tar.gz, peak memory", &gz)] {
        fresh_disk(base);
        let words = rocker(file);
        let words: Vec<&str> = words.iter().skip(1).map(String::as_str).collect();
        if let Some(peak) = peak(setup, &words) {
            report.goal(name, peak, " MiB", [8.0, 4.0]);
        }
    }
    drop_disk(base);
}

/// An archive like that of a Debian image, from this machine's own /usr.
fn archive(setup: &Setup) -> String {
    let path = format!("{}/big.tar", setup.base);
    // The programs and libraries give the bytes, the small shared files the number.
    let script = format!(
        "cd / && {{ find usr -maxdepth 1 -type d; \
         for part in bin:45 sbin:15 lib:200 share:40; do \
           find usr/${{part%:*}} -xdev \\( -type d -o -type l -o -size -8192k \\) -printf '%y %s %p\\n' | LC_ALL=C sort -k3 | \
           awk -v most=${{part#*:}}000000 '$1 != \"d\" && (sum += $2) > most {{ exit }} {{ sub(/^[^ ]* [^ ]* /, \"\"); print }}'; \
         done; }} | awk '!seen[$0]++' | head -n 12500 | \
         tar --numeric-owner --no-recursion -T - -cf {path}"
    );
    must(&["sh", "-c", &script]);
    path
}

/// A new ext4 on a loop device over a file in memory, mounted at `base`/disk.
fn fresh_disk(base: &str) {
    drop_disk(base);
    let (image, point) = (format!("{base}/disk.image"), format!("{base}/disk"));
    fs::create_dir_all(&point).unwrap();
    must(&["truncate", "-s", "3G", &image]);
    must(&["mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", &image]);
    must(&["mount", "-o", "loop", &image, &point]);
    must(&["sync", "-f", &point]);
}

fn drop_disk(base: &str) {
    let point = format!("{base}/disk");
    if must(&["cat", "/proc/self/mountinfo"]).contains(&format!(" {point} ")) {
        must(&["umount", &point]);
    }
    // Not there the first time.
    let _ = fs::remove_file(format!("{base}/disk.image"));
}

/// A commit of ten changed files, 1 MB in all, on a small and on a large image.
pub fn commit(setup: &Setup, report: &mut Report, count: usize) {
    const CHANGE: &str =
        "for i in 0 1 2 3 4 5 6 7 8 9; do head -c 100000 /dev/urandom > /root/f$i; done";
    line("\n## Commit of ten changed files, 1 MB\n");
    let big = format!("{}/big.tar", setup.base);
    let mut images = vec!["busybox"];
    if fs::exists(&big).unwrap_or(false) {
        // The large tree has no shell at /bin/sh of its own: busybox comes by a volume.
        must(&[&setup.rocker, "import", &big, "big"]);
        images.push("big");
    }
    let shell = format!("{}/bin/busybox:/busybox:ro", setup.rootfs);
    for image in images {
        let run_words =
            ["run", "-d", "--net", "none", "--name", "changed", "-v", &shell, "--image"];
        let sleep = [image, "/busybox", "sleep", "100000"];
        must(&[&[setup.rocker.as_str()][..], &run_words, &sleep].concat());
        let mut walls = Vec::new();
        for number in 0..count {
            let script = format!("mkdir -p /root; {}", CHANGE.replace("head", "/busybox head"));
            let script = script.replace("mkdir", "/busybox mkdir");
            must(&[&setup.rocker, "exec", "changed", "/busybox", "sh", "-c", &script]);
            let words = setup.rocker(&["commit", "changed", &format!("commit{number}")]);
            walls.extend(run(&words).map(|run| run.wall.as_secs_f64() * 1e3));
        }
        must(&[&setup.rocker, "rm", "-f", "changed"]);
        for number in 0..count {
            must(&[&setup.rocker, "rmi", &format!("commit{number}")]);
        }
        line(&format!("on {image}: median {:.2} ms of {}", median(walls.clone()), walls.len()));
        report.goal(format!("commit of 1 MB on {image}"), median(walls), " ms", [6.0, 3.0]);
    }
}

/// The most memory that each command takes.
pub fn memory(setup: &Setup, report: &mut Report) {
    line("\n## Peak memory of each command\n");
    let steps: [&[&str]; 16] = [
        &["images"],
        &["run", "--rm", "--net", "none", "--image", "busybox", "/bin/true"],
        &["run", "-d", "--net", "none", "--name", "a", "--image", "busybox", "/bin/sleep", "1000"],
        &["create", "--net", "none", "--name", "b", "--image", "busybox", "/bin/sleep", "1000"],
        &["start", "b"],
        &["exec", "a", "/bin/true"],
        &["ps"],
        &["logs", "a"],
        &["inspect", "a"],
        &["commit", "a", "peak"],
        &["tag", "peak", "peak:2"],
        &["kill", "b"],
        &["restart", "-t", "0", "b"],
        &["stop", "-t", "0", "b"],
        &["rm", "-f", "a", "b"],
        &["rmi", "peak:2", "peak"],
    ];
    let mut most = 0.0_f64;
    for words in steps {
        if let Some(mib) = peak(setup, words) {
            line(&format!("{:8.2} MiB  {}", mib, words.join(" ")));
            most = most.max(mib);
        }
    }
    report.goal("peak memory of any command but import", most, " MiB", [2.0, 1.0]);
}

/// The most memory that `rocker WORDS` and the children it waits for take, in MiB.
fn peak(setup: &Setup, words: &[&str]) -> Option<f64> {
    let mut command = Command::new(format!("{}/peak", setup.programs));
    // No pipe for the output: a keeper may hold it.
    let file = format!("{}/peak.out", setup.base);
    let output = fs::File::create(&file).unwrap();
    command.arg(&setup.rocker).args(words).stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(output).status().unwrap();
    std::thread::sleep(Duration::from_millis(20));
    let text = fs::read_to_string(&file).unwrap();
    let last = text.lines().rev().find_map(|line| line.strip_prefix("peak "));
    let mut fields = last.unwrap_or_default().split(' ');
    let (code, kib) = (fields.next(), fields.next().and_then(|word| word.parse::<f64>().ok()));
    if code != Some("0") {
        note(&format!("no peak memory of rocker {}: {}", words.join(" "), text.trim()));
        return None;
    }
    kib.map(|kib| kib / 1024.0)
}

/// The size of the one file.
pub fn size(setup: &Setup, report: &mut Report) {
    let bytes = fs::metadata(&setup.rocker).map_or(f64::NAN, |meta| meta.len() as f64);
    report.goal("the binary", bytes / 1e6, " MB", [1.048_576, 0.8]);
}
