//! What is left behind: nothing, however often and however it ends.

use crate::escapes::rounds;
use crate::harness::{
    PATIENCE, Rocker, Running, finish, has_controller, has_program, kill, wait_until,
};
use crate::harness_census::Census;
use crate::harness_host::{self as machine, report, skip};
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

/// Fails with what is left when the machine does not become as it was.
#[track_caller]
fn nothing_left(rocker: &Rocker, before: &Census) {
    let left = rocker.left_since(before);
    assert!(left.is_empty(), "left: {left:#?}");
}

#[test]
fn a_name_whose_container_died_on_its_way_out_goes_with_the_next_command() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    rocker.ok(&["create", "--name", "other", "busybox", "true"]);
    let before = rocker.census();
    // As a process leaves it that is killed between the rename of the directory and the unlink.
    let (id, run) = ("0123456789", rocker.run_root());
    fs::create_dir(rocker.root().join("tmp").join(format!("gone-{id}"))).unwrap();
    for name in ["web", id] {
        symlink(rocker.root().join("containers").join(id), run.join(name)).unwrap();
    }
    rocker.ok(&["create", "--name", "next", "busybox", "true"]);
    rocker.ok(&["rm", "next"]);
    nothing_left(&rocker, &before);
    assert!(run.join("other").is_symlink());
}

#[test]
fn a_thousand_runs_leave_nothing_and_get_no_slower() {
    // Ten thousand in the torture, where the last ones may be a tenth dearer at most.
    let (count, most) = if rounds(1) > 1 { (10_000, 1.1) } else { (1000, 1.25) };
    let Some(rocker) = Rocker::alone_in_memory() else { return };
    let args = ["run", "--rm", "--net", "none", "--image", "busybox", "true"];
    // The first ones make what stays, such as the parent cgroup, and warm the machine up.
    for _ in 0..20 {
        rocker.ok(&args);
    }
    let before = rocker.census();
    // The lower quartiles of a hundred runs and of as many commands that make no container, in
    // processor time: other work of the machine makes both dearer, never cheaper.
    let hundred = || {
        let mut costs = [vec![], vec![]];
        for _ in 0..100 {
            costs[0].push(processor_time(rocker.command(&args)));
            costs[1].push(processor_time(rocker.command(&["version"])));
        }
        costs.map(|mut costs| {
            costs.sort_unstable_by(f64::total_cmp);
            costs[costs.len() / 4]
        })
    };
    let [first, machine_first] = hundred();
    for _ in 1..count / 100 - 1 {
        hundred();
    }
    // A machine that had a bad moment is asked again: rocker has one more hundred behind it then.
    let mut slower = String::new();
    for again in 0..5 {
        let [last, machine_last] = hundred();
        let text = format!(
            "{} runs: the first hundred took {:.2} ms each, the last {:.2}",
            count + again * 100,
            first * 1e3,
            last * 1e3
        );
        if last <= first * most * (machine_last / machine_first).max(1.0) {
            nothing_left(&rocker, &before);
            return report(&text);
        }
        slower += &format!("\n{text}");
    }
    panic!("runs get slower:{slower}");
}

/// Processor time, in seconds, of a command that must succeed, and of all that it waited for.
#[allow(unsafe_code)]
#[expect(clippy::zombie_processes, reason = "the call that tells the time waits for it")]
fn processor_time(mut command: Command) -> f64 {
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let (pid, mut status) = (child.id() as libc::pid_t, 0);
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: both point to what the call fills, and zeroes are valid in the structure.
    let usage = unsafe {
        assert_eq!(libc::wait4(pid, &mut status, 0, usage.as_mut_ptr()), pid);
        usage.assume_init()
    };
    assert_eq!(status, 0, "{command:?}");
    let seconds = |part: libc::timeval| part.tv_sec as f64 + part.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

#[test]
fn a_whole_life_leaves_nothing() {
    let Some(rocker) = Rocker::alone_with_busybox() else { return };
    rocker.ok(&["run", "--rm", "--image", "busybox", "true"]);
    let before = rocker.census();
    let limits = ["-m", "64m", "--cpushare", "512"];
    rocker.sleeper("web", if has_controller("--memory") { &limits } else { &[] });
    rocker.ok(&["exec", "web", "sh", "-c", "echo x > /root/x"]);
    rocker.ok(&["commit", "web", "saved"]);
    rocker.ok(&["stop", "-t", "0", "web"]);
    rocker.ok(&["start", "web"]);
    rocker.ok(&["rm", "-f", "web"]);
    rocker.ok(&["rmi", "saved"]);
    nothing_left(&rocker, &before);
}

#[test]
fn what_the_program_started_ends_with_it() {
    let Some(rocker) = Rocker::alone_with_busybox() else { return };
    rocker.ok(&["run", "--rm", "--image", "busybox", "true"]);
    let before = rocker.census();
    let script = "for i in 1 2 3 4 5; do (trap '' TERM HUP INT; sleep 1000) & done; exit 0";
    rocker.ok(&["run", "--rm", "--image", "busybox", "sh", "-c", script]);
    nothing_left(&rocker, &before);
    rocker.sleeper("web", &[]);
    rocker.ok(&["exec", "-d", "web", "sleep", "1000"]);
    rocker.ok(&["rm", "-f", "web"]);
    nothing_left(&rocker, &before);
}

#[test]
fn mounts_go_with_a_container_whose_client_does_not_listen() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    if machine::is_bare() {
        return machine::skip("the host has nothing mounted, so nothing to be unmounted");
    }
    let source = rocker.files().join("source");
    fs::create_dir(&source).unwrap();
    let source = source.to_str().unwrap();
    rocker.on_host(&["mount", "-t", "tmpfs", "source", source]);
    rocker.on_host(&["touch", &format!("{source}/file")]);
    let mut watch = Command::new(rocker.program("unmounted"));
    watch.arg(format!("{source}/file")).stdout(Stdio::piped());
    let mut watch = Running(watch.spawn().unwrap());
    let mut heard = BufReader::new(watch.0.stdout.take().unwrap()).lines();
    assert_eq!(heard.next().unwrap().unwrap(), "watching");
    // More than a pipe takes and less than a pipe and a socket.
    let script = "head -c 100000 /dev/zero; touch /v/done";
    let volume = format!("{source}:/v");
    let args = ["run", "--rm", "--net", "none", "-v", &volume, "--image", "busybox"];
    let mut client = rocker.command(&[&args[..], &["sh", "-c", script]].concat());
    let client = Running(client.stdout(Stdio::piped()).spawn().unwrap());
    let ended = || rocker.try_on_host(&["rm", &format!("{source}/done")]).code == 0;
    assert!(wait_until(PATIENCE, ended));
    assert!(wait_until(PATIENCE, || rocker.ok(&["ps", "-aq"]).is_empty()));
    rocker.on_host(&["umount", source]);
    assert!(wait_until(PATIENCE, || watch.0.try_wait().unwrap().is_some()), "it is still mounted");
    assert_eq!(heard.next().unwrap().unwrap(), "unmounted");
    let output = client.finish();
    assert_eq!((output.code, output.stdout.len()), (0, 100_000));
}

#[test]
fn a_client_that_listens_lets_go_of_the_mounts() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    if !has_program("strace") {
        return skip("strace is not there");
    }
    let calls = rocker.files().join("calls");
    let mut command = Command::new("strace");
    // Of the client alone.
    command.args(["-qq", "-e", "trace=recvmsg,close", "-o"]).arg(&calls).arg(rocker.binary());
    // It runs for long enough that its keeper surely holds its mounts.
    command.args(["run", "--rm", "--net", "none", "--image", "busybox", "sleep", "0.3"]);
    rocker.prepare(&mut command);
    assert_eq!(finish(command, b"", PATIENCE).code, 0);
    let calls = fs::read_to_string(&calls).unwrap();
    let (_, behind) = calls.split_once("iov_base=\"M\"").expect(&calls);
    let (_, number) = behind.split_once("cmsg_data=[").expect(&calls);
    let number: u32 = number.split(']').next().unwrap().parse().unwrap();
    assert!(behind.contains(&format!("\nclose({number})")), "{calls}");
}

#[test]
fn killing_the_client_leaves_the_container_running() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let args = ["run", "--name", "web", "--image", "busybox", "/bin/sleep", "1000"];
    let client: Running = rocker.spawn(&args);
    let started =
        || rocker.run(&["inspect", "-f", "{{.State.Status}}", "web"]).stdout == "running\n";
    assert!(wait_until(PATIENCE, started));
    kill(client.0.id(), libc::SIGKILL);
    drop(client);
    assert!(started(), "{}", rocker.ok(&["ps"]));
    assert_eq!(rocker.ok(&["exec", "web", "echo", "alive"]), "alive\n");
    rocker.ok(&["rm", "-f", "web"]);
}

#[test]
fn what_was_being_made_when_the_power_went_is_neither_listed_nor_in_the_way() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let words = ["create", "--name", "web", "--image", "busybox", "true"];
    let id = rocker.ok(&words).trim_end().to_string();
    // As it was just before it came to its place, and as another boot finds it.
    let staged = rocker.root().join("tmp").join(&id);
    fs::rename(rocker.root().join("containers").join(&id), &staged).unwrap();
    fs::remove_dir_all(rocker.run_root()).unwrap();
    assert_eq!(rocker.ok(&["ps", "-q"]), "");
    assert_eq!(rocker.run(&["inspect", "web"]).code, 1);
    rocker.ok(&words);
    assert_eq!(rocker.ok(&["ps", "-q"]).lines().count(), 1);
    assert!(!staged.exists(), "it is still there");
}

#[test]
fn a_program_killed_from_outside_shows_as_exited() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    rocker.sleeper("web", &[]);
    kill(rocker.pid("web"), libc::SIGKILL);
    assert_eq!(rocker.ok(&["wait", "web"]), "137\n");
    assert_eq!(rocker.inspect("web", "{{.State.Status}} {{.State.ExitCode}}"), "exited 137");
    rocker.ok(&["start", "web"]);
    assert_eq!(rocker.inspect("web", "{{.State.Status}}"), "running");
    rocker.ok(&["stop", "-t", "0", "web"]);
    rocker.ok(&["rm", "web"]);
}

#[test]
fn a_container_whose_keeper_was_killed_can_be_started_stopped_and_removed() {
    let Some(rocker) = Rocker::alone_with_busybox() else { return };
    rocker.ok(&["run", "--rm", "--image", "busybox", "true"]);
    let before = rocker.census();
    rocker.sleeper("web", &[]);
    let keepers = keepers(&rocker);
    assert_eq!(keepers.len(), 1, "one process stays beside a container: {keepers:?}");
    kill(keepers[0], libc::SIGKILL);
    let gone = || !fs::exists(format!("/proc/{}", keepers[0])).unwrap();
    assert!(wait_until(PATIENCE, gone));
    // Whether its program lives on or not: what is shown must be what is.
    let status = rocker.inspect("web", "{{.State.Status}}");
    let pid = rocker.inspect("web", "{{.State.Pid}}");
    let lives = pid != "0" && fs::exists(format!("/proc/{pid}")).unwrap();
    assert_eq!(status == "running", lives, "{status} {pid}");
    rocker.ok(&["stop", "-t", "0", "web"]);
    rocker.ok(&["start", "web"]);
    assert_eq!(rocker.ok(&["exec", "web", "echo", "alive"]), "alive\n");
    rocker.ok(&["rm", "-f", "web"]);
    nothing_left(&rocker, &before);
}

/// The processes that run the binary under test.
fn keepers(rocker: &Rocker) -> Vec<u32> {
    let pids = crate::harness::names(std::path::Path::new("/proc"));
    let pids = pids.filter_map(|name| name.parse::<u32>().ok());
    pids.filter(|pid| crate::harness::runs(*pid, rocker.binary())).collect()
}

#[test]
fn names_and_ids_are_free_again_after_rm() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    for _ in 0..3 {
        rocker.sleeper("web", &[]);
        rocker.ok(&["rm", "-f", "web"]);
    }
    assert!(!rocker.run_root().join("web").exists());
    let left = crate::harness::names(&rocker.root().join("containers")).count();
    assert_eq!(left, 0);
}
