//! Restart policies: what is started again, when, how often, and what ends it.

use crate::harness::{
    PATIENCE, Rocker, finish, has_overlay, has_program, skip, slowed, wait_until,
};
use std::process::Command;
use std::time::{Duration, Instant};

/// Runs a shell script in a new container with a policy.
fn run(rocker: &Rocker, name: &str, policy: &str, script: &str) {
    let options = ["run", "-d", "--name", name, "--restart", policy, "--image", "busybox"];
    rocker.ok(&[&options[..], &["sh", "-c", script]].concat());
}

fn status(rocker: &Rocker, name: &str) -> String {
    rocker.inspect(name, "{{.State.Status}}")
}

fn count(rocker: &Rocker, name: &str) -> u32 {
    rocker.inspect(name, "{{.RestartCount}}").parse().unwrap()
}

/// Waits until the container has been started again that often.
#[track_caller]
fn restarted(rocker: &Rocker, name: &str, times: u32) {
    assert!(wait_until(PATIENCE, || count(rocker, name) >= times), "{}", rocker.ok(&["ps"]));
}

/// Waits until the container waits for its next start, with pauses long enough to look at.
#[track_caller]
fn waits(rocker: &Rocker, name: &str) {
    // Each pause is twice the one before: a slow machine needs a long one.
    let is_slow = slowed(Duration::from_secs(1)) > Duration::from_secs(1);
    restarted(rocker, name, if is_slow { 6 } else { 4 });
    let seen = wait_until(PATIENCE, || status(rocker, name) == "restarting");
    assert!(seen, "{}", rocker.ok(&["ps"]));
}

#[test]
fn on_failure_gives_up_after_its_number_and_a_success_ends_it_at_once() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    run(&rocker, "bad", "on-failure:2", "echo once; exit 3");
    run(&rocker, "good", "on-failure", "echo once; exit 0");
    assert!(
        wait_until(PATIENCE, || status(&rocker, "bad") == "exited" && count(&rocker, "bad") == 2)
    );
    assert_eq!(rocker.ok(&["logs", "bad"]), "once\nonce\nonce\n");
    assert_eq!(rocker.inspect("bad", "{{.State.ExitCode}}"), "3");
    let policy =
        "{{.HostConfig.RestartPolicy.Name}} {{.HostConfig.RestartPolicy.MaximumRetryCount}}";
    assert_eq!(rocker.inspect("bad", policy), "on-failure 2");
    assert!(wait_until(PATIENCE, || status(&rocker, "good") == "exited"));
    assert_eq!((count(&rocker, "good"), rocker.ok(&["logs", "good"])), (0, "once\n".to_string()));
    // Started by hand it has all its tries again.
    rocker.ok(&["start", "bad"]);
    assert!(wait_until(PATIENCE, || rocker.ok(&["logs", "bad"]).lines().count() == 6));
}

#[test]
fn a_container_that_always_runs_comes_back_with_its_files_and_stop_ends_that() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let layers = if has_overlay() { &["overlay", "tmpfs"][..] } else { &["copy"] };
    for layer in layers {
        let options = ["run", "-d", "--name", layer, "--restart", "always", "--layer", layer];
        let script = "echo x >> /root/starts; wc -l < /root/starts; \
            test $(wc -l < /root/starts) -gt 2 && exec sleep 1000";
        rocker.ok(&[&options[..], &["--image", "busybox", "sh", "-c", script]].concat());
        restarted(&rocker, layer, 2);
        assert!(wait_until(PATIENCE, || rocker.ok(&["logs", layer]) == "1\n2\n3\n"));
        assert!(wait_until(PATIENCE, || status(&rocker, layer) == "running"));
        assert_eq!(rocker.ok(&["exec", layer, "cat", "/root/starts"]), "x\nx\nx\n");
        rocker.ok(&["stop", "-t", "0", layer]);
        assert_eq!(status(&rocker, layer), "stopped");
        assert_eq!(rocker.inspect(layer, "{{.Rocker.KeeperPid}}"), "0");
    }
}

#[test]
fn while_it_waits_for_its_next_start_it_is_shown_so_and_can_be_stopped_killed_and_removed() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let before = rocker.census();
    for (act, left) in [("stop", "stopped"), ("kill", "exited")] {
        run(&rocker, act, "unless-stopped", "exit 7");
        waits(&rocker, act);
        let shown = rocker.ok(&["ps", "--filter", "status=restarting", "--format", "{{.Status}}"]);
        assert!(shown.starts_with("Restarting (7) "), "{shown}");
        assert_eq!(rocker.inspect(act, "{{.State.Restarting}} {{.State.Running}}"), "true true");
        let line = rocker.refused(&["exec", act, "true"], 1);
        assert!(line.contains("is not running"), "{line}");
        let line = rocker.refused(&["rm", act], 1);
        assert!(line.contains("cannot remove a running container"), "{line}");
        let start = Instant::now();
        rocker.ok(&[act, act]);
        assert!(start.elapsed() < Duration::from_secs(5));
        assert_eq!(status(&rocker, act), left);
        assert_eq!(rocker.inspect(act, "{{.State.ExitCode}} {{.State.Pid}}"), "7 0");
        rocker.ok(&["rm", act]);
    }
    run(&rocker, "gone", "always", "exit 7");
    waits(&rocker, "gone");
    // Until it ends again.
    let times = count(&rocker, "gone");
    assert_eq!(rocker.ok(&["wait", "gone"]), "7\n");
    assert!(count(&rocker, "gone") > times);
    rocker.ok(&["rm", "-f", "gone"]);
    assert_eq!(rocker.ok(&["ps", "-q"]), "");
    assert_eq!(rocker.left_since(&before), Vec::<String>::new());
}

#[test]
fn what_is_killed_or_removed_while_it_runs_does_not_come_back() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    for name in ["killed", "removed"] {
        rocker.sleeper(name, &["--restart", "always"]);
    }
    rocker.ok(&["kill", "killed"]);
    assert_eq!(rocker.ok(&["wait", "killed"]), "137\n");
    assert!(wait_until(PATIENCE, || status(&rocker, "killed") == "exited"));
    assert_eq!(count(&rocker, "killed"), 0);
    rocker.ok(&["rm", "-f", "removed"]);
    assert_eq!(rocker.ok(&["ps", "--format", "{{.Names}}"]), "killed\n");
    // A signal that is not meant to end it is no such wish.
    let script = "trap 'exit 5' USR1; echo ready; while :; do sleep 0.05; done";
    run(&rocker, "asked", "always", script);
    assert!(wait_until(PATIENCE, || rocker.ok(&["logs", "asked"]) == "ready\n"));
    rocker.ok(&["kill", "-s", "USR1", "asked"]);
    restarted(&rocker, "asked", 1);
}

#[test]
fn an_attached_run_ends_with_the_first_end_and_the_container_goes_on() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let options = ["run", "--name", "web", "--restart", "always", "--image", "busybox"];
    let output = rocker.run(&[&options[..], &["sh", "-c", "echo out; exit 4"]].concat());
    assert_eq!((output.code, output.stdout.as_str()), (4, "out\n"), "{output:?}");
    restarted(&rocker, "web", 1);
}

#[test]
fn the_end_of_the_keeper_is_the_end_of_the_restarts() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    run(&rocker, "web", "always", "exit 7");
    waits(&rocker, "web");
    let keeper: u32 = rocker.inspect("web", "{{.Rocker.KeeperPid}}").parse().unwrap();
    crate::harness::kill(keeper, libc::SIGKILL);
    assert!(wait_until(PATIENCE, || status(&rocker, "web") == "exited"));
    assert_eq!(rocker.inspect("web", "{{.State.ExitCode}}"), "7");
}

#[test]
fn a_container_that_is_about_to_start_again_is_removed_and_not_started() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    if !has_program("strace") {
        return skip("strace is not there");
    }
    let script =
        "echo x >>/n; [ $(wc -l </n) -lt 6 ] && exit 1; trap '' TERM; while :; do sleep 1; done";
    let options = ["run", "-d", "--name", "web", "--restart", "always", "--stop-timeout", "60"];
    rocker.ok(&[&options[..], &["--image", "busybox", "sh", "-c", script]].concat());
    restarted(&rocker, "web", 4);
    assert!(wait_until(PATIENCE, || status(&rocker, "web") == "restarting"));
    // The pause is over before the keeper is told that it was in vain.
    let mut command = Command::new("strace");
    command.args(["-qq", "-o", "/dev/null", "-e", "inject=pidfd_send_signal:delay_enter=6000000"]);
    command.arg(rocker.binary()).args(["rm", "-f", "web"]);
    rocker.prepare(&mut command);
    let output = finish(command, b"", Duration::from_secs(120));
    assert_eq!((output.code, output.stdout.as_str()), (0, "web\n"), "{output:?}");
    assert_eq!(rocker.ok(&["ps", "-aq"]), "");
}

#[test]
fn policies_that_make_no_sense_are_refused() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    for policy in ["never", "always:2", "on-failure:x", "on-failure:-1"] {
        let words = ["run", "--restart", policy, "--image", "busybox", "true"];
        let output = rocker.run(&words);
        assert_eq!(output.code, 125, "{policy}: {output:?}");
        assert!(output.stderr.starts_with("rocker: run: invalid value "), "{output:?}");
    }
    let words = ["run", "--rm", "--restart", "always", "--image", "busybox", "true"];
    let line = rocker.refused(&words, 125);
    assert!(line.contains("cannot specify both --restart and --rm"), "{line}");
    rocker.ok(&["run", "--rm", "--restart", "no", "--image", "busybox", "true"]);
}

#[test]
fn a_restart_that_fails_is_recorded_as_a_failure() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let volume = rocker.files().join("volume");
    std::fs::create_dir(&volume).unwrap();
    let bind = format!("{}:/data:ro", volume.display());
    let script = "while [ -e /data/stay ]; do usleep 10000; done; exit 3";
    std::fs::write(volume.join("stay"), "").unwrap();
    let options = ["run", "-d", "--name", "web", "--net", "none", "--restart", "always"];
    rocker.ok(&[&options[..], &["-v", &bind, "busybox", "sh", "-c", script]].concat());
    std::fs::remove_dir_all(&volume).unwrap();
    assert!(wait_until(PATIENCE, || status(&rocker, "web") == "exited"));
    let state = rocker.inspect("web", "{{.State.ExitCode}} {{.State.Error}}");
    assert!(state.starts_with("125 ") && state.contains("volume: No such file"), "{state}");
}
