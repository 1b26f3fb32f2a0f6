//! Clients that are slow to read, programs that are: what comes late comes whole, and nobody else waits.

use crate::harness::{PATIENCE, Rocker, kill, names, wait_until};
use std::fs::File;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Starts a container that writes so much that nobody who does not read gets it all, and an `attach`
/// that does not read.
fn stuck(rocker: &Rocker, options: &[&str], script: &str) -> crate::harness::Running {
    let words = ["--name", "web", "--net", "none", "busybox", "sh", "-c", script];
    rocker.ok(&[&["run", "-d"], options, &words].concat());
    let client = rocker.spawn(&["attach", "--no-stdin", "web"]);
    let files = PathBuf::from(format!("/proc/{}/fd", client.0.id()));
    let leads_to_socket = |name: String| {
        std::fs::read_link(files.join(name))
            .is_ok_and(|file| file.to_string_lossy().starts_with("socket:"))
    };
    let connected = || names(&files).any(leads_to_socket);
    assert!(wait_until(PATIENCE, connected));
    rocker.ok(&["exec", "web", "touch", "/go"]);
    client
}

/// Waits until the log of the container grows no more, and gives its length.
fn settled(rocker: &Rocker) -> u64 {
    let path = rocker.run_root().join("web/container.log");
    let (mut last, mut same) = (0, 0);
    let settled = wait_until(PATIENCE, || {
        let now = std::fs::metadata(&path).map_or(0, |log| log.len());
        same = if now > 0 && now == last { same + 1 } else { 0 };
        last = now;
        same > 40
    });
    assert!(settled, "{last} bytes");
    last
}

const FLOOD: &str = "until [ -e /go ]; do sleep 0.05; done; exec yes";

#[test]
fn a_client_that_reads_long_after_the_end_gets_every_byte_and_the_code() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    // As much as fits between program and reader: the program ends, and not all was taken.
    let script = "head -c 320000 /dev/zero; exit 7";
    let clients: Vec<_> = [&["--rm"][..], &[]]
        .into_iter()
        .map(|options| {
            let words = ["--net", "none", "busybox", "sh", "-c", script];
            rocker.spawn(&[&["run"], options, &words].concat())
        })
        .collect();
    std::thread::sleep(Duration::from_secs(11));
    for client in clients {
        let output = client.finish();
        assert_eq!((output.code, output.stdout.len()), (7, 320_000), "{}", output.stderr);
    }
}

#[test]
fn a_client_that_does_not_read_holds_up_neither_stop_nor_the_next_start() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let client = stuck(&rocker, &[], FLOOD);
    settled(&rocker);
    let begin = Instant::now();
    rocker.ok(&["kill", "web"]);
    rocker.ok(&["wait", "web"]);
    rocker.ok(&["start", "web"]);
    rocker.ok(&["stop", "-t", "1", "web"]);
    rocker.ok(&["rm", "web"]);
    let took = begin.elapsed();
    assert!(took < crate::harness::slowed(Duration::from_secs(6)), "{took:?}");
    let output = client.finish();
    assert_eq!(output.code, 137);
    assert!(output.stdout.starts_with("y\ny\n"));
}

#[test]
fn a_client_that_does_not_read_holds_up_no_restart() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let script = "[ -e /go ] && sleep 1000; until [ -e /go ]; do sleep 0.05; done; \
                  timeout -s KILL 1 yes; exit 1";
    let _client = stuck(&rocker, &["--restart", "always"], script);
    let again = || rocker.inspect("web", "{{.RestartCount}} {{.State.Status}}") == "1 running";
    assert!(wait_until(Duration::from_secs(6), again), "{}", rocker.ok(&["inspect", "web"]));
}

/// Waits until a container has said this.
#[track_caller]
fn said(rocker: &Rocker, name: &str, text: &str) {
    let said = || rocker.run(&["logs", name]).stdout.contains(text);
    assert!(wait_until(PATIENCE, said), "{:?}", rocker.run(&["logs", name]));
}

#[test]
fn a_program_that_does_not_read_gets_signals_and_others_see_its_output() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let script = "trap 'echo got it; exit 5' TERM; while :; do echo tick; sleep 0.1; done";
    let words = ["run", "-i", "--name", "web", "--net", "none", "busybox", "sh", "-c", script];
    let mut command = rocker.command(&words);
    command.stdin(File::open("/dev/zero").unwrap());
    let client = crate::harness::Running(command.spawn().unwrap());
    said(&rocker, "web", "tick\ntick\ntick");
    let visitor = rocker.spawn(&["attach", "--no-stdin", "web"]);
    std::thread::sleep(Duration::from_millis(500));
    kill(client.0.id(), libc::SIGTERM);
    let output = client.finish();
    assert_eq!((output.code, output.stdout.ends_with("got it\n")), (5, true), "{output:?}");
    let output = visitor.finish();
    assert!(output.stdout.contains("tick\n"), "{output:?}");
}

#[test]
fn not_a_byte_of_input_is_lost_to_signals() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let path = rocker.files().join("input");
    let bytes: Vec<u8> =
        (0..3_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    std::fs::write(&path, bytes).unwrap();
    let sum = rocker.on_host(&["md5sum", path.to_str().unwrap()]);
    let script = "trap '' USR1; echo ready; sleep 0.5; md5sum";
    let words = ["run", "-i", "--name", "web", "--net", "none", "busybox", "sh", "-c", script];
    let mut command = rocker.command(&words);
    command.stdin(File::open(&path).unwrap());
    let client = crate::harness::Running(command.spawn().unwrap());
    said(&rocker, "web", "ready");
    for _ in 0..300 {
        kill(client.0.id(), libc::SIGUSR1);
        std::thread::sleep(Duration::from_millis(2));
    }
    let output = client.finish();
    assert_eq!(output.code, 0, "{output:?}");
    assert_eq!(output.stdout.split_whitespace().nth(1), sum.split_whitespace().next());
}

/// Floods its output, and ends with 6 when it is told to.
const TOLD: &str = "yes & trap 'kill $!; exit 6' TERM; wait";

#[test]
fn a_client_whose_output_is_not_read_forwards_signals() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let words = ["run", "--name", "web", "--net", "none", "busybox", "sh", "-c", TOLD];
    for again in [false, true] {
        let mut client = rocker.spawn(&words);
        settled(&rocker);
        kill(client.0.id(), libc::SIGTERM);
        let ended = || rocker.inspect("web", "{{.State.Status}} {{.State.ExitCode}}") == "exited 6";
        assert!(wait_until(PATIENCE, ended), "{}", rocker.ok(&["ps"]));
        if again {
            // Nobody is left to forward it to, from when the client has heard of that.
            assert!(wait_until(PATIENCE, || {
                kill(client.0.id(), libc::SIGTERM);
                client.0.try_wait().unwrap().is_some()
            }));
        }
        let output = client.finish();
        assert_eq!(output.code, if again { 143 } else { 6 }, "{}", output.stderr);
        rocker.ok(&["rm", "web"]);
    }
}

#[test]
fn an_exec_whose_output_is_not_read_forwards_signals() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    rocker.sleeper("web", &["--net", "none"]);
    let script = TOLD.replace("wait", "touch /ready; wait").replace("exit", "touch /told; exit");
    let client = rocker.spawn(&["exec", "web", "sh", "-c", &script]);
    let there = |file: &str| rocker.run(&["exec", "web", "ls", file]).code == 0;
    assert!(wait_until(PATIENCE, || there("/ready")));
    std::thread::sleep(Duration::from_millis(300));
    kill(client.0.id(), libc::SIGTERM);
    assert!(wait_until(Duration::from_secs(10), || there("/told")));
    assert_eq!(client.finish().code, 6);
}

#[test]
fn the_end_of_input_ends_a_terminal_within_a_line_too() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    for input in ["abc", "abc\n"] {
        let words = ["run", "--rm", "-t", "--net", "none", "busybox", "cat"];
        let output = rocker.run_with_input(&words, input.as_bytes());
        assert_eq!(output.code, 0, "{output:?}");
        assert!(output.stdout.contains("abc"), "{output:?}");
    }
}
