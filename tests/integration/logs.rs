//! What `logs` shows of a container's output, and how the log comes through a full disk.

use crate::harness::{PATIENCE, Rocker, finish, is_bare, skip, wait_until};
use std::fs;
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
