//! What a container does to the files of ours that it can reach: it marks them immutable. Others go on, and
//! it is removed as every other one.

use crate::harness::{Rocker, one_line};
use std::fs;
use std::process::Command;

/// A rocker, and the volume that shows the program `hinder`.
fn with_hinder() -> Option<(Rocker, String)> {
    let rocker = Rocker::with_busybox()?;
    let volume = format!("{}:/hinder:ro", rocker.program("hinder").display());
    Some((rocker, volume))
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
