//! What a caller hands on to its children and must not reach a container: signals that it ignores, its
//! limits, its mask of file modes.

use crate::harness::{Output, PATIENCE, Rocker, finish};
use std::process::Command;

/// Runs `rocker ARGS` from a caller that did something to itself before.
fn run_from(rocker: &Rocker, args: &[&str], act: fn() -> i32) -> Output {
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
