//! What a container does to the files of ours that it can reach: its programs run them, hold leases on
//! them, or mark them. Others go on, and it is removed as every other one.

use crate::harness::{Rocker, is_bare, one_line, skip, wait_until};
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

/// A rocker with a network `app`, and the volume that shows the program `hinder`.
fn with_hinder() -> Option<(Rocker, String)> {
    let rocker = Rocker::with_busybox()?;
    let volume = format!("{}:/hinder:ro", rocker.program("hinder").display());
    let output = rocker.run(&["network", "create", "app"]);
    if output.stderr.contains("EOPNOTSUPP") || output.stderr.contains("EPROTONOSUPPORT") {
        skip("this kernel has no bridges");
        return None;
    }
    assert_eq!(output.code, 0, "{output:?}");
    Some((rocker, volume))
}

/// All that has the names of `evil` written anew works, and those of `web` are true.
fn others_go_on(rocker: &Rocker) {
    rocker.sleeper("web", &["--net", "app"]);
    rocker.ok(&["restart", "-t", "0", "web"]);
    let hosts = |name: &str| rocker.ok(&["run", "--rm", "--net", "app", "busybox", "cat", name]);
    assert!(hosts("/etc/hosts").contains("\tweb "), "{}", hosts("/etc/hosts"));
    rocker.ok(&["network", "create", "other"]);
    rocker.ok(&["network", "connect", "other", "web"]);
    rocker.ok(&["network", "disconnect", "app", "web"]);
}

/// `evil` has true names when it is started again, and leaves nothing.
fn evil_goes(rocker: &Rocker) {
    rocker.ok(&["network", "connect", "app", "web"]);
    rocker.ok(&["restart", "-t", "0", "evil"]);
    let hosts = rocker.ok(&["exec", "evil", "cat", "/etc/hosts"]);
    assert!(hosts.contains(" evil\n") && hosts.contains("\tweb "), "{hosts}");
    rocker.ok(&["rm", "-f", "evil", "web"]);
    assert_eq!(fs::read_dir(rocker.root().join("tmp")).unwrap().count(), 0);
}

#[test]
fn a_member_that_runs_its_etc_hosts_as_a_program_keeps_nobody_from_its_network() {
    let Some((rocker, _)) = with_hinder() else { return };
    // Who may mount is not held by noexec.
    let script = "mount -o remount,bind,exec /etc/hosts; cat /bin/busybox > /etc/hosts; \
                  chmod 755 /etc/hosts; mkdir /x; ln -s /etc/hosts /x/sleep; /x/sleep 1000 & \
                  until grep -q hosts /proc/$!/maps; do :; done; echo ready; wait";
    let options = ["run", "-d", "--name", "evil", "--net", "app", "--cap-add", "SYS_ADMIN"];
    rocker.ok(&[&options[..], &["busybox", "sh", "-c", script]].concat());
    assert!(wait_until(Duration::from_secs(20), || rocker.ok(&["logs", "evil"]) == "ready\n"));
    others_go_on(&rocker);
    rocker.ok(&["rm", "-f", "evil"]);
}

#[test]
fn nobody_waits_for_a_lease_that_a_member_has_on_its_etc_hosts() {
    let Some((rocker, volume)) = with_hinder() else { return };
    let options = ["run", "-d", "--name", "evil", "--net", "app", "-v", &volume, "busybox"];
    rocker.ok(&[&options[..], &["/hinder", "lease", "/etc/hosts"]].concat());
    assert!(wait_until(Duration::from_secs(20), || rocker.ok(&["logs", "evil"]) == "done\n"));
    let begun = Instant::now();
    others_go_on(&rocker);
    // The kernel gives who has a lease 45 seconds.
    assert!(begun.elapsed() < Duration::from_secs(40), "{:?}", begun.elapsed());
    evil_goes(&rocker);
}

#[test]
fn a_member_that_marks_its_files_immutable_is_removed_and_keeps_nobody_from_its_network() {
    let Some((rocker, volume)) = with_hinder() else { return };
    let script = "/hinder mark /etc/hosts /etc/hostname /etc/resolv.conf && exec sleep 1000";
    let options = ["run", "-d", "--name", "evil", "--net", "app", "-v", &volume];
    let words = ["--cap-add", "LINUX_IMMUTABLE", "busybox", "sh", "-c", script];
    rocker.ok(&[&options[..], &words].concat());
    let marked = || {
        let output = rocker.run(&["logs", "evil"]);
        assert!(!output.stderr.contains("/etc"), "{output:?}");
        output.stdout == "done\n"
    };
    assert!(wait_until(Duration::from_secs(20), marked));
    others_go_on(&rocker);
    evil_goes(&rocker);
}

#[test]
fn a_read_only_container_writes_to_none_of_its_files_and_hears_of_new_names() {
    let Some((rocker, _)) = with_hinder() else { return };
    rocker.sleeper("closed", &["--net", "app", "--read-only"]);
    rocker.sleeper("web", &["--net", "app"]);
    let script = "cd /etc; for file in hosts hostname resolv.conf; do \
                  if echo x >> $file; then echo written: $file; fi; done; grep -o web hosts";
    assert_eq!(rocker.ok(&["exec", "closed", "sh", "-c", script]), "web\n");
    rocker.ok(&["rm", "-f", "closed", "web"]);
}

#[test]
fn what_a_container_marks_immutable_in_its_own_layer_goes_with_it() {
    let Some((rocker, volume)) = with_hinder() else { return };
    let script = "mkdir -p /d/e; touch /d/e/f; /hinder mark /d/e/f /d/e /d / /etc/hosts";
    for layer in ["copy", "overlay"] {
        let options = ["run", "--name", "evil", "--net", "none", "-v", &volume, "--layer", layer];
        let words = ["--cap-add", "LINUX_IMMUTABLE", "busybox", "sh", "-c", script];
        assert_eq!(rocker.ok(&[&options[..], &words].concat()), "done\n", "{layer}");
        rocker.ok(&["rm", "evil"]);
        assert_eq!(fs::read_dir(rocker.root().join("tmp")).unwrap().count(), 0, "{layer}");
    }
}

#[test]
fn what_cannot_be_swept_away_is_told_and_keeps_nobody() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    if is_bare() {
        return skip("the host has nothing mounted, so nothing that could be in the way");
    }
    let stuck = rocker.root().join("tmp/gone-0123456789/upper");
    fs::create_dir_all(&stuck).unwrap();
    fs::create_dir(rocker.root().join("tmp/gone-9876543210")).unwrap();
    let mount = Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(&stuck).status();
    assert!(mount.unwrap().success());
    rocker.ok(&["volume", "create", "data"]);
    let output = rocker.run(&["create", "--name", "web", "--net", "none", "busybox", "true"]);
    assert_eq!(output.code, 0, "{output:?}");
    assert!(one_line(&output.stderr).contains("remove gone-0123456789: "), "{output:?}");
    for words in [&["rm", "web"][..], &["volume", "rm", "data"], &["rmi", "busybox"]] {
        assert_eq!(rocker.run(words).code, 0, "{words:?}");
    }
    let left: Vec<_> = crate::harness::names(&rocker.root().join("tmp")).collect();
    assert_eq!(left, ["gone-0123456789"]);
    assert!(Command::new("umount").arg(&stuck).status().unwrap().success());
    rocker.ok(&["volume", "prune", "-f"]);
    assert_eq!(crate::harness::names(&rocker.root().join("tmp")).count(), 0);
}
