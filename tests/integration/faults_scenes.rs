//! The commands that `faults` tries to break: for networks, volumes and users of a container's own.

use crate::faults::{Scene, clear, gone, nothing, run_again, sleeper};
use crate::harness::{Output, Rocker};

/// Runs `rocker ARGS`, which may fail only because what it is about is not there.
#[track_caller]
fn may_be_gone(rocker: &Rocker, words: &[&str]) {
    let output: Output = rocker.run(words);
    let gone = ["No such", "no such", "not found", "is not connected"];
    let missing = gone.iter().any(|text| output.stderr.contains(text));
    assert!(output.code == 0 || missing, "{words:?}: {output:?}");
}

fn in_volume(rocker: &Rocker) -> bool {
    // As many names as the image has there: it holds all of it or nothing.
    let count = |options: &[&str]| {
        let words = [&["run", "--rm", "--net", "none"], options, &["busybox", "sh", "-c"]].concat();
        rocker.ok(&[&words[..], &["find /etc | wc -l"]].concat())
    };
    count(&["-v", "data:/etc"]) == count(&[])
}

fn clear_volume(rocker: &Rocker) {
    assert!(in_volume(rocker), "half a volume");
    rocker.ok(&["volume", "rm", "data"]);
    rocker.ok(&["volume", "create", "data"]);
    rocker.ok(&["volume", "rm", "data"]);
}

fn clear_network(rocker: &Rocker) {
    clear(rocker);
    may_be_gone(rocker, &["network", "rm", "other"]);
    rocker.ok(&["network", "create", "other"]);
    rocker.ok(&["run", "--rm", "--net", "other", "busybox", "ip", "link", "show", "eth0"]);
    rocker.ok(&["network", "rm", "other"]);
}

fn has_network(rocker: &Rocker) -> bool {
    rocker.ok(&["network", "ls"]).contains("other")
}

fn is_connected(rocker: &Rocker) -> bool {
    rocker.run(&["exec", "web", "ip", "link", "show", "eth1"]).code == 0
}

fn two_networks(rocker: &Rocker) {
    rocker.ok(&["network", "create", "other"]);
    sleeper(rocker);
}

pub static SCENES: [Scene; 8] = [
    Scene {
        command: &["run", "--rm", "--name", "web", "--userns", "auto", "busybox", "true"],
        before: nothing,
        after: |rocker| {
            run_again(rocker);
            rocker.ok(&["run", "--rm", "--userns", "auto", "busybox", "true"]);
        },
        holds: gone,
    },
    Scene {
        command: &["volume", "create", "data"],
        before: nothing,
        after: clear_volume,
        holds: |rocker| rocker.ok(&["volume", "ls", "-q"]) == "data\n",
    },
    Scene {
        command: &["volume", "rm", "data"],
        before: |rocker| {
            rocker.ok(&["run", "--rm", "--net", "none", "-v", "data:/etc", "busybox", "true"]);
        },
        after: |rocker| {
            may_be_gone(rocker, &["volume", "rm", "data"]);
            clear_volume(rocker);
        },
        holds: |rocker| rocker.ok(&["volume", "ls", "-q"]).is_empty(),
    },
    Scene {
        command: &["run", "--rm", "--net", "none", "-v", "data:/etc", "busybox", "true"],
        before: nothing,
        after: clear_volume,
        holds: in_volume,
    },
    Scene {
        command: &["network", "create", "other"],
        before: nothing,
        after: clear_network,
        holds: has_network,
    },
    Scene {
        command: &["network", "rm", "other"],
        before: |rocker| drop(rocker.ok(&["network", "create", "other"])),
        after: clear_network,
        holds: |rocker| !has_network(rocker),
    },
    Scene {
        command: &["network", "connect", "other", "web"],
        before: two_networks,
        after: |rocker| {
            may_be_gone(rocker, &["network", "disconnect", "other", "web"]);
            rocker.ok(&["network", "connect", "other", "web"]);
            assert!(is_connected(rocker));
            clear_network(rocker);
        },
        holds: is_connected,
    },
    Scene {
        command: &["network", "disconnect", "other", "web"],
        before: |rocker| {
            two_networks(rocker);
            rocker.ok(&["network", "connect", "other", "web"]);
        },
        after: |rocker| {
            may_be_gone(rocker, &["network", "disconnect", "other", "web"]);
            assert!(!is_connected(rocker));
            clear_network(rocker);
        },
        holds: |rocker| !is_connected(rocker),
    },
];
