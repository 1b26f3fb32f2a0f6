//! Published ports: both ways of carrying them pass the same tests.

use crate::harness::{PATIENCE, Rocker, Running, one_line, wait_until};
use crate::harness_host::lacks;
use crate::harness_net::{Outside, fetcher, without_netlink};
use std::fs;
use std::process::Command;

/// Servers for TCP and UDP, published on port 7777, with everybody who may ask them.
struct Scene<'a> {
    rocker: &'a Rocker,
    outside: Outside<'a>,
    program: String,
}

impl<'a> Scene<'a> {
    fn new(rocker: &'a Rocker, mode: &str) -> Self {
        let outside = Outside::new(rocker);
        let program = rocker.program("carry").to_str().unwrap().to_string();
        let options = "network create --ipv6 --subnet fd00:9::/64 --subnet 10.9.0.0/24 app";
        rocker.ok(&options.split(' ').collect::<Vec<_>>());
        let scene = Self { rocker, outside, program };
        let publish = ["--publish-mode", mode, "-p", "7777:7", "-p", "7777:7/udp"];
        scene.start("tcp", &publish[..4]);
        scene.start("udp", &[&publish[..2], &publish[4..]].concat());
        rocker.sleeper("client", &["--net", "app", "-v", &scene.mount()]);
        scene
    }

    /// The same with the server for TCP published at one place only.
    fn published_at(rocker: &'a Rocker, mode: &str, place: &str) -> Self {
        let scene = Self::new(rocker, mode);
        rocker.ok(&["rm", "-f", "tcp"]);
        scene.start("tcp", &["--publish-mode", mode, "-p", place]);
        scene
    }

    /// Takes all of it away, so that another one can follow.
    fn end(self) {
        self.rocker.ok(&["rm", "-f", "tcp", "udp", "client"]);
        self.rocker.ok(&["network", "rm", "app"]);
        self.rocker.on_host(&["ip", "link", "del", "wire"]);
    }

    fn mount(&self) -> String {
        format!("{}:/carry:ro", self.program)
    }

    /// Starts a server in a container that is called by its protocol.
    fn start(&self, protocol: &str, options: &[&str]) {
        let mount = self.mount();
        let mut args = vec!["run", "-d", "--name", protocol, "--net", "app", "-v", &mount];
        args.extend_from_slice(options);
        args.extend_from_slice(&["--image", "busybox", "/carry", "echo", protocol, "7"]);
        self.rocker.ok(&args);
        let table = format!("/proc/net/{protocol}6");
        let listens = || self.rocker.ok(&["exec", protocol, "cat", &table]).contains(":0007 ");
        assert!(wait_until(PATIENCE, listens));
    }

    /// Asks from the host itself.
    fn ask_on_host(&self, protocol: &str, host: &str, count: &str) -> String {
        let output =
            self.rocker.try_on_host(&[&self.program, "ask", protocol, host, "7777", count]);
        output.stdout + &output.stderr
    }

    fn ask_outside(&self, protocol: &str, host: &str, count: &str) -> String {
        let output = self.outside.run(&[&self.program, "ask", protocol, host, "7777", count]);
        output.stdout + &output.stderr
    }

    /// Asks from another container, or from the server's own.
    fn ask_inside(&self, name: &str, protocol: &str, host: &str, port: &str) -> String {
        let output = self.rocker.run(&["exec", name, "/carry", "ask", protocol, host, port, "1"]);
        output.stdout + &output.stderr
    }
}

fn carries_everything(mode: &str) {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let scene = Scene::new(&rocker, mode);
    let one = "1 answers\n";
    for protocol in ["tcp", "udp"] {
        for host in ["127.0.0.1", scene.outside.near, "::1", "2001:db8::1", "10.9.0.1", "fd00:9::1"]
        {
            let said = scene.ask_on_host(protocol, host, "1");
            assert_eq!(said, one, "{mode}: {protocol} from the host to {host}");
        }
        for host in [scene.outside.near, "2001:db8::1"] {
            let said = scene.ask_outside(protocol, host, "1");
            assert_eq!(said, one, "{mode}: {protocol} from outside to {host}");
            for name in ["client", protocol] {
                let said = scene.ask_inside(name, protocol, host, "7777");
                let said =
                    if name == "client" || said == one { said } else { format!("{name}: {said}") };
                assert_eq!(said, one, "{mode}: {protocol} from {name} to {host}");
            }
        }
        let said = scene.ask_inside("client", protocol, protocol, "7");
        assert_eq!(said, one, "{mode}: {protocol} by name");
        assert_eq!(
            rocker.ok(&["port", "-m", protocol]),
            format!("7/{protocol} -> 0.0.0.0:7777 {mode}\n")
        );
    }
    for said in [
        scene.ask_outside("tcp", scene.outside.near, "1000"),
        scene.ask_on_host("tcp", "127.0.0.1", "1000"),
    ] {
        assert_eq!(said, "1000 answers\n", "{mode}: a thousand connections at once");
    }
    let keeper = rocker.inspect("tcp", "{{.Rocker.KeeperPid}}");
    let open = || std::fs::read_dir(format!("/proc/{keeper}/fd")).unwrap().count();
    assert!(wait_until(PATIENCE, || open() < 64), "{mode}: {} descriptors stay open", open());
    rocker.ok(&["rm", "-f", "tcp", "udp"]);
    assert_ne!(scene.ask_on_host("tcp", "127.0.0.1", "1"), one, "{mode}: after the end");
    assert!(!rocker.on_host(&["ss", "-Hltun"]).contains(":7777"), "{mode}");
}

#[test]
fn the_kernel_carries_published_ports_from_everywhere() {
    carries_everything("nft");
}

#[test]
fn the_proxy_carries_published_ports_from_everywhere() {
    carries_everything("proxy");
}

#[test]
fn a_port_of_one_address_is_published_there_only() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    for mode in ["nft", "proxy"] {
        let scene = Scene::published_at(&rocker, mode, "127.0.0.1:7777:7");
        assert_eq!(scene.ask_on_host("tcp", "127.0.0.1", "1"), "1 answers\n", "{mode}");
        assert_ne!(scene.ask_on_host("tcp", scene.outside.near, "1"), "1 answers\n", "{mode}");
        assert_ne!(scene.ask_outside("tcp", scene.outside.near, "1"), "1 answers\n", "{mode}");
        // Two containers can have one port of two addresses.
        let mount = scene.mount();
        let place = format!("{}:7777:7", scene.outside.near);
        let args =
            ["run", "-d", "--name", "second", "-v", &mount, "--publish-mode", mode, "-p", &place];
        rocker.ok(&[&args[..], &["--image", "busybox", "/carry", "echo", "tcp", "7"]].concat());
        let answers = || scene.ask_outside("tcp", scene.outside.near, "1") == "1 answers\n";
        assert!(wait_until(PATIENCE, answers), "{mode}");
        rocker.ok(&["rm", "-f", "second"]);
        scene.end();
    }
}

/// A server of the host itself on port 7777.
fn serve_on_host(rocker: &Rocker) -> (String, Running) {
    let program = rocker.program("carry").to_str().unwrap().to_string();
    let mut server = Command::new(&program);
    server.args(["echo", "tcp", "7777"]);
    rocker.prepare(&mut server);
    let running = Running(server.spawn().unwrap());
    let ask = || rocker.try_on_host(&[&program, "ask", "tcp", "127.0.0.1", "7777", "1"]).stdout;
    assert!(wait_until(PATIENCE, || ask() == "1 answers\n"));
    (program, running)
}

#[test]
fn members_cannot_reach_the_loopback_of_the_host() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let (program, _server) = serve_on_host(&rocker);
    rocker.sleeper("web", &["-p", "8080:80"]);
    // By a route of its own; a container has no right to make one, so this is from beside it.
    let pid = rocker.pid("web").to_string();
    let enter = ["nsenter", "-t", &pid, "-n"];
    rocker
        .on_host(&[&enter[..], &["ip", "route", "add", "127.0.0.2", "via", "10.88.0.1"]].concat());
    rocker.on_host(&[&enter[..], &["ip", "addr", "del", "127.0.0.1/8", "dev", "lo"]].concat());
    rocker
        .on_host(&[&enter[..], &["sysctl", "-qw", "net.ipv4.conf.all.route_localnet=1"]].concat());
    let said = rocker.try_on_host(
        &[&enter[..], &["timeout", "2", &program, "ask", "tcp", "127.0.0.2", "7777", "1"]].concat(),
    );
    assert_ne!(said.stdout, "1 answers\n", "{said:?}");
}

#[test]
fn a_neighbour_cannot_reach_what_is_published_on_the_loopback_of_the_host() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    for mode in ["nft", "proxy"] {
        let scene = Scene::published_at(&rocker, mode, "127.0.0.1:7777:7");
        // A host on the same wire that sends packets for 127.0.0.1 there, instead of to itself.
        for line in [
            "ip addr del 127.0.0.1/8 dev lo",
            "sysctl -qw net.ipv4.conf.all.route_localnet=1",
            "ip route add 127.0.0.1 via 203.0.113.1",
        ] {
            let output = scene.outside.run(&line.split(' ').collect::<Vec<_>>());
            assert_eq!(output.code, 0, "{line}: {output:?}");
        }
        assert_ne!(scene.ask_outside("tcp", "127.0.0.1", "1"), "1 answers\n", "{mode}");
        assert_eq!(scene.ask_on_host("tcp", "127.0.0.1", "1"), "1 answers\n", "{mode}");
        scene.end();
    }
}

#[test]
fn ports_are_chosen_counted_and_shown() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let archive = crate::harness::base_image();
    let change = ["-c", "EXPOSE 80 53/udp"];
    let image = ["import", "-q", change[0], change[1], archive.to_str().unwrap(), "exposing"];
    rocker.ok(&image);
    rocker.ok(&["run", "-d", "--name", "all", "-P", "--image", "exposing", "sleep", "1000"]);
    let lines = rocker.ok(&["port", "all"]);
    assert!(
        lines.contains("80/tcp -> 0.0.0.0:") && lines.contains("53/udp -> 0.0.0.0:"),
        "{lines}"
    );
    rocker.sleeper("range", &["-p", "9000-9002:80-82"]);
    assert_eq!(rocker.ok(&["port", "range", "81"]), "0.0.0.0:9001\n");
    let shown = rocker.ok(&["ps", "--filter", "name=range", "--format", "{{.Ports}}"]);
    let expected = "0.0.0.0:9000->80/tcp, 0.0.0.0:9001->81/tcp, 0.0.0.0:9002->82/tcp\n";
    assert_eq!(shown, expected);
    let place = "{{(index (index .NetworkSettings.Ports \"82/tcp\") 0).HostPort}}";
    assert_eq!(rocker.inspect("range", place), "9002");
    rocker.ok(&["stop", "-t", "0", "range"]);
    assert_eq!(rocker.ok(&["port", "range"]), "");
}

#[test]
fn a_port_of_another_program_is_in_use() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let _server = serve_on_host(&rocker);
    let said = rocker.refused(&["run", "-d", "-p", "7777:7", "--image", "busybox", "true"], 125);
    assert!(said.contains("7777/tcp: port is already allocated"), "{said}");
    assert_eq!(rocker.ok(&["ps", "-q"]), "");
}

#[test]
fn without_nf_tables_the_proxy_publishes() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let run = |args: &[&str]| {
        let mut command = rocker.command(args);
        without_netlink(&mut command, libc::NETLINK_NETFILTER);
        crate::harness::finish(command, b"", PATIENCE)
    };
    let script = "echo hello > index.html; exec httpd -f -p 80";
    let args = ["run", "-d", "--name", "web", "-p", "8080:80"];
    let output = run(&[&args[..], &["--image", "busybox", "sh", "-c", script]].concat());
    assert_eq!((output.code, &*output.stderr), (0, ""), "{output:?}");
    let get = || rocker.try_on_host(&fetcher("http://127.0.0.1:8080/")).stdout;
    assert!(wait_until(PATIENCE, || get() == "hello\n"), "{}", get());
    assert_eq!(rocker.ok(&["port", "-m", "web"]), "80/tcp -> 0.0.0.0:8080 proxy\n");
    assert_eq!(rocker.inspect("web", "{{.NetworkSettings.PublishMode}}"), "proxy");
    // There is no table that would keep members from the host's loopback.
    let local = "/proc/sys/net/ipv4/conf/rocker0/route_localnet";
    assert_eq!(rocker.on_host(&["cat", local]), "0\n");
    let args = ["run", "--publish-mode", "nft", "-p", "81:80", "--image", "busybox", "true"];
    let output = run(&args);
    assert_eq!(output.code, 125, "{output:?}");
    assert!(one_line(&output.stderr).contains("this kernel has no nf_tables"), "{output:?}");
}

#[test]
fn without_networking_a_container_has_its_loopback_and_one_warning_says_so() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let run = |args: &[&str]| {
        let mut command = rocker.command(args);
        without_netlink(&mut command, libc::NETLINK_ROUTE);
        crate::harness::finish(command, b"", PATIENCE)
    };
    let words = ["--image", "busybox", "cat", "/proc/net/dev"];
    let output = run(&[&["run", "--rm"], &words[..]].concat());
    assert_eq!(output.code, 0, "{output:?}");
    assert!(output.stdout.contains("lo:") && !output.stdout.contains("eth0"), "{output:?}");
    let warning = one_line(&output.stderr);
    assert!(warning.starts_with("rocker: warning: no network but the loopback: "), "{warning}");
    for asked in ["--net rocker0", "-p 8080:80", "--ip 10.88.0.9"] {
        let asked: Vec<&str> = asked.split(' ').collect();
        let output = run(&[&["run", "--rm"], &asked[..], &words[..]].concat());
        assert_eq!(output.code, 125, "{output:?}");
        assert!(one_line(&output.stderr).contains("open a netlink socket"), "{output:?}");
    }
    let output = run(&[&["run", "--rm", "--net", "none"], &words[..]].concat());
    assert_eq!((output.code, &*output.stderr), (0, ""), "{output:?}");
}

/// The kind of interface that this kernel cannot make.
fn missing_kind() -> Option<&'static str> {
    ["bridge", "veth"].into_iter().find(|kind| lacks(kind))
}

#[track_caller]
fn names_the_line(stderr: &str, kind: &str) {
    assert!(one_line(stderr).contains("make a "), "{stderr}");
    assert!(stderr.ends_with(&format!("hint: see rocker check, {kind}\n")), "{stderr}");
}

#[test]
fn what_this_kernel_has_decides_how_ports_are_published() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    if let Some(kind) = missing_kind() {
        let words = ["run", "-d", "-p", "8080:80", "--image", "busybox", "true"];
        let output = rocker.run(&words);
        assert_eq!(output.code, 125, "{output:?}");
        names_the_line(&output.stderr, kind);
        assert_eq!(rocker.ok(&["ps", "-q"]), "");
        return;
    }
    let mode = if lacks("nft") { "proxy" } else { "nft" };
    let script = "echo hello > index.html; exec httpd -f -p 80";
    let args = ["run", "-d", "--name", "web", "-p", "8080:80", "--image", "busybox"];
    rocker.ok(&[&args[..], &["sh", "-c", script]].concat());
    let get = || rocker.try_on_host(&fetcher("http://127.0.0.1:8080/")).stdout;
    assert!(wait_until(PATIENCE, || get() == "hello\n"), "{}", get());
    assert_eq!(rocker.ok(&["port", "-m", "web"]), format!("80/tcp -> 0.0.0.0:8080 {mode}\n"));
    assert_eq!(rocker.inspect("web", "{{.NetworkSettings.PublishMode}}"), mode);
    if mode == "proxy" {
        let words = ["run", "--publish-mode", "nft", "-p", "81:80", "--image", "busybox", "true"];
        let said = rocker.refused(&words, 125);
        assert!(said.contains("this kernel has no nf_tables"), "{said}");
    }
}

#[test]
fn what_this_kernel_has_decides_whether_there_is_a_network() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let words = ["--image", "busybox", "cat", "/proc/net/dev"];
    let output = rocker.run(&[&["run", "--rm"], &words[..]].concat());
    assert_eq!(output.code, 0, "{output:?}");
    assert!(output.stdout.contains("lo:"), "{output:?}");
    assert_eq!(output.stdout.contains("eth0"), missing_kind().is_none(), "{output:?}");
    let Some(kind) = missing_kind() else { return assert_eq!(output.stderr, "") };
    let warning = one_line(&output.stderr);
    assert!(warning.starts_with("rocker: warning: no network but the loopback: "), "{warning}");
    // What was asked for is refused.
    let output = rocker.run(&[&["run", "--rm", "--net", "rocker0"], &words[..]].concat());
    assert_eq!(output.code, 125, "{output:?}");
    names_the_line(&output.stderr, kind);
    let output = rocker.run(&["network", "create", "app"]);
    assert_eq!(output.code, 1, "{output:?}");
    names_the_line(&output.stderr, kind);
    let links = fs::read_to_string("/proc/net/dev").unwrap();
    assert!(!links.contains("rocker0") && !links.contains("rk-"), "{links}");
    assert_eq!(rocker.ok(&["network", "ls", "-q"]), "");
}
