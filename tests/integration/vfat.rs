//! A state directory on a file system without links, owners and modes: images are kept packed there
//! and unpacked into memory at each start. The disk is a file that the kernel loops through.

use crate::harness::{Output, PATIENCE, Rocker, base_image, finish, is_bare, one_line, skip};
use std::fs;
use std::process::Command;

/// What stands before each script: the file system, and `rocker`, whose containers go at the end, while
/// their state can be seen.
const PREPARE: &str = "rocker() { \"$binary\" \"$@\"; }; disk=$ROCKER_ROOT/../disk; \
    trap 'rocker rm -f $(rocker ps -aq) >/dev/null 2>&1 || :' EXIT; \
    [ -e $disk ] || { truncate -s ${size:-48M} $disk; busybox mkdosfs $disk >/dev/null; }; \
    mount -t vfat -o loop $disk $ROCKER_ROOT || exit 9; ";

/// Runs a shell script in a mount namespace of its own, with the state directory on a vfat. Nothing
/// where that cannot be.
fn script(rocker: &Rocker, text: &str) -> Option<Output> {
    if is_bare() {
        skip("the host has no devices to loop through");
        return None;
    }
    fs::create_dir_all(rocker.root()).unwrap();
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &format!("{PREPARE} {text}")]);
    rocker.prepare(&mut command);
    command.env("binary", rocker.binary()).env("image", base_image());
    let output = finish(command, b"", PATIENCE);
    if output.code == 9 {
        let known = fs::read_to_string("/proc/filesystems").unwrap();
        assert!(!known.contains("\tvfat\n"), "{output:?}");
        skip("this kernel has no vfat");
        return None;
    }
    Some(output)
}

/// The lines that a script says, which must go well and be quiet.
#[track_caller]
fn said(rocker: &Rocker, text: &str) -> Option<String> {
    let output = script(rocker, &format!("set -e; {text}"))?;
    assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{output:?}");
    Some(output.stdout)
}

const IMPORT: &str = "rocker import -q $image busybox >/dev/null; ";
/// Everything that a state directory may hold when there is neither an image nor a container.
const LEFT: &str = "ls -A $ROCKER_ROOT/tmp $ROCKER_ROOT/containers $ROCKER_ROOT/layers \
    $ROCKER_ROOT/images 2>/dev/null | grep -v : | grep -v '^.ids$' | grep . || :; ";

#[test]
fn an_image_is_imported_shown_run_tagged_and_removed() {
    let Some(rocker) = Rocker::as_root() else { return };
    let text = "rocker import $image busybox | sed 's/ID: [0-9a-f]*/ID/'; \
        rocker images --format '{{.Repository}}:{{.Tag}} {{.Size}}'; \
        rocker run --rm --net none --image busybox sh -c 'ls -d /bin/sh /etc/hosts; stat -c %a /tmp /root'; \
        rocker inspect -f '{{len .RootFS.Layers}}' busybox; \
        rocker tag busybox other:v1; rocker rmi busybox; rocker run --rm --net none --image other:v1 echo tagged; \
        rocker import -q $image other:v1 >/dev/null; rocker run --rm --net none other:v1 echo again; \
        rocker rmi other:v1 | sed 's/sha256:.*/deleted/'; ";
    let Some(seen) = said(&rocker, &format!("{text}{LEFT}")) else { return };
    let expected = "Imported busybox:latest (ID, Size: 1.98MB)\nbusybox:latest 1.98MB\n\
        /bin/sh\n/etc/hosts\n1777\n700\n1\nUntagged: busybox:latest\ntagged\nagain\n\
        Untagged: other:v1\nDeleted: deleted\nDeleted: deleted\n";
    assert_eq!(seen, expected);
}

#[test]
fn a_container_runs_is_entered_logged_attached_stopped_and_started_again() {
    let Some(rocker) = Rocker::as_root() else { return };
    let text = "rocker run -d --name web --net none busybox \
            sh -c 'echo line; echo mine > /root/mine; trap \"exit 3\" TERM; while :; do sleep 0.1; done' >/dev/null; \
        rocker inspect -f '{{.Rocker.LayerMode}} {{.State.Status}}' web; \
        for i in 1 2 3 4 5 6 7 8; do rocker exec web test -e /root/mine && break; sleep 0.$i; done; \
        rocker exec web cat /root/mine; rocker logs web; \
        rocker attach web & attached=$!; sleep 1; \
        rocker stop web; wait $attached || echo \"attached $?\"; \
        rocker ps -a --format '{{.Names}} {{.Status}}'; \
        rocker start web; \
        for i in 1 2 3 4 5 6 7 8; do rocker exec web test -e /root/mine && break; sleep 0.$i; done; \
        rocker exec web cat /root/mine; rocker logs web; rocker rm -f web; rocker rmi busybox >/dev/null; ";
    let Some(seen) = said(&rocker, &format!("{IMPORT}{text}{LEFT}")) else { return };
    assert!(seen.starts_with("tmpfs running\nmine\nline\n"), "{seen}");
    assert!(seen.contains("attached 3\n") && seen.contains("\nweb\n"), "{seen}");
    assert!(seen.contains("web Exited (3)"), "{seen}");
    assert!(seen.ends_with("web\nmine\nline\nline\nweb\n"), "{seen}");
}

/// Changes of every kind, and a look at them.
const CHANGE: &str = "echo new > /root/new; rm -r /var; mkdir /var; echo v > /var/only; rm /etc/group; \
    mkfifo /root/pipe; ln -s /no/where /root/link; ln /root/new /root/second; chmod 4711 /root/new; \
    chown 12:34 /root/pipe; touch -d 2001-01-01 /root/second; \
    n=$(printf %0200d 7); mkdir /root/$n; echo deep > /root/$n/$n; touch /tmp/done; exec sleep 1000";
const LOOK: &str = "cat /root/new; ls /var; ls -d /etc/group 2>/dev/null; stat -c '%n %F %a %u:%g %h' \
    /root/pipe /root/link /root/second; readlink /root/link; cat /root/0*/0*; date -r /root/new +%Y";

#[test]
fn a_commit_keeps_every_kind_of_change() {
    let Some(rocker) = Rocker::as_root() else { return };
    let text = format!(
        "rocker run -d --name web --net none busybox sh -c '{CHANGE}' >/dev/null; \
        for i in 1 2 3 4 5 6 7 8 9; do rocker exec web test -e /tmp/done && break; sleep 0.$i; done; \
        rocker commit web mine >/dev/null; first=$(rocker images -q mine); \
        rocker commit web twice >/dev/null; [ $first = $(rocker images -q twice) ] && echo the same; \
        rocker rm -f web >/dev/null; \
        rocker run --rm --net none mine sh -c \"{}\"; \
        rocker run -d --name web --net none mine sh -c 'rm -r /root; mkdir /root; touch /tmp/again; exec sleep 1000' >/dev/null; \
        for i in 1 2 3 4 5 6 7 8 9; do rocker exec web test -e /tmp/again && break; sleep 0.$i; done; \
        rocker commit web third >/dev/null; rocker rm -f web >/dev/null; \
        rocker run --rm --net none third sh -c 'ls -A /root; cat /var/only'; \
        rocker rmi third twice mine busybox >/dev/null; {LEFT}",
        LOOK.replace('"', "\\\"")
    );
    let Some(seen) = said(&rocker, &format!("{IMPORT}{text}")) else { return };
    let expected = "the same\nnew\nonly\n/root/pipe fifo 644 12:34 1\n/root/link symbolic link 777 0:0 1\n\
        /root/second regular file 4711 0:0 2\n/no/where\ndeep\n2001\nv\n";
    assert_eq!(seen, expected);
}

#[test]
fn images_and_containers_are_there_after_a_reboot() {
    let Some(rocker) = Rocker::as_root() else { return };
    let make = "rocker run --name web --net none busybox echo first; umount $ROCKER_ROOT; ";
    let Some(seen) = said(&rocker, &format!("{IMPORT}{make}")) else { return };
    assert_eq!(seen, "first\n");
    // What lies below RUN goes with a reboot.
    fs::remove_dir_all(rocker.run_root()).unwrap();
    let look = "rocker images -q | wc -l; rocker ps -a --format '{{.Names}}'; rocker start -a web; \
        rocker logs web; rocker check --format '{{.Name}} {{.Status}}' | grep -E '^(state dir|images|containers)'; \
        rocker rm web; ";
    let seen = said(&rocker, look).unwrap();
    let expected =
        "1\nweb\nfirst\nfirst\nfirst\nstate directory ok\nimages ok\ncontainers ok\nweb\n";
    assert_eq!(seen, expected);
}

#[test]
fn the_default_network_gives_addresses_back() {
    let Some(rocker) = Rocker::as_root() else { return };
    let text = "rocker network create --subnet 10.77.0.0/24 app >/dev/null 2>&1 || { echo none; exit 0; }; \
        rocker run -d --name web --net app busybox sleep 1000 >/dev/null; ls $ROCKER_ROOT/networks/app/leases | wc -l; \
        rocker exec web ip -4 addr show eth0 | grep -c 'inet 10.77'; \
        rocker run --rm --net app busybox wget -qO- http://web:80 2>&1 | grep -c refused; \
        rocker rm -f web; ls $ROCKER_ROOT/networks/app/leases; rocker network rm app";
    let Some(seen) = said(&rocker, &format!("{IMPORT}{text}")) else { return };
    assert!(seen == "1\n1\n1\nweb\napp\n" || seen == "none\n", "{seen}");
}

#[test]
fn what_a_file_system_without_links_cannot_hold_is_refused_in_one_line() {
    let Some(rocker) = Rocker::as_root() else { return };
    for (words, code, expected) in [
        ("volume create data", 1, "no links and no owners"),
        ("run --rm -v data:/data busybox true", 125, "no links and no owners"),
        ("run --rm --layer overlay busybox true", 125, "its image is packed"),
        ("run --rm --layer copy busybox true", 125, "its image is packed"),
        ("run --rm --userns auto busybox true", 125, ": "),
        ("tag busybox busybox:Latest", 1, "takes it for another name"),
        ("tag busybox busybox:v1.", 1, "takes it for another name"),
        ("run --rm busybox:LATEST true", 125, "No such image: busybox:LATEST"),
        ("rmi busybox:LATEST", 1, "No such image: busybox:LATEST"),
        ("tag busybox localhost:5000/busybox", 1, "EINVAL"),
    ] {
        let text = format!(
            "[ -e $ROCKER_ROOT/layers ] || {IMPORT} rocker {words}; code=$?; \
            rocker run --rm --net none busybox echo works >&2 || exit 7; rocker ps -aq; exit $code"
        );
        let Some(output) = script(&rocker, &text) else { return };
        assert_eq!((output.code, output.stdout.as_str()), (code, ""), "{words}: {output:?}");
        let lines: Vec<&str> = output.stderr.lines().filter(|line| *line != "works").collect();
        assert!(one_line(&lines.join("\n")).contains(expected), "{words}: {output:?}");
    }
}

#[test]
fn a_run_directory_without_links_is_named_by_its_line() {
    let Some(rocker) = Rocker::as_root() else { return };
    let text = "export ROCKER_RUN_ROOT=$ROCKER_ROOT/run ROCKER_ROOT=$ROCKER_ROOT/../state; \
        rocker import -q $image busybox >/dev/null; \
        rocker create --net none busybox true; echo $?; \
        rocker check --format '{{.Name}} {{.Status}}' | grep directory";
    let Some(output) = script(&rocker, text) else { return };
    assert_eq!(output.stdout, "125\nstate directory ok\nrun directory missing\n", "{output:?}");
    assert!(one_line(&output.stderr).contains("EPERM"), "{output:?}");
    assert!(output.stderr.ends_with("\nhint: see rocker check, run directory\n"), "{output:?}");
}

#[test]
fn a_bad_archive_is_refused_and_nothing_is_left() {
    let Some(rocker) = Rocker::as_root() else { return };
    let files = rocker.files();
    let archive = fs::read(base_image()).unwrap();
    let mut bent = archive.clone();
    bent[1_000_000..].iter_mut().step_by(512).for_each(|byte| *byte ^= 0x55);
    for (name, bytes, expected) in [
        ("cut", &archive[..archive.len() / 2], "cut short at byte"),
        ("bent", &bent[..], "bad checksum"),
        ("text", &b"no archive at all"[..], "not a tar archive"),
        ("empty", &[0; 10240][..], "the archive is empty"),
    ] {
        let path = files.join(name);
        fs::write(&path, bytes).unwrap();
        let text = format!("rocker import {} bad; code=$?; {LEFT} exit $code", path.display());
        let Some(output) = script(&rocker, &text) else { return };
        assert_eq!((output.code, output.stdout.as_str()), (1, ""), "{name}: {output:?}");
        assert!(one_line(&output.stderr).contains(expected), "{name}: {output:?}");
    }
}

#[test]
fn a_damaged_layer_is_named_at_the_start() {
    let Some(rocker) = Rocker::as_root() else { return };
    let text = "layer=$(echo $ROCKER_ROOT/layers/*); truncate -s 1500K $layer; \
        rocker run --rm --net none busybox true; echo $?; rocker ps -aq; ls -A $ROCKER_ROOT/tmp; \
        grep -c $ROCKER_ROOT/ /proc/self/mounts || :; ";
    let again = format!("{IMPORT}rocker run --rm --net none busybox echo whole again");
    let Some(output) = script(&rocker, &format!("{IMPORT}{text}{again}")) else { return };
    assert_eq!(output.stdout, "125\n0\nwhole again\n", "{output:?}");
    let line = one_line(&output.stderr);
    assert!(line.contains("unpack layer") && line.contains("cut short"), "{line}");
}

#[test]
fn a_full_disk_is_named_and_makes_way_again() {
    let Some(rocker) = Rocker::as_root() else { return };
    let text = "size=4M; dd if=/dev/zero of=$ROCKER_ROOT/all bs=1M 2>/dev/null; \
        rocker import -q $image busybox; echo $?; rm $ROCKER_ROOT/all; rocker images -q; \
        rocker import -q $image busybox >/dev/null; rocker run --rm --net none busybox echo works";
    let Some(output) = script(&rocker, text) else { return };
    assert_eq!(output.stdout, "1\nworks\n", "{output:?}");
    assert!(one_line(&output.stderr).contains("ENOSPC"), "{output:?}");
}

#[test]
fn an_image_for_which_there_is_no_memory_is_refused_in_one_line() {
    let Some(rocker) = Rocker::as_root() else { return };
    let memory = fs::read_to_string("/proc/meminfo").unwrap();
    let kilobytes: u64 = memory.split_whitespace().nth(1).unwrap().parse().unwrap();
    if kilobytes > 1 << 20 {
        return skip("the machine has too much memory for it");
    }
    // A tmpfs takes as many files as half of the memory has pages; empty ones are short archives.
    let count = kilobytes / 8 + 1000;
    let archive: Vec<u8> = (0..count).flat_map(empty_file).collect();
    fs::write(rocker.files().join("many"), archive).unwrap();
    let text =
        format!("size=200M; rocker import {}/many many; echo $?; {LEFT}", rocker.files().display());
    let Some(output) = script(&rocker, &text) else { return };
    assert_eq!(output.stdout, "1\n", "{output:?}");
    let line = one_line(&output.stderr);
    assert!(line.contains("unpack into memory") && line.contains("ENOSPC"), "{line}");
}

/// The header of an empty file whose name is a number.
fn empty_file(number: u64) -> [u8; 512] {
    let mut block = [0; 512];
    let mut put =
        |at: usize, text: &str| block[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, &format!("{number:010}"));
    for (at, number) in [(100, "0000644"), (108, "0000000"), (116, "0000000")] {
        put(at, number);
    }
    put(124, "00000000000");
    put(136, "00000000000");
    put(148, "        0");
    put(257, "ustar\x0000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block
}

#[test]
fn an_import_that_is_killed_leaves_nothing_that_is_seen() {
    let Some(rocker) = Rocker::as_root() else { return };
    let text = "for pause in 0 0.02 0.05 0.1 0.2; do rocker import -q $image busybox >/dev/null & import=$!; \
        sleep $pause; kill -9 $import; wait $import; \
        [ -n \"$(rocker images -q)\" ] || continue; \
        rocker run --rm --net none busybox true && rocker rmi busybox >/dev/null || exit 1; done; \
        rocker images -q; ";
    let again = format!(
        "{IMPORT} rocker run --rm --net none busybox echo works; rocker rmi busybox >/dev/null; "
    );
    let Some(output) = script(&rocker, &format!("{text}{again}{LEFT}")) else { return };
    assert_eq!((output.code, output.stdout.as_str()), (0, "works\n"), "{output:?}");
}

#[test]
fn a_store_that_is_copied_to_another_file_system_goes_on() {
    let Some(rocker) = Rocker::as_root() else { return };
    let text = "cp -r $ROCKER_ROOT $ROCKER_ROOT/../copy; umount $ROCKER_ROOT; \
        export ROCKER_ROOT=$ROCKER_ROOT/../copy; chmod 700 $ROCKER_ROOT; \
        rocker run -d --name web --net none busybox sh -c 'echo more > /root/more; exec sleep 1000' >/dev/null; \
        rocker inspect -f '{{.Rocker.LayerMode}}' web; \
        for i in 1 2 3 4 5 6 7 8; do rocker exec web test -e /root/more && break; sleep 0.$i; done; \
        rocker commit web mine >/dev/null; rocker rm -f web >/dev/null; \
        rocker run --rm --net none mine cat /root/more; rocker rmi busybox mine >/dev/null; ";
    let Some(seen) = said(&rocker, &format!("{IMPORT}{text}{LEFT}")) else { return };
    assert_eq!(seen, "tmpfs\nmore\n");
}
