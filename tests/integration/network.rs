//! Networks: addresses, names, borders, and what is left of them.

use crate::harness::{
    Output, PATIENCE, Rocker, finish, has_program, kill, names, one_line, skip, wait_until,
};
use crate::harness_host::{is_torture, report};
use crate::harness_net::{Outside, fetcher, without_net_admin};
use std::collections::BTreeSet;
use std::process::Command;

/// What a member sees of itself: `eth0`'s address.
fn address(rocker: &Rocker, name: &str, network: &str) -> String {
    let template = format!("{{{{(index .NetworkSettings.Networks \"{network}\").IPAddress}}}}");
    rocker.inspect(name, &template)
}

/// Asks an HTTP server from inside a container, and gives what it said.
fn ask_from(rocker: &Rocker, name: &str, host: &str, port: u16) -> Output {
    let request = b"GET / HTTP/1.0\r\n\r\n";
    let port = port.to_string();
    rocker.run_with_input(&["exec", "-i", name, "nc", "-w", "2", host, &port], request)
}

/// Starts a web server that says `hello`.
fn server(rocker: &Rocker, name: &str, options: &[&str]) {
    let script = "echo hello > index.html; exec httpd -f -p 80";
    let mut args = vec!["run", "-d", "--name", name];
    args.extend_from_slice(options);
    args.extend_from_slice(&["--image", "busybox", "sh", "-c", script]);
    rocker.ok(&args);
    let listens = || rocker.ok(&["exec", name, "cat", "/proc/net/tcp6"]).contains(":0050 ");
    assert!(wait_until(PATIENCE, listens));
}

#[test]
fn a_container_gets_an_address_of_the_default_network_and_a_way_out() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let outside = Outside::new(&rocker);
    outside.serve_http("from outside");
    rocker.sleeper("web", &[]);
    let inside = address(&rocker, "web", "rocker0");
    assert!(inside.starts_with("10.88."), "{inside}");
    let shown = rocker.ok(&["exec", "web", "ip", "-4", "addr", "show", "eth0"]);
    assert!(shown.contains(&format!("inet {inside}/16")), "{shown}");
    let routes = rocker.ok(&["exec", "web", "ip", "route"]);
    assert!(routes.contains("default via 10.88.0.1 dev eth0"), "{routes}");
    assert!(rocker.ok(&["exec", "web", "cat", "/etc/hosts"]).contains(&format!("{inside}\t")));
    let answer = ask_from(&rocker, "web", outside.address, 80);
    assert!(answer.stdout.contains("from outside"), "{answer:?}");
}

#[test]
fn every_user_may_take_low_ports_and_send_echo_requests_in_a_network_of_its_own() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let look = "cd /proc/sys/net/ipv4; cat ping_group_range ip_unprivileged_port_start; \
                nc -l -p 80 -w 1 & sleep 0.2; netstat -ltn | grep -c :80";
    let run = |options: &[&str]| {
        let words = ["-u", "1000", "busybox", "sh", "-c", look];
        rocker.run(&[&["run", "--rm"], options, &words].concat())
    };
    assert_eq!(run(&[]).stdout, "0\t2147483647\n0\n1\n");
    // The ids are the container's, as far as it has any.
    let mapped = run(&["--userns", "auto"]);
    if mapped.code == 0 {
        assert_eq!(mapped.stdout, "0\t65535\n0\n1\n");
    }
    // The user's own value comes last; the host's network is not touched.
    let own = run(&["--sysctl", "net.ipv4.ip_unprivileged_port_start=81"]);
    assert_eq!(own.stdout, "0\t2147483647\n81\n0\n");
    let host = run(&["--net", "host"]);
    assert_eq!(host.stdout.lines().nth(1), Some("1024"), "{host:?}");
}

#[test]
fn a_kernel_without_one_of_the_values_of_networks_runs_containers_all_the_same() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    if !has_program("strace") {
        return skip("strace is not there");
    }
    let mut command = Command::new("strace");
    let inject = ["-e", "inject=openat:error=ENOENT", "-P", "ping_group_range"];
    command.args(["-f", "-qq", "-o", "/dev/null"]).args(inject).arg(rocker.binary());
    let look =
        "cd /proc/sys/net/ipv4; cat ip_unprivileged_port_start; head -n 1 < ping_group_range";
    command.args(["run", "--rm", "busybox", "sh", "-c", look]);
    rocker.prepare(&mut command);
    let output = finish(command, b"", PATIENCE);
    // The shell is told that there is none either.
    assert_eq!((output.code, output.stdout.as_str()), (1, "0\n"), "{output:?}");
}

#[test]
fn addresses_stay_the_same_over_a_restart_and_are_given_back() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    rocker.sleeper("web", &[]);
    let look = || rocker.ok(&["exec", "web", "ip", "-4", "-o", "addr", "show", "eth0"]);
    let mac =
        || rocker.inspect("web", "{{(index .NetworkSettings.Networks \"rocker0\").MacAddress}}");
    let (before, mac_before) = (look(), mac());
    rocker.ok(&["restart", "-t", "0", "web"]);
    assert_eq!((look(), mac()), (before, mac_before));
    let leases = || names(&rocker.root().join("networks/rocker0/leases")).count();
    assert_eq!(leases(), 1);
    rocker.ok(&["stop", "-t", "0", "web"]);
    assert_eq!(leases(), 0);
}

#[test]
fn who_gets_the_address_of_another_is_found_at_once() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let subnets = ["--ipv6", "--subnet", "fd00:9::/64", "--subnet", "10.9.0.0/24"];
    rocker.ok(&[&["network", "create"], &subnets[..], &["app"]].concat());
    rocker.sleeper("peer", &["--net", "app"]);
    let ping = ["busybox", "ping", "-c", "1", "-W", "2", "10.9.0.9"];
    for name in ["one", "two"] {
        rocker.sleeper(name, &["--net", "app", "--ip", "10.9.0.9"]);
        let from_host = rocker.try_on_host(&ping);
        assert_eq!(from_host.code, 0, "{name}: {from_host:?}");
        rocker.ok(&[&["exec", "--privileged", "peer"], &ping[..]].concat());
        rocker.ok(&["rm", "-f", name]);
    }
}

#[test]
fn a_bridge_of_ipv6_does_not_wait_for_an_address_of_its_own() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    rocker.ok(&["network", "create", "--ipv6", "--subnet", "fd00:9::/64", "app"]);
    rocker.sleeper("web", &["--net", "app"]);
    // What is still being looked for on the link counts for nothing.
    let addresses = rocker.on_host(&["ip", "-6", "-o", "addr", "show", "dev", "app"]);
    assert!(addresses.contains("fe80::1/64"), "{addresses}");
    assert!(!addresses.contains("tentative"), "{addresses}");
}

#[test]
fn members_of_a_network_find_each_other_by_name_while_they_run() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    rocker.ok(&["network", "create", "--subnet", "10.9.0.0/24", "app"]);
    rocker.sleeper("one", &["--net", "app", "--network-alias", "first"]);
    server(&rocker, "two", &["--net", "app"]);
    let hosts = |name: &str| rocker.ok(&["exec", name, "cat", "/etc/hosts"]);
    for name in ["two", "one"] {
        let (one, two) = (address(&rocker, "one", "app"), address(&rocker, "two", "app"));
        let text = hosts(name);
        assert!(text.contains(&one) && text.contains(&two), "{name}: {text}");
    }
    assert!(hosts("two").contains("one ") && hosts("two").contains("first"), "{}", hosts("two"));
    assert!(hosts("one").contains("\ttwo "), "{}", hosts("one"));
    // One knows itself by the same names.
    for name in ["one", "first"] {
        let said = rocker.run(&["exec", "one", "ping", "-c", "1", name]);
        let own = address(&rocker, "one", "app");
        assert!(said.stdout.starts_with(&format!("PING {name} ({own})")), "{said:?}");
    }
    let answer = ask_from(&rocker, "one", &address(&rocker, "two", "app"), 80);
    assert!(answer.stdout.contains("hello"), "{answer:?}");
    rocker.ok(&["rm", "-f", "two"]);
    assert!(!hosts("one").contains("two"), "{}", hosts("one"));
}

#[test]
fn networks_are_apart_and_an_internal_one_reaches_nobody() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let outside = Outside::new(&rocker);
    outside.serve_http("from outside");
    rocker.ok(&["network", "create", "a"]);
    rocker.ok(&["network", "create", "--internal", "b"]);
    server(&rocker, "in-a", &["--net", "a"]);
    server(&rocker, "in-b", &["--net", "b"]);
    for (from, to, network) in [("in-a", "in-b", "b"), ("in-b", "in-a", "a")] {
        let answer = ask_from(&rocker, from, &address(&rocker, to, network), 80);
        assert!(!answer.stdout.contains("hello"), "{from} reached {to}");
    }
    assert!(ask_from(&rocker, "in-a", outside.address, 80).stdout.contains("from outside"));
    assert!(!ask_from(&rocker, "in-b", outside.address, 80).stdout.contains("from outside"));
    // Nobody outside gets in by an address that is not published.
    outside.route_to("10.0.0.0/8");
    let answer = outside.get(&format!("http://{}/", address(&rocker, "in-a", "a")));
    assert_ne!(answer.code, 0, "{answer:?}");
}

#[test]
fn a_container_can_be_in_two_networks_and_be_moved_while_it_runs() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    for name in ["a", "b", "c"] {
        rocker.ok(&["network", "create", name]);
    }
    rocker.sleeper("web", &["--net", "a", "--net", "b"]);
    server(&rocker, "peer", &["--net", "c"]);
    let links = || rocker.ok(&["exec", "web", "ip", "-o", "link"]);
    assert!(links().contains("eth0") && links().contains("eth1"), "{}", links());
    let peer = address(&rocker, "peer", "c");
    assert!(!ask_from(&rocker, "web", &peer, 80).stdout.contains("hello"));
    rocker.ok(&["network", "connect", "--alias", "wanderer", "c", "web"]);
    assert!(ask_from(&rocker, "web", &peer, 80).stdout.contains("hello"));
    let hosts = rocker.ok(&["exec", "peer", "cat", "/etc/hosts"]);
    assert!(hosts.contains("wanderer"), "{hosts}");
    rocker.ok(&["network", "disconnect", "b", "web"]);
    assert!(!links().contains("eth1") && links().contains("eth2"), "{}", links());
    assert_eq!(rocker.ok(&["ps", "--filter", "name=web", "--format", "{{.Networks}}"]), "a,c\n");
    let refused = rocker.refused(&["network", "rm", "c"], 1);
    assert!(refused.contains("in use by") && refused.contains("web"), "{refused}");
    rocker.ok(&["rm", "-f", "web", "peer"]);
    rocker.ok(&["network", "rm", "a", "b", "c"]);
    assert!(!rocker.on_host(&["ip", "-o", "link"]).contains(" c:"));
}

#[test]
fn a_published_port_never_leads_to_the_next_owner_of_an_address_but_to_a_network_that_stays() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let options = "network create --ipv6 --subnet fd00:9::/64 --subnet 10.9.0.0/24 app";
    rocker.ok(&options.split(' ').collect::<Vec<_>>());
    let get = |host: &str| {
        let url = format!("http://{host}:8080/");
        rocker.try_on_host(&fetcher(&url)).stdout
    };
    for mode in ["nft", "proxy"] {
        server(&rocker, "web", &["-p", "8080:80", "--publish-mode", mode]);
        let old = address(&rocker, "web", "rocker0");
        rocker.ok(&["network", "connect", "app", "web"]);
        assert_eq!(get("127.0.0.1"), "hello\n", "{mode}: connected");
        rocker.ok(&["network", "disconnect", "rocker0", "web"]);
        let script = "echo stranger > index.html; exec httpd -f -p 80";
        let args = ["run", "-d", "--name", "stranger", "--ip", &old, "busybox", "sh", "-c", script];
        rocker.ok(&args);
        let listens = || ask_from(&rocker, "stranger", &old, 80).stdout.contains("stranger");
        assert!(wait_until(PATIENCE, listens));
        for host in ["127.0.0.1", "[::1]"] {
            assert_eq!(get(host), "hello\n", "{mode}: moved, by {host}");
        }
        rocker.ok(&["network", "disconnect", "app", "web"]);
        for host in ["127.0.0.1", "[::1]"] {
            assert_eq!(get(host), "", "{mode}: in no network, by {host}");
        }
        rocker.ok(&["network", "connect", "app", "web"]);
        assert_eq!(get("127.0.0.1"), "hello\n", "{mode}: connected again");
        rocker.ok(&["rm", "-f", "web", "stranger"]);
        let left = rocker.on_host(&["nft", "list", "ruleset"]);
        let left: Vec<&str> =
            left.lines().filter(|line| line.contains(" : ") && !line.contains("type")).collect();
        assert!(left.is_empty(), "{mode}: {left:?}");
    }
}

#[test]
fn the_way_out_of_a_container_moves_with_its_networks() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let dual = "network create --ipv6 --subnet fd00:9::/64 --subnet 10.9.0.0/24 app";
    let internal = "network create --internal --subnet 10.7.0.0/24 cellar";
    for command in [dual, internal] {
        rocker.ok(&command.split(' ').collect::<Vec<_>>());
    }
    rocker.sleeper("web", &[]);
    let network = |word: &str, name: &str| rocker.ok(&["network", word, name, "web"]);
    let out = |wanted: &str| {
        let routes = ["ip route; ip -6 route"].map(|text| ["exec", "web", "sh", "-c", text]);
        let routes = rocker.ok(&routes[0]);
        let out = routes.lines().filter(|line| line.starts_with("default"));
        let out: Vec<_> =
            out.map(|line| line.split(' ').take(5).collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(out.join(", "), wanted);
    };
    network("connect", "cellar");
    network("connect", "app");
    out("default via 10.88.0.1 dev eth0, default via fd00:9::1 dev eth2");
    network("disconnect", "rocker0");
    out("default via 10.9.0.1 dev eth2, default via fd00:9::1 dev eth2");
    network("disconnect", "app");
    out("");
    network("disconnect", "cellar");
    network("connect", "app");
    out("default via 10.9.0.1 dev eth0, default via fd00:9::1 dev eth0");
    let template = "{{(index .NetworkSettings.Networks \"app\").Gateway}}";
    assert_eq!(rocker.inspect("web", template), "10.9.0.1");
    // What is not in use changes nothing.
    network("connect", "cellar");
    network("disconnect", "cellar");
    out("default via 10.9.0.1 dev eth0, default via fd00:9::1 dev eth0");
}

#[test]
fn a_container_that_could_not_be_started_has_neither_addresses_nor_ports() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    rocker.ok(&["create", "--name", "first", "-p", "8080:80", "busybox", "/nosuch"]);
    rocker.refused(&["start", "first"], 1);
    let script = "rm /bin/sh; exit 1";
    let policy = ["--restart", "always", "-p", "8081:80", "busybox", "sh", "-c", script];
    rocker.ok(&[&["run", "-d", "--name", "again"], &policy[..]].concat());
    let status = || rocker.inspect("again", "{{.State.Status}} {{.RestartCount}}");
    assert!(wait_until(PATIENCE, || status() == "exited 1"), "{}", status());
    for name in ["first", "again"] {
        let template = "{{.NetworkSettings.IPAddress}}{{.NetworkSettings.PublishMode}}";
        assert_eq!(rocker.inspect(name, template), "", "{name}");
        assert_eq!(rocker.ok(&["port", name]), "", "{name}");
        rocker.ok(&["network", "disconnect", "rocker0", name]);
    }
}

#[test]
fn a_container_can_share_the_network_of_another_one() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    server(&rocker, "web", &[]);
    let script = "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 2 127.0.0.1 80";
    let args = ["run", "--rm", "--net", "container:web", "--image", "busybox", "sh", "-c", script];
    assert!(rocker.ok(&args).contains("hello"));
    rocker.sleeper("beside", &["--net", "container:web"]);
    let links = |name: &str| rocker.ok(&["exec", name, "ip", "-o", "-4", "addr"]);
    assert_eq!(links("beside"), links("web"));
    // The same names too, those that come later included, also where it is shared once more.
    let third = ["--net", "container:beside", "--hostname", "own"];
    rocker.sleeper("third", &third);
    rocker.ok(&["network", "create", "more"]);
    rocker.sleeper("peer", &["--net", "more"]);
    rocker.ok(&["network", "connect", "more", "web"]);
    let see = |name: &str, file: &str| rocker.ok(&["exec", name, "cat", file]);
    for name in ["beside", "third"] {
        let hosts = see(name, "/etc/hosts");
        assert!(hosts.contains("peer") && hosts == see("web", "/etc/hosts"), "{name}: {hosts}");
        assert_eq!(see(name, "/etc/resolv.conf"), see("web", "/etc/resolv.conf"));
    }
    assert_eq!(see("beside", "/etc/hostname"), see("web", "/etc/hostname"));
    assert_eq!(see("third", "/etc/hostname"), "own\n");
    for option in ["--add-host=a:1.2.3.4", "--dns=1.2.3.4", "--dns-search=a", "--dns-option=b"] {
        let args = ["run", "--net", "container:web", option, "busybox", "true"];
        let refused = rocker.refused(&args, 125);
        assert!(refused.contains("has no names of its own"), "{option}: {refused}");
    }
    rocker.ok(&["rm", "-f", "third", "beside", "peer", "web"]);
    rocker.ok(&["network", "rm", "more"]);
    let refused = rocker.refused(&["run", "--net", "container:web", "busybox", "true"], 125);
    assert!(refused.contains("No such container: web"), "{refused}");
}

#[test]
fn a_network_that_was_joined_late_and_left_takes_its_names_and_addresses_along() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    rocker.ok(&["network", "create", "app"]);
    rocker.sleeper("peer", &["--net", "app"]);
    rocker.sleeper("late", &["--net", "none"]);
    let hosts = |name: &str| rocker.ok(&["exec", name, "cat", "/etc/hosts"]);
    rocker.ok(&["network", "connect", "app", "late"]);
    assert!(hosts("late").contains("peer") && hosts("peer").contains("late"));
    rocker.ok(&["network", "disconnect", "app", "late"]);
    assert!(!hosts("late").contains("peer"), "{}", hosts("late"));
    let name = rocker.inspect("late", "{{.Config.Hostname}}");
    assert!(hosts("late").contains(&format!("127.0.0.1\tlocalhost {name}\n")), "{}", hosts("late"));
    // One that is on none when it starts gives back what it got since, too.
    rocker.ok(&["network", "connect", "app", "late"]);
    rocker.ok(&["stop", "-t", "0", "late"]);
    assert!(!hosts("peer").contains("late"), "{}", hosts("peer"));
    let leases = rocker.root().join("networks/app/leases");
    assert_eq!(std::fs::read_dir(leases).unwrap().count(), 1);
}

#[test]
fn ipv6_works_beside_ipv4() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let options = ["--ipv6", "--subnet", "fd00:9::/64", "--subnet", "10.9.0.0/24", "six"];
    rocker.ok(&[&["network", "create"], &options[..]].concat());
    server(&rocker, "web", &["--net", "six", "--ip", "10.9.0.7", "--ip6", "fd00:9::7"]);
    rocker.sleeper("client", &["--net", "six"]);
    for host in ["10.9.0.7", "fd00:9::7"] {
        let answer = ask_from(&rocker, "client", host, 80);
        assert!(answer.stdout.contains("hello"), "{host}: {answer:?}");
    }
    let route = rocker.ok(&["exec", "client", "ip", "-6", "route"]);
    assert!(route.contains("default via fd00:9::1"), "{route}");
}

#[test]
fn without_ipv6_in_a_network_no_interface_of_it_has_an_address_of_ipv6() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    rocker.sleeper("four", &[]);
    rocker.ok(&["network", "create", "--subnet", "fd00:9::/64", "--subnet", "10.9.0.0/24", "six"]);
    // The kernel gives one to an interface that is up a moment later.
    std::thread::sleep(std::time::Duration::from_secs(2));
    let inside = |name: &str| rocker.ok(&["exec", name, "ip", "-o", "-6", "addr"]);
    assert!(!inside("four").contains("eth0"), "{}", inside("four"));
    let host = rocker.on_host(&["ip", "-o", "-6", "addr"]);
    assert!(!host.contains("rocker0") && !host.contains(" rk"), "{host}");
    rocker.ok(&["network", "connect", "six", "four"]);
    let shown = inside("four");
    assert!(shown.contains("eth1    inet6 fd00:9::") && !shown.contains("eth0"), "{shown}");
}

#[test]
fn fifty_containers_started_at_once_get_fifty_addresses_and_ports() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    rocker.ok(&["run", "--rm", "--image", "busybox", "true"]);
    let starts: Vec<_> = (0..50)
        .map(|_| {
            rocker.spawn(&["run", "-d", "-p", "80", "--image", "busybox", "/bin/sleep", "1000"])
        })
        .collect();
    for start in starts {
        let output = start.finish();
        assert_eq!(output.code, 0, "{output:?}");
    }
    let listed = rocker.ok(&["ps", "-q"]);
    let ids: Vec<&str> = listed.lines().collect();
    let template = "{{.NetworkSettings.IPAddress}} {{.NetworkSettings.Ports}}";
    let mut args = vec!["inspect", "-f", template];
    args.extend(&ids);
    let shown = rocker.ok(&args);
    let addresses: BTreeSet<&str> =
        shown.lines().filter_map(|line| line.split(' ').next()).collect();
    let ports: BTreeSet<&str> =
        shown.lines().filter_map(|line| line.split_once(' ')).map(|p| p.1).collect();
    assert_eq!((ids.len(), addresses.len(), ports.len()), (50, 50, 50), "{shown}");
    let map = || rocker.on_host(&["nft", "list", "map", "ip", "rocker", "ports"]);
    assert_eq!(map().matches(" : 10.").count(), 50, "{}", map());
    let mut args = vec!["rm", "-f"];
    args.extend(&ids);
    rocker.ok(&args);
    assert_eq!(map().matches(" : 10.").count(), 0, "{}", map());
    assert_eq!(names(&rocker.root().join("networks/rocker0/leases")).count(), 0);
}

/// What networks have on the host: interfaces, elements of the table, leases.
fn traces(rocker: &Rocker) -> BTreeSet<String> {
    let links = rocker.on_host(&["ip", "-o", "link", "show", "type", "veth"]);
    let links = links.lines().filter_map(|line| line.split(' ').nth(1));
    let table = rocker.on_host(&["nft", "list", "ruleset"]);
    let elements = table.lines().filter(|line| line.contains(" . ")).map(str::trim);
    let mut all: BTreeSet<String> = links.chain(elements).map(str::to_string).collect();
    for network in names(&rocker.root().join("networks")) {
        let leases = rocker.root().join("networks").join(&network).join("leases");
        all.extend(names(&leases).map(|address| format!("{network}: {address}")));
    }
    all
}

#[test]
fn nothing_of_a_container_that_was_killed_outlives_the_next_command() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    rocker.ok(&["network", "create", "app"]);
    rocker.sleeper("peer", &["--net", "app"]);
    let before = traces(&rocker);
    let gone = |pid: u32| !std::path::Path::new(&format!("/proc/{pid}")).exists();
    for victims in [["keeper", ""], ["program", ""], ["keeper", "program"], ["program", "keeper"]] {
        rocker.sleeper("web", &["--net", "app", "-p", "8080:80"]);
        assert!(rocker.ok(&["exec", "peer", "cat", "/etc/hosts"]).contains("web"));
        let keeper: u32 = rocker.inspect("web", "{{.Rocker.KeeperPid}}").parse().unwrap();
        let program = rocker.pid("web");
        for victim in victims {
            match victim {
                "keeper" => kill(keeper, libc::SIGKILL),
                "program" => kill(program, libc::SIGKILL),
                _ => {}
            }
        }
        // The keeper of a program that ends goes by itself, and a program ends with its keeper.
        let both = || gone(keeper) && gone(program);
        assert!(wait_until(PATIENCE, both), "{victims:?}: {}", rocker.ok(&["ps"]));
        rocker.ok(&["ps"]);
        let left = || traces(&rocker).difference(&before).cloned().collect::<Vec<_>>();
        assert!(wait_until(PATIENCE, || left().is_empty()), "{victims:?} left {:?}", left());
        assert!(!rocker.ok(&["exec", "peer", "cat", "/etc/hosts"]).contains("web"), "{victims:?}");
        rocker.ok(&["rm", "-f", "web"]);
    }
}

#[test]
fn a_client_that_was_killed_while_it_starts_a_container_leaves_nothing_of_it() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    rocker.ok(&["network", "create", "app"]);
    rocker.sleeper("peer", &["--net", "app"]);
    let before = traces(&rocker);
    for step in 0..40 {
        let words = ["run", "-d", "--name", "web", "--net", "app", "-p", "8080:80", "--image"];
        let client = rocker.spawn(&[&words[..], &["busybox", "/bin/sleep", "1000"]].concat());
        std::thread::sleep(std::time::Duration::from_micros(step * 400));
        kill(client.0.id(), libc::SIGKILL);
        drop(client);
        // It runs, or it is not there, or it has been made only.
        rocker.run(&["rm", "-f", "web"]);
        rocker.ok(&["ps"]);
        let left = || traces(&rocker).difference(&before).cloned().collect::<Vec<_>>();
        assert!(wait_until(PATIENCE, || left().is_empty()), "{step}: left {:?}", left());
        assert!(!rocker.ok(&["exec", "peer", "cat", "/etc/hosts"]).contains("web"), "{step}");
    }
}

#[test]
fn networks_come_back_after_a_reboot_and_after_the_rules_were_flushed() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let outside = Outside::new(&rocker);
    outside.serve_http("from outside");
    rocker.ok(&["network", "create", "app"]);
    for network in ["app", "rocker0"] {
        let probe = || {
            rocker.sleeper("web", &["--net", network]);
            let answer = ask_from(&rocker, "web", outside.address, 80);
            rocker.ok(&["rm", "-f", "web"]);
            answer.stdout.contains("from outside")
        };
        assert!(probe(), "{network}: at first");
        rocker.on_host(&["nft", "flush", "ruleset"]);
        assert!(probe(), "{network}: after a flush");
        rocker.on_host(&["ip", "link", "del", network]);
        rocker.on_host(&["nft", "flush", "ruleset"]);
        assert!(probe(), "{network}: after a reboot");
    }
}

#[test]
fn foreign_tables_are_left_alone() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    rocker.on_host(&["nft", "add", "table", "ip", "mine"]);
    rocker.on_host(&["nft", "add", "chain", "ip", "mine", "rocker"]);
    rocker.on_host(&["nft", "add", "rule", "ip", "mine", "rocker", "tcp", "dport", "80", "accept"]);
    let before = rocker.on_host(&["nft", "list", "table", "ip", "mine"]);
    rocker.sleeper("web", &["-p", "8080:80"]);
    rocker.ok(&["rm", "-f", "web"]);
    rocker.ok(&["network", "create", "app"]);
    rocker.ok(&["network", "prune"]);
    assert_eq!(rocker.on_host(&["nft", "list", "table", "ip", "mine"]), before);
}

#[test]
fn rules_do_not_grow_with_containers() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let rules = || rocker.on_host(&["nft", "-s", "list", "chains"]).lines().count();
    let table = || {
        let text = rocker.on_host(&["nft", "list", "table", "ip", "rocker"]);
        text.lines().filter(|line| line.ends_with("accept") || line.ends_with("drop")).count()
    };
    rocker.sleeper("one", &["-p", "81:80"]);
    let before = (rules(), table());
    for number in 2..6 {
        rocker.sleeper(&format!("c{number}"), &["-p", &format!("8{number}:80")]);
    }
    assert_eq!((rules(), table()), before);
}

#[test]
fn what_was_asked_for_names_is_in_etc() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let options = "--dns 9.9.9.9 --dns-search a.example --add-host db:10.1.2.3 \
                   --add-host me:host-gateway --hostname box --mac-address 02:00:00:00:00:07";
    let mut args = vec!["run", "--rm"];
    args.extend(options.split_ascii_whitespace());
    let script = "cat /etc/hosts /etc/resolv.conf; hostname; cat /sys/class/net/eth0/address";
    args.extend(["--image", "busybox", "sh", "-c", script]);
    let text = rocker.ok(&args);
    for wanted in [
        "10.1.2.3\tdb\n",
        "10.88.0.1\tme\n",
        "\tbox\n",
        "nameserver 9.9.9.9\nsearch a.example\n",
        "\nbox\n",
        "02:00:00:00:00:07\n",
    ] {
        assert!(text.contains(wanted), "{wanted:?} is missing in {text}");
    }
    assert_eq!(text.matches("nameserver").count(), 1, "{text}");
}

#[test]
fn the_host_is_known_by_the_network_of_the_way_out() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    for command in ["network create --internal a", "network create --subnet 10.9.0.0/24 b"] {
        rocker.ok(&command.split(' ').collect::<Vec<_>>());
    }
    let args = ["run", "--rm", "--net", "a", "--net", "b", "--add-host", "me:host-gateway"];
    let text = rocker.ok(&[&args[..], &["busybox", "cat", "/etc/hosts"]].concat());
    assert!(text.contains("10.9.0.1\tme\n"), "{text}");
}

#[test]
fn a_container_in_the_network_of_the_host_has_its_name_unless_another_is_asked_for() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let name = |options: &[&str]| {
        let words = ["busybox", "sh", "-c", "hostname; cat /etc/hostname"];
        rocker.ok(&[&["run", "--rm", "--net", "host"], options, &words].concat())
    };
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(name(&[]), format!("{host}{host}"));
    assert_eq!(name(&["--hostname", "own"]), "own\nown\n");
}

#[test]
fn networks_are_listed_inspected_and_pruned() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let id = rocker.ok(&["network", "create", "--subnet", "10.9.0.0/24", "--label", "a=b", "app"]);
    let listed = rocker.ok(&["network", "ls"]);
    assert!(listed.starts_with("NETWORK ID    NAME  DRIVER  SUBNET\n"), "{listed}");
    assert!(listed.contains(&format!("{}  app   bridge  10.9.0.0/24\n", id.trim())), "{listed}");
    assert_eq!(rocker.ok(&["network", "list", "-q", "--filter", "label=a=b"]), id);
    rocker.sleeper("web", &["--net", "app"]);
    let inspect = |template| rocker.ok(&["network", "inspect", "-f", template, "app"]);
    assert_eq!(inspect("{{(index .IPAM.Config 0).Gateway}}"), "10.9.0.1\n");
    let web = rocker.inspect("web", "{{.Id}}");
    assert_eq!(inspect(&format!("{{{{(index .Containers \"{web}\").Name}}}}")), "web\n");
    assert_eq!(rocker.ok(&["network", "prune", "-f"]), "");
    rocker.ok(&["rm", "-f", "web"]);
    assert_eq!(rocker.ok(&["network", "prune", "-f"]), "app\n");
    assert!(!rocker.ok(&["network", "ls"]).contains("app"));
}

#[test]
fn many_connects_and_disconnects_leak_nothing_and_get_no_slower() {
    let Some(rocker) = Rocker::alone_in_memory() else { return };
    let rounds = if is_torture() { 10_000 } else { 100 };
    rocker.ok(&["network", "create", "--ipv6", "--subnet", "fd00:9::/64", "app"]);
    rocker.sleeper("peer", &["--net", "app"]);
    rocker.sleeper("web", &["-p", "8080:80"]);
    let keeper = rocker.inspect("web", "{{.Rocker.KeeperPid}}");
    let keeper = std::path::PathBuf::from(format!("/proc/{keeper}"));
    let files = || names(&keeper.join("fd")).count();
    let memory = || {
        let status = std::fs::read_to_string(keeper.join("status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.unwrap().trim().trim_end_matches(" kB").parse::<usize>().unwrap()
    };
    let cycle = || {
        rocker.ok(&["network", "connect", "app", "web"]);
        rocker.ok(&["network", "disconnect", "app", "web"]);
    };
    // The first ones warm up what stays.
    (0..10).for_each(|_| cycle());
    let (before, census) = (traces(&rocker), rocker.census());
    let (files_before, memory_before) = (files(), memory());
    let mut times = Vec::new();
    for _ in 0..rounds {
        let start = std::time::Instant::now();
        cycle();
        times.push(start.elapsed());
    }
    let left = rocker.left_since(&census);
    assert!(left.is_empty(), "left: {left:#?}");
    assert_eq!(traces(&rocker), before);
    assert_eq!(files(), files_before, "the keeper has files open");
    assert!(memory() <= memory_before + 64, "the keeper grew from {memory_before} to {}", memory());
    let hosts = rocker.ok(&["exec", "peer", "cat", "/etc/hosts"]);
    assert!(!hosts.contains("web"), "{hosts}");
    let median = |part: &[std::time::Duration]| {
        let mut part = part.to_vec();
        part.sort_unstable();
        part[part.len() / 2]
    };
    let tenth = rounds / 10;
    let (first, last) = (median(&times[..tenth]), median(&times[rounds - tenth..]));
    // A machine with other work may be half as quick at times.
    assert!(last < first * 2, "a cycle took {first:?} at first, {last:?} at last");
    let all: std::time::Duration = times.iter().sum();
    report(&format!("{rounds} connects and disconnects in {all:.0?}, {last:.1?} each"));
}

#[test]
fn wrong_networks_addresses_and_ports_are_refused_and_nothing_is_half_made() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    rocker.ok(&["network", "create", "--subnet", "10.9.0.0/30", "small"]);
    rocker.sleeper("web", &["--net", "small", "-p", "8080:80"]);
    rocker.ok(&["create", "--name", "later", "--net", "none", "busybox", "true"]);
    let state = || {
        let links = rocker.on_host(&["ip", "-o", "link"]);
        (links, rocker.on_host(&["nft", "list", "ruleset"]), rocker.ok(&["network", "ls"]))
    };
    let before = state();
    for (args, words) in [
        ("network create small", "network with name small already exists"),
        ("network create --subnet 10.9.0.0/16 x", "overlaps with 10.9.0.0/30 of network small"),
        ("network create a-name-that-is-too-long", "at most 15 characters"),
        ("network create lo", "is an interface of the kernel's"),
        ("network create --subnet 224.1.0.0/24 x", "of addresses for hosts"),
        ("network connect --ip 10.8.0.2 small later", "is not for members of small"),
        ("network connect --alias a/\tb small later", "alias \"a/\\tb\": is not usable"),
        ("network create --gateway 10.8.0.1 --subnet 10.7.0.0/24 x", "no usable address"),
        ("network rm small", "in use by web"),
        ("network rm ghost", "No such network: ghost"),
        ("network connect small web", "connected to network small already"),
        ("network disconnect rocker0 web", "is not connected to network rocker0"),
        ("port web 81", "has no published port 81/tcp"),
    ] {
        let said = rocker.refused(&args.split(' ').collect::<Vec<_>>(), 1);
        assert!(said.contains(words), "{args}: {said}");
    }
    for (args, words) in [
        ("network create --subnet 10.7.0.0 x", "is not ADDRESS/PREFIX"),
        ("network create --subnet 10.7.0.1/24 x", "has bits behind its prefix"),
        ("network create --driver macvlan x", "the only driver is bridge"),
    ] {
        let said = rocker.refused(&args.split(' ').collect::<Vec<_>>(), 125);
        assert!(said.contains(words), "{args}: {said}");
    }
    for (options, words) in [
        ("--net ghost", "No such network: ghost"),
        ("--net small", "no address is free in 10.9.0.0/30"),
        ("--ip 10.77.0.1", "is not for members of"),
        ("--network-alias db", "the default network has no names"),
        ("--net small --ip 10.9.0.2", "address 10.9.0.2 is already in use"),
        ("-p 70000:1", "ports are numbers from 1 to 65535"),
        ("-p 80:80 -p 80:80", "port is already allocated"),
        ("-p 8080:80", "0.0.0.0:8080/tcp: port is already allocated"),
        ("-p 192.0.2.99:80:80", "Cannot assign requested address"),
        ("--net none -p 80:80", "--net none has no ports to publish"),
        ("--net host --net small", "--net host goes with no other network"),
        ("--mac-address 01:00:00:00:00:00", "no MAC address of an interface"),
        ("--add-host x", "is not NAME:ADDRESS"),
        ("--dns x", "is no address"),
    ] {
        let mut args = vec!["run", "--rm"];
        args.extend(options.split(' '));
        args.extend(["--image", "busybox", "true"]);
        let said = rocker.refused(&args, 125);
        assert!(said.contains(words), "{options}: {said}");
    }
    let said = rocker.refused(&["network", "connect", "--alias", "db", "rocker0", "later"], 1);
    assert!(said.contains("the default network has no names"), "{said}");
    let pairs = |text: &str| text.lines().filter(|line| !line.contains("rocker0")).count();
    assert!(wait_until(PATIENCE, || pairs(&state().0) == pairs(&before.0)), "{:?}", state().0);
    assert_eq!(state().2.lines().filter(|line| !line.contains("rocker0")).count(), 2);
    assert_eq!(rocker.ok(&["ps", "-q"]).lines().count(), 2);
    assert_eq!(names(&rocker.root().join("networks/rocker0/leases")).count(), 0);
}

#[test]
fn without_the_right_to_change_networks_none_is_half_made() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let run = |args: &[&str]| {
        let mut command = rocker.command(args);
        without_net_admin(&mut command);
        finish(command, b"", PATIENCE)
    };
    let output = run(&["network", "create", "app"]);
    assert_eq!(output.code, 1, "{output:?}");
    assert!(one_line(&output.stderr).ends_with("Operation not permitted (EPERM)"), "{output:?}");
    assert_eq!(rocker.ok(&["network", "ls", "-q"]), "");
    assert_eq!(names(&rocker.root().join("networks")).count(), 0);
    let words = ["--image", "busybox", "echo", "works"];
    let output = run(&[&["run", "--rm", "--net", "rocker0"], &words[..]].concat());
    assert_eq!((output.code, &*output.stdout), (125, ""), "{output:?}");
    rocker.ok(&["network", "create", "app"]);
    let output = run(&["network", "rm", "app"]);
    assert_eq!(output.code, 1, "{output:?}");
    rocker.ok(&["network", "rm", "app"]);
}
