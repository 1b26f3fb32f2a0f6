//! Where a container writes: on the disk, in memory, or into a copy; on each kind of file system.

use crate::harness::{
    Output, PATIENCE, Rocker, base_image, finish, has_overlay, is_bare, one_line, skip,
};
use std::fs;
use std::process::Command;

/// Runs a shell script in a mount namespace of its own, where `$ROCKER_ROOT` can be mounted on.
/// `rocker` in it is the binary, `$image` the archive of the base image.
fn script(rocker: &Rocker, script: &str) -> Output {
    fs::create_dir_all(rocker.root()).unwrap();
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &format!("{PREPARE} {script}")]);
    rocker.prepare(&mut command);
    command.env("binary", rocker.binary()).env("image", base_image());
    finish(command, b"", PATIENCE)
}

/// What stands before each script: a container `web` goes at its end, while its state can be seen.
const PREPARE: &str =
    "rocker() { \"$binary\" \"$@\"; }; trap 'rocker rm -f web >/dev/null 2>&1 || :' EXIT;";

/// The line of `rocker check` that tells which layers the host can have.
const LAYER: &str = "\nhint: see rocker check, writable layer\n";
/// The one that tells of the directory that all is written to.
const STATE: &str = "\nhint: see rocker check, state directory\n";
/// The one that tells of the directory of the names.
const RUN: &str = "\nhint: see rocker check, run directory\n";

#[track_caller]
fn ok(rocker: &Rocker, text: &str) -> String {
    let output = script(rocker, &format!("set -e; {text}"));
    assert_eq!(output.code, 0, "{output:?}");
    output.stdout
}

/// What works on a layer whatever it is: a change is seen, a directory of the image can go.
const CHANGE: &str = "rocker import -q $image busybox >/dev/null; \
    rocker run -d --name web --image busybox \
        sh -c 'echo new > /root/new; rm -r /var; mv /etc/group /etc/moved; exec sleep 1000' > /dev/null; \
    for i in 1 2 3 4 5 6 7 8; do rocker exec web test -e /etc/moved && break; sleep 0.$i; done; \
    rocker inspect -f '{{.Rocker.LayerMode}}' web; \
    rocker commit web mine >/dev/null; \
    rocker run --rm --image mine sh -c 'cat /root/new; ls -d /var /etc/group 2>/dev/null; exit 0'; \
    rocker run --rm --image busybox ls -d /var; \
    rocker rm -f web >/dev/null; rocker rmi mine busybox >/dev/null; ls -A $ROCKER_ROOT/containers \
    $ROCKER_ROOT/tmp $ROCKER_ROOT/layers | grep -v : | grep . || :";

#[test]
fn each_way_that_is_asked_for_is_taken_and_its_changes_can_be_committed() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    for way in ["overlay", "tmpfs", "copy"] {
        if way != "copy" && !has_overlay() {
            let words = ["run", "--layer", way, "--image", "busybox", "true"];
            let output = rocker.run(&words);
            assert_eq!(output.code, 125, "{output:?}");
            assert!(one_line(&output.stderr).contains("ENODEV"), "{output:?}");
            assert!(output.stderr.ends_with(LAYER), "{output:?}");
            assert_eq!(rocker.ok(&["ps", "-q"]), "", "{way}");
            continue;
        }
        rocker.sleeper(way, &["--layer", way]);
        assert_eq!(
            rocker.inspect(way, "{{.Rocker.LayerMode}} {{.Driver}}"),
            format!("{way} {way}")
        );
        rocker.ok(&["exec", way, "sh", "-c", "echo new > /root/new; rm -r /var"]);
        rocker.ok(&["commit", way, "mine"]);
        let look = ["run", "--rm", "--image", "mine", "sh", "-c", "cat /root/new; ls -d /var"];
        let seen = rocker.run(&look);
        assert_eq!((seen.code, seen.stdout.as_str()), (1, "new\n"), "{way}");
        rocker.ok(&["rm", "-f", way]);
    }
    let line = rocker.refused(&["create", "--layer", "disk", "--image", "busybox", "true"], 125);
    assert!(line.contains("--layer") && line.contains("'disk'"), "{line}");
}

#[test]
fn a_layer_in_memory_goes_with_the_end_and_others_stay() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    if !has_overlay() {
        return skip("this kernel has no overlay");
    }
    let count = "echo x >> /root/starts; wc -l < /root/starts";
    for (way, second) in [("tmpfs", "1\n"), ("copy", "2\n"), ("overlay", "2\n")] {
        let options = ["run", "--name", way, "--layer", way, "--image", "busybox"];
        assert_eq!(rocker.ok(&[&options[..], &["sh", "-c", count]].concat()), "1\n");
        assert_eq!(rocker.ok(&["start", "-a", way]), second, "{way}");
        let committed = rocker.run(&["commit", way, "mine"]);
        assert_eq!(committed.code, i32::from(way == "tmpfs"), "{committed:?}");
        if way == "tmpfs" {
            assert!(one_line(&committed.stderr).contains("in memory"), "{committed:?}");
        }
    }
}

#[test]
fn a_layer_in_memory_has_an_end_and_shows_the_host_no_mount() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    if !has_overlay() {
        return skip("this kernel has no overlay");
    }
    rocker.sleeper("web", &["--layer", "tmpfs"]);
    let sizes = rocker.ok(&["exec", "web", "df", "-k", "/"]);
    let total: u64 =
        sizes.lines().last().unwrap().split_whitespace().nth(1).unwrap().parse().unwrap();
    let memory = fs::read_to_string("/proc/meminfo").unwrap();
    let memory: u64 = memory.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(total <= memory / 2 + 4, "{total} of {memory} KiB");
    let place = format!("/{}/work", rocker.inspect("web", "{{.Id}}"));
    let keeper = rocker.inspect("web", "{{.Rocker.KeeperPid}}");
    let mounts = |process: &str| fs::read_to_string(format!("/proc/{process}/mountinfo")).unwrap();
    assert!(mounts(&keeper).contains(&place), "it is nowhere: {}", mounts(&keeper));
    assert!(!mounts("self").contains(&place), "{}", mounts("self"));
}

#[test]
fn a_copy_on_a_mount_whose_restrictions_are_locked_keeps_them() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let [binary, image] = [(rocker.binary().to_owned(), "rocker"), (base_image(), "image.tar")]
        .map(|(path, name)| format!("{}:/{name}:ro", path.display()));
    let script = "export ROCKER_ROOT=/state/root ROCKER_RUN_ROOT=/state/run; \
        /rocker import -q /image.tar busybox > /dev/null; for option in --init --read-only; do \
        /rocker run --rm --net none --layer copy $option busybox \
        sh -c 'touch /new 2>/dev/null && echo written; sed -n \"s,^[^ ]* / [^ ]* \\([^ ]*\\).*,\\1,p\" /proc/mounts'; \
        done";
    // A container with CAP_SYS_ADMIN has its mounts locked, the tmpfs with nosuid and nodev too.
    let run = ["run", "--rm", "--privileged", "--net", "none", "--tmpfs", "/state:exec"];
    let words = ["-v", &binary, "-v", &image, "busybox", "sh", "-c", script];
    let said = rocker.ok(&[&run[..], &words].concat());
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!((lines.len(), lines[0]), (3, "written"), "{said}");
    assert!(lines[1].starts_with("rw,nosuid,nodev"), "{said}");
    assert!(lines[2].starts_with("ro,nosuid,nodev"), "{said}");
}

/// What the keeper has of the host's mounts goes when the host lets go of it.
#[test]
fn a_keeper_with_mounts_of_its_own_holds_none_of_the_hosts() {
    let Some(rocker) = Rocker::as_root() else { return };
    if !has_overlay() {
        return skip("this kernel has no overlay");
    }
    if is_bare() {
        return skip("the host has no proc that shows the mounts of a keeper");
    }
    let place = rocker.files().join("other");
    fs::create_dir(&place).unwrap();
    let text = "mount --make-rshared /; mount -t tmpfs host-own $place; \
        rocker import -q $image busybox >&2; \
        rocker run -d --layer tmpfs --name web --net none --image busybox sleep 1000 >&2; \
        keeper=$(rocker inspect -f '{{.Rocker.KeeperPid}}' web); \
        grep -c host-own /proc/$keeper/mountinfo; umount $place; \
        grep -c host-own /proc/$keeper/mountinfo || :; rocker rm -f web >&2";
    let text = format!("place={}; {text}", place.display());
    assert_eq!(ok(&rocker, &text), "1\n0\n");
}

#[test]
fn on_a_ramfs_and_on_an_overlay_a_container_writes_into_memory() {
    let Some(rocker) = Rocker::as_root() else { return };
    if !has_overlay() {
        return skip("this kernel has no overlay");
    }
    let expected = "tmpfs\nnew\n/var\n";
    let ramfs = "mount -t ramfs -o mode=700 ramfs $ROCKER_ROOT; ";
    assert_eq!(ok(&rocker, &format!("{ramfs}{CHANGE}")), expected);
    let overlay = "t=$ROCKER_ROOT; mount -t tmpfs tmpfs $t; mkdir $t/l $t/u $t/w; chmod 700 $t/u; \
        mount -t overlay -o lowerdir=$t/l,upperdir=$t/u,workdir=$t/w overlay $t; ";
    assert_eq!(ok(&rocker, &format!("{overlay}{CHANGE}")), expected);
}

#[test]
fn on_a_tmpfs_a_container_writes_onto_it() {
    let Some(rocker) = Rocker::as_root() else { return };
    let tmpfs = "mount -t tmpfs -o mode=700 tmpfs $ROCKER_ROOT; ";
    let way = if has_overlay() { "overlay" } else { "copy" };
    assert_eq!(ok(&rocker, &format!("{tmpfs}{CHANGE}")), format!("{way}\nnew\n/var\n"));
}

#[test]
fn an_overlay_that_was_asked_for_and_cannot_be_is_refused_and_nothing_is_left() {
    let Some(rocker) = Rocker::as_root() else { return };
    let text = "mount -t ramfs -o mode=700 ramfs $ROCKER_ROOT; rocker import -q $image busybox; \
        rocker run --layer overlay --image busybox true; echo $?; rocker ps -q";
    let output = script(&rocker, text);
    assert!(output.stdout.ends_with("\n125\n"), "{output:?}");
    assert!(one_line(&output.stderr).contains("cannot hold an overlay"), "{output:?}");
    assert!(output.stderr.ends_with(LAYER), "{output:?}");
}

#[test]
fn a_full_state_directory_is_named_and_makes_way_again() {
    let Some(rocker) = Rocker::as_root() else { return };
    let text = "mount -t tmpfs -o mode=700,size=6m tmpfs $ROCKER_ROOT; \
        rocker import -q $image busybox >&2; rocker run -d --name web --image busybox sleep 1000 >&2; \
        rocker exec web sh -c 'cat /dev/zero > /root/all 2>/dev/null'; \
        rocker run --image busybox true; echo $?; rocker exec web rm /root/all; \
        rocker run --rm --image busybox echo again; rocker rm -f web; rocker ps -q";
    let output = script(&rocker, text);
    assert_eq!(output.stdout, "125\nagain\nweb\n", "{output:?}");
    let said: Vec<&str> = output.stderr.lines().filter(|line| line.contains("rocker: ")).collect();
    assert_eq!(said.len(), 1, "{output:?}");
    assert!(said[0].contains("ENOSPC"), "{output:?}");
    assert!(output.stderr.contains(STATE), "{output:?}");
}

#[test]
fn a_copy_of_the_image_that_finds_no_room_names_the_state_directory() {
    let Some(rocker) = Rocker::as_root() else { return };
    let text = "mount -t tmpfs -o mode=700,size=3m tmpfs $ROCKER_ROOT; rocker import -q $image busybox; \
        rocker run --layer copy --net none --image busybox true; echo $?; rocker ps -q";
    let output = script(&rocker, text);
    assert!(output.stdout.ends_with("\n125\n"), "{output:?}");
    assert!(one_line(&output.stderr).contains("ENOSPC"), "{output:?}");
    assert!(output.stderr.ends_with(STATE), "{output:?}");
}

#[test]
fn a_state_directory_that_cannot_be_written_is_named() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let text = "mount --bind -o ro $ROCKER_ROOT $ROCKER_ROOT; mount -o remount,bind,ro $ROCKER_ROOT $ROCKER_ROOT; \
        rocker images -q; rocker run --rm --image busybox true; echo $?";
    let output = script(&rocker, text);
    assert!(output.stdout.ends_with("\n125\n"), "{output:?}");
    assert!(one_line(&output.stderr).contains("EROFS"), "{output:?}");
    assert!(output.stderr.ends_with(STATE), "{output:?}");
}

#[test]
fn a_run_directory_that_is_read_only_or_full_or_has_no_links_is_named_by_its_own_line() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    fs::create_dir_all(rocker.run_root()).unwrap();
    let has = "mount -t tmpfs -o";
    for (make, options, errno) in [
        (format!("{has} ro none $ROCKER_RUN_ROOT"), "", "EROFS"),
        (format!("{has} ro none $ROCKER_RUN_ROOT"), "--name web", "EROFS"),
        // The one file that it can have is its own directory.
        (format!("{has} nr_inodes=1 none $ROCKER_RUN_ROOT"), "", "ENOSPC"),
        (
            format!("{has} size=64k none $ROCKER_RUN_ROOT; yes > $ROCKER_RUN_ROOT/all 2>/dev/null"),
            "--name web",
            "ENOSPC",
        ),
        ("mount -t sysfs none $ROCKER_RUN_ROOT".to_owned(), "", "EPERM"),
    ] {
        let text = format!(
            "{make}; rocker run --rm --net none {options} --image busybox true; echo $?; \
             rocker check --format '{{{{.Name}}}} {{{{.Status}}}}' | grep directory"
        );
        let output = script(&rocker, &text);
        let expected = "125\nstate directory ok\nrun directory missing\n";
        assert_eq!(output.stdout, expected, "{make}: {output:?}");
        assert!(one_line(&output.stderr).contains(errno), "{make}: {output:?}");
        assert!(output.stderr.ends_with(RUN), "{make}: {output:?}");
    }
}

#[test]
fn on_a_full_disk_containers_are_stopped_and_killed_and_do_not_come_back() {
    let Some(rocker) = Rocker::as_root() else { return };
    for (policy, command) in [("no", "stop -t 1"), ("always", "stop -t 1"), ("always", "kill")] {
        let text = format!(
            "mount -t tmpfs -o size=12m,mode=700 full $ROCKER_ROOT; \
             rocker import -q $image busybox >/dev/null; \
             rocker run -d --restart {policy} --name web --net none busybox sleep 1000 >/dev/null; \
             pid=$(rocker inspect -f '{{{{.State.Pid}}}}' web); \
             yes >$ROCKER_ROOT/fill 2>/dev/null || :; \
             rocker {command} web || echo \"exit code $?\"; \
             for i in 1 2 3 4 5 6 7 8; do [ -e /proc/$pid ] || break; sleep 0.$i; done; \
             rocker ps -a 2>/dev/null | grep -c web; rocker stop web 2>/dev/null; \
             rm $ROCKER_ROOT/fill; sleep 0.5; \
             rocker inspect -f '{{{{.State.Running}}}} {{{{.RestartCount}}}}' web"
        );
        let output = script(&rocker, &format!("set -e; {text}"));
        assert_eq!(output.code, 0, "{policy}, {command}: {output:?}");
        assert_eq!(
            output.stdout, "exit code 1\n1\nweb\nfalse 0\n",
            "{policy}, {command}: {output:?}"
        );
        let said = output.stderr.contains("\nrocker: write config.json")
            || output.stderr.starts_with("rocker: write config.json");
        assert!(said && output.stderr.contains("ENOSPC"), "{output:?}");
    }
}
