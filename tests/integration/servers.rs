//! Servers that people really run, in containers, with everybody who may ask them: nginx, Redis and
//! dnsmasq, by both ways of carrying published ports.

use crate::harness::{PATIENCE, Rocker, package, skip, wait_until};
use crate::harness_net::{Outside, fetcher};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// The directory of the unpacked servers and their libraries, or why there is none.
fn unpacked() -> Option<&'static PathBuf> {
    static DIRECTORY: OnceLock<Option<PathBuf>> = OnceLock::new();
    let found = DIRECTORY.get_or_init(|| {
        if !crate::harness::has_program("apt-get") {
            return None;
        }
        // From the machine's own network: no test's reaches a mirror.
        let script = package().join("tests/unpacked.sh");
        let mut command = Command::new(script);
        command.args(["nginx", "redis-tools", "dnsmasq-base"]);
        crate::harness_net::on_the_machine(&mut command);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Some(PathBuf::from(String::from_utf8(output.stdout).unwrap().trim()))
    });
    if found.is_none() {
        skip("the servers are Debian's, and this machine has no apt-get");
    }
    found.as_ref()
}

const NGINX: &str = "\
daemon off;
user root;
worker_processes 2;
error_log stderr;
events { worker_connections 2048; }
http {
    access_log off;
    keepalive_timeout 30s;
    server {
        listen 80 backlog=2048;
        listen [::]:80 backlog=2048;
        location / { return 200 \"nginx says hello\\n\"; }
    }
}
";

/// A rocker whose image `servers` has all three, in a network `app` of both families.
struct Scene<'a> {
    rocker: &'a Rocker,
    outside: Outside<'a>,
    mode: &'static str,
}

/// The addresses of the host, as its neighbour and itself know them.
const NEAR: [&str; 2] = ["203.0.113.1", "2001:db8::1"];
const LOOPBACK: [&str; 2] = ["127.0.0.1", "::1"];

fn rocker_with_servers() -> Option<Rocker> {
    let rocker = Rocker::with_busybox()?;
    let files = unpacked()?;
    let more = rocker.files().join("more");
    for directory in ["etc", "tmp", "run", "var/log/nginx", "var/lib/nginx", "usr/bin"] {
        fs::create_dir_all(more.join(directory)).unwrap();
    }
    fs::write(more.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n").unwrap();
    fs::write(more.join("etc/group"), "root:x:0:\n").unwrap();
    fs::write(more.join("etc/nginx.conf"), NGINX).unwrap();
    // Debian ships one program for both names, and this link with what starts it.
    std::os::unix::fs::symlink("redis-check-rdb", more.join("usr/bin/redis-server")).unwrap();
    let archive = rocker.files().join("servers.tar");
    let mut tar = Command::new("tar");
    tar.arg("-cf").arg(&archive).args(["--exclude=./usr/share", "--exclude=./etc/init.d"]);
    tar.arg("-C").arg(files).arg(".").arg("-C").arg(&more).arg(".");
    assert!(tar.status().unwrap().success());
    rocker.ok(&["import", "-q", archive.to_str().unwrap(), "servers"]);
    fs::remove_file(archive).unwrap();
    let options = "network create --ipv6 --subnet fd00:9::/64 --subnet 10.9.0.0/24 app";
    rocker.ok(&options.split(' ').collect::<Vec<_>>());
    Some(rocker)
}

impl<'a> Scene<'a> {
    fn new(rocker: &'a Rocker, mode: &'static str) -> Self {
        Self { rocker, outside: Outside::new(rocker), mode }
    }

    /// Starts a server; `port` is what it listens on, as /proc/net writes it.
    fn serve(&self, name: &str, options: &str, words: &str, table: &str, port: &str) {
        let mut args = vec!["run", "-d", "--name", name, "--net", "app"];
        args.extend(["--publish-mode", self.mode]);
        args.extend(options.split_ascii_whitespace());
        args.extend(["--image", "servers"]);
        args.extend(words.split_ascii_whitespace());
        self.rocker.ok(&args);
        let table = format!("/proc/{}/net/{table}", self.rocker.pid(name));
        let listens = || fs::read_to_string(&table).is_ok_and(|text| text.contains(port));
        let said = || self.rocker.run(&["logs", name]);
        assert!(wait_until(PATIENCE, listens), "{name} does not listen: {:?}", said());
    }

    /// Runs words in a busybox that is a member of the network too.
    fn in_another(&self, words: &[&str]) -> String {
        let args = ["run", "--rm", "--net", "app", "--image", "busybox"];
        let output = self.rocker.run(&[&args, words].concat());
        output.stdout + &output.stderr
    }

    fn fetch(&self, place: &str) -> [String; 2] {
        let url = |host: &str| match host.contains(':') {
            true => format!("http://[{host}]:8080/"),
            false => format!("http://{host}:8080/"),
        };
        let curl = |host: &str| match place {
            "outside" => self.outside.get(&url(host)),
            _ => self.rocker.try_on_host(&fetcher(&url(host))),
        };
        let hosts = if place == "loopback" { LOOPBACK } else { NEAR };
        hosts.map(|host| curl(host).stdout)
    }
}

const HELLO: &str = "nginx says hello\n";

fn nginx_answers(mode: &'static str) {
    let Some(rocker) = rocker_with_servers() else { return };
    let scene = Scene::new(&rocker, mode);
    let carry = rocker.program("carry").to_str().unwrap().to_string();
    scene.serve("web", "-p 8080:80", "/usr/sbin/nginx -c /etc/nginx.conf", "tcp6", ":0050 ");
    for place in ["outside", "loopback", "host"] {
        assert_eq!(scene.fetch(place), [HELLO, HELLO], "{mode}: from {place}");
    }
    // By name, at the address of either family that /etc/hosts has, and back through the host.
    assert_eq!(scene.in_another(&["wget", "-qO-", "http://web/"]), HELLO, "{mode}: by name");
    let hosts = scene.in_another(&["cat", "/etc/hosts"]);
    let addresses = hosts.lines().filter(|line| line.contains("web"));
    let addresses: Vec<&str> = addresses.filter_map(|line| line.split('\t').next()).collect();
    assert_eq!(addresses.len(), 2, "{hosts}");
    for address in addresses {
        let url = if address.contains(':') { format!("[{address}]") } else { address.to_string() };
        let said = scene.in_another(&["wget", "-qO-", &format!("http://{url}/")]);
        assert_eq!(said, HELLO, "{mode}: at {address}");
    }
    for host in ["http://203.0.113.1:8080/", "http://[2001:db8::1]:8080/"] {
        assert_eq!(scene.in_another(&["wget", "-qO-", host]), HELLO, "{mode}: by {host}");
    }
    // All are open before the first of them asks.
    for host in NEAR {
        let said = scene.outside.run(&[&carry, "get", "tcp", host, "8080", "1000"]);
        assert_eq!(said.stdout, "1000 answers\n", "{mode}: a thousand from outside to {host}");
    }
    for host in LOOPBACK {
        let said = rocker.try_on_host(&[&carry, "get", "tcp", host, "8080", "1000"]);
        assert_eq!(said.stdout, "1000 answers\n", "{mode}: a thousand from the host to {host}");
    }
}

#[test]
fn nginx_answers_everybody_by_the_kernel() {
    nginx_answers("nft");
}

#[test]
fn nginx_answers_everybody_by_the_proxy() {
    nginx_answers("proxy");
}

#[test]
fn a_counter_in_redis_is_shared_by_name_and_by_its_published_port() {
    let Some(rocker) = rocker_with_servers() else { return };
    for mode in ["nft", "proxy"] {
        let scene = Scene::new(&rocker, mode);
        let words = "redis-server --protected-mode no";
        scene.serve("store", "-p 6379:6379", words, "tcp6", ":18EB ");
        let client = ["run", "--rm", "--net", "app", "--image", "servers", "redis-cli", "-h"];
        let ask = |host: &str| rocker.ok(&[&client[..], &[host, "incr", "visits"]].concat());
        assert_eq!(ask("store"), "1\n", "{mode}");
        assert_eq!(ask("store"), "2\n", "{mode}");
        for (host, count) in NEAR.iter().zip(3..) {
            assert_eq!(ask(host), format!("{count}\n"), "{mode}: by {host}");
        }
        // The machine has no client: the same words by hand.
        let request = b"INCR visits\r\nQUIT\r\n";
        for (host, count) in [LOOPBACK, NEAR].concat().iter().zip(5..) {
            let mut command = Command::new("busybox");
            command.args(["nc", "-w", "3", host, "6379"]);
            rocker.prepare(&mut command);
            let output = crate::harness::finish(command, request, PATIENCE);
            assert_eq!(output.stdout, format!(":{count}\r\n+OK\r\n"), "{mode}: {host}: {output:?}");
        }
        rocker.ok(&["rm", "-f", "store"]);
        rocker.on_host(&["ip", "link", "del", "wire"]);
    }
}

#[test]
fn a_dns_server_answers_datagrams_from_everywhere() {
    let Some(rocker) = rocker_with_servers() else { return };
    for mode in ["nft", "proxy"] {
        let scene = Scene::new(&rocker, mode);
        let words =
            "dnsmasq -k -u root --pid-file --no-resolv --no-hosts --address=/box.test/192.0.2.7";
        scene.serve("names", "-p 53:53/udp -p 53:53", words, "udp", ":0035 ");
        let wanted = "Address: 192.0.2.7\n";
        let ask = |server| ["busybox", "nslookup", "-type=a", "box.test", server];
        for server in NEAR {
            let said = scene.outside.run(&ask(server));
            assert!(said.stdout.contains(wanted), "{mode}: outside, {server}: {said:?}");
        }
        for server in [NEAR, LOOPBACK].concat() {
            let said = rocker.try_on_host(&ask(server));
            assert!(said.stdout.contains(wanted), "{mode}: host, {server}: {said:?}");
        }
        for server in ["names", NEAR[0], NEAR[1]] {
            let said = scene.in_another(&ask(server)[1..]);
            assert!(said.contains(wanted), "{mode}: another container, {server}: {said}");
        }
        rocker.ok(&["rm", "-f", "names"]);
        rocker.on_host(&["ip", "link", "del", "wire"]);
    }
}
