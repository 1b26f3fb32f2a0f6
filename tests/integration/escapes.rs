//! Ways out of a container that other engines had, tried from inside: rocker's own file, what it has
//! open, links in the image where it mounts or writes.

use crate::harness::{
    Output, PATIENCE, Rocker, has_controller, has_own_users, has_program, skip, slowed, wait_until,
};
use crate::privileges::with_probe;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How often an attack is tried that needs luck: more with `ROCKER_TORTURE`.
pub fn rounds(usual: usize) -> usize {
    if crate::harness_host::is_torture() { usual * 10 } else { usual }
}

/// The file of rocker, which nothing inside may change.
fn own_file(rocker: &Rocker) -> Vec<u8> {
    fs::read(rocker.binary()).unwrap()
}

#[test]
fn the_program_of_rocker_cannot_be_written_from_inside_while_it_enters() {
    let Some((rocker, volume)) = with_probe() else { return };
    if crate::harness_host::kernel() < (5, 12) {
        return skip("before Linux 5.12 it runs from a copy in memory, never from its file");
    }
    // A file of its own, as after an update: the kernel keeps anybody from writing to the one that
    // the keeper runs from, but nobody runs from this one for long.
    let copy = rocker.files().join("rocker");
    fs::copy(rocker.binary(), &copy).unwrap();
    // Whoever root inside is on the host, its mode keeps nobody from it.
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o777)).unwrap();
    let before = fs::read(&copy).unwrap();
    let file = fs::metadata(&copy).unwrap();
    let exec = |words: &[&str]| {
        let mut command = Command::new(&copy);
        command.args(["exec", "-i", "evil"]).args(words);
        rocker.prepare(&mut command);
        command.stdin(Stdio::piped()).spawn().unwrap()
    };
    let (inode, size) = (file.ino().to_string(), file.len().to_string());
    // Once as every container, once with the right to look into processes of others.
    for right in [&[][..], &["--cap-add", "SYS_PTRACE"]] {
        let options =
            [&["run", "-d", "--name", "evil", "-v", &volume], right, &["busybox"]].concat();
        let attack = "ln -s /proc/self/exe /self; exec /probe exe \"$@\"";
        let program = ["sh", "-c", attack, "sh", &inode, &size];
        rocker.ok(&[&options[..], &program].concat());
        for _ in 0..rounds(5) {
            rocker.ok(&["exec", "evil", "rm", "-f", "/seen"]);
            // The program is rocker's own file then, by the magic link, and waits for its input.
            let mut own = exec(&["/self", "import", "-", "x"]);
            let seen = || rocker.run(&["exec", "evil", "test", "-e", "/seen"]).code == 0;
            assert!(wait_until(PATIENCE, seen), "{right:?}");
            drop(own.stdin.take());
            own.wait().unwrap();
            assert!(exec(&["true"]).wait().unwrap().success());
        }
        rocker.ok(&["exec", "evil", "touch", "/end"]);
        rocker.ok(&["wait", "evil"]);
        // It was seen, and could be opened for reading alone.
        assert_eq!(rocker.ok(&["logs", "evil"]), "seen 1 opened 0 read-only 1\n", "{right:?}");
        rocker.ok(&["rm", "evil"]);
    }
    assert!(fs::read(&copy).unwrap() == before);
}

#[test]
fn an_image_whose_shell_is_the_program_of_rocker_changes_nothing() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let before = own_file(&rocker);
    // A program for this machine that names a loader and has nothing else.
    let mut loaded = vec![0_u8; 64 + 56];
    loaded[..8].copy_from_slice(b"\x7fELF\x02\x01\x01\0");
    (loaded[16], loaded[18], loaded[20], loaded[32]) = (3, 62, 1, 64);
    (loaded[52], loaded[54], loaded[56]) = (64, 56, 1);
    (loaded[64], loaded[72], loaded[96]) = (3, 120, 15);
    loaded.extend(b"/proc/self/exe\0");
    let loaded: String = loaded.iter().map(|byte| format!("\\{byte:03o}")).collect();
    let script = format!(
        "rm /bin/sh; ln -s /proc/self/exe /bin/sh; printf '#!/proc/self/exe\n' > /run.sh; \
         printf '{loaded}' > /loaded; chmod 755 /run.sh /loaded"
    );
    rocker.ok(&["run", "--name", "maker", "busybox", "sh", "-c", &script]);
    rocker.ok(&["commit", "maker", "evil"]);
    rocker.ok(&["rm", "maker"]);
    for program in ["/bin/sh", "/run.sh", "/loaded"] {
        for _ in 0..rounds(5) {
            // Rocker's own words, from inside: there is nothing there that it could do.
            let output = rocker.run(&["run", "--rm", "evil", program, "ps"]);
            assert_ne!(output.code, 125, "{output:?}");
        }
    }
    assert!(own_file(&rocker) == before);
}

#[test]
fn a_first_program_that_is_rocker_itself_does_not_run_from_its_file() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    rocker.ok(&["run", "--name", "maker", "busybox", "ln", "-s", "/proc/self/exe", "/self"]);
    rocker.ok(&["commit", "maker", "evil"]);
    let own = fs::metadata(rocker.binary()).unwrap();
    let volume = format!("{}:/volume", rocker.files().display());
    // What others can change meanwhile cannot be looked at beforehand.
    for options in [&["--net", "none"][..], &["--init"], &["-v", &volume]] {
        let words = [&["run", "-d", "-i", "--name", "evil"], options, &["evil"]].concat();
        rocker.ok(&[&words[..], &["/self", "import", "-", "x"]].concat());
        let pid = rocker.ok(&["inspect", "--format", "{{.State.Pid}}", "evil"]);
        let runs_from = format!("/proc/{}/exe", pid.trim());
        let there = fs::metadata(&runs_from).unwrap();
        if (there.dev(), there.ino()) == (own.dev(), own.ino()) {
            // Opening it for writing would be refused in any case for as long as it runs.
            let changed = fs::set_permissions(&runs_from, there.permissions());
            assert_eq!(changed.unwrap_err().raw_os_error(), Some(libc::EROFS), "{options:?}");
        }
        rocker.ok(&["rm", "-f", "evil"]);
    }
}

#[test]
fn a_process_of_ours_that_stays_inside_holds_nothing_of_the_host_open() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let options = ["run", "--rm", "--init", "--cap-add", "SYS_PTRACE", "busybox"];
    let script = "ls -l /proc/1/fd | grep -o ' -> .*'; cat /proc/1/environ; readlink /proc/1/exe";
    if has_own_users() {
        // Its memory is the host's, where nobody inside has a right.
        let output = rocker.run(&[&options[..], &["sh", "-c", script]].concat());
        assert_eq!((output.code, output.stdout.as_str()), (1, ""), "{output:?}");
        return;
    }
    let text = rocker.ok(&[&options[..], &["sh", "-c", script]].concat());
    let mut lines: Vec<&str> = text.lines().collect();
    lines[..2].sort_unstable();
    let open = [" -> anon_inode:[pidfd]", " -> anon_inode:[signalfd]"];
    assert_eq!(lines[..2], open, "{text}");
    // No directory of the host leads to it, and the caller's environment is not there. Before Linux
    // 5.12 it is a copy in memory.
    assert!([["/"], ["/memfd:rocker (deleted)"]].iter().any(|exe| lines[2..] == *exe), "{text}");
}

/// A directory of the host with a file in it, neither of which anything inside may touch.
fn canary(rocker: &Rocker) -> PathBuf {
    let directory = rocker.base().join("canary");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("file"), "as it was").unwrap();
    directory
}

#[track_caller]
fn untouched(directory: &std::path::Path, what: &str) {
    let names: Vec<_> = crate::harness::names(directory).collect();
    assert_eq!(names, ["file"], "{what}");
    assert_eq!(fs::read_to_string(directory.join("file")).unwrap(), "as it was", "{what}");
}

/// Imports the base image as `evil`, changed by a shell script that runs in its tree.
fn evil_image(rocker: &Rocker, script: &str) -> bool {
    if !has_program("tar") {
        skip("tar is not there");
        return false;
    }
    let (tree, archive) = (rocker.files().join("tree"), rocker.files().join("evil.tar"));
    let _ = fs::remove_dir_all(&tree);
    let from = fs::canonicalize(rocker.root().join("images/busybox/latest/rootfs")).unwrap();
    let whole = "cp -a \"$1\" \"$2\" && cd \"$2\" && eval \"$3\" && tar -cf \"$4\" .";
    let status = Command::new("sh")
        .args(["-c", whole, "sh"])
        .args([&from, &tree])
        .arg(script)
        .arg(&archive)
        .status();
    assert!(status.unwrap().success(), "{script}");
    rocker.ok(&["import", archive.to_str().unwrap(), "evil"]);
    true
}

#[test]
fn links_in_the_image_lead_no_mount_and_no_write_of_ours_out_of_it() {
    let Some((rocker, volume)) = with_probe() else { return };
    let host = canary(&rocker);
    let outside = host.to_str().unwrap();
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    // Where a directory of ours has to be, nothing else may be.
    for script in [
        "rm -rf dev; ln -s /tmp dev".to_owned(),
        format!("rm -rf dev; ln -s {outside} dev"),
        "rm -rf proc; ln -s /tmp proc".to_owned(),
        "rm -rf proc; : > proc".to_owned(),
        "rm -rf sys; ln -s /etc sys".to_owned(),
    ] {
        if !evil_image(&rocker, &script) {
            return;
        }
        for options in [&[][..], &["--read-only"]] {
            let words = [&["run", "--rm"], options, &["evil", "true"]].concat();
            let error = rocker.refused(&words, 125);
            assert!(error.contains("in the image is no directory"), "{script}: {error}");
        }
        untouched(&host, &script);
    }
    // What lies in them is covered or resolved inside.
    for script in [
        "mkdir -p dev; ln -sf /proc/sys/kernel/core_pattern dev/null".to_owned(),
        "mkdir -p dev; ln -sf /proc dev/pts; ln -sf /etc/passwd dev/console".to_owned(),
        format!("ln -sf {outside}/file etc/resolv.conf; ln -sf {outside}/file etc/hosts"),
        format!("ln -sf {outside}/new etc/resolv.conf; ln -sf ../../../../{outside}/new etc/hosts"),
        format!("rm -rf etc; mkdir -p .{outside}; ln -s {outside} etc"),
    ] {
        assert!(evil_image(&rocker, &script));
        let command = "/probe node /proc/kcore; /probe node /dev/console; /probe node /dev/null; \
            echo evil > /etc/resolv.conf; echo evil > /etc/hosts";
        let output = rocker.run(&["run", "--rm", "-t", "-v", &volume, "evil", "sh", "-c", command]);
        assert_eq!(output.code, 0, "{script}: {output:?}");
        let nodes: Vec<&str> = output.stdout.lines().map(str::trim_end).collect();
        let masked = ["c 1:3", "ENOENT"].contains(&nodes[0]);
        assert!(masked && nodes[1..] == ["c 136:0", "c 1:3"], "{script}: {output:?}");
        untouched(&host, &script);
    }
    assert_eq!(fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap(), pattern);
}

#[test]
fn a_volume_at_a_link_of_the_image_or_of_another_volume_stays_inside() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let host = canary(&rocker);
    let outside = host.to_str().unwrap();
    let mine = rocker.files().join("mine");
    fs::create_dir_all(mine.join("inner")).unwrap();
    std::os::unix::fs::symlink(outside, mine.join("sub")).unwrap();
    let mine = mine.to_str().unwrap();
    if !evil_image(&rocker, &format!("ln -s {outside} x; ln -s / y")) {
        return;
    }
    for target in ["/x/deep", "/x", "/y/deep", "/v/sub/deep"] {
        let (first, second) = (format!("{mine}:/v"), format!("{mine}:{target}"));
        // It is mounted somewhere inside, or refused; it makes nothing outside.
        let output: Output =
            rocker.run(&["run", "--rm", "-v", &first, "-v", &second, "evil", "true"]);
        assert!(matches!(output.code, 0 | 125), "{target}: {output:?}");
        untouched(&host, target);
    }
    for target in ["/proc", "/proc/self/attr", "/v/../proc/sys"] {
        let error =
            rocker.refused(&["run", "-v", &format!("{mine}:{target}"), "busybox", "true"], 125);
        assert!(error.contains("/proc"), "{error}");
    }
}

#[test]
fn a_mount_whose_place_is_exchanged_all_the_time_never_lands_outside() {
    let Some((rocker, volume)) = with_probe() else { return };
    let host = canary(&rocker);
    let shared = rocker.files().join("shared");
    fs::create_dir_all(shared.join("x")).unwrap();
    std::os::unix::fs::symlink(&host, shared.join("y")).unwrap();
    let other = rocker.files().join("other");
    fs::create_dir_all(&other).unwrap();
    let shared = format!("{}:/v", shared.display());
    let other = format!("{}:/v/x/made", other.display());
    let attack = ["run", "-d", "--name", "swap", "-v", &volume, "-v", &shared, "busybox", "/probe"];
    rocker.ok(&[&attack[..], &["swap", "/v/x", "/v/y"]].concat());
    let mut works = 0;
    for _ in 0..rounds(60) {
        let output = rocker.run(&["run", "--rm", "-v", &shared, "-v", &other, "busybox", "true"]);
        assert!(matches!(output.code, 0 | 125), "{output:?}");
        works += usize::from(output.code == 0);
        untouched(&host, "a swapped place");
    }
    assert!(works > 0, "no start worked at all");
    rocker.ok(&["rm", "-f", "swap"]);
}

#[test]
fn no_working_directory_leads_to_a_descriptor_of_ours() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let host = canary(&rocker);
    let path = host.to_str().unwrap();
    rocker.sleeper("web", &[]);
    let look = format!("ls -d {path} || ls -d ../../../../../..{path}; pwd");
    for number in 0..rounds(24).min(40) {
        let dir = format!("/proc/self/fd/{number}");
        let run = ["run", "--rm", "-w", &dir, "busybox", "sh", "-c", &look];
        let exec = ["exec", "-w", &dir, "web", "sh", "-c", &look];
        for words in [&run[..], &exec] {
            let output = rocker.run(words);
            assert!(!output.stdout.contains(path), "{words:?}: {output:?}");
        }
    }
    rocker.ok(&["rm", "-f", "web"]);
}

#[test]
fn nobody_else_on_the_host_sees_what_lies_below_the_state_directories() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    rocker.sleeper("web", &[]);
    let layer = fs::canonicalize(rocker.root().join("images/busybox/latest/rootfs")).unwrap();
    for path in [rocker.root().join("layers"), rocker.root().join("containers"), layer] {
        let mut command = Command::new("ls");
        command.arg(&path).uid(65534).gid(65534).stdout(Stdio::null()).stderr(Stdio::null());
        assert!(!command.status().unwrap().success(), "{}", path.display());
    }
    rocker.ok(&["rm", "-f", "web"]);
}

#[test]
fn a_volume_gives_no_device_and_no_setuid_program() {
    let Some((rocker, volume)) = with_probe() else { return };
    let shared = format!("{}:/v", rocker.files().display());
    fs::set_permissions(rocker.files(), fs::Permissions::from_mode(0o777)).unwrap();
    let options = ["--cap-add", "MKNOD", "-v", &shared, "-v", &volume];
    let script = "/probe mknod /v/node 1 3; /probe open /v/node; cp /probe /v/id; chmod 4755 /v/id";
    let words = [&["run", "--rm"], &options[..], &["busybox", "sh", "-c", script]].concat();
    let said = if has_own_users() { "EPERM\nENOENT\n" } else { "ok\nEACCES\n" };
    assert_eq!(rocker.ok(&words), said);
    let options = ["--user", "1000", "--security-opt", "no-new-privileges=false", "-v", &shared];
    let words = [&["run", "--rm"], &options[..], &["busybox", "/v/id", "user"]].concat();
    assert_eq!(rocker.ok(&words), "1000\n");
    let _ = fs::remove_file(rocker.files().join("node"));
}

#[test]
fn there_is_no_socket_of_ours_without_a_path_and_no_way_to_a_release_agent() {
    let Some((rocker, volume)) = with_probe() else { return };
    rocker.sleeper("web", &["--net", "host", "-v", &volume]);
    let sockets = rocker.ok(&["exec", "web", "cat", "/proc/net/unix"]);
    assert!(
        !sockets.lines().any(|line| line.contains('@') && line.contains("rocker")),
        "{sockets}"
    );
    rocker.ok(&["rm", "-f", "web"]);
    let script = "find /sys/fs/cgroup -name release_agent -o -name devices.allow -o -name cgroup.procs \
        | while read file; do /probe write $file 1; done; mount -t cgroup none /mnt 2>&1";
    let words = ["run", "--rm", "-v", &volume, "busybox", "sh", "-c", script];
    let output = rocker.run(&words);
    assert_ne!(output.code, 0, "{output:?}");
    assert!(!output.stdout.lines().any(|line| line == "ok"), "{output:?}");
}

#[test]
fn the_keys_of_the_caller_are_out_of_reach() {
    let Some((rocker, volume)) = with_probe() else { return };
    let words = ["run", "--rm", "--security-opt", "seccomp=unconfined", "-v", &volume, "busybox"];
    // keyctl(KEYCTL_GET_KEYRING_ID, session) gives a keyring of its own; /proc/keys is masked.
    let own = [&words[..], &["/probe", "call", "250", "0", "0xfffffffd", "0"]].concat();
    assert_eq!(rocker.ok(&own), "ok\n");
    let script = "cat /proc/keys 2>/dev/null | wc -l";
    assert_eq!(rocker.ok(&[&words[..], &["sh", "-c", script]].concat()).trim(), "0");
}

#[test]
fn a_fork_bomb_is_held_and_removed_quickly() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    if !has_controller("--pids-limit") {
        return skip("this machine has no pids controller");
    }
    let bomb = "bomb() { bomb | bomb & }; bomb; sleep 1000";
    rocker.ok(&["run", "-d", "--name", "bomb", "--pids-limit", "200", "busybox", "sh", "-c", bomb]);
    std::thread::sleep(Duration::from_millis(500));
    // The host still can start processes.
    assert!(Command::new("true").status().unwrap().success());
    let start = Instant::now();
    rocker.ok(&["rm", "-f", "bomb"]);
    assert!(start.elapsed() < slowed(Duration::from_secs(5)), "{:?}", start.elapsed());
}

/// The same attacks on containers that have users of their own.
mod own_users {
    macro_rules! repeat {
        ($($name:ident)*) => { $(#[test] fn $name() { super::$name(); })* };
    }
    repeat! {
        the_program_of_rocker_cannot_be_written_from_inside_while_it_enters
        an_image_whose_shell_is_the_program_of_rocker_changes_nothing
        a_process_of_ours_that_stays_inside_holds_nothing_of_the_host_open
        links_in_the_image_lead_no_mount_and_no_write_of_ours_out_of_it
        a_volume_at_a_link_of_the_image_or_of_another_volume_stays_inside
        a_mount_whose_place_is_exchanged_all_the_time_never_lands_outside
        no_working_directory_leads_to_a_descriptor_of_ours
        nobody_else_on_the_host_sees_what_lies_below_the_state_directories
        a_volume_gives_no_device_and_no_setuid_program
        there_is_no_socket_of_ours_without_a_path_and_no_way_to_a_release_agent
        the_keys_of_the_caller_are_out_of_reach
        a_fork_bomb_is_held_and_removed_quickly
    }
}
