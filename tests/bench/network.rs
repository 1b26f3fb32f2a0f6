//! Starts on a bridge, and what a published port carries, beside the same without it and beside other
//! proxies. The namespace of the bench is the host; no packet leaves it.

use crate::live::{Live, Other};
use crate::measure::{Case, Series, must, rounds};
use crate::report::{Report, find, line, note};
use crate::setup::{PODMAN, Setup, TRUE};
use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const RUN: [&str; 5] = ["run", "--rm", "--image", "busybox", TRUE];

fn cases(setup: &Setup) -> Vec<Case> {
    vec![
        Case::new("limit", setup.limit_run(false, &[], &[TRUE])),
        Case::new("limit, bridge", setup.limit_run(false, &["-b", "rocker0"], &[TRUE])),
        Case::new("rocker", setup.rocker(&RUN)),
    ]
}

/// On the default bridge, which the first run makes.
pub fn bridge(setup: &Setup, report: &mut Report, count: usize) {
    must(&[&[setup.rocker.as_str()], &RUN[..]].concat());
    let all = rounds(cases(setup), count, Duration::ZERO);
    report.table("run --rm true, on the default bridge", &all, &["limit", "limit, bridge"]);
    report.ratio(&all, "rocker", "limit, bridge", "run --rm, bridge", [1.6, 1.3]);
}

/// Docker's daemon with state of its own, for as long as this lives, and the words that begin its
/// commands; nothing where there is none.
fn docker(setup: &Setup) -> Option<(Other, Vec<String>)> {
    let directory = setup.docker.as_ref()?;
    let base = format!("{}/docker", setup.base);
    let socket = format!("unix://{base}/socket");
    fs::create_dir(&base).ok()?;
    // Or it would write it to /etc.
    let conf = format!("{{\"deprecated-key-path\": \"{base}/key\"}}");
    fs::write(format!("{base}/conf"), conf).ok()?;
    // Its libraries are unpacked too. containerd and the shims are found by PATH.
    let script = format!(
        "PATH={directory}/usr/bin:{directory}/usr/sbin:$PATH \
         LD_LIBRARY_PATH={directory}/usr/lib/x86_64-linux-gnu exec dockerd -H {socket} \
         --config-file {base}/conf --data-root {base}/data --exec-root {base}/run \
         --pidfile {base}/pid --cgroup-parent /{} --storage-driver overlay2 >{base}/log 2>&1",
        setup.group
    );
    // It ends all that it has started.
    let end = format!("kill $(cat {base}/pid); while [ -e {base}/pid ]; do sleep 0.1; done");
    let shell = |script: String| ["sh".to_string(), "-c".to_string(), script];
    let daemon = Other::new(&shell(script), shell(end).to_vec())?;
    let words = vec![format!("{directory}/usr/bin/docker"), "-H".to_string(), socket];
    let said = |further: &[&str]| Command::new(&words[0]).args(&words[1..]).args(further).output();
    let answers = |_: &u32| said(&["version"]).is_ok_and(|output| output.status.success());
    let pause = |_: &u32| std::thread::sleep(Duration::from_millis(100));
    if !(0..100).inspect(pause).any(|number| answers(&number)) {
        note("left out docker: its daemon does not answer");
        // It may not have come as far as the file that its end waits for.
        std::mem::forget(daemon);
        return None;
    }
    said(&["import", &format!("{}/image.tar", setup.base), "busybox"]).ok()?;
    Some((daemon, words))
}

/// The same beside podman and docker on bridges of their own.
pub fn engines(setup: &Setup, report: &mut Report, count: usize) {
    must(&[&[setup.rocker.as_str()], &RUN[..]].concat());
    let mut cases = cases(setup);
    let network = [&PODMAN[..1], &["--network", "bridge"], &PODMAN[3..]].concat();
    let words = [&["run"][..], &network, &["busybox", TRUE]].concat();
    cases.extend(setup.podman(&words).map(|words| Case::new("podman", words)));
    let docker = docker(setup);
    if let Some((_, words)) = &docker {
        let run = RUN.iter().filter(|word| **word != "--image").map(|word| word.to_string());
        cases.push(Case::new("docker", words.iter().cloned().chain(run)));
    }
    let all = rounds(cases, (count / 5).max(3), Duration::ZERO);
    let beside = ["limit, bridge", "podman", "docker"];
    report.table("run --rm true, engines on a bridge", &all, &beside);
    report.ratio(&all, "rocker", "podman", "run --rm, bridge", [1.0 / 70.0, 0.01]);
    report.ratio(&all, "rocker", "docker", "run --rm, bridge", [1.0 / 70.0, 0.01]);
}

/// A start on the bridge beside many containers on it, against the same beside one.
pub fn beside(setup: &Setup, report: &mut Report, count: usize) {
    let mut live = Live::on(setup, &[]);
    let mut alone: Option<Vec<Series>> = None;
    for number in [1, 200] {
        live.grow(number);
        let all = rounds(cases(setup), count, Duration::ZERO);
        let title = format!("run --rm true beside {number} running on the same bridge");
        report.table(&title, &all, &["limit, bridge"]);
        if let Some(alone) = &alone {
            let growth = |name: &str| {
                let both = find(&all, name).zip(find(alone, name));
                both.map_or(f64::NAN, |(now, then)| now.median() / then.median())
            };
            let limit = growth("limit, bridge");
            let what =
                format!("run --rm beside {number} on a bridge, x beside 1 (limit: {limit:.2})");
            report.goal(what, growth("rocker"), "", [1.1, 1.05]);
        }
        alone.get_or_insert(all);
    }
}

/// A process that goes with this value.
struct Beside(Child);

impl Beside {
    fn start(words: &[&str]) -> std::io::Result<Self> {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().map(Self)
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const MEGABYTES: &str = "1024";

/// Words of `ip`, a line each; a line that begins with a name and a colon is said in that namespace.
fn ip(lines: &str) {
    for line in lines.lines().map(str::trim) {
        let mut words = vec!["ip"];
        if let Some((name, rest)) = line.split_once(": ") {
            words.extend(["-n", name]);
            words.extend(rest.split(' '));
        } else {
            words.extend(line.split(' '));
        }
        must(&words);
    }
}

/// Waits until the server or the proxy that is to be measured takes connections.
fn listens(case: &Case) {
    let mut words = case.words.clone();
    words[5] = "0".to_string();
    for _ in 0..100 {
        if crate::measure::run(&words).is_some() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("{} takes no connections", case.name);
}

/// What arrives at a published port: from another host, through this one, into a container.
///
/// Without it: another host that forwards to a bridge just so, and translates nothing.
pub fn throughput(setup: &Setup, report: &mut Report, count: usize) {
    ip("netns add outside
        link add wire type veth peer name eth0 netns outside
        addr add 203.0.113.1/24 dev wire
        link set wire up
        outside: addr add 203.0.113.2/24 dev eth0
        outside: link set eth0 up
        netns add plain
        netns add member
        link add eth1 netns outside type veth peer name wire netns plain
        outside: addr add 198.51.100.2/24 dev eth1
        outside: link set eth1 up
        plain: addr add 198.51.100.1/24 dev wire
        plain: link set wire up
        plain: link add bridge type bridge
        plain: addr add 192.0.2.1/24 dev bridge
        plain: link set bridge up
        plain: link add veth type veth peer name eth0 netns member
        plain: link set veth master bridge up
        member: addr add 192.0.2.2/24 dev eth0
        member: link set eth0 up
        member: route add default via 192.0.2.1
        outside: route add 192.0.2.0/24 via 198.51.100.1");
    must(&["ip", "netns", "exec", "plain", "sysctl", "-qw", "net.ipv4.ip_forward=1"]);

    let flow = format!("{}/flow", setup.programs);
    let mount = format!("{flow}:/flow:ro");
    let server = ["/flow", "sink", "5001"];
    let mut live = Live::on(setup, &["-v", &mount, "-p", "5001:5001"]);
    live.add("nft", &server);
    let mut proxied =
        Live::on(setup, &["-v", &mount, "--publish-mode", "proxy", "-p", "5002:5001"]);
    proxied.add("proxy", &server);
    let inner = must(&[&setup.rocker, "inspect", "-f", "{{.NetworkSettings.IPAddress}}", "proxy"]);
    let inner = inner.trim();
    let mut others = vec![Beside::start(&["ip", "netns", "exec", "member", &flow, "sink", "5001"])];
    // The larger buffer is the better one for it: the default is 8 KiB.
    let to = format!("TCP:{inner}:5001");
    others.push(Beside::start(&["socat", "-b", "262144", "TCP-LISTEN:5003,fork,reuseaddr", &to]));
    if let Some(directory) = &setup.docker {
        let words = format!(
            "exec {directory}/usr/sbin/docker-proxy -proto tcp -host-ip 0.0.0.0 -host-port 5004 -container-ip {inner} \
             -container-port 5001 3>/dev/null"
        );
        others.push(Beside::start(&["sh", "-c", &words]));
    }
    let case = |name, host, port| {
        let words = [&*flow, "send", "/run/netns/outside", host, port, MEGABYTES];
        Case::new(name, words)
    };
    let mut cases = vec![
        case("without", "192.0.2.2", "5001"),
        case("nft", "203.0.113.1", "5001"),
        case("proxy", "203.0.113.1", "5002"),
        case("socat", "203.0.113.1", "5003"),
    ];
    match setup.docker {
        Some(_) => cases.push(case("docker-proxy", "203.0.113.1", "5004")),
        None => note("left out docker-proxy: the package docker.io could not be had"),
    }
    for case in &cases {
        listens(case);
    }
    let all = rounds(cases, (count / 4).max(5), Duration::ZERO);
    let title = format!("{MEGABYTES} MiB by TCP from another host through a published port");
    report.table(&title, &all, &["without", "socat", "docker-proxy"]);
    for series in &all {
        let rate = MEGABYTES.parse::<f64>().unwrap_or_default() / series.median();
        line(&format!("    {}: {rate:.2} GiB/s", series.name));
    }
    report.ratio(&all, "nft", "without", "TCP through a port by nft", [1.0 / 0.95, 1.02]);
    report.ratio(&all, "proxy", "socat", "TCP through a port by the proxy", [1.0, 0.8]);
    report.ratio(&all, "proxy", "docker-proxy", "TCP through a port by the proxy", [1.0, 0.8]);
    drop((others, live, proxied));
    ip("link del wire
        netns del outside
        netns del plain
        netns del member");
}
