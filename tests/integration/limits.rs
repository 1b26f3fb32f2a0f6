//! Limits: in force before the program's first instruction, and for what is executed later.

use crate::harness::{Rocker, base_image, has_controller, skip, wait_until};
use crate::harness_host::mountinfo;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::Duration;

/// A rocker on a host that can enforce this limit, a program for its containers, and the volume
/// that brings it.
fn with_program(name: &str, limit: &[&str]) -> Option<(Rocker, String)> {
    let rocker = Rocker::with_busybox()?;
    let args = [&["run", "--rm"][..], limit, &["--image", "busybox", "true"]].concat();
    let output = rocker.run(&args);
    if !has_controller(limit[0]) {
        // What cannot be enforced must be refused, in one line, before anything runs.
        assert_eq!(output.code, 125, "{output:?}");
        skip(&format!("this machine has no cgroup controller for {}", limit[0]));
        return None;
    }
    assert_eq!(output.code, 0, "{output:?}");
    let volume = format!("{}:/program:ro", rocker.program(name).display());
    Some((rocker, volume))
}

#[test]
fn thirty_of_thirty_short_commands_run_inside_their_memory_cgroup() {
    let Some((rocker, volume)) = with_program("eater", &["-m", "8m"]) else { return };
    // It takes a few milliseconds: joining the cgroup later than its start would let it pass.
    let run = |megabytes: &str| {
        let limits = ["run", "--rm", "-m", "8m", "--memory-swap", "8m", "-v", &volume];
        rocker.run(&[&limits[..], &["--image", "busybox", "/program", megabytes]].concat()).code
    };
    let codes: Vec<i32> = (0..30).map(|_| run("12")).collect();
    assert_eq!(codes, [137; 30]);
    assert_eq!(run("2"), 0, "what fits must live, or the above shows nothing");
}

#[test]
fn what_exceeds_its_memory_is_killed_and_inspect_says_so() {
    let Some((rocker, volume)) = with_program("eater", &["-m", "100m"]) else { return };
    let run = |name: &str, megabytes: &str| {
        let limits = ["run", "--name", name, "-m", "100m", "--memory-swap", "100m", "-v", &volume];
        rocker.run(&[&limits[..], &["--image", "busybox", "/program", megabytes]].concat()).code
    };
    assert_eq!(run("greedy", "200"), 137);
    assert_eq!(rocker.inspect("greedy", "{{.State.OOMKilled}} {{.State.ExitCode}}"), "true 137");
    assert_eq!(run("modest", "50"), 0);
    assert_eq!(rocker.inspect("modest", "{{.State.OOMKilled}} {{.State.ExitCode}}"), "false 0");
}

#[test]
fn a_kill_for_another_reason_is_no_oom_kill() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    rocker.sleeper("web", &[]);
    rocker.ok(&["kill", "web"]);
    assert_eq!(rocker.ok(&["wait", "web"]), "137\n");
    assert_eq!(rocker.inspect("web", "{{.State.OOMKilled}}"), "false");
}

#[test]
fn exec_is_under_the_same_memory_limit() {
    let Some((rocker, volume)) = with_program("eater", &["-m", "16m"]) else { return };
    rocker.sleeper("web", &["-m", "16m", "--memory-swap", "16m", "-v", &volume]);
    assert_eq!(rocker.run(&["exec", "web", "/program", "64"]).code, 137);
    assert_eq!(rocker.run(&["exec", "web", "/program", "2"]).code, 0);
}

#[test]
fn limits_of_0_are_none() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let zeros = ["-m", "0", "--memory-swap", "0", "--cpus", "0"];
    rocker.ok(&[&["create", "--name", "web"], &zeros[..], &["busybox", "true"]].concat());
    let limits = "{{.HostConfig.Memory}} {{.HostConfig.MemorySwap}} {{.HostConfig.NanoCpus}}";
    assert_eq!(rocker.inspect("web", limits), "0 0 0");
    rocker.ok(&["start", "-a", "web"]);
}

#[test]
fn a_cpuset_is_seen_in_the_processes() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    if !has_controller("--cpuset") {
        return skip("this machine has no cpuset controller");
    }
    let command = ["grep", "Cpus_allowed_list", "/proc/self/status"];
    let run = ["run", "--rm", "--cpuset", "0", "--image", "busybox"];
    assert_eq!(rocker.ok(&[&run[..], &command].concat()), "Cpus_allowed_list:\t0\n");
    rocker.sleeper("web", &["--cpuset", "0"]);
    let exec = ["exec", "web"];
    assert_eq!(rocker.ok(&[&exec[..], &command].concat()), "Cpus_allowed_list:\t0\n");
}

#[test]
fn shares_of_512_and_1024_give_time_as_they_weigh() {
    let Some((rocker, volume)) = with_program("spinner", &["--cpushare", "512"]) else { return };
    if !has_controller("--cpuset") {
        return skip("this machine has no cpuset controller");
    }
    for (name, shares) in [("half", "512"), ("whole", "1024")] {
        let limits = ["run", "-d", "--name", name, "--cpuset", "0", "--cpushare", shares];
        rocker.ok(&[&limits[..], &["-v", &volume, "--image", "busybox", "/program"]].concat());
    }
    let (half, whole) = (rocker.pid("half"), rocker.pid("whole"));
    let before = (ticks(half), ticks(whole));
    // Enough for the scheduler's slices to even out: 4 s on one core, in hundredths of a second.
    let both = || (ticks(half) - before.0, ticks(whole) - before.1);
    let ran = wait_until(Duration::from_secs(50), || both().0 + both().1 >= 400);
    let (half, whole) = both();
    // 512 and 1024 are weights of 59 and 100 on v2.
    let expected = if Path::new("/sys/fs/cgroup/cpu").exists() { 2.0 } else { 100.0 / 59.0 };
    assert!(ran, "the containers got {half} and {whole} hundredths of a second only");
    let ratio = whole as f64 / half as f64;
    let allowed = expected * 0.85..=expected * 1.15;
    assert!(allowed.contains(&ratio), "{half} and {whole} ticks are 1:{ratio:.2}");
}

/// The processor time of a process, in clock ticks.
fn ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn a_limit_of_processes_stops_a_fork() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    if !has_controller("--pids-limit") {
        return skip("this machine has no pids controller");
    }
    let script = "for i in 1 2 3 4 5 6 7 8; do sleep 1 & done; wait; echo all";
    let run = |limit: &str| {
        let limits = ["run", "--rm", "--pids-limit", limit, "--image", "busybox"];
        rocker.run(&[&limits[..], &["sh", "-c", script]].concat())
    };
    let output = run("4");
    assert!(output.stderr.contains("fork"), "{output:?}");
    assert!(run("20").stdout.ends_with("all\n"));
}

#[test]
fn what_was_put_into_the_group_from_outside_is_killed_with_it() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    if !has_controller("--pids-limit") {
        return skip("this machine has no pids controller");
    }
    rocker.sleeper("web", &["--pids-limit", "50"]);
    let own = fs::read_to_string(format!("/proc/{}/cgroup", rocker.pid("web"))).unwrap();
    let path = |line: &str| {
        let fields: Vec<&str> = line.splitn(3, ':').collect();
        let wanted = fields[1] == "pids" || fields[1].is_empty() && fields[2].contains("/rocker/");
        wanted.then(|| format!("/sys/fs/cgroup/{}{}/cgroup.procs", fields[1], fields[2]))
    };
    let procs = own.lines().find_map(path).unwrap_or_else(|| panic!("{own}"));
    let mut other = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    fs::write(&procs, other.id().to_string()).unwrap();
    // Not in a namespace of the container: only the group tells that it belongs there.
    rocker.ok(&["rm", "-f", "web"]);
    let ended = wait_until(Duration::from_secs(20), || other.try_wait().unwrap().is_some());
    // It fails when it has ended, as it should have.
    let _ = other.kill();
    assert!(ended, "it lives on");
    assert_eq!(other.wait().unwrap().signal(), Some(libc::SIGKILL));
    assert!(!Path::new(&procs).exists(), "{procs} is left");
}

#[test]
fn processes_are_limited_and_memory_is_not_unless_asked() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    rocker.sleeper("web", &[]);
    let cgroups = fs::read_to_string(format!("/proc/{}/cgroup", rocker.pid("web"))).unwrap();
    let file = |controller: &str, name: &str| {
        let line = cgroups.lines().find(|line| {
            let fields: Vec<&str> = line.splitn(3, ':').collect();
            fields[1].split(',').any(|word| word == controller)
        });
        let unified = cgroups.lines().find_map(|line| line.strip_prefix("0::"));
        let path = match line {
            Some(line) => format!("{controller}{}", line.splitn(3, ':').nth(2).unwrap()),
            None => unified.unwrap_or_default().trim_start_matches('/').to_string(),
        };
        fs::read_to_string(Path::new("/sys/fs/cgroup").join(path).join(name)).ok()
    };
    if let Some(max) = file("pids", "pids.max") {
        assert_eq!(max.trim(), "2048");
    }
    // One of the two exists, by version; on v1 the root's value means no limit.
    if let Some(max) = file("memory", "memory.max") {
        assert_eq!(max.trim(), "max");
    }
    if let Some(max) = file("memory", "memory.limit_in_bytes") {
        assert!(max.trim().parse::<u64>().unwrap() > 1 << 60, "{max}");
    }
}

/// Runs a rocker inside a container, where the group that it sees as the root holds the shell.
const RUNS_INSIDE: &str = "export ROCKER_ROOT=/state/root ROCKER_RUN_ROOT=/state/run; \
    own=/sys/fs/cgroup/cgroup.subtree_control; /rocker import -q /image.tar busybox > /dev/null; \
    for limit in --init --pids-limit=9 --cpus=1 --memory=64m --init; do \
        /rocker run --rm --net none $limit busybox echo in; echo \"$limit $? $(cat $own)\"; \
    done 2>&1";

#[test]
fn in_a_container_whose_group_cannot_be_divided_only_limits_that_were_asked_for_are_errors() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let mounts = fs::read_to_string(mountinfo()).unwrap();
    let is_unified = |line: &str| line.contains(" /sys/fs/cgroup ") && line.contains(" - cgroup2 ");
    if !mounts.lines().any(is_unified) {
        return skip("the controllers are not those of cgroup2");
    }
    let [binary, image] = [(rocker.binary().to_owned(), "rocker"), (base_image(), "image.tar")]
        .map(|(path, name)| format!("{}:/{name}:ro", path.display()));
    let run = ["run", "--rm", "--privileged", "--net", "none", "--tmpfs", "/state:exec"];
    // Its limits bring the controllers along.
    let limits = ["--cpu-shares", "1024", "-m", "256m"];
    let args =
        [&run[..], &limits, &["-v", &binary, "-v", &image, "busybox", "sh", "-c", RUNS_INSIDE]];
    let said = rocker.ok(&args.concat());
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 13, "{said}");
    assert_eq!([&lines[..2], &lines[11..]], [["in", "--init 0 "]; 2], "{said}");
    let asked = [("--pids-limit=9", "pids"), ("--cpus=1", "cpu"), ("--memory=64m", "memory")];
    for ((limit, name), told) in asked.into_iter().zip(lines[2..].chunks(3)) {
        assert!(told[0].contains(&format!("enable the {name} controller in /sys/fs/")), "{said}");
        let hint = "hint: processes in /sys/fs/cgroup are in the way";
        assert!(told[1].starts_with(hint) && told[2] == format!("{limit} 125 "), "{said}");
    }
}

/// A controller whose limits are of whole processes, handed down to rocker's groups of cgroup2.
struct Handed {
    name: &'static str,
    /// The groups that did not hand it down before.
    by: Vec<String>,
}

impl Handed {
    fn new(mount: &str) -> Option<Self> {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let has = |text: &str, name: &str| text.split_whitespace().any(|word| word == name);
        let there = read(&format!("{mount}/cgroup.controllers"));
        let name = ["memory", "io", "hugetlb"].into_iter().find(|name| has(&there, name))?;
        let mut by = Vec::new();
        for group in [mount.to_owned(), format!("{mount}/rocker")] {
            let file = format!("{group}/cgroup.subtree_control");
            if !has(&read(&file), name) {
                fs::write(&file, format!("+{name}")).unwrap();
                by.push(file);
            }
        }
        Some(Self { name, by })
    }
}

impl Drop for Handed {
    fn drop(&mut self) {
        for file in self.by.iter().rev() {
            // Another container may need it now.
            let _ = fs::write(file, format!("-{}", self.name));
        }
    }
}

#[test]
fn exec_joins_the_first_process_where_the_container_has_divided_its_group() {
    let Some(rocker) = Rocker::alone_with_busybox() else { return };
    let mounts = fs::read_to_string(mountinfo()).unwrap();
    let unified = mounts.lines().find(|line| line.contains(" - cgroup2 "));
    let Some(mount) = unified.and_then(|line| line.split(' ').nth(4)) else {
        return skip("no cgroup2 is mounted");
    };
    rocker.sleeper("web", &["--net", "none", "--pids-limit", "-1"]);
    let Some(handed) = Handed::new(mount) else { return skip("cgroup2 has no controller") };
    let pid = rocker.pid("web").to_string();
    let groups = || fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let own = groups().lines().find_map(|line| Some(line.strip_prefix("0::")?.to_owned())).unwrap();
    let own = format!("{mount}{own}");
    let outside = format!("{mount}/rocker/outside-{pid}");
    let exec = ["exec", "web", "sed", "-n", "s/^0:://p", "/proc/self/cgroup"];
    assert_eq!(rocker.ok(&exec), "/\n");
    fs::create_dir_all(format!("{own}/init/deep")).unwrap();
    let move_to = |group: &str| fs::write(format!("{group}/cgroup.procs"), &pid).unwrap();
    move_to(&format!("{own}/init"));
    fs::write(format!("{own}/cgroup.subtree_control"), format!("+{}", handed.name)).unwrap();
    assert_eq!(rocker.ok(&exec), "/init\n");
    move_to(&format!("{own}/init/deep"));
    assert_eq!(rocker.ok(&exec), "/init/deep\n");
    // What is not the container's own is nothing to join.
    fs::create_dir(&outside).unwrap();
    move_to(&outside);
    let refused = rocker.run(&exec);
    rocker.ok(&["rm", "-f", "web"]);
    assert!(wait_until(Duration::from_secs(20), || fs::remove_dir(&outside).is_ok()));
    assert_eq!(refused.code, 125, "{refused:?}");
    assert!(refused.stderr.contains("the first process is outside of "), "{refused:?}");
    assert!(!Path::new(&own).exists(), "{own} is left");
}
