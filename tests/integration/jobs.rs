//! Many commands at once over a few names, some of them killed; and state files that are cut, bent or
//! replaced: nothing hangs, nothing is left, and what is damaged harms nobody else.

use crate::harness::{Output, PATIENCE, Rocker, wait_until};
use crate::harness_host::{is_torture, report};
use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Numbers that look random and are the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

const NAMES: [&str; 4] = ["one", "two", "three", "four"];

/// One command of a job; a third of them is killed after some milliseconds.
fn job(rocker: &Rocker, numbers: &mut Numbers) {
    let name = NAMES[numbers.below(4) as usize];
    let image = format!("image-{name}");
    let words: &[&str] = match numbers.below(9) {
        0 => &["run", "--rm", "--name", name, "busybox", "true"],
        1 | 2 => &["run", "-d", "--name", name, "busybox", "sleep", "1000"],
        3 => &["exec", name, "true"],
        4 => &["stop", "-t", "0", name],
        5 => &["rm", "-f", name],
        6 => &["commit", name, &image],
        7 => &["rmi", "-f", &image],
        _ => &["start", name],
    };
    let mut child = rocker.command(words).spawn().unwrap();
    if numbers.below(3) == 0 {
        std::thread::sleep(Duration::from_micros(numbers.below(20_000)));
        let _ = child.kill();
    }
    let deadline = Instant::now() + PATIENCE;
    while child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "{words:?} hangs");
        std::thread::sleep(Duration::from_millis(1));
    }
    let mut said = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        // A keeper that lives on does not hold it open.
        let _ = std::io::Read::read_to_string(&mut stderr, &mut said);
    }
    assert!(!said.contains("panicked"), "{words:?}: {said}");
}

#[test]
fn many_jobs_over_few_names_neither_hang_nor_leave_anything() {
    let Some(rocker) = Rocker::alone_in_memory() else { return };
    let before = rocker.census();
    let (threads, seconds) = if is_torture() { (200, 120) } else { (12, 6) };
    let end = Instant::now() + Duration::from_secs(seconds);
    let count = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (rocker, count) = (&rocker, &count);
            scope.spawn(move || {
                let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15 ^ (thread + 1));
                while Instant::now() < end {
                    job(rocker, &mut numbers);
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    let listed = rocker.ok(&["ps", "-q"]);
    let ids: Vec<&str> = listed.lines().collect();
    assert!(ids.len() <= NAMES.len(), "a name was taken twice: {}", rocker.ok(&["ps"]));
    for id in ids {
        rocker.ok(&["rm", "-f", id]);
    }
    for name in NAMES {
        let output = rocker.run(&["rmi", "-f", &format!("image-{name}")]);
        assert!(output.code == 0 || output.stderr.contains("No such image"), "{output:?}");
    }
    rocker.ok(&["run", "--rm", "busybox", "true"]);
    for directory in ["tmp", "containers"] {
        let left: Vec<_> = crate::harness::names(&rocker.root().join(directory)).collect();
        assert!(left.is_empty(), "{directory}: {left:?}");
    }
    assert_eq!(crate::harness::names(&rocker.root().join("layers")).count(), 1);
    assert_eq!(rocker.left_since(&before), Vec::<String>::new());
    report(&format!("{} jobs at once, 0 hangs, 0 left", count.into_inner()));
}

/// The files that say what a container and an image are.
fn state_files(rocker: &Rocker, name: &str) -> Vec<PathBuf> {
    let container = fs::canonicalize(rocker.run_root().join(name)).unwrap();
    vec![
        container.join("config.json"),
        container.join("record.json"),
        rocker.root().join("images/victim/latest/image.json"),
    ]
}

/// A new container `broken` that runs, one of its state files, what is in it, and its process.
fn break_anew(rocker: &Rocker, index: usize) -> (PathBuf, Vec<u8>, u32) {
    let listed = rocker.run(&["ps", "-q"]);
    for id in listed.stdout.lines() {
        if rocker.run(&["inspect", "-f", "{{.Name}}", id]).stdout != "/other\n" {
            rocker.run(&["rm", "-f", id]);
        }
    }
    rocker.ok(&["tag", "busybox", "victim"]);
    rocker.ok(&["run", "-d", "--name", "broken", "victim", "sleep", "1000"]);
    let file = state_files(rocker, "broken").swap_remove(index);
    let whole = fs::read(&file).unwrap();
    (file, whole, rocker.pid("broken"))
}

/// What was broken must be told in one line or shown; the neighbour is as it was.
fn others_are_well(rocker: &Rocker, what: &str) {
    let sound = |output: &Output| {
        assert!(matches!(output.code, 0 | 1 | 125), "{what}: {output:?}");
        assert!(!output.stderr.contains("panicked"), "{what}: {output:?}");
    };
    let list = rocker.run(&["ps"]);
    sound(&list);
    assert!(list.stdout.lines().any(|line| line.contains("  other  ")), "{what}: {list:?}");
    for words in [&["inspect", "broken"][..], &["kill", "-s", "USR1", "broken"], &["images"]] {
        sound(&rocker.run(words));
    }
}

#[test]
fn state_that_is_cut_or_has_a_wrong_bit_harms_nobody() {
    let Some(rocker) = Rocker::alone_in_memory() else { return };
    rocker.ok(&["tag", "busybox", "victim"]);
    rocker.ok(&["run", "-d", "--name", "other", "busybox", "sleep", "1000"]);
    let neighbour = rocker.pid("other");
    let mut tried = 0;
    for index in 0..3 {
        let (mut file, mut whole, mut pid) = break_anew(&rocker, index);
        let size = whole.len();
        let steps = |all: usize, sample: usize| {
            (0..all).step_by(if is_torture() { 1 } else { all.div_ceil(sample) })
        };
        let cuts = steps(size, 25).map(|length| (length, None));
        let turns = steps(size * 8, 60).map(|bit| (bit / 8, Some(bit % 8)));
        for (place, bit) in cuts.chain(turns) {
            let mut bent = whole.clone();
            match bit {
                None => bent.truncate(place),
                Some(bit) => bent.iter_mut().skip(place).take(1).for_each(|b| *b ^= 1 << bit),
            }
            fs::write(&file, &bent).unwrap();
            others_are_well(&rocker, &format!("{} at {place} {bit:?}", file.display()));
            tried += 1;
            // A wrong state of its own may have ended its own processes, and nobody else's.
            if file.exists() && Path::new("/proc").join(pid.to_string()).exists() {
                fs::write(&file, &whole).unwrap();
            } else {
                (file, whole, pid) = break_anew(&rocker, index);
            }
        }
    }
    assert!(Path::new("/proc").join(neighbour.to_string()).exists(), "the neighbour was killed");
    assert_eq!(rocker.inspect("other", "{{.State.Status}}"), "running");
    rocker.run(&["rm", "-f", "broken"]);
    rocker.ok(&["rm", "-f", "other"]);
    report(&format!("{tried} damaged state files, 0 panics, 0 wrong signals"));
}

#[test]
fn state_that_is_replaced_by_something_else_is_refused_and_not_followed() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    rocker.ok(&["tag", "busybox", "victim"]);
    rocker.sleeper("other", &[]);
    rocker.ok(&["create", "--name", "broken", "victim", "true"]);
    let canary = rocker.files().join("canary");
    fs::write(&canary, "as it was").unwrap();
    for file in state_files(&rocker, "broken") {
        let whole = fs::read(&file).unwrap();
        for kind in ["link", "fifo", "directory", "huge"] {
            fs::remove_file(&file).unwrap();
            match kind {
                "link" => symlink(&canary, &file).unwrap(),
                "fifo" => make_fifo(&file),
                "directory" => fs::create_dir(&file).unwrap(),
                _ => fs::File::create(&file).unwrap().set_len(1 << 30).unwrap(),
            }
            others_are_well(&rocker, &format!("{} is a {kind}", file.display()));
            match kind {
                "directory" => fs::remove_dir(&file).unwrap(),
                _ => fs::remove_file(&file).unwrap(),
            }
            fs::write(&file, &whole).unwrap();
        }
    }
    assert_eq!(fs::read_to_string(&canary).unwrap(), "as it was");
    let shown = || rocker.inspect("broken", "{{.State.Status}}") == "created";
    assert!(wait_until(PATIENCE, shown));
    rocker.ok(&["rm", "-f", "broken", "other"]);
}

#[test]
fn a_container_whose_maker_died_over_its_first_file_is_not_shown() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let half = rocker.root().join("tmp/0123456789");
    fs::create_dir_all(&half).unwrap();
    fs::write(half.join("config.json"), "").unwrap();
    let output = rocker.run(&["ps", "-q"]);
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("", ""));
    rocker.ok(&["run", "--rm", "busybox", "true"]);
    rocker.ok(&["create", "--name", "web", "busybox", "true"]);
    assert!(!half.exists());
    rocker.ok(&["rm", "web"]);
}

fn make_fifo(path: &Path) {
    let path = CString::new(path.as_os_str().as_bytes()).unwrap();
    // SAFETY: the path is a C string that lives for the whole call.
    #[allow(unsafe_code)]
    let made = unsafe { libc::mkfifo(path.as_ptr(), 0o600) };
    assert_eq!(made, 0);
}
