//! What starts with the machine: `rocker boot`, and `rocker init` as process 1 of a namespace.

use crate::harness::{PATIENCE, Rocker, Running, kill, skip, wait_until};
use std::fs;
use std::process::{Command, Output, Stdio};

fn status(rocker: &Rocker, name: &str) -> String {
    rocker.inspect(name, "{{.State.Status}}")
}

/// Makes a container that sleeps and has a policy, without starting it.
fn sleeper(rocker: &Rocker, name: &str, policy: &str) {
    let words = ["--image", "busybox", "sleep", "1000"];
    rocker.ok(&[&["create", "--name", name, "--restart", policy], &words[..]].concat());
}

#[test]
fn boot_starts_what_is_marked_in_its_order_and_a_second_one_nothing() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    for (name, policy) in [
        ("second", "always"),
        ("never", "no"),
        ("first", "unless-stopped"),
        ("failed", "on-failure"),
        ("stopped", "unless-stopped"),
        ("killed", "always"),
        ("runs", "always"),
    ] {
        sleeper(&rocker, name, policy);
    }
    rocker.ok(&["start", "stopped", "killed", "runs"]);
    rocker.ok(&["stop", "-t", "0", "stopped"]);
    rocker.ok(&["kill", "killed"]);
    rocker.ok(&["wait", "killed"]);
    assert!(wait_until(PATIENCE, || status(&rocker, "killed") == "exited"));
    assert_eq!(rocker.ok(&["boot"]), "second\nfirst\n");
    for (name, expected) in
        [("first", "running"), ("never", "created"), ("failed", "created"), ("stopped", "stopped")]
    {
        assert_eq!(status(&rocker, name), expected, "{name}");
    }
    assert_eq!(rocker.ok(&["boot"]), "");
}

#[test]
fn boot_names_what_it_cannot_start_and_goes_on() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let bad = ["create", "--name", "bad", "--restart", "always", "--image", "busybox", "nosuch"];
    rocker.ok(&bad);
    sleeper(&rocker, "good", "always");
    let output = rocker.run(&["boot"]);
    assert_eq!((output.code, output.stdout.as_str()), (1, "good\n"), "{output:?}");
    assert!(output.stderr.starts_with("rocker: start bad: nosuch: "), "{output:?}");
}

#[test]
fn init_is_for_process_1_only() {
    let Some(rocker) = Rocker::as_root() else { return };
    let line = rocker.refused(&["init"], 1);
    assert!(line.contains("not process 1"), "{line}");
}

#[test]
fn boot_starts_what_needs_another_after_that_one_whatever_the_clock_said() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    sleeper(&rocker, "db", "always");
    let shared = ["create", "--name", "app", "--net", "container:db", "--restart", "always"];
    rocker.ok(&[&shared[..], &["--image", "busybox", "sleep", "1000"]].concat());
    // As if that had been in a boot whose clock was behind.
    let path =
        rocker.root().join(format!("containers/{}/config.json", rocker.inspect("app", "{{.Id}}")));
    let state = fs::read_to_string(&path).unwrap();
    let created = state.split("\"created\":").nth(1).and_then(|rest| rest.split(',').next());
    let created = format!("\"created\":{}", created.unwrap());
    assert!(state.contains(&created), "{state}");
    fs::write(&path, state.replace(&created, "\"created\":5")).unwrap();
    assert_eq!(rocker.ok(&["boot"]), "db\napp\n");
}

/// A file system in memory, for as long as this value lives.
struct Disk(std::path::PathBuf);

impl Disk {
    fn mount(rocker: &Rocker) -> Self {
        let place = rocker.base().join("disk");
        fs::create_dir(&place).unwrap();
        let mut command = Command::new("mount");
        assert!(command.args(["-t", "tmpfs", "disk"]).arg(&place).status().unwrap().success());
        Self(place)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // What a test leaves that was killed the harness unmounts.
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

/// A machine of its own, as far as namespaces make one, with `rocker init` as its process 1.
struct Machine {
    running: Running,
    /// Process 1, by its number outside.
    pid: u32,
}

impl Machine {
    /// `words` is the program with its arguments.
    fn start(rocker: &Rocker, words: &[&str]) -> Option<Self> {
        let mut trial = Command::new("unshare");
        trial.args(["--mount", "--fork", "--kill-child", "true"]).stderr(Stdio::null());
        if !trial.status().is_ok_and(|status| status.success()) {
            skip("there is no unshare program that ends what it started");
            return None;
        }
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--net", "--uts", "--fork", "--kill-child"]);
        command.arg("--mount-proc").args(words).current_dir(rocker.base().join("disk"));
        rocker.prepare(&mut command);
        command.stdout(Stdio::null());
        let running = Running(command.spawn().unwrap());
        let outer = running.0.id();
        let children = format!("/proc/{outer}/task/{outer}/children");
        let mut pid = 0;
        let found = wait_until(PATIENCE, || {
            let listed = fs::read_to_string(&children).unwrap_or_default();
            pid = listed.trim().parse().unwrap_or(0);
            pid != 0
        });
        assert!(found, "init has no process");
        Some(Self { running, pid })
    }

    /// Runs a program among its processes.
    fn enter(&self, words: &[&str]) -> Output {
        let mut command = Command::new("nsenter");
        // No number may ever reach a process out here: kill takes 0 for its own group.
        command.args(["-t", &self.pid.to_string(), "-m", "-p", "setsid"]);
        command.args(words).output().unwrap()
    }
}

#[test]
fn init_starts_containers_again_after_a_power_cut_and_stops_them_before_it_switches_off() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let before = rocker.census();
    let disk = Disk::mount(&rocker);
    let script = "trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.05; done";
    let options = ["create", "--name", "web", "--restart", "always", "--image", "busybox"];
    rocker.ok(&[&options[..], &["sh", "-c", script]].concat());
    let log = || rocker.ok(&["logs", "web"]);
    // A power cut: whatever runs goes at once, and nobody writes anything down.
    let binary = rocker.binary().to_str().unwrap();
    let Some(machine) = Machine::start(&rocker, &[binary, "init"]) else { return };
    assert!(wait_until(PATIENCE, || log() == "ready\n"), "{}", log());
    drop(machine);
    assert!(wait_until(PATIENCE, || status(&rocker, "web") == "exited"));
    // As the kernel starts it: by a link, with words that the kernel did not know.
    let init = rocker.files().join("init");
    std::os::unix::fs::symlink(rocker.binary(), &init).unwrap();
    let Some(machine) = Machine::start(&rocker, &[init.to_str().unwrap(), "quiet"]) else { return };
    assert!(wait_until(PATIENCE, || log() == "ready\nready\n"), "{}", log());
    // Seen from outside, where its numbers are others, it is left alone.
    assert_eq!(status(&rocker, "web"), "running");
    sleeper(&rocker, "later", "always");
    // A keeper that is killed takes its container along, and init notices.
    let keeper = rocker.inspect("web", "{{.Rocker.KeeperPid}}");
    assert!(keeper.parse::<u32>().unwrap() > 1, "{keeper}");
    assert!(machine.enter(&["kill", "-9", &keeper]).status.success());
    assert!(wait_until(PATIENCE, || log() == "ready\nready\nready\n"), "{}", log());
    // What has never been started waits for its user all the same.
    assert_eq!(status(&rocker, "later"), "created");
    // The signal for switching it off.
    kill(machine.pid, libc::SIGUSR2);
    let output = machine.running.finish();
    // In a namespace the end of the machine is the end of process 1 by SIGINT.
    assert_eq!(output.code, 130, "{output:?}");
    assert!(output.stderr.contains("rocker: started web\n"), "{output:?}");
    assert!(output.stderr.contains("rocker: stopping\nrocker: stopped web\n"), "{output:?}");
    assert_eq!(log(), "ready\nready\nready\nbye\n");
    // A file system that is in use there, and here.
    fs::write(disk.0.join("file"), "written").unwrap();
    drop(disk);
    assert_eq!(status(&rocker, "web"), "exited");
    rocker.ok(&["rm", "web", "later"]);
    assert_eq!(rocker.left_since(&before), Vec::<String>::new());
}

#[test]
fn init_makes_a_system_of_a_bare_machine_and_a_second_signal_says_not_to_wait() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let before = rocker.census();
    let disk = Disk::mount(&rocker);
    let script = "trap '' TERM; echo ready; while :; do sleep 0.05; done";
    let options = ["create", "--name", "web", "--restart", "always", "--stop-timeout", "600"];
    let words = ["--net", "none", "--image", "busybox", "sh", "-c", script];
    rocker.ok(&[&options[..], &words].concat());
    let binary = rocker.binary().to_str().unwrap();
    let Some(machine) = Machine::start(&rocker, &[binary, "init"]) else { return };
    assert!(wait_until(PATIENCE, || rocker.ok(&["logs", "web"]) == "ready\n"));
    let seen = |path: &str| String::from_utf8(machine.enter(&["cat", path]).stdout).unwrap();
    let mounts = seen("/proc/1/mountinfo");
    for place in ["/proc", "/sys", "/dev", "/dev/pts", "/dev/shm", "/run", "/sys/fs/cgroup"] {
        assert!(mounts.contains(&format!(" {place} ")), "{place}: {mounts}");
    }
    let mut look = Command::new("nsenter");
    look.args(["-t", &machine.pid.to_string(), "-n", "ip", "link", "show", "lo"]);
    let lo = look.output().unwrap();
    assert!(String::from_utf8_lossy(&lo.stdout).contains("<LOOPBACK,UP"), "{lo:?}");
    kill(machine.pid, libc::SIGTERM);
    std::thread::sleep(std::time::Duration::from_millis(300));
    kill(machine.pid, libc::SIGTERM);
    let output = machine.running.finish();
    // In a namespace a restart of the machine is the end of process 1 by SIGHUP.
    assert_eq!(output.code, 129, "{output:?}");
    assert!(output.stderr.contains("stopping\nrocker: did not wait for web\n"), "{output:?}");
    drop(disk);
    assert!(wait_until(PATIENCE, || status(&rocker, "web") == "exited"));
    rocker.ok(&["rm", "web"]);
    assert_eq!(rocker.left_since(&before), Vec::<String>::new());
}
