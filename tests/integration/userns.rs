//! Containers with users of their own: what they are on the host, who owns what inside, and that
//! nothing of it shows in images, volumes and later starts.

use crate::harness::{
    Output, PATIENCE, Rocker, finish, has_overlay, has_program, is_bare, one_line, skip, wait_until,
};
use crate::privileges::with_probe;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;

/// A rocker, where the kernel has user namespaces.
fn ready() -> Option<Rocker> {
    if !std::path::Path::new("/proc/self/ns/user").exists() {
        skip("this kernel has no user namespaces");
        return None;
    }
    Rocker::with_busybox()
}

/// What a script says in a new container with these options; it must succeed.
#[track_caller]
fn script(rocker: &Rocker, options: &[&str], text: &str) -> String {
    let words = [&["run", "--rm", "--net", "none"], options, &["busybox", "sh", "-c", text]];
    rocker.ok(&words.concat())
}

const AUTO: &[&str] = &["--userns", "auto"];

/// The range that a container has: first user, first group, size.
#[track_caller]
fn range(rocker: &Rocker, name: &str) -> [u32; 3] {
    let mode = rocker.inspect(name, "{{.HostConfig.UsernsMode}}");
    let numbers: Vec<u32> = mode.split(':').map(|number| number.parse().unwrap()).collect();
    numbers.try_into().unwrap()
}

#[test]
fn the_ids_inside_are_a_range_of_the_hosts() {
    let Some(rocker) = ready() else { return };
    let named = ["--userns", "300000:400000:70000"];
    let maps = script(&rocker, &named, "cat /proc/self/uid_map /proc/self/gid_map");
    let maps: Vec<Vec<&str>> = maps.lines().map(|l| l.split_whitespace().collect()).collect();
    assert_eq!(maps, [["0", "300000", "70000"], ["0", "400000", "70000"]]);
    assert!(script(&rocker, AUTO, "id").starts_with("uid=0(root) gid=0(root)"));
    rocker.sleeper("web", &["--net", "none", "--userns", "auto"]);
    let [user, group, size] = range(&rocker, "web");
    assert_eq!((user, size), (group, 65536));
    // It is nobody whom this host knows.
    assert!((0x7000_0000..0x7ffe_0000).contains(&user), "{user:#x}");
    let process = fs::metadata(format!("/proc/{}", rocker.pid("web"))).unwrap();
    assert_eq!((process.uid(), process.gid()), (user, group));
    let own = |name: &str| {
        let link = format!("/proc/self/ns/{name}");
        let inside = rocker.ok(&["exec", "web", "readlink", &link]);
        inside.trim() != fs::read_link(link).unwrap().to_str().unwrap()
    };
    for name in ["user", "mnt", "pid", "uts", "ipc", "net"] {
        assert!(own(name), "{name}");
    }
    assert_eq!(script(&rocker, &["--userns", "host"], "cat /proc/self/uid_map | wc -l"), "1\n");
    assert_eq!(rocker.inspect("web", "{{.Config.Image}}"), "busybox:latest");
}

/// Who owns what, and what can be done with it; the same in every way to write.
const OWNERS: &str = "stat -c '%n %u %g' / /bin /bin/sh /etc /root /dev /dev/null /dev/shm; \
    echo x > /root/new; chown 5:6 /root/new; touch /bin/sh; rm /bin/vi; mkdir /srv; \
    chown 1000 /srv; stat -c '%n %u %g' /root/new /bin/sh /srv; echo >> /etc/hosts; \
    stat -c '%n %u %g' /etc/hosts; cat /etc/resolv.conf /etc/hostname > /dev/null";

#[test]
fn the_files_of_the_image_belong_to_root_inside_and_can_be_changed() {
    let Some(rocker) = ready() else { return };
    let usual = script(&rocker, &[], OWNERS);
    assert!(usual.contains("/bin/sh 0 0") && usual.contains("/root/new 5 6"), "{usual}");
    for layer in ["overlay", "tmpfs", "copy"] {
        if layer != "copy" && !has_overlay() {
            continue;
        }
        let options = [AUTO, &["--layer", layer]].concat();
        assert_eq!(script(&rocker, &options, OWNERS), usual, "{layer}");
    }
    // The image itself is as it was.
    let file = rocker.root().join("images/busybox/latest/rootfs/bin/busybox");
    assert_eq!(fs::metadata(file).unwrap().uid(), 0);
}

#[test]
fn without_mounts_that_shift_owners_copies_of_the_layers_are_shared() {
    let Some(rocker) = ready() else { return };
    if !has_program("strace") || !has_overlay() {
        return skip("strace or overlayfs is not there");
    }
    let copies = || -> Vec<String> {
        let layers = rocker.root().join("layers");
        let names = crate::harness::names(&layers);
        let mut names: Vec<String> = names.filter(|name| name.contains('-')).collect();
        names.sort();
        names
    };
    let usual = script(&rocker, &[], OWNERS);
    for (error, ranges) in [("ENOSYS", 1), ("EINVAL", 1), ("EPERM", 2)] {
        let start = if ranges == 1 { "300000:400000:65536" } else { "500000:500000:65536" };
        let mut command = Command::new("strace");
        let inject = format!("inject=mount_setattr:error={error}");
        command.args(["-f", "-qq", "-o", "/dev/null", "-e", &inject, "--"]).arg(rocker.binary());
        command.args(["run", "--rm", "--net", "none", "--userns", start, "busybox"]);
        command.args(["sh", "-c", OWNERS]);
        rocker.prepare(&mut command);
        let output = finish(command, b"", PATIENCE);
        assert_eq!((output.code, output.stdout.as_str()), (0, &*usual), "{error}: {output:?}");
        // One of the layer and one of what lies below it, for each range.
        assert_eq!(copies().len(), 2 * ranges, "{error}: {:?}", copies());
    }
    let shell = copies()[0].clone();
    let owner = fs::metadata(rocker.root().join("layers").join(shell).join("bin/sh")).unwrap();
    assert_eq!((owner.uid(), owner.gid()), (300_000, 400_000));
    // They are used as they are, and go with their layer.
    assert_eq!(script(&rocker, &["--userns", "300000:400000:65536"], OWNERS), usual);
    let removed = rocker.ok(&["rmi", "busybox"]);
    assert!(!removed.contains('-'), "{removed}");
    assert_eq!(crate::harness::names(&rocker.root().join("layers")).count(), 0);
}

#[test]
fn exec_becomes_root_of_the_same_namespace() {
    let Some(rocker) = ready() else { return };
    rocker.sleeper("web", &["--net", "none", "--userns", "auto"]);
    let exec = |options: &[&str], text: &str| {
        rocker.ok(&[&["exec"], options, &["web", "sh", "-c", text]].concat())
    };
    let same = "readlink /proc/self/ns/user; readlink /proc/1/ns/user; id -u; id -g";
    let lines = exec(&[], same);
    let lines: Vec<&str> = lines.lines().collect();
    assert!(lines[0] == lines[1] && lines[2..] == ["0", "0"], "{lines:?}");
    let caps = "grep Cap /proc/self/status";
    assert_eq!(exec(&[], caps), script(&rocker, AUTO, caps));
    // What it writes arrives, also by another name; so for another user.
    assert_eq!(exec(&[], "echo a > /dev/stdout"), "a\n");
    assert_eq!(exec(&["-u", "1000"], "echo b > /dev/stdout; id -u"), "b\n1000\n");
    assert_eq!(exec(&["--privileged"], "mount -t tmpfs x /mnt && echo c"), "c\n");
    let words = ["exec", "-i", "web", "cat"];
    assert_eq!(rocker.run_with_input(&words, b"through").stdout, "through");
    rocker.ok(&["rm", "-f", "web"]);
}

#[test]
fn another_user_and_a_setuid_program_work_inside() {
    let Some((rocker, volume)) = with_probe() else { return };
    let options = [AUTO, &["--user", "1000", "-v", &volume]].concat();
    assert_eq!(script(&rocker, &options, "id -u; echo x > /dev/stdout"), "1000\nx\n");
    let make = "cp /probe /id; chmod 4755 /id";
    let named = ["run", "--name", "maker", "--net", "none", "--userns", "auto", "-v", &volume];
    rocker.ok(&[&named[..], &["busybox", "sh", "-c", make]].concat());
    rocker.ok(&["commit", "maker", "setuid"]);
    for users in ["auto", "host"] {
        let words = ["run", "--rm", "--net", "none", "--userns", users, "-u", "1000"];
        let option = ["--security-opt", "no-new-privileges=false", "setuid", "/id", "user"];
        assert_eq!(rocker.ok(&[&words[..], &option].concat()), "0\n", "{users}");
    }
}

#[test]
fn an_image_made_of_it_is_the_one_that_any_other_container_would_give() {
    let Some(rocker) = ready() else { return };
    let change = "echo x > /new; chown 7:8 /new; mkdir /d; chown 9 /d; ln -s x /l; \
        for file in /new /d /l /; do touch -h -d '2024-01-01 00:00:00' $file; done";
    for layer in ["", "tmpfs", "copy"] {
        let mut ids = Vec::new();
        for users in ["host", "auto", "700000:800000:65536"] {
            let mut words = vec!["run", "-d", "--name", "maker", "--net", "none"];
            words.extend(["--userns", users]);
            if !layer.is_empty() {
                words.extend(["--layer", layer]);
            }
            let script = format!("{change}; touch /dev/shm/done; sleep 1000");
            words.extend(["busybox", "sh", "-c", &script]);
            rocker.ok(&words);
            let done = ["exec", "maker", "test", "-e", "/dev/shm/done"];
            assert!(wait_until(PATIENCE, || rocker.run(&done).code == 0), "{users}");
            rocker.ok(&["commit", "maker", "made"]);
            rocker.ok(&["rm", "-f", "maker"]);
            let look = "stat -c '%n %u %g' /new /d /l /bin/sh";
            let words = ["run", "--rm", "--net", "none", "made", "sh", "-c", look];
            assert_eq!(rocker.ok(&words), "/new 7 8\n/d 9 0\n/l 0 0\n/bin/sh 0 0\n", "{users}");
            let layers = rocker.ok(&["inspect", "-f", "{{json .RootFS.Layers}}", "made"]);
            ids.push(layers);
        }
        // In a copy each start leaves its own times.
        let same = layer == "copy" || ids.iter().all(|id| *id == ids[0]);
        assert!(same, "{layer}: {ids:?}");
    }
    // The mark of what was removed belongs to root as well.
    let words = ["run", "--name", "maker", "--net", "none", "--userns", "auto", "busybox"];
    rocker.ok(&[&words[..], &["rm", "/bin/vi"]].concat());
    rocker.ok(&["commit", "maker", "made"]);
    assert!(!rocker.ok(&["run", "--rm", "--net", "none", "made", "ls", "/bin"]).contains("vi\n"));
    let mark = fs::symlink_metadata(rocker.root().join("images/made/latest/rootfs/bin/vi"));
    assert!(mark.is_err() || mark.is_ok_and(|mark| mark.uid() == 0));
}

#[test]
fn a_new_volume_is_the_containers_and_a_file_of_the_hosts_is_not() {
    let Some(rocker) = ready() else { return };
    let users = ["--userns", "300000:400000:65536"];
    let options = [&users[..], &["-v", "data:/fresh", "-v", "copied:/etc"]].concat();
    let look = "touch /fresh/x /etc/x; stat -c '%n %u %g' /fresh /fresh/x /etc /etc/x /etc/passwd";
    let expected = "/fresh 0 0\n/fresh/x 0 0\n/etc 0 0\n/etc/x 0 0\n/etc/passwd 0 0\n";
    assert_eq!(script(&rocker, &options, look), expected);
    let data = fs::metadata(rocker.root().join("volumes/data/_data/x")).unwrap();
    assert_eq!((data.uid(), data.gid()), (300_000, 400_000));
    // The same range sees it as its own again.
    assert_eq!(script(&rocker, &options, "stat -c %u /fresh/x"), "0\n");
    let secret = rocker.files().join("secret");
    fs::write(&secret, "of the host").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let open = rocker.files().join("open");
    fs::write(&open, "for all").unwrap();
    let (secret, open) =
        (format!("{}:/secret", secret.display()), format!("{}:/open", open.display()));
    let options = [AUTO, &["-v", &secret, "-v", &open]].concat();
    let text = "cat /open; cat /secret 2>/dev/null || echo ' refused'; stat -c %u /secret; \
        chown 0 /secret 2>/dev/null || echo stays";
    assert_eq!(script(&rocker, &options, text), "for all refused\n65534\nstays\n");
    let text = "cat /secret";
    assert_eq!(script(&rocker, &["-v", &secret], text), "of the host");
}

#[test]
fn a_range_stays_with_its_container_and_is_free_when_that_is_gone() {
    let Some(rocker) = ready() else { return };
    rocker.sleeper("one", &["--net", "none", "--userns", "auto"]);
    rocker.ok(&["create", "--name", "two", "--userns", "auto", "busybox", "true"]);
    let (one, two) = (range(&rocker, "one"), range(&rocker, "two"));
    assert!(one[0].abs_diff(two[0]) >= 65536, "{one:?} {two:?}");
    rocker.ok(&["exec", "one", "touch", "/mine"]);
    rocker.ok(&["stop", "-t", "0", "one"]);
    rocker.ok(&["start", "one"]);
    assert_eq!(range(&rocker, "one"), one);
    assert_eq!(rocker.ok(&["exec", "one", "stat", "-c", "%u", "/mine"]), "0\n");
    rocker.ok(&["rm", "-f", "one"]);
    rocker.ok(&["create", "--name", "three", "--userns", "auto", "busybox", "true"]);
    assert_eq!(range(&rocker, "three"), one);
    // A range that was named counts as well.
    let next = format!("{}:5000000:65536", two[0] + 65536);
    rocker.ok(&["create", "--name", "named", "--userns", &next, "busybox", "true"]);
    rocker.ok(&["create", "--name", "four", "--userns", "auto", "busybox", "true"]);
    assert_eq!(range(&rocker, "four")[0], two[0] + 2 * 65536);
    // Those that remove themselves, many at once.
    let words = ["run", "--rm", "--net", "none", "--userns", "auto", "busybox"];
    let words = [&words[..], &["sh", "-c", "cat /proc/self/uid_map; sleep 1"]].concat();
    let started: Vec<_> = (0..8).map(|_| rocker.spawn(&words)).collect();
    let mut maps: Vec<String> =
        started.into_iter().map(|running| running.finish().stdout).collect();
    maps.sort();
    maps.dedup();
    assert_eq!(maps.len(), 8, "{maps:?}");
}

#[test]
fn networks_and_ports_work_as_for_any_other_container() {
    let Some(rocker) = ready() else { return };
    let serve = "while true; do echo hello | nc -l -p 80; done";
    let words = ["run", "-d", "--name", "web", "--userns", "auto", "-p", "8080:80", "busybox"];
    let output = rocker.run(&[&words[..], &["sh", "-c", serve]].concat());
    if output.stderr.contains("no network but the loopback") {
        return skip("this kernel has no bridges");
    }
    assert_eq!(output.code, 0, "{output:?}");
    let address = rocker.inspect("web", "{{.NetworkSettings.IPAddress}}");
    let seen = rocker.ok(&["exec", "web", "ip", "-o", "addr", "show", "eth0"]);
    assert!(seen.contains(&address), "{seen}");
    let ask = ["run", "--rm", "--userns", "auto", "busybox", "nc", "-w", "5", &address, "80"];
    let hears = |words: &[&str]| rocker.run(words).stdout == "hello\n";
    assert!(wait_until(PATIENCE, || hears(&ask)));
    let ask = ["run", "--rm", "--net", "host", "busybox", "nc", "-w", "5", "127.0.0.1", "8080"];
    assert!(wait_until(PATIENCE, || hears(&ask)));
    let set = ["exec", "--privileged", "web", "ip", "link", "set", "eth0", "mtu", "1400"];
    rocker.ok(&set);
    // One that shares its network, whoever's users that belongs to; and the host's.
    for users in ["auto", "host"] {
        let words = ["run", "--rm", "--net", "container:web", "--userns", users, "busybox"];
        let seen = rocker.ok(&[&words[..], &["ip", "-o", "addr", "show", "eth0"]].concat());
        assert!(seen.contains(&address), "{users}: {seen}");
    }
    let words = ["run", "--rm", "--net", "host", "--userns", "auto", "busybox", "sh", "-c"];
    let script = "ip link show rocker0 > /dev/null && ls /sys; ip link set lo down 2>/dev/null \
        || echo refused";
    assert_eq!(rocker.ok(&[&words[..], &[script]].concat()), "refused\n");
    rocker.ok(&["network", "create", "other"]);
    rocker.ok(&["network", "connect", "other", "web"]);
    rocker.ok(&["exec", "web", "ip", "link", "show", "eth1"]);
    rocker.ok(&["rm", "-f", "web"]);
    rocker.ok(&["network", "rm", "other"]);
    rocker.ok(&["network", "rm", "rocker0"]);
}

#[test]
fn rights_inside_are_none_outside_and_no_mount_can_be_undone() {
    let Some((rocker, volume)) = with_probe() else { return };
    let shown = format!("{}:/shown:ro", rocker.files().display());
    let script_of = |right: &[&str], text: &str| {
        let options = [AUTO, right, &["-v", &volume, "-v", &shown]].concat();
        script(&rocker, &options, &format!("{{ {text}; }} 2>/dev/null; true"))
    };
    let text = "mount -t tmpfs x /mnt && echo mounts; umount /mnt && echo unmounts; \
        mount -t proc x /mnt && echo proc; umount /shown && echo SHOWN; umount /proc && echo PROC; \
        umount /proc/keys && echo KEYS; mount -o remount,bind,rw /shown && echo WRITES; \
        touch /shown/x && echo WROTE; mount -o remount,bind,dev,suid,rw / && echo DEVICES; \
        mknod /n c 1 5 && echo NODE; hostname other && hostname; \
        echo 1 > /proc/sys/vm/overcommit_memory && echo SYSCTL; \
        nsenter -t 1 -m true && echo own; chroot / true && echo chroot";
    let admin = script_of(&["--cap-add", "ALL"], text);
    assert!(admin.starts_with("mounts\nunmounts\n"), "{admin}");
    let loud: Vec<&str> = admin.lines().filter(|l| l.chars().all(char::is_uppercase)).collect();
    assert!(loud.is_empty(), "{admin}");
    let all = script_of(&["--privileged"], text);
    let loud: Vec<&str> = all.lines().filter(|l| l.chars().all(char::is_uppercase)).collect();
    assert!(loud.is_empty() && all.contains("proc\n"), "{all}");
    // The disks of the host are there as nodes, but are nobody's inside.
    let open = "for node in $(find /dev -type b | head -n 3); do /probe open $node; done";
    assert!(!script_of(&["--privileged"], open).contains("ok"));
    // A device that was asked for by name is.
    let options = [AUTO, &["--device", "/dev/kmsg:/dev/k", "-v", &volume]].concat();
    if !is_bare() && std::path::Path::new("/dev/kmsg").exists() {
        assert_eq!(script(&rocker, &options, "stat -c %u /dev/k; /probe open /dev/k 1"), "0\nok\n");
    }
    // Files of the host's root are not root's inside, whatever its capabilities are.
    let text = "stat -c %u /shown; cat /proc/1/status | grep -c ^CapEff";
    assert_eq!(script_of(&["--privileged"], text), "65534\n1\n");
}

#[test]
fn options_work_as_without_users_of_its_own() {
    let Some(rocker) = ready() else { return };
    let look = "stat -c '%u %g %a' /t; touch /t/x && echo writes; touch /x 2>/dev/null || echo no";
    let options = [AUTO, &["--read-only", "--tmpfs", "/t:uid=5,gid=6,mode=1777"]].concat();
    assert_eq!(script(&rocker, &options, look), "5 6 1777\nwrites\nno\n");
    let error = rocker.refused(
        &["run", "--userns", "9000:9000:10", "--tmpfs", "/t:uid=10", "busybox", "true"],
        125,
    );
    assert!(error.contains("no such id"), "{error}");
    let options = [AUTO, &["--init", "--hostname", "box", "--shm-size", "1m"]].concat();
    let look = "hostname; cat /etc/hostname; readlink /proc/1/exe; df -k /dev/shm | tail -n 1";
    let said = script(&rocker, &options, look);
    assert!(said.starts_with("box\nbox\n") && said.contains("1024"), "{said}");
    let sysctls = ["kernel.shmmax=4096", "net.ipv4.ip_forward=1", "kernel.domainname=domain"];
    let mut options = [AUTO, &["--ulimit", "nofile=3000:4000"]].concat();
    options.extend(sysctls.iter().flat_map(|sysctl| ["--sysctl", sysctl]));
    let look = "cd /proc/sys; cat kernel/shmmax net/ipv4/ip_forward kernel/domainname; \
        ulimit -n; ulimit -Hn; ulimit -c; touch /x; stat -c %u /x";
    assert_eq!(script(&rocker, &options, look), "4096\n1\ndomain\n3000\n4000\n0\n0\n");
    let terminal = ["run", "--rm", "-t", "--net", "none", "--userns", "auto", "busybox"];
    let look = "tty; stat -c '%u %g' /dev/pts/0 /dev/console; echo x > /dev/tty";
    let said = rocker.ok(&[&terminal[..], &["sh", "-c", look]].concat());
    assert_eq!(said.replace('\r', ""), "/dev/pts/0\n0 5\n0 5\nx\n");
    // A range that is too small for the image says so, or does without groups.
    assert_eq!(script(&rocker, &["--userns", "9000:9000:1"], "id -u; id -G"), "0\n0\n");
    let words = ["run", "--net", "none", "--userns", "9000:9000:10", "-u", "1000"];
    let error = rocker.refused(&[&words[..], &["busybox", "true"]].concat(), 125);
    assert!(error.contains("no user 1000"), "{error}");
    assert_eq!(rocker.ok(&["ps", "-a", "-q"]), "");
}

#[test]
fn a_range_that_is_none_is_refused_and_leaves_nothing() {
    let Some(rocker) = ready() else { return };
    for bad in [
        "",
        "banana",
        "1:2",
        "0:0:0",
        "0:0:65536",
        "1:1:0",
        "-1:1:1",
        "1:1:-5",
        "1:1:1:1",
        "4294967295:1:1",
        "1:1:4294967295",
        "99999999999:1:1",
        "keep-id",
    ] {
        for command in ["run", "create"] {
            let error = rocker.refused(&[command, "--userns", bad, "busybox", "true"], 125);
            assert!(error.contains("--userns"), "{bad}: {error}");
        }
    }
    assert_eq!(rocker.ok(&["ps", "-a", "-q"]), "");
}

#[test]
fn where_there_are_no_user_namespaces_one_line_says_so() {
    let Some(rocker) = ready() else { return };
    if !has_program("chroot") || !has_program("unshare") {
        return skip("chroot or unshare is not there");
    }
    // Whoever has been chrooted gets none from the kernel.
    let place = rocker.files().join("host");
    fs::create_dir(&place).unwrap();
    let script = "mount --rbind / \"$1\" && cd \"$1\" && exec chroot \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, "sh"]).arg(&place).arg(rocker.binary());
    command.args(["run", "--net", "none", "--userns", "auto", "busybox", "true"]);
    rocker.prepare(&mut command);
    let output: Output = finish(command, b"", PATIENCE);
    assert_eq!(output.code, 125, "{output:?}");
    let error = one_line(&output.stderr);
    assert!(error.contains("no user namespace can be made here"), "{error}");
    assert!(output.stderr.contains("see rocker check, namespace user"), "{output:?}");
    assert_eq!(rocker.ok(&["ps", "-a", "-q"]), "");
}
