//! What a program in a container may do: system calls, capabilities, limits, devices.

use crate::harness::{Output, PATIENCE, Rocker, finish, is_bare, skip};
use crate::harness_pty::Terminal;
use std::fs;
use std::process::Command;

/// A rocker with busybox, and the option that shows the probe as /probe.
pub fn with_probe() -> Option<(Rocker, String)> {
    let rocker = Rocker::with_busybox()?;
    let probe = rocker.program("probe");
    let volume = format!("{}:/probe:ro", probe.display());
    Some((rocker, volume))
}

/// What the program says in a new container with these options, without its last newline.
#[track_caller]
pub fn inside(rocker: &Rocker, options: &[&str], command: &[&str]) -> String {
    let all = [&["run", "--rm"], options, &["--image", "busybox"], command].concat();
    rocker.ok(&all).trim_end().to_owned()
}

/// One line of /proc/self/status.
#[track_caller]
fn status(rocker: &Rocker, options: &[&str], key: &str) -> String {
    let text = inside(rocker, options, &["grep", &format!("^{key}:"), "/proc/self/status"]);
    text.split_once(':').unwrap().1.trim().to_owned()
}

#[test]
fn the_kernel_refuses_what_the_default_filter_does() {
    let Some((rocker, volume)) = with_probe() else { return };
    let call =
        |words: &[&str]| inside(&rocker, &["-v", &volume], &[&["/probe", "call"], words].concat());
    // keyctl, add_key, bpf, mount, unshare, perf_event_open, io_uring_setup, userfaultfd, kexec_load.
    for number in ["250", "248", "321", "165", "272", "298", "425", "323", "246"] {
        assert_eq!(call(&[number]), "EPERM", "call {number}");
    }
    // clone3, and what no list knows: a C library must find that they are not there.
    for number in ["435", "467", "500", "400", "0x40000000"] {
        assert_eq!(call(&[number]), "ENOSYS", "call {number}");
    }
    // A new user namespace; AF_ALG, AF_VSOCK; a personality that turns randomness off.
    for words in [&["56", "0x10000000"][..], &["41", "38", "5"], &["41", "40", "1"]] {
        assert_eq!(call(words), "EPERM", "{words:?}");
    }
    assert_eq!(call(&["135", "0x40000"]), "EPERM");
    assert_eq!(call(&["41", "2", "1"]), "ok");
}

#[test]
fn the_filter_holds_for_programs_of_exec_and_of_users_too() {
    let Some((rocker, volume)) = with_probe() else { return };
    rocker.sleeper("web", &["-v", &volume]);
    for user in ["0", "1000"] {
        let said = rocker.ok(&["exec", "-u", user, "web", "/probe", "call", "250"]);
        assert_eq!(said, "EPERM\n", "user {user}");
        let seccomp =
            rocker.ok(&["exec", "-u", user, "web", "grep", "Seccomp:", "/proc/self/status"]);
        assert_eq!(seccomp, "Seccomp:\t2\n", "user {user}");
    }
    rocker.ok(&["rm", "-f", "web"]);
}

#[test]
fn nobody_types_into_the_terminal_of_the_caller() {
    let Some((rocker, volume)) = with_probe() else { return };
    // Without -t the caller's terminal itself is standard input, at most as a copy; with -t a new one.
    for options in [&["--rm", "-i"][..], &["--rm", "-t"]] {
        let words = [&["run"], options, &["-v", &volume, "busybox", "/probe", "type"]].concat();
        let mut terminal = Terminal::spawn(&rocker, &words, 24, 80);
        terminal.expect("EPERM");
        assert_eq!(terminal.finish(), 0);
    }
    for request in ["0x541c", "0x100005412"] {
        let said = inside(&rocker, &["-v", &volume], &["/probe", "type", request]);
        assert_eq!(said, "EPERM", "{request}");
    }
}

#[test]
fn seccomp_can_be_taken_away_and_replaced() {
    let Some((rocker, volume)) = with_probe() else { return };
    let unconfined = ["-v", &volume, "--security-opt", "seccomp=unconfined"];
    assert_eq!(status(&rocker, &unconfined, "Seccomp"), "0");
    let profile = rocker.files().join("profile.json");
    let text = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 2},
        {"names": ["socket"], "action": "SCMP_ACT_ERRNO",
         "args": [{"index": 0, "value": 2, "op": "SCMP_CMP_EQ"}]}]}"#;
    fs::write(&profile, text).unwrap();
    let option = format!("seccomp={}", profile.display());
    rocker.sleeper("own", &["-v", &volume, "--security-opt", &option]);
    let probe = |words: &[&str]| {
        let words = [&["exec", "own", "/probe", "call"], words].concat();
        rocker.ok(&words).trim_end().to_owned()
    };
    assert_eq!(probe(&["83", "0"]), "ENOENT");
    assert_eq!((probe(&["41", "2", "1"]), probe(&["41", "1", "1"])), ("EPERM".into(), "ok".into()));
    // Stored with the container: the file is not needed any more.
    fs::remove_file(&profile).unwrap();
    rocker.ok(&["stop", "-t", "0", "own"]);
    rocker.ok(&["start", "own"]);
    assert_eq!(probe(&["83", "0"]), "ENOENT");
    rocker.ok(&["rm", "-f", "own"]);
    let error = rocker.refused(&["run", "--security-opt", &option, "busybox", "true"], 125);
    assert!(error.contains("profile.json") && error.contains("ENOENT"), "{error}");
    fs::write(&profile, "{}").unwrap();
    let error = rocker.refused(&["run", "--security-opt", &option, "busybox", "true"], 125);
    assert!(error.contains("profile.json") && error.contains("defaultAction"), "{error}");
}

#[test]
fn capabilities_are_podmans_eleven_and_nothing_is_inheritable() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let eleven = "00000000800405fb";
    for (options, bounding, effective) in [
        (&[][..], eleven, eleven),
        (&["--user", "1000"], eleven, "0000000000000000"),
        (&["--cap-drop", "ALL"], "0000000000000000", "0000000000000000"),
        (&["--cap-drop", "all", "--cap-add", "net_admin"], "0000000000001000", "0000000000001000"),
        (&["--cap-add", "CAP_NET_ADMIN"], "00000000800415fb", "00000000800415fb"),
        (&["--cap-drop", "CHOWN,CAP_KILL"], "00000000800405da", "00000000800405da"),
    ] {
        let text = inside(&rocker, options, &["grep", "^Cap", "/proc/self/status"]);
        let sets: Vec<&str> = text.lines().map(|line| line.split_once(":\t").unwrap().1).collect();
        let none = "0000000000000000";
        // Inheritable, permitted, effective, bounding, ambient.
        assert_eq!(sets, [none, effective, effective, bounding, none], "{options:?}");
    }
    rocker.sleeper("web", &["--cap-add", "NET_ADMIN"]);
    let text = rocker.ok(&["exec", "web", "grep", "-E", "^Cap(Inh|Bnd|Amb)", "/proc/self/status"]);
    let expected =
        "CapInh:\t0000000000000000\nCapBnd:\t00000000800415fb\nCapAmb:\t0000000000000000\n";
    assert_eq!(text, expected);
    assert_eq!(rocker.inspect("web", "{{.HostConfig.CapAdd}}"), "[CAP_NET_ADMIN]");
    rocker.ok(&["rm", "-f", "web"]);
    let error = rocker.refused(&["run", "--cap-add", "ROOT", "busybox", "true"], 125);
    assert!(error.contains("ROOT"), "{error}");
}

#[test]
fn a_user_other_than_root_gains_nothing_by_executing_a_program() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    assert_eq!(status(&rocker, &[], "NoNewPrivs"), "0");
    assert_eq!(status(&rocker, &["--user", "1000"], "NoNewPrivs"), "1");
    let options = ["--user", "1000", "--security-opt", "no-new-privileges=false"];
    assert_eq!(status(&rocker, &options, "NoNewPrivs"), "0");
    // The filter is there all the same, and the capability that loading it took is not.
    assert_eq!(status(&rocker, &options, "Seccomp"), "2");
    assert_eq!(status(&rocker, &options, "CapPrm"), "0000000000000000");
    assert_eq!(status(&rocker, &["--security-opt", "no-new-privileges"], "NoNewPrivs"), "1");
}

#[test]
fn a_setuid_program_makes_root_of_a_user_only_where_that_was_allowed() {
    let Some((rocker, volume)) = with_probe() else { return };
    let make = ["sh", "-c", "cp /probe /su-id && chmod 4755 /su-id"];
    rocker.ok(&[&["run", "--name", "maker", "-v", &volume, "busybox"][..], &make].concat());
    rocker.ok(&["commit", "maker", "setuid"]);
    let id = |options: &[&str]| {
        let words = [&["run", "--rm"], options, &["setuid", "/su-id", "user"]].concat();
        rocker.ok(&words).trim_end().to_owned()
    };
    assert_eq!(id(&["--user", "1000"]), "1000");
    assert_eq!(id(&["--user", "1000", "--security-opt", "no-new-privileges=false"]), "0");
    rocker.ok(&["rm", "maker"]);
}

#[test]
fn the_first_process_of_ours_keeps_no_right_that_the_program_does_not_have() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let options = ["--init", "--cap-drop", "ALL"];
    let text = inside(&rocker, &options, &["grep", "^CapEff", "/proc/1/status"]);
    assert_eq!(text, "CapEff:\t0000000000000000");
}

#[test]
fn where_others_may_trace_a_program_of_exec_is_like_any_other() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    rocker.sleeper("traced", &["--net", "none", "--cap-add", "SYS_PTRACE"]);
    let exec = |words: &[&str]| rocker.run(&[&["exec", "traced"], words].concat());
    let status = "grep -E '^(CapPrm|Seccomp):' /proc/self/status; grep -E '^(CapPrm|Seccomp):' /proc/1/status";
    let said = exec(&["sh", "-c", status]).stdout;
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[..2], lines[2..], "the rights are those of the first process");
    // Three files are open, besides the directory that the shell lists, and its parent is outside.
    let open = exec(&["sh", "-c", "echo /proc/$$/fd/*; echo $PPID; exit 7"]);
    let shown = open.stdout.replace(|c: char| c.is_ascii_digit(), "");
    let four = ["/proc//fd/"; 4].join(" ");
    assert_eq!((open.code, shown), (7, four + "\n\n"), "{open:?}");
    assert_eq!(exec(&["sh", "-c", "kill -9 $$"]).code, 137);
    assert_eq!(exec(&["/missing"]).code, 127);
    assert_eq!(rocker.ok(&["exec", "-u", "1000", "traced", "id", "-u"]), "1000\n");
    let input = finish(rocker.command(&["exec", "-i", "traced", "cat"]), b"typed", PATIENCE);
    assert_eq!((input.code, input.stdout.as_str()), (0, "typed"));
    let mut terminal = Terminal::spawn(&rocker, &["exec", "-it", "traced", "tty"], 24, 80);
    // Who reads the terminal may be behind its end.
    terminal.expect("/dev/pts/");
    assert_eq!(terminal.finish(), 0);
    rocker.ok(&["exec", "-d", "traced", "touch", "/detached"]);
    let came = || exec(&["test", "-e", "/detached"]).code == 0;
    assert!(crate::harness::wait_until(PATIENCE, came));

    // A filter that lets nobody make a process is in force before the process inside is made.
    let profile = rocker.files().join("no-clone.json");
    let text = r#"{"defaultAction":"SCMP_ACT_ALLOW",
        "syscalls":[{"names":["clone"],"action":"SCMP_ACT_ERRNO"}]}"#;
    fs::write(&profile, text).unwrap();
    let option = format!("seccomp={}", profile.display());
    let options = ["--net", "none", "--cap-add", "SYS_PTRACE", "--security-opt", &option];
    rocker.sleeper("alone", &options);
    let line = rocker.refused(&["exec", "alone", "true"], 125);
    assert!(line.contains("a seccomp profile has to allow it"), "{line}");
}

#[test]
fn privileged_means_everything_and_exec_can_have_it_alone() {
    let Some((rocker, volume)) = with_probe() else { return };
    if is_bare() {
        return skip("the host has no devices");
    }
    let options = ["--privileged", "-v", &volume];
    assert_eq!(status(&rocker, &options, "Seccomp"), "0");
    assert_eq!(status(&rocker, &options, "CapEff"), status(&rocker, &options, "CapBnd"));
    assert_eq!(
        inside(&rocker, &options, &["/probe", "open", "/proc/sys/kernel/core_pattern", "1"]),
        "ok"
    );
    assert_eq!(inside(&rocker, &options, &["/probe", "node", "/dev/kmsg"]), "c 1:11");
    rocker.sleeper("web", &["-v", &volume]);
    let words =
        |options: &[&'static str]| [&["exec"], options, &["web", "/probe", "call", "165"]].concat();
    assert_eq!(rocker.ok(&words(&[])), "EPERM\n");
    // Past filter and capabilities: the kernel looks at what it was given.
    assert_ne!(rocker.ok(&words(&["--privileged"])), "EPERM\n");
    rocker.ok(&["rm", "-f", "web"]);
}

#[test]
fn a_profile_that_refuses_everything_ends_the_container_and_not_the_engine() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let profile = rocker.files().join("profile.json");
    let option = format!("seccomp={}", profile.display());
    let all_but_exit = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["exit_group", "exit"], "action": "SCMP_ACT_ERRNO"}]}"#;
    for (text, word) in [
        (r#"{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": []}"#, "true"),
        (all_but_exit, "nosuch"),
    ] {
        fs::write(&profile, text).unwrap();
        for options in [&["--rm"][..], &["--name", "web"]] {
            let words = ["run", "--net", "none", "--security-opt", &option];
            let output = rocker.run(&[&words[..], options, &["busybox", word]].concat());
            assert_ne!(output.code, 0, "{output:?}");
        }
        // Gone already where its start failed.
        rocker.run(&["rm", "-f", "web"]);
    }
    assert_eq!(rocker.ok(&["ps", "-aq"]), "");
}

#[test]
fn resource_limits_shared_memory_and_kernel_values_are_as_asked() {
    let Some((rocker, volume)) = with_probe() else { return };
    let options = [
        "--ulimit",
        "nofile=100:200",
        "--ulimit",
        "core=-1",
        "--shm-size",
        "1m",
        "--sysctl",
        "kernel.shmmax=4711",
        "--sysctl",
        "net.ipv4.ip_forward=1",
        "--oom-score-adj",
        "321",
    ];
    let script = "ulimit -Sn; ulimit -Hn; ulimit -c; cat /proc/sys/kernel/shmmax \
        /proc/sys/net/ipv4/ip_forward /proc/self/oom_score_adj; df -k /dev/shm | tail -n1";
    let text = inside(&rocker, &options, &["sh", "-c", script]);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[..6], ["100", "200", "unlimited", "4711", "1", "321"], "{text}");
    assert_eq!(lines[6].split_whitespace().nth(1), Some("1024"), "{text}");
    let text = inside(&rocker, &["--shm-size", "0"], &["df", "-k", "/dev/shm"]);
    assert!(text.contains(" 65536 "), "{text}");
    rocker.sleeper("web", &options);
    let text = rocker.ok(&["exec", "web", "sh", "-c", "ulimit -Sn; cat /proc/self/oom_score_adj"]);
    assert_eq!(text, "100\n321\n");
    rocker.ok(&["rm", "-f", "web"]);
    // Not even the standard ones could be open.
    for few in ["nofile=2", "nofile=0:100"] {
        let error = rocker.refused(&["run", "--ulimit", few, "busybox", "true"], 125);
        assert!(error.contains("at least 3 open files"), "{error}");
    }
    let least = ["--ulimit", "nofile=3", "-v", &volume];
    assert_eq!(inside(&rocker, &least, &["/probe", "fds"]), "0 1 2");
    for (sysctl, net) in [("kernel.core_pattern=x", "none"), ("net.ipv4.ip_forward=1", "host")] {
        let words = ["run", "--net", net, "--sysctl", sysctl, "busybox", "true"];
        let error = rocker.refused(&words, 125);
        assert!(error.contains(sysctl.split('=').next().unwrap()), "{error}");
    }
}

#[test]
fn a_device_is_there_with_its_numbers_and_others_are_not() {
    let Some((rocker, volume)) = with_probe() else { return };
    if is_bare() {
        return skip("the host has no devices");
    }
    let options = [
        "-v",
        &volume,
        "--device",
        "/dev/kmsg:/dev/log/kernel",
        "--device",
        "/dev/zero:/dev/null2",
    ];
    assert_eq!(inside(&rocker, &options, &["/probe", "node", "/dev/log/kernel"]), "c 1:11");
    assert_eq!(inside(&rocker, &options, &["/probe", "node", "/dev/null2"]), "c 1:5");
    assert_eq!(inside(&rocker, &["-v", &volume], &["/probe", "node", "/dev/kmsg"]), "ENOENT");
    for device in ["/etc/passwd", "/no/such/device"] {
        let error = rocker
            .refused(&["run", "--device", &format!("{device}:/dev/x"), "busybox", "true"], 125);
        assert!(error.contains(device), "{error}");
    }
}

/// What the program says in a container that was started where nothing is mounted on `hidden`.
fn inside_without(rocker: &Rocker, hidden: &str, words: &[&str]) -> Output {
    let script = format!("umount -l {hidden} 2>/dev/null; exec \"$@\"");
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &script, "sh"]).arg(rocker.binary()).args(words);
    rocker.prepare(&mut command);
    finish(command, b"", PATIENCE)
}

const MAKE_AND_OPEN: &str = "/probe mknod /k 1 11; /probe open /k 1; /probe mknod /n 1 3; \
    /probe open /n 2; /probe mknod /b 7 0 b; /probe open /b; : > /dev/ptmx && echo terminal";

#[test]
fn with_the_right_to_make_nodes_only_the_usual_devices_can_be_opened() {
    let Some((rocker, volume)) = with_probe() else { return };
    let words = ["run", "--rm", "--cap-add", "MKNOD", "-v", &volume, "busybox", "sh", "-c"];
    let words = [&words[..], &[MAKE_AND_OPEN]].concat();
    let expected = "ok\nEPERM\nok\nok\nok\nEPERM\nterminal\n";
    // By the controller of v1 where there is one, and without it by a program on cgroup2.
    // Where none is mounted it is one that is mounted nowhere.
    for hidden in ["/no/such/mount", "/sys/fs/cgroup/devices", "/sys/fs/cgroup"] {
        let output = inside_without(&rocker, hidden, &words);
        assert_eq!((output.code, output.stdout.as_str()), (0, expected), "{hidden}: {output:?}");
    }
}

#[test]
fn without_the_right_to_make_nodes_none_can_be_opened_that_is_not_in_dev() {
    let Some((rocker, volume)) = with_probe() else { return };
    let script = "/probe mknod /k 1 11; /probe open /k 1";
    let maker = ["run", "--name", "maker", "--privileged", "-v", &volume, "busybox", "sh", "-c"];
    assert_eq!(rocker.ok(&[&maker[..], &[script]].concat()), "ok\nok\n");
    rocker.ok(&["commit", "maker", "nodes"]);
    for layer in [&[][..], &["--read-only"]] {
        let words = [&["run", "--rm"], layer, &["-v", &volume, "nodes", "/probe"]].concat();
        assert_eq!(rocker.ok(&[&words[..], &["open", "/k", "1"]].concat()), "EACCES\n");
        assert_eq!(rocker.ok(&[&words[..], &["mknod", "/dev/x", "1", "3"]].concat()), "EPERM\n");
    }
    rocker.ok(&["rm", "maker"]);
}

#[test]
fn a_device_for_reading_cannot_be_written() {
    let Some((rocker, volume)) = with_probe() else { return };
    if is_bare() {
        return skip("the host has no devices");
    }
    let options = ["--device", "/dev/zero:/dev/z:r", "-v", &volume];
    let flags = |flags| inside(&rocker, &options, &["/probe", "open", "/dev/z", flags]);
    // The rule is that of the device, which /dev/zero is too: a wider one already allows both.
    assert_eq!((flags("0"), flags("1")), ("ok".to_owned(), "ok".to_owned()));
    let options = ["--device", "/dev/kmsg:/dev/k:w", "--cap-add", "SYSLOG", "-v", &volume];
    let flags = |flags| inside(&rocker, &options, &["/probe", "open", "/dev/k", flags]);
    assert_eq!((flags("0"), flags("1")), ("EPERM".to_owned(), "ok".to_owned()));
}

#[test]
fn with_the_right_to_mount_what_lies_below_the_root_stays_covered() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let attack = rocker.program("attack");
    let volume = format!("{}:/attack:ro", attack.display());
    for right in [&["--cap-add", "SYS_ADMIN"][..], &["--privileged"]] {
        let words = [&["run", "--rm", "-v", &volume], right, &["busybox", "/attack"]].concat();
        let said = rocker.ok(&words);
        assert!(said.starts_with("walk: stays\numount: Invalid argument\n"), "{right:?}: {said}");
        let script = "mount -t tmpfs none /mnt && umount /mnt && echo works";
        let words = [&["run", "--rm"], right, &["busybox", "sh", "-c", script]].concat();
        assert_eq!(rocker.ok(&words), "works\n", "{right:?}");
        let words = [&["run", "--rm"], right, &["busybox", "umount", "/proc"]].concat();
        assert_ne!(rocker.run(&words).code, 0, "{right:?}");
    }
}
