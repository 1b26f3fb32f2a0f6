//! What `logs` shows of a container's output, and how the log comes through a full disk and renaming.

use crate::harness::{
    PATIENCE, Rocker, Running, finish, has_program, is_bare, names, processes, skip, wait_until,
};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

#[test]
fn after_a_full_disk_the_log_shows_what_was_written_then() {
    let Some(rocker) = Rocker::as_root() else { return };
    if is_bare() {
        return skip("the host has nothing mounted, so no disk that could be full");
    }
    let disk = rocker.root();
    fs::create_dir(&disk).unwrap();
    let mount = ["-t", "tmpfs", "-o", "size=8m,mode=700", "full"];
    let status = Command::new("mount").args(mount).arg(&disk).status().unwrap();
    assert!(status.success(), "a small tmpfs can be mounted");
    rocker.busybox();
    let script = "i=0; while :; do i=$((i+1)); printf '%0300d\\n' $i; usleep 5000; done";
    let words = ["--name", "talk", "--net", "none", "busybox", "sh", "-c", script];
    rocker.ok(&[&["run", "-d"], &words[..]].concat());
    let path = rocker.run_root().join("talk/container.log");
    let size = || fs::metadata(&path).unwrap().len();
    assert!(wait_until(PATIENCE, || size() > 0));
    let filler = disk.join("filler");
    // What fits into the last page is written, and no more.
    let full = wait_until(PATIENCE, || {
        let page = vec![b'x'; 4096];
        let mut file = fs::File::options().create(true).append(true).open(&filler).unwrap();
        while std::io::Write::write_all(&mut file, &page).is_ok() {}
        size() % 4096 == 0
    });
    assert!(full, "the log has {} bytes", size());
    fs::remove_file(&filler).unwrap();
    let before = size();
    assert!(wait_until(PATIENCE, || size() > before + 4096));
    rocker.ok(&["stop", "-t", "0", "talk"]);
    let plain = fs::read_to_string(&path).unwrap();
    let tail = plain.lines().rev().take(3).map(|line| line.to_owned() + "\n");
    let tail: Vec<String> = tail.collect();
    let tail: String = tail.into_iter().rev().collect();
    assert_eq!(rocker.ok(&["logs", "--tail", "3", "talk"]), tail);
}

#[test]
fn what_is_followed_until_a_time_ends_then() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let words = ["--net", "none", "busybox", "sh", "-c", "echo early; sleep 1000"];
    rocker.ok(&[&["run", "-d", "--name", "talk"], &words[..]].concat());
    assert!(wait_until(PATIENCE, || rocker.ok(&["logs", "talk"]) == "early\n"));
    let until = |time: &str| {
        let command = rocker.command(&["logs", "-f", "--until", time, "talk"]);
        let output = finish(command, b"", Duration::from_secs(10));
        assert_eq!(output.code, 0, "{output:?}");
        output.stdout
    };
    assert_eq!(until("1h"), "");
    let start = Instant::now();
    let end = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 1;
    assert_eq!(until(&end.to_string()), "early\n");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    assert!(now >= end, "it ended after {:?}", start.elapsed());
}

#[test]
fn a_log_that_is_renamed_while_it_is_opened_is_shown_whole() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    if !has_program("strace") {
        return skip("strace is not there");
    }
    rocker.ok(&["run", "--name", "talk", "--net", "none", "busybox", "echo", "one"]);
    let home = fs::canonicalize(rocker.run_root().join("talk")).unwrap();
    let (log, index) = (home.join("container.log"), home.join("container.log.index"));
    let tail: &[&str] = &["--tail", "9"];
    for options in [&[][..], tail] {
        let before = rocker.ok(&["logs", "talk"]);
        let mut command = Command::new("strace");
        command.args(["-qq", "-o", "/dev/null", "-P", "container.log.index"]);
        command.args(["-e", "inject=openat:delay_enter=1500000:when=1"]);
        command.arg(rocker.binary()).arg("logs").args(options).arg("talk");
        rocker.prepare(&mut command);
        let reader = Running(command.spawn().unwrap());
        let has_open = |pid: u32| {
            let files = Path::new("/proc").join(pid.to_string()).join("fd");
            names(&files).any(|name| fs::read_link(files.join(name)).is_ok_and(|file| file == log))
        };
        assert!(
            wait_until(PATIENCE, || processes().any(has_open)),
            "{options:?}: it is not opened"
        );
        // As the keeper does it, with what comes next.
        let end = fs::read(&index).unwrap();
        let start = u64::from_le_bytes(end[8..16].try_into().unwrap());
        let entry = [&end[..8], &(start + 4).to_le_bytes(), &end[16..]].concat();
        fs::rename(&index, home.join("container.log.index.1")).unwrap();
        fs::rename(&log, home.join("container.log.1")).unwrap();
        fs::write(&log, "two\n").unwrap();
        fs::write(&index, entry).unwrap();
        let shown = reader.finish();
        let whole = before.lines().last().unwrap().to_owned() + "\ntwo\n";
        assert_eq!((shown.code, shown.stdout), (0, whole), "{options:?}: {}", shown.stderr);
    }
}

#[test]
fn a_log_whose_renaming_was_cut_short_is_shown_whole() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    rocker.ok(&["run", "--name", "talk", "--net", "none", "busybox", "seq", "20000"]);
    let whole = rocker.ok(&["logs", "talk"]);
    let home = rocker.run_root().join("talk");
    // Its keeper died over that.
    fs::rename(home.join("container.log.index"), home.join("container.log.index.1")).unwrap();
    fs::write(home.join("container.log.1"), "older\n").unwrap();
    let shown = rocker.ok(&["logs", "talk"]);
    assert!(shown == whole, "{} bytes of {}", shown.len(), whole.len());
    assert_eq!(rocker.ok(&["logs", "--tail", "2", "talk"]), "19999\n20000\n");
}
