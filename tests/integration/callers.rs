//! What a caller hands on to its children and must not reach a container: signals that it ignores, its
//! limits, its mask of file modes.

use crate::harness::{Output, PATIENCE, Rocker, Running, finish, wait_until};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// What a caller does to itself; 0 when that went well.
type Act = fn() -> i32;

/// Runs `rocker ARGS` from a caller that did something to itself before.
fn run_from(rocker: &Rocker, args: &[&str], act: Act) -> Output {
    use std::os::unix::process::CommandExt;
    let mut command: Command = rocker.command(args);
    // SAFETY: what the tests do there is one system call each.
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(move || match act() {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    finish(command, b"", PATIENCE)
}

fn ignore_children() -> i32 {
    // SAFETY: no handler is installed.
    #[allow(unsafe_code)]
    let before = unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    i32::from(before == libc::SIG_ERR)
}

#[test]
fn a_caller_that_ignores_the_end_of_its_children_gets_every_exit_code() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let script = ["busybox", "sh", "-c", "exit 4"];
    for options in [&["run", "--rm"][..], &["run", "--rm", "--init"]] {
        let output = run_from(&rocker, &[options, &script].concat(), ignore_children);
        assert_eq!((output.code, output.stderr.as_str()), (4, ""), "{options:?}");
    }
    let words = [&["run", "-d", "--name", "web"], &script[..]].concat();
    assert_eq!(run_from(&rocker, &words, ignore_children).code, 0);
    assert_eq!(rocker.ok(&["wait", "web"]), "4\n");
    assert_eq!(rocker.inspect("web", "{{.State.ExitCode}}"), "4");
    rocker.sleeper("sleeper", &[]);
    let words = ["exec", "sleeper", "sh", "-c", "exit 5"];
    assert_eq!(run_from(&rocker, &words, ignore_children).code, 5);
}

#[test]
fn a_caller_that_ignores_the_end_of_its_children_imports_images() {
    let Some(rocker) = Rocker::as_root() else { return };
    let archive = crate::harness::base_image();
    let words = ["import", "-q", archive.to_str().unwrap(), "busybox"];
    let output = run_from(&rocker, &words, ignore_children);
    assert_eq!((output.code, output.stderr.as_str()), (0, ""));
}

/// Limits a resource of this process, softly: not everybody could take a hard limit away again.
fn limit(resource: i32, most: u64) -> i32 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure lives for both calls.
    #[allow(unsafe_code)]
    unsafe {
        libc::getrlimit(resource as _, &raw mut limit);
        limit.rlim_cur = most;
        libc::setrlimit(resource as _, &raw const limit)
    }
}

/// As a shell does it for what it starts.
fn limit_much() -> i32 {
    let limits = [
        (libc::RLIMIT_FSIZE, 2048),
        (libc::RLIMIT_CPU, 50),
        (libc::RLIMIT_AS, 1 << 30),
        (libc::RLIMIT_NPROC, 77),
    ];
    // SAFETY: the path is a constant C string, and the text has the length that is given.
    #[allow(unsafe_code)]
    let written = unsafe {
        match libc::open(c"/proc/self/oom_score_adj".as_ptr(), libc::O_WRONLY) {
            // Nothing is mounted on a bare host.
            -1 => 3,
            file => libc::write(file, c"500".as_ptr().cast(), 3),
        }
    };
    limits.into_iter().map(|(resource, most)| limit(resource as i32, most)).sum::<i32>()
        + i32::from(written != 3)
}

#[test]
fn limits_of_the_caller_are_not_those_of_the_container() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let script = "cat /proc/self/oom_score_adj; cat /proc/self/limits; head -c 100000 /dev/zero";
    let words = ["run", "-d", "--name", "web", "--net", "none", "busybox", "sh", "-c", script];
    assert_eq!(run_from(&rocker, &words, limit_much).code, 0);
    assert_eq!(rocker.ok(&["wait", "web"]), "0\n");
    rocker.sleeper("sleeper", &["--net", "none"]);
    let exec = ["exec", "sleeper", "sh", "-c", script];
    let outputs = [rocker.run(&["logs", "web"]), run_from(&rocker, &exec, limit_much)];
    for (output, which) in outputs.into_iter().zip(["run", "exec"]) {
        assert!(output.stdout.len() > 100_000, "{which}: {} bytes", output.stdout.len());
        assert!(output.stdout.starts_with("0\n"), "{which}: {}", output.stdout);
        for name in ["file size", "cpu time", "address space", "processes"] {
            let line = output.stdout.lines().find(|line| line.starts_with(&format!("Max {name} ")));
            let mut numbers = line.unwrap()[name.len() + 4..].split_whitespace();
            assert_eq!(numbers.next(), numbers.next(), "{which}: {name}");
        }
    }
}

#[test]
fn a_limit_of_files_of_the_caller_is_an_error_and_no_signal() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let words = ["create", "--name", "web", "busybox", "true"];
    let output = run_from(&rocker, &words, || limit(libc::RLIMIT_FSIZE as i32, 0));
    assert_eq!(output.code, 125, "{output:?}");
    assert!(crate::harness::one_line(&output.stderr).contains("EFBIG"), "{output:?}");
    assert_eq!(rocker.ok(&["ps", "-aq"]), "");
}

#[test]
fn a_keeper_without_files_for_more_clients_waits_for_one_to_go() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let words = ["run", "-d", "--name", "web", "--net", "none", "busybox", "sleep", "1000"];
    assert_eq!(run_from(&rocker, &words, || limit(libc::RLIMIT_NOFILE as i32, 40)).code, 0);
    let keeper: u32 = rocker.inspect("web", "{{.Rocker.KeeperPid}}").parse().unwrap();
    let clients: Vec<Running> = (0..45).map(|_| rocker.spawn(&["wait", "web"])).collect();
    let files = || fs::read_dir(format!("/proc/{keeper}/fd")).unwrap().count();
    assert!(wait_until(PATIENCE, || files() > 30), "{} files", files());
    std::thread::sleep(Duration::from_millis(300));
    let ticks = || {
        let stat = fs::read_to_string(format!("/proc/{keeper}/stat")).unwrap();
        let after = stat.rsplit(") ").next().unwrap().split(' ').skip(11).take(2);
        after.map(|number| number.parse::<u64>().unwrap()).sum::<u64>()
    };
    let before = ticks();
    std::thread::sleep(Duration::from_secs(1));
    assert!(ticks() - before < 20, "it does not wait");
    rocker.ok(&["kill", "web"]);
    for client in clients {
        assert_eq!(client.finish().stdout, "137\n");
    }
    assert_eq!(rocker.inspect("web", "{{.State.Status}} {{.State.ExitCode}}"), "exited 137");
}

fn mask(mask: u32) -> i32 {
    // SAFETY: it cannot fail.
    #[allow(unsafe_code)]
    let _ = unsafe { libc::umask(mask) };
    0
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn the_files_of_the_id_and_of_the_process_are_for_others_as_the_mask_says() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let usual: Act = || mask(0o022);
    for (name, act, expected) in [("usual", usual, 0o644), ("private", || mask(0o077), 0o600)] {
        let (cid, pid) = (rocker.files().join(name), rocker.files().join(format!("{name}-pid")));
        let options = ["--cidfile", cid.to_str().unwrap(), "--pidfile", pid.to_str().unwrap()];
        let words = [&["run", "-d", "--rm"], &options[..], &["busybox", "true"]].concat();
        assert_eq!(run_from(&rocker, &words, act).code, 0);
        assert_eq!([mode(&cid), mode(&pid)], [expected, expected], "{name}");
    }
}

#[test]
fn what_was_in_the_place_of_a_pidfile_stays_when_there_is_no_container() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let (file, link) = (rocker.files().join("pid"), rocker.files().join("link"));
    fs::write(&file, "1234\n").unwrap();
    symlink(&file, &link).unwrap();
    let with = |path: &Path, image: &str| {
        rocker.run(&["run", "-d", "--rm", "--pidfile", path.to_str().unwrap(), image, "true"]).code
    };
    for path in [&file, &link] {
        assert_eq!(with(path, "ghost"), 125);
        assert_eq!(fs::read_to_string(&file).unwrap(), "1234\n");
        assert!(link.is_symlink());
    }
    assert_eq!(with(&link, "busybox"), 0);
    assert_ne!(fs::read_to_string(&file).unwrap(), "1234\n");
    let null = rocker.files().join("null");
    rocker.on_host(&["mknod", null.to_str().unwrap(), "c", "1", "3"]);
    assert_eq!(with(&null, "ghost"), 125);
    assert_eq!(with(&null, "busybox"), 0);
    assert!(null.exists());
    let made = rocker.files().join("made");
    assert_eq!(with(&made, "ghost"), 125);
    assert!(!made.exists());
}
