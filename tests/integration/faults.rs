//! What is left when rocker dies or the host refuses something, at every system call in turn: each
//! image and each container wholly there or not at all, and the same command works again.
//!
//! strace makes the fault at the N-th call of each process. A run of the tests takes a sample of the
//! calls, `make torture` every one.

use crate::faults_scenes;
use crate::harness::{Output, PATIENCE, Rocker, base_image, finish, has_program, skip, wait_until};
use crate::harness_host::{is_torture, report};
use std::collections::BTreeMap;
use std::fs;
use std::panic::AssertUnwindSafe;
use std::process::Command;

/// A command, what must be there before it, and what shows that it can be done again.
pub struct Scene {
    pub command: &'static [&'static str],
    pub before: fn(&Rocker),
    /// Does it again without a fault and takes it away, whatever the fault left.
    pub after: fn(&Rocker),
    /// Whether what the command promised is there; asked where it said that it succeeded.
    pub holds: fn(&Rocker) -> bool,
}

pub fn nothing(_: &Rocker) {}

fn import(rocker: &Rocker) {
    rocker.ok(&["import", base_image().to_str().unwrap(), "other"]);
}

/// Removes the container `web`, if there is one.
pub fn clear(rocker: &Rocker) {
    let output = rocker.run(&["rm", "-f", "web"]);
    assert!(output.code == 0 || output.stderr.contains("No such container"), "{output:?}");
}

fn clear_image(rocker: &Rocker, name: &str) {
    let output = rocker.run(&["rmi", name]);
    assert!(output.code == 0 || output.stderr.contains("No such image"), "{output:?}");
}

pub fn run_again(rocker: &Rocker) {
    clear(rocker);
    rocker.ok(&["run", "--name", "web", "busybox", "true"]);
    rocker.ok(&["rm", "web"]);
}

fn make(rocker: &Rocker) {
    rocker.ok(&["run", "--name", "web", "busybox", "touch", "/made"]);
}

pub fn sleeper(rocker: &Rocker) {
    rocker.sleeper("web", &[]);
}

fn status(rocker: &Rocker) -> String {
    rocker.run(&["inspect", "-f", "{{.State.Status}}", "web"]).stdout.trim().to_owned()
}

static SCENES: [Scene; 9] = [
    Scene {
        command: &["import", "IMAGE", "other"],
        before: nothing,
        after: |rocker| {
            import(rocker);
            rocker.ok(&["run", "--rm", "other", "true"]);
            rocker.ok(&["rmi", "other"]);
        },
        holds: |rocker| rocker.run(&["run", "--rm", "other", "true"]).code == 0,
    },
    Scene {
        command: &["run", "--name", "web", "busybox", "true"],
        before: nothing,
        after: run_again,
        holds: |rocker| status(rocker) == "exited",
    },
    Scene {
        command: &["run", "--rm", "--name", "web", "busybox", "true"],
        before: nothing,
        after: run_again,
        holds: |rocker| status(rocker).is_empty(),
    },
    Scene {
        command: &["create", "--name", "web", "busybox", "true"],
        before: nothing,
        after: run_again,
        holds: |rocker| status(rocker) == "created",
    },
    Scene {
        command: &["commit", "web", "mine"],
        before: make,
        after: |rocker| {
            rocker.ok(&["commit", "web", "mine"]);
            rocker.ok(&["run", "--rm", "mine", "ls", "/made"]);
            clear(rocker);
            rocker.ok(&["rmi", "mine"]);
        },
        holds: |rocker| rocker.run(&["run", "--rm", "mine", "ls", "/made"]).code == 0,
    },
    Scene {
        command: &["exec", "web", "true"],
        before: sleeper,
        after: |rocker| {
            rocker.ok(&["exec", "web", "true"]);
            clear(rocker);
        },
        holds: |rocker| status(rocker) == "running",
    },
    Scene {
        command: &["stop", "-t", "0", "web"],
        before: sleeper,
        after: |rocker| {
            rocker.ok(&["stop", "-t", "0", "web"]);
            rocker.ok(&["start", "web"]);
            clear(rocker);
        },
        holds: |rocker| status(rocker) == "stopped",
    },
    Scene { command: &["rm", "-f", "web"], before: sleeper, after: run_again, holds: gone },
    Scene {
        command: &["rmi", "mine"],
        before: |rocker| {
            make(rocker);
            rocker.ok(&["commit", "web", "mine"]);
            rocker.ok(&["rm", "web"]);
        },
        after: |rocker| {
            clear_image(rocker, "mine");
            run_again(rocker);
        },
        holds: |rocker| rocker.run(&["run", "--rm", "mine", "true"]).code == 125,
    },
];

pub fn gone(rocker: &Rocker) -> bool {
    status(rocker).is_empty()
}

/// Every scene; `ROCKER_TEST_SCENE` chooses those whose command holds that word.
fn scenes() -> impl Iterator<Item = &'static Scene> {
    let chosen = std::env::var("ROCKER_TEST_SCENE").ok();
    SCENES.iter().chain(&faults_scenes::SCENES).filter(move |scene| {
        chosen.as_ref().is_none_or(|word| scene.command.contains(&word.as_str()))
    })
}

/// Runs the command of a scene under strace with these options.
fn traced(rocker: &Rocker, scene: &Scene, options: &[&str]) -> Output {
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o", "/dev/null"]).args(options).arg("--").arg(rocker.binary());
    let image = base_image();
    let words = scene
        .command
        .iter()
        .map(|word| if *word == "IMAGE" { image.to_str().unwrap() } else { word });
    command.args(words);
    rocker.prepare(&mut command);
    finish(command, b"", PATIENCE)
}

/// Every call that the processes of a command make: its name, and how many times the process with
/// most of them makes it. strace counts each kind of call by itself.
fn calls(rocker: &Rocker, scene: &Scene) -> BTreeMap<String, usize> {
    let log = rocker.files().join("calls");
    (scene.before)(rocker);
    let output = traced(rocker, scene, &["-o", log.to_str().unwrap()]);
    assert_eq!(output.code, 0, "{:?}: {output:?}", scene.command);
    (scene.after)(rocker);
    let text = fs::read(&log).unwrap();
    let text = String::from_utf8_lossy(&text);
    let mut each: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.contains(" resumed>")) {
        // `PID name(arguments) = result`
        let Some((process, call)) = line.split_once(' ') else { continue };
        let Some((name, _)) = call.trim_start().split_once('(') else { continue };
        *each.entry((name, process)).or_default() += 1;
    }
    let mut most = BTreeMap::new();
    for ((name, _), count) in each {
        let entry = most.entry(name.to_owned()).or_default();
        *entry = count.max(*entry);
    }
    most
}

/// The calls to try, as kind and number: all of them, or that many that begin elsewhere for each
/// command.
fn points(
    calls: &BTreeMap<String, usize>,
    chosen: impl Fn(&str) -> bool,
    sample: usize,
    seed: usize,
) -> Vec<(String, usize)> {
    let kinds = calls.iter().filter(|(name, _)| chosen(name));
    let all: Vec<_> =
        kinds.flat_map(|(name, count)| (1..=*count).map(|n| (name.clone(), n))).collect();
    if is_torture() {
        return all;
    }
    let step = all.len().div_ceil(sample).max(1);
    all.into_iter().skip(seed % step).step_by(step).collect()
}

/// No command may end by a panic or a signal of its own, and lists work whatever was left.
fn sound(rocker: &Rocker, what: &str, output: &Output) {
    let text = &output.stderr;
    assert!(
        !text.contains("panicked") && output.code != 134 && output.code != 139,
        "{what}: {output:?}"
    );
    for list in ["ps", "images"] {
        let output = rocker.run(&[list]);
        assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{what}: {list}: {output:?}");
    }
}

/// Nothing of the state directories is there any more but the image that was there before.
fn nothing_left(rocker: &Rocker, what: &str) {
    for directory in ["tmp", "containers"] {
        let left: Vec<_> = crate::harness::names(&rocker.root().join(directory)).collect();
        assert!(left.is_empty(), "{what}: {directory}: {left:?}");
    }
    // A name that was chosen is replaced when it is wanted again, but nobody wants an id again.
    let run_root = rocker.run_root();
    let links = crate::harness::names(&run_root);
    let ids: Vec<_> = links.filter(|name| name.parse::<u64>().is_ok()).collect();
    assert!(ids.is_empty(), "{what}: names of containers that are gone: {ids:?}");
    for (directory, usual) in [("volumes", &[][..]), ("networks", &["rocker0", ".forwarding"])] {
        let names = rocker.root().join(directory);
        let left: Vec<_> = crate::harness::names(&names).collect();
        let unusual = left.iter().filter(|name| !usual.contains(&name.as_str())).count();
        assert_eq!(unusual, 0, "{what}: {directory}: {left:?}");
    }
    let layers = crate::harness::names(&rocker.root().join("layers")).count();
    assert_eq!(layers, 1, "{what}: layers");
}

/// Runs one try; where it fails, gives what was tried and begins anew, so that the others still count.
fn attempt(rocker: &Rocker, what: &str, body: impl FnOnce()) -> Option<String> {
    std::panic::catch_unwind(AssertUnwindSafe(body)).err()?;
    let listed = rocker.run(&["ps", "-q"]).stdout;
    for id in listed.lines() {
        rocker.run(&["rm", "-f", id]);
    }
    rocker.try_on_host(&["ip", "link", "del", "other"]);
    for directory in [rocker.root(), rocker.run_root()] {
        let _ = fs::remove_dir_all(directory);
    }
    rocker.busybox();
    Some(what.to_owned())
}

fn ready() -> Option<Rocker> {
    if !has_program("strace") {
        skip("strace is not there");
        return None;
    }
    let rocker = Rocker::alone_in_memory()?;
    // What the first of its kind makes stays.
    rocker.ok(&["volume", "create", "first"]);
    rocker.ok(&["volume", "rm", "first"]);
    rocker.ok(&["run", "--rm", "busybox", "true"]);
    Some(rocker)
}

#[test]
fn a_kill_at_any_call_leaves_all_or_nothing_and_the_command_works_again() {
    let Some(rocker) = ready() else { return };
    let before = rocker.census();
    let (mut tried, mut failures) = (0, Vec::new());
    for (index, scene) in scenes().enumerate() {
        // Those of networks and volumes take the most time, and have less to break.
        let sample = if index < SCENES.len() { 16 } else { 8 };
        for (call, n) in points(&calls(&rocker, scene), |_| true, sample, index * 7) {
            let what = format!("{:?} killed at {call} {n}", scene.command);
            failures.extend(attempt(&rocker, &what, || {
                (scene.before)(&rocker);
                let inject = format!("inject={call}:signal=KILL:when={n}");
                let output = traced(&rocker, scene, &["-e", &inject]);
                sound(&rocker, &what, &output);
                (scene.after)(&rocker);
                nothing_left(&rocker, &what);
            }));
            tried += 1;
        }
    }
    assert_eq!(failures, Vec::<String>::new());
    assert_eq!(rocker.left_since(&before), Vec::<String>::new());
    report(&format!("{tried} kills, 0 half visible, 0 lost"));
}

/// What a full disk, a broken one and want of memory make of a call, and a signal of one that waits.
/// Where the call is one that an error is told by, nothing may be heard of it.
const REFUSALS: [(&str, &str, bool); 6] = [
    ("ENOSPC", "openat mkdirat fsync syncfs renameat2 linkat symlinkat mknodat ftruncate", true),
    ("ENOSPC", "write pwrite64", false),
    ("EIO", "openat openat2 read pread64 fsync syncfs renameat2 getdents64 unlinkat", true),
    ("EIO", "write newfstatat flock", false),
    ("ENOMEM", "mmap clone3 clone fork mount openat socketpair pipe2 open_tree execve", true),
    ("EINTR", "read write poll recvmsg sendto sendmsg wait4 waitid openat flock fsync", false),
];

#[test]
fn a_call_that_is_refused_is_told_and_never_taken_for_success() {
    let Some(rocker) = ready() else { return };
    let before = rocker.census();
    let (mut tried, mut failures) = (0, Vec::new());
    for (index, scene) in scenes().enumerate() {
        let sample = if index < SCENES.len() { 4 } else { 2 };
        let calls = calls(&rocker, scene);
        for (errno, set, told) in REFUSALS {
            let chosen = |name: &str| set.split(' ').any(|other| other == name);
            for (call, n) in points(&calls, chosen, sample, index * 5) {
                if (call.as_str(), n) == ("mmap", 1) {
                    // The standard library's own start, before rocker has a say: it gives up.
                    continue;
                }
                let what = format!("{:?} with {errno} at {call} {n}", scene.command);
                failures.extend(attempt(&rocker, &what, || {
                    (scene.before)(&rocker);
                    let inject = format!("inject={call}:error={errno}:when={n}");
                    let output = traced(&rocker, scene, &["-e", &inject]);
                    sound(&rocker, &what, &output);
                    let heard = !told || output.stderr.contains("rocker: ");
                    match output.code {
                        0 => assert!((scene.holds)(&rocker), "{what}: said that it succeeded"),
                        _ => assert!(heard, "{what}: {output:?}"),
                    }
                    (scene.after)(&rocker);
                    nothing_left(&rocker, &what);
                }));
                tried += 1;
            }
        }
    }
    assert_eq!(failures, Vec::<String>::new());
    assert_eq!(rocker.left_since(&before), Vec::<String>::new());
    report(&format!("{tried} refused calls, 0 false successes, 0 panics"));
}

/// The client makes the network namespace while the keeper makes the rest.
#[test]
fn a_client_that_makes_no_network_in_time_leaves_that_to_the_container() {
    if !has_program("strace") {
        skip("strace is not there");
        return;
    }
    let Some(rocker) = Rocker::with_busybox() else { return };
    for network in ["none", "rocker0"] {
        for fault in [
            "unshare:error=EPERM",
            "unshare:signal=KILL",
            "sendmsg:error=ENOBUFS:when=1",
            "sendmsg:delay_enter=1500000:when=1",
        ] {
            // The client alone is traced.
            let mut command = Command::new("strace");
            command.args(["-qq", "-o", "/dev/null", "-e", &format!("inject={fault}"), "--"]);
            command.arg(rocker.binary()).args(["run", "-d", "--name", "web", "--net", network]);
            command.args(["busybox", "sleep", "1000"]);
            rocker.prepare(&mut command);
            finish(command, b"", PATIENCE);
            let running = || rocker.run(&["exec", "web", "true"]).code == 0;
            assert!(wait_until(PATIENCE, running), "{network} {fault}");
            let links = rocker.ok(&["exec", "web", "ip", "-o", "link"]);
            assert!(links.contains("lo: <LOOPBACK,UP"), "{network} {fault}: {links}");
            assert_eq!(links.contains("eth0"), network != "none", "{network} {fault}: {links}");
            rocker.ok(&["rm", "-f", "web"]);
        }
    }
}
