//! More ways to reach somebody else from a container: numbers of processes that come again, processes
//! of ours that are looked at, pages that containers share, output without end, groups, links.

use crate::escapes::rounds;
use crate::harness::{
    PATIENCE, Rocker, finish, has_own_users, has_program, skip, slowed, wait_until,
};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// A rocker and the volume that shows the program `poke`.
fn with_poke() -> Option<(Rocker, String)> {
    let rocker = Rocker::with_busybox()?;
    let poke = rocker.program("poke");
    let volume = format!("{}:/poke:ro", poke.display());
    Some((rocker, volume))
}

#[test]
fn a_first_process_that_looks_at_all_that_comes_reaches_nothing_of_the_hosts() {
    let Some((rocker, volume)) = with_poke() else { return };
    let canary = rocker.base().join("canary");
    fs::write(&canary, "of the host").unwrap();
    let inode = fs::metadata(rocker.binary()).unwrap().ino().to_string();
    for right in [&[][..], &["--cap-add", "SYS_PTRACE"]] {
        let options =
            [&["run", "-d", "--name", "evil", "-v", &volume], right, &["busybox"]].concat();
        let secret = "SECRET=of-the-caller-of-exec";
        let backwards: String = secret.chars().rev().collect();
        let watch = ["/poke", "watch", canary.to_str().unwrap(), &inode, &backwards];
        rocker.ok(&[&options[..], &watch].concat());
        let ready = || rocker.run(&["exec", "evil", "test", "-e", "/ready"]).code == 0;
        assert!(wait_until(PATIENCE, ready), "{right:?}");
        for _ in 0..rounds(50) {
            let mut exec = rocker.command(&["exec", "evil", "echo", "works"]);
            let (name, value) = secret.split_once('=').unwrap();
            exec.env(name, value);
            assert_eq!(finish(exec, b"", PATIENCE).stdout, "works\n", "{right:?}");
        }
        // Whoever makes this file ends with the first process, perhaps a little before its time.
        rocker.run(&["exec", "evil", "touch", "/end"]);
        rocker.ok(&["wait", "evil"]);
        let said = rocker.ok(&["logs", "evil"]);
        // Who may trace others may take hold of a program of exec before its execve, and finds that it
        // has no more rights than itself and nothing of the caller's.
        let held = right.is_empty() || has_own_users();
        let held = if held { "held 0 " } else { "held " };
        assert!(said.starts_with(&format!("looked 1 out 0 {held}")), "{right:?}: {said}");
        assert!(said.ends_with(" rich 0 read 0\n"), "{right:?}: {said}");
        rocker.ok(&["rm", "evil"]);
    }
}

#[test]
fn no_container_changes_a_file_of_the_image_that_another_one_sees() {
    let Some((rocker, volume)) = with_poke() else { return };
    rocker.sleeper("other", &["--net", "none"]);
    let sum = || rocker.ok(&["exec", "other", "sha256sum", "/bin/busybox", "/etc/passwd"]);
    let before = sum();
    let layer = rocker.root().join("images/busybox/latest/rootfs/bin/busybox");
    let on_host = fs::read(&layer).unwrap();
    for user in ["0", "1000"] {
        let words = ["run", "--rm", "--net", "none", "-u", user, "-v", &volume, "busybox", "/poke"];
        for _ in 0..rounds(3) {
            let said = rocker.ok(&[&words[..], &["change", "/bin/busybox"]].concat());
            assert!(said.ends_with("tried\n") && !said.contains("writing"), "{said}");
            // /proc/self/mem gives this process a copy of its own.
            assert_eq!(sum(), before, "{user}: {said}");
        }
    }
    assert!(fs::read(&layer).unwrap() == on_host);
    rocker.ok(&["rm", "-f", "other"]);
}

/// In a pid namespace of its own, where numbers can be given out again at will: a container ends
/// unseen, another process gets its number, and commands for the container come.
const AGAIN: &str = r#"
rocker=$1 rounds=$2
"$rocker" run -d --net none --name web busybox sleep 1000 > /dev/null || exit 1
state=$ROCKER_RUN_ROOT/web/config.json
pid=$(sed 's/.*"pid":\([0-9]*\),.*/\1/' "$state") keeper=$(sed 's/.*"keeper":\([0-9]*\),.*/\1/' "$state")
kill -9 $keeper $pid; while kill -0 $pid 2> /dev/null; do sleep 0.01; done
cp "$state" "$ROCKER_ROOT/stored"
reused=0
for number in $pid $keeper; do
    round=0
    while [ $round -lt $rounds ]; do
        round=$((round + 1))
        echo $((number - 1)) > /proc/sys/kernel/ns_last_pid
        sleep 1000 &
        owner=$!
        [ $owner = $number ] && reused=$((reused + 1))
        cat "$ROCKER_ROOT/stored" > "$ROCKER_ROOT/containers/"*/config.json
        case $((round % 3)) in
        0) "$rocker" kill web ;;
        1) "$rocker" exec web true ;;
        2) "$rocker" stop -t 0 web ;;
        esac > /dev/null 2>&1 && [ $((round % 3)) != 2 ] && echo "round $round worked"
        kill -0 $owner || { echo "round $round: the new owner is gone"; exit 1; }
        kill -9 $owner; wait $owner 2> /dev/null
    done
done
"$rocker" rm -f web > /dev/null; echo "reused $reused"
"#;

#[test]
fn a_process_with_the_number_of_one_that_ended_is_never_taken_for_it() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    if !has_program("unshare") {
        return skip("unshare is not there");
    }
    let rounds = rounds(50);
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-c", AGAIN, "sh"]);
    command.arg(rocker.binary()).arg(rounds.to_string());
    rocker.prepare(&mut command);
    let output = finish(command, b"", PATIENCE * 10);
    assert_eq!(output.code, 0, "{output:?}");
    let reused = output.stdout.strip_prefix("reused ").unwrap_or_else(|| panic!("{output:?}"));
    // Somebody else may be quicker now and then.
    let reused: usize = reused.trim().parse().unwrap();
    assert!(reused > rounds, "{output:?}");
}

#[test]
fn output_without_end_stays_under_its_bound() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let megabytes = if rounds(1) > 1 { 10_000 } else { 300 };
    let flood = format!("head -c {megabytes}m /dev/zero | tr '\\0' 'x' | fold -w 1000");
    rocker.ok(&["run", "-d", "--net", "none", "--name", "loud", "busybox", "sh", "-c", &flood]);
    let home = fs::canonicalize(rocker.run_root().join("loud")).unwrap();
    let size = || -> u64 {
        let logs =
            ["container.log", "container.log.1", "container.log.index", "container.log.index.1"];
        logs.iter().filter_map(|name| fs::metadata(home.join(name)).ok()).map(|m| m.len()).sum()
    };
    let (mut most, deadline) = (0, Instant::now() + slowed(PATIENCE) * 10);
    while rocker.inspect("loud", "{{.State.Status}}") == "running" {
        most = most.max(size());
        assert!(Instant::now() < deadline, "it does not end: {most} bytes of log");
        std::thread::sleep(Duration::from_millis(50));
    }
    most = most.max(size());
    // Two files of 10 MiB, their indexes counted.
    assert!((1 << 20..=20 << 20).contains(&most), "{most} bytes");
    let last = rocker.ok(&["logs", "--tail", "1", "loud"]);
    assert!(last.trim_end().len() == 1000 || last.trim_end().len() < 1001, "{}", last.len());
    rocker.ok(&["rm", "loud"]);
}

#[test]
fn a_group_that_may_not_read_a_file_may_not_and_the_callers_groups_stay_outside() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let make = "echo 'u:x:1000:1000::/:/bin/sh' >> /etc/passwd; echo 'shut:x:50:u' >> /etc/group; \
        echo 'own:x:1000:' >> /etc/group; echo secret > /file; chown 0:50 /file; chmod 604 /file";
    rocker.ok(&["run", "--name", "maker", "--net", "none", "busybox", "sh", "-c", make]);
    rocker.ok(&["commit", "maker", "groups"]);
    let look = "grep Groups /proc/self/status; cat /file 2>/dev/null || echo refused";
    rocker.ok(&["run", "-d", "--name", "web", "--net", "none", "groups", "sleep", "1000"]);
    // That of busybox knows no groups.
    let tried = Command::new("setpriv").args(["--groups", "50", "true"]).output();
    let has_setpriv = tried.is_ok_and(|output| output.status.success());
    let expected = [
        ("u", "Groups:\t50 1000 \nrefused\n"),
        ("1000", "Groups:\t50 1000 \nrefused\n"),
        ("1000:50", "Groups:\t50 \nrefused\n"),
        ("u:shut", "Groups:\t50 \nrefused\n"),
        ("u:own", "Groups:\t1000 \nsecret\n"),
        ("2000", "Groups:\t0 \nsecret\n"),
    ];
    for (user, said) in expected {
        let run = ["run", "--rm", "--net", "none", "--user", user, "groups", "sh", "-c", look];
        let exec = ["exec", "--user", user, "web", "sh", "-c", look];
        for words in [&run[..], &exec] {
            assert_eq!(rocker.ok(words), said, "{words:?}");
            if !has_setpriv {
                continue;
            }
            let mut command = Command::new("setpriv");
            command.args(["--groups", "50,4242"]).arg(rocker.binary());
            command.args(crate::harness_host::with_users(words));
            rocker.prepare(&mut command);
            assert_eq!(finish(command, b"", PATIENCE).stdout, said, "{words:?}");
        }
    }
    rocker.ok(&["rm", "-f", "web"]);
}

#[test]
fn neither_a_link_in_a_volume_nor_one_to_the_root_leads_a_mount_astray() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    // A container leaves a link in its volume; who names what is below it means a place of the host.
    let leave = "ln -s /etc /v/sub; ln -s / /top; ln -s /opt /inner";
    let words = ["run", "--name", "maker", "--net", "none", "-v", "data:/v", "busybox"];
    rocker.ok(&[&words[..], &["sh", "-c", leave]].concat());
    rocker.ok(&["commit", "maker", "links"]);
    let below = ["run", "--rm", "--net", "none", "-v", "data/sub:/x", "busybox", "ls", "/x"];
    let error = rocker.refused(&below, 125);
    assert!(error.contains("data/sub"), "{error}");
    let shared = rocker.files().join("shared");
    fs::create_dir(&shared).unwrap();
    fs::write(shared.join("mark"), "").unwrap();
    let hosts: Vec<String> = crate::harness::names(Path::new("/etc")).collect();
    let shown = format!("{}:/top/deep", shared.display());
    let words = ["run", "--rm", "--net", "none", "-v", &shown, "links", "ls", "/deep"];
    assert_eq!(rocker.ok(&words), "mark\n");
    let shown = format!("{}:/inner", shared.display());
    let words = ["run", "--rm", "--net", "none", "-v", &shown, "links", "ls", "/opt/mark"];
    assert_eq!(rocker.ok(&words), "/opt/mark\n");
    // The root itself is not covered, and nothing of the host's is.
    let shown = format!("{}:/top", shared.display());
    let words = ["run", "--rm", "--net", "none", "-v", &shown, "links", "ls", "-d", "/bin"];
    let output = rocker.run(&words);
    assert!(matches!(output.code, 0 | 125), "{output:?}");
    // In the volume itself the link is one of the container's own.
    let words = ["run", "--rm", "--net", "none", "-v", "data:/v", "busybox", "touch", "/v/sub/new"];
    rocker.ok(&words);
    assert_eq!(crate::harness::names(Path::new("/etc")).collect::<Vec<_>>(), hosts);
    assert_eq!(crate::harness::names(&shared).collect::<Vec<_>>(), ["mark"]);
    // A place of the host's that is a link is followed, as with docker: the caller named it.
    let named = rocker.files().join("named");
    symlink(&shared, &named).unwrap();
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o755)).unwrap();
    let shown = format!("{}:/x", named.display());
    assert_eq!(rocker.ok(&["run", "--rm", "-v", &shown, "busybox", "ls", "/x"]), "mark\n");
}

#[test]
fn a_volume_over_dev_changes_nothing_of_what_is_hidden() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    rocker.ok(&["run", "--name", "made", "--net", "none", "busybox", "ln", "-s", "/dev", "/data"]);
    rocker.ok(&["commit", "made", "evil"]);
    let fill = "ln -s /proc/sys/kernel/core_pattern /v/null && ln -s /proc/sys/kernel /v/fs";
    rocker.ok(&["run", "--rm", "--net", "none", "-v", "bad:/v", "busybox", "sh", "-c", fill]);
    let hidden = "for file in interrupts kcore keys latency_stats sched_debug timer_list timer_stats; \
                  do [ ! -e /proc/$file ] || stat -c '%n %F %t:%T' /proc/$file; done; \
                  ls -A /sys/firmware";
    let expected = rocker.ok(&["run", "--rm", "busybox", "sh", "-c", hidden]);
    assert!(expected.lines().count() > 2, "{expected}");
    assert!(expected.lines().all(|line| line.ends_with(" character special file 1:3")));
    for over in [
        &["--tmpfs", "/dev"][..],
        &["-v", "bad:/data"],
        &["-v", "bad:/dev"],
        &["--tmpfs", "/dev", "-v", "bad:/sys/fs", "--tmpfs", "/sys/kernel"],
    ] {
        // With its input it needs no /dev/null of the container's.
        let words = [&["run", "--rm", "-i"], over, &["evil", "sh", "-c", hidden]].concat();
        let output = rocker.run_with_input(&words, b"");
        assert_eq!((output.code, output.stdout.as_str()), (0, &*expected), "{over:?}: {output:?}");
    }
}

/// The same with containers that have users of their own, where that is another way.
mod own_users {
    #[test]
    fn a_first_process_that_looks_at_all_that_comes_reaches_nothing_of_the_hosts() {
        super::a_first_process_that_looks_at_all_that_comes_reaches_nothing_of_the_hosts();
    }
    #[test]
    fn no_container_changes_a_file_of_the_image_that_another_one_sees() {
        super::no_container_changes_a_file_of_the_image_that_another_one_sees();
    }
    #[test]
    fn a_group_that_may_not_read_a_file_may_not_and_the_callers_groups_stay_outside() {
        super::a_group_that_may_not_read_a_file_may_not_and_the_callers_groups_stay_outside();
    }
}
