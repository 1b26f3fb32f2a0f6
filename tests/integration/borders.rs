//! Networks: nobody gets what is meant for another, whatever was shared, killed, renamed, flushed or
//! damaged before.

use crate::harness::{PATIENCE, Rocker, kill, one_line, wait_until};
use crate::harness_net::{Outside, fetcher};
use std::fs;
use std::time::Duration;

/// Runs a command whose words stand in one text.
#[track_caller]
fn ok(rocker: &Rocker, line: &str) -> String {
    rocker.ok(&line.split(' ').collect::<Vec<_>>())
}

/// Starts a web server that says this word.
fn server(rocker: &Rocker, word: &str, options: &str) {
    let script = format!("echo {word} > index.html; exec httpd -f -p 80");
    let options: Vec<&str> = options.split(' ').collect();
    let words = [&["run", "-d", "--name", word], &options[..], &["busybox", "sh", "-c", &script]];
    rocker.ok(&words.concat());
    let listens = || ok(rocker, &format!("exec {word} cat /proc/net/tcp6")).contains(":0050 ");
    assert!(wait_until(PATIENCE, listens));
}

/// The interfaces of the host, one a line.
fn links(rocker: &Rocker) -> String {
    rocker.on_host(&["ip", "-o", "link"])
}

#[test]
fn who_shares_a_network_does_not_answer_for_who_comes_later() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let get = |port: u16| {
        let url = format!("http://127.0.0.1:{port}/");
        rocker.try_on_host(&fetcher(&url)).stdout
    };
    ok(&rocker, "network create --subnet 10.9.0.0/24 app");
    server(&rocker, "first", "--net app --ip 10.9.0.9 -p 8080:80");
    let script = "echo shared > index.html; while :; do httpd -f -p 80; sleep 0.1; done";
    let shares = ["run", "-d", "--name", "beside", "--net", "container:first", "busybox"];
    rocker.ok(&[&shares[..], &["sh", "-c", script]].concat());
    ok(&rocker, "restart -t 0 first");
    let alone = || ok(&rocker, "exec beside ip -o link").lines().count() == 1;
    assert!(wait_until(PATIENCE, alone), "it still has an interface");
    for _ in 0..5 {
        assert!(wait_until(PATIENCE, || !get(8080).is_empty()));
        assert_eq!(get(8080), "first\n");
    }
    ok(&rocker, "rm -f first");
    server(&rocker, "stranger", "--net app --ip 10.9.0.9 -p 8081:80");
    for _ in 0..5 {
        // The first one may be too early for the bridge.
        assert!(wait_until(PATIENCE, || !get(8081).is_empty()));
        assert_eq!(get(8081), "stranger\n");
    }
}

#[test]
fn a_port_of_a_container_that_was_killed_does_not_lead_to_the_next_owner_of_its_address() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    ok(&rocker, "network create --subnet 10.9.0.0/30 tiny");
    server(&rocker, "first", "--net tiny -p 8080:80");
    let outside = Outside::new(&rocker);
    let url = format!("http://{}:8080/", outside.near);
    assert_eq!(outside.get(&url).stdout, "first\n");
    let keeper: u32 = rocker.inspect("first", "{{.Rocker.KeeperPid}}").parse().unwrap();
    kill(keeper, libc::SIGKILL);
    let gone = || !fs::exists(format!("/proc/{keeper}")).unwrap();
    assert!(wait_until(PATIENCE, gone));
    // Nothing between that could put it right: the address is the only one.
    server(&rocker, "stranger", "--net tiny");
    assert_eq!(outside.get(&url).stdout, "");
}

/// A program that sends and receives datagrams, on the host and in containers.
struct Datagrams<'a> {
    rocker: &'a Rocker,
    outside: Outside<'a>,
    program: String,
}

impl<'a> Datagrams<'a> {
    fn new(rocker: &'a Rocker) -> Self {
        let program = rocker.program("datagram").to_str().unwrap().to_owned();
        Self { rocker, outside: Outside::new(rocker), program }
    }

    /// Starts a container that logs what arrives at its port 5000.
    fn listen(&self, name: &str, options: &str) {
        let mount = format!("{}:/datagram:ro", self.program);
        let options = options.split(' ').filter(|word| !word.is_empty());
        let mut words = vec!["run", "-d", "--name", name, "-v", &mount];
        words.extend(options);
        words.extend(["busybox", "/datagram", "log", "5000"]);
        self.rocker.ok(&words);
        let table = format!("exec {name} cat /proc/net/udp");
        assert!(wait_until(PATIENCE, || ok(self.rocker, &table).contains(":1388 ")));
    }

    /// Sends a word from outside, from the same port each time.
    fn send(&self, word: &str) {
        let near = self.outside.near;
        let sent = self.outside.run(&[&self.program, "send", "4444", near, "5000", word]);
        assert_eq!(sent.code, 0, "{sent:?}");
    }
}

#[test]
fn datagrams_under_way_do_not_reach_the_next_owner_of_an_address() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let datagrams = Datagrams::new(&rocker);
    ok(&rocker, "network create --subnet 10.9.0.0/24 app");
    datagrams.listen("dns", "--net app --ip 10.9.0.50 -p 5000:5000/udp");
    let arrives = || {
        datagrams.send("first");
        !ok(&rocker, "logs dns").is_empty()
    };
    assert!(wait_until(PATIENCE, arrives));
    ok(&rocker, "rm -f dns");
    datagrams.listen("stranger", "--net app --ip 10.9.0.50");
    let got = || ok(&rocker, "logs stranger");
    let from_host = |word: &str| {
        rocker.on_host(&[&datagrams.program, "send", "0", "10.9.0.50", "5000", word]);
        got().ends_with(&format!("10.9.0.1 {word}\n"))
    };
    // The first ones may be too early for the bridge.
    assert!(wait_until(PATIENCE, || from_host("before")));
    datagrams.send("secret");
    assert!(wait_until(PATIENCE, || from_host("after")));
    assert!(!got().contains("secret"), "{}", got());
}

#[test]
fn datagrams_follow_a_port_to_another_network_and_to_where_it_is_published_again() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let datagrams = Datagrams::new(&rocker);
    for name in ["app", "other"] {
        ok(&rocker, &format!("network create {name}"));
    }
    // Known to the kernel before the port leads anywhere.
    datagrams.send("nobody");
    datagrams.listen("log", "--net app -p 5000:5000/udp");
    for word in ["one", "two"] {
        let line = format!("{} {word}\n", datagrams.outside.address);
        let arrives = || {
            datagrams.send(word);
            ok(&rocker, "logs log").ends_with(&line)
        };
        assert!(wait_until(PATIENCE, arrives), "{line}: {}", ok(&rocker, "logs log"));
        if word == "one" {
            ok(&rocker, "network connect other log");
            ok(&rocker, "network disconnect app log");
        }
    }
}

#[test]
fn a_network_is_left_whatever_its_interface_is_called_inside() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    ok(&rocker, "network create --subnet 10.9.0.0/24 app");
    ok(&rocker, "network create more");
    let rename = |from: &str, to: &str| {
        let script = format!("ip link set {from} down; ip link set {from} name {to}");
        rocker.ok(&["exec", "web", "sh", "-c", &script]);
    };
    rocker.sleeper("web", &["--cap-add", "NET_ADMIN", "--net", "app", "--ip", "10.9.0.9"]);
    rename("eth0", "other");
    ok(&rocker, "network disconnect app web");
    assert_eq!(ok(&rocker, "exec web ip -o link").lines().count(), 1);
    rocker.sleeper("next", &["--net", "app", "--ip", "10.9.0.9"]);
    // The other way round: what stays was renamed, or has the name that would come next.
    ok(&rocker, "network connect app web");
    ok(&rocker, "network connect more web");
    rename("eth1", "eth2");
    ok(&rocker, "network disconnect app web");
    ok(&rocker, "network connect app web");
    let inside = ok(&rocker, "exec web ip -o link");
    assert!(inside.contains("eth2") && inside.contains("eth0"), "{inside}");
    ok(&rocker, "network disconnect more web");
    let inside = ok(&rocker, "exec web ip -o link");
    assert!(!inside.contains("eth2") && inside.contains("eth0"), "{inside}");
}

#[test]
fn a_container_can_be_in_forty_networks() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let mut words = vec!["run".to_owned(), "--rm".to_owned()];
    for number in 0..40 {
        ok(&rocker, &format!("network create --subnet 10.9.{number}.0/24 net{number}"));
        words.push(format!("--net=net{number}"));
    }
    words.extend(["busybox", "ip", "-o", "link"].map(str::to_owned));
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    assert_eq!(rocker.ok(&words).lines().count(), 41);
}

#[test]
fn what_a_host_forwards_for_rocker_alone_stays_guarded_and_ports_stay_published() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let forwarded = || rocker.on_host(&["nft", "list", "chain", "ip", "rocker", "forward"]);
    let guards = || forwarded().matches("iifname != @bridges drop").count();
    // A new network namespace has what the machine has.
    rocker.on_host(&["sh", "-c", "echo 0 > /proc/sys/net/ipv4/ip_forward"]);
    ok(&rocker, "network create --internal cellar");
    assert_eq!(guards(), 0, "nothing is forwarded yet");
    server(&rocker, "web", "-p 8080:80");
    assert_eq!(guards(), 1, "{}", forwarded());
    let ports = || rocker.on_host(&["nft", "list", "map", "ip", "rocker", "ports"]);
    assert!(ports().contains("8080"), "{}", ports());
    for command in ["run --rm busybox true", "network create more"] {
        rocker.on_host(&["nft", "flush", "ruleset"]);
        ok(&rocker, command);
        assert_eq!(guards(), 1, "after {command}: {}", forwarded());
        assert!(ports().contains("8080"), "after {command}: {}", ports());
    }
}

#[test]
fn a_network_that_was_taken_out_of_the_table_comes_back_into_it() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    ok(&rocker, "network create --subnet 10.9.0.0/24 app");
    let sets = || rocker.on_host(&["nft", "list", "table", "ip", "rocker"]);
    let before = sets();
    rocker.on_host(&["nft", "flush", "set", "ip", "rocker", "bridges"]);
    rocker.on_host(&["nft", "flush", "set", "ip", "rocker", "inner"]);
    assert_ne!(sets(), before);
    ok(&rocker, "run --rm --net app busybox true");
    assert_eq!(sets(), before);
}

#[test]
fn a_container_that_is_started_again_can_be_moved_at_any_moment() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    ok(&rocker, "network create app");
    rocker.sleeper("web", &[]);
    for round in 0..15 {
        let restart = rocker.spawn(&["restart", "-t", "0", "web"]);
        std::thread::sleep(Duration::from_micros(round * 400));
        let word = if round % 2 == 0 { "connect" } else { "disconnect" };
        ok(&rocker, &format!("network {word} app web"));
        let restart = restart.finish();
        assert_eq!(restart.code, 0, "{restart:?}");
        let inside = ok(&rocker, "exec web ip -o link");
        assert_eq!(inside.lines().count(), if round % 2 == 0 { 3 } else { 2 }, "{inside}");
    }
}

#[test]
fn a_host_that_forwards_by_itself_is_not_guarded() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    rocker.on_host(&["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]);
    for _ in 0..2 {
        ok(&rocker, "run --rm busybox true");
        let rules = rocker.on_host(&["nft", "list", "chain", "ip", "rocker", "forward"]);
        assert!(!rules.contains("iifname != @bridges drop"), "{rules}");
        rocker.on_host(&["nft", "flush", "ruleset"]);
    }
}

#[test]
fn a_bridge_of_the_hosts_own_is_neither_joined_nor_removed() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    ok(&rocker, "network create --subnet 10.9.0.0/24 app");
    rocker.on_host(&["ip", "link", "del", "app"]);
    rocker.on_host(&["ip", "link", "add", "app", "type", "bridge"]);
    rocker.on_host(&["ip", "link", "set", "app", "up"]);
    let refused = rocker.refused(&["run", "--rm", "--net", "app", "busybox", "true"], 125);
    assert!(refused.contains("the interface app is no bridge of rocker's"), "{refused}");
    ok(&rocker, "network rm app");
    assert!(links(&rocker).contains(" app: "), "{}", links(&rocker));
}

#[test]
fn a_bridge_that_was_taken_down_comes_up_again() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    server(&rocker, "web", "-p 8080:80");
    rocker.on_host(&["ip", "link", "set", "rocker0", "down"]);
    ok(&rocker, "run --rm busybox true");
    let url = "http://127.0.0.1:8080/";
    assert!(wait_until(PATIENCE, || rocker.try_on_host(&fetcher(url)).stdout == "web\n"));
}

#[test]
fn the_host_takes_no_member_for_its_router() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    ok(&rocker, "network create --ipv6 app");
    ok(&rocker, "run --rm busybox true");
    for bridge in ["rocker0", "app"] {
        let path = format!("/proc/sys/net/ipv6/conf/{bridge}/accept_ra");
        assert_eq!(rocker.on_host(&["cat", &path]), "0\n", "{bridge}");
    }
}

#[test]
fn a_network_is_removed_or_used_but_never_half_of_both() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    for round in 0..15 {
        ok(&rocker, "network create app");
        let run = rocker.spawn(&["run", "--rm", "--net", "app", "busybox", "true"]);
        std::thread::sleep(Duration::from_micros(round * 300));
        let removed = rocker.run(&["network", "rm", "app"]);
        let run = run.finish();
        match run.code {
            0 => {}
            _ => assert!(one_line(&run.stderr).contains("No such network: app"), "{run:?}"),
        }
        match removed.code {
            0 => assert!(!links(&rocker).contains(" app: "), "{round}: its bridge is left"),
            _ => {
                assert!(removed.stderr.contains("is in use by"), "{removed:?}");
                ok(&rocker, "network rm app");
            }
        }
    }
}

#[test]
fn a_damaged_network_harms_nobody_else_and_can_be_removed() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    for name in ["good", "bad"] {
        ok(&rocker, &format!("network create {name}"));
    }
    rocker.sleeper("ends", &["--net", "good"]);
    let file = rocker.root().join("networks/bad/network.json");
    fs::write(&file, "{").unwrap();
    let listed = rocker.run(&["network", "ls", "-q"]);
    assert_eq!((listed.code, listed.stdout.lines().count()), (0, 1), "{listed:?}");
    assert!(one_line(&listed.stderr).contains("networks/bad/network.json is damaged"));
    let keeper: u32 = rocker.inspect("ends", "{{.Rocker.KeeperPid}}").parse().unwrap();
    kill(keeper, libc::SIGKILL);
    ok(&rocker, "rm -f ends");
    ok(&rocker, "ps -a");
    ok(&rocker, "run --rm --net good busybox true");
    ok(&rocker, "network create other");
    ok(&rocker, "network prune");
    let refused = rocker.refused(&["run", "--rm", "--net", "bad", "busybox", "true"], 125);
    assert!(refused.contains("is damaged"), "{refused}");
    rocker.refused(&["network", "create", "bad"], 1);
    ok(&rocker, "network rm bad");
    assert!(!file.exists());
}

#[test]
fn a_default_network_that_was_removed_is_made_again_for_who_is_started_again() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let words = ["run", "-d", "--name", "web", "--restart", "always", "busybox", "sleep", "0.3"];
    rocker.ok(&words);
    let removed = || rocker.run(&["network", "rm", "rocker0"]).code == 0;
    assert!(wait_until(PATIENCE, removed));
    let count = || rocker.inspect("web", "{{.RestartCount}}").parse::<u32>().unwrap();
    let before = count();
    assert!(wait_until(PATIENCE, || count() > before + 1), "{}", ok(&rocker, "ps -a"));
}

#[test]
fn nothing_is_published_of_an_internal_network() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let outside = Outside::new(&rocker);
    ok(&rocker, "network create --internal --ipv6 cellar");
    for mode in ["nft", "proxy"] {
        server(&rocker, "web", &format!("--net cellar --publish-mode {mode} -p 8080:80"));
        for url in [format!("http://{}:8080/", outside.near), "http://[2001:db8::1]:8080/".into()] {
            assert_eq!(outside.get(&url).stdout, "", "{mode}: {url}");
        }
        ok(&rocker, "network connect rocker0 web");
        let url = format!("http://{}:8080/", outside.near);
        assert_eq!(outside.get(&url).stdout, "web\n", "{mode}");
        ok(&rocker, "rm -f web");
    }
}
