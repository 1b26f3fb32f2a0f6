//! Clients that are slow to read, programs that are: what comes late comes whole, and nobody else waits.

use crate::harness::{PATIENCE, Rocker, names, wait_until};
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
    let connected = || names(&files).any(|name| leads_to_socket(name));
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
