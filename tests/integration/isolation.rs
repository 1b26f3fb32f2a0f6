//! What a container sees and changes: its own, and nothing of the host's or of its neighbours'.

use crate::harness::{PATIENCE, Rocker, base_image, finish, has_program, skip, wait_until};
use std::fs;
use std::process::Command;

/// Runs words in a new container of the base image, which must succeed.
#[track_caller]
fn run(rocker: &Rocker, words: &[&str]) -> String {
    rocker.ok(&[&["run", "--rm", "--image", "busybox"][..], words].concat())
}

/// Runs a shell script in a new container of the base image.
#[track_caller]
fn script(rocker: &Rocker, script: &str) -> String {
    run(rocker, &["sh", "-c", script])
}

#[test]
fn a_write_is_seen_neither_in_the_image_nor_in_the_next_container() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let change = "echo new > /root/new; rm /etc/hosts; rm -r /var; echo x >> /etc/passwd; mkdir /d";
    rocker.ok(&["run", "--image", "busybox", "sh", "-c", change]);
    let rootfs = rocker.root().join("images/busybox/latest/rootfs");
    assert!(!rootfs.join("root/new").exists());
    assert!(rootfs.join("var").exists());
    let seen = script(&rocker, "ls /root; ls -d /var; ls /d; tail -n 1 /etc/passwd; exit 0");
    assert_eq!(seen, "/var\nnobody:x:65534:65534:nobody:/home:/bin/false\n");
}

#[test]
fn a_container_keeps_its_changes_over_a_restart() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let count = "echo x >> /root/starts; wc -l < /root/starts";
    rocker.ok(&["run", "--name", "kept", "--image", "busybox", "sh", "-c", count]);
    rocker.ok(&["start", "-a", "kept"]);
    assert_eq!(rocker.ok(&["start", "-a", "kept"]), "3\n");
    assert_eq!(rocker.ok(&["logs", "kept"]), "1\n2\n3\n");
}

#[test]
fn an_import_again_changes_no_container_made_before() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    rocker.sleeper("old", &[]);
    let tree = rocker.files().join("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("only-this"), "x").unwrap();
    let archive = rocker.files().join("other.tar");
    let status =
        Command::new("tar").arg("-C").arg(&tree).arg("-cf").arg(&archive).arg(".").status();
    assert!(status.unwrap().success());
    rocker.ok(&["import", archive.to_str().unwrap(), "busybox"]);
    assert_eq!(rocker.ok(&["exec", "old", "cat", "/etc/hostname"]).lines().count(), 1);
    rocker.ok(&["rm", "-f", "old"]);
    let rootfs = rocker.root().join("images/busybox/latest/rootfs");
    assert!(rootfs.join("only-this").exists() && !rootfs.join("bin").exists());
}

#[test]
fn the_program_is_process_1_and_sees_no_other() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let seen = script(&rocker, "echo $$; ls /proc | grep -c '^[0-9]'; exit 0");
    let lines: Vec<&str> = seen.lines().collect();
    assert_eq!(lines[0], "1", "{seen}");
    // The shell, ls and grep.
    assert!(lines[1].parse::<u32>().unwrap() <= 3, "{seen}");
}

#[test]
fn all_namespaces_but_that_of_users_are_its_own() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let names = ["mnt", "pid", "uts", "ipc", "net", "cgroup"];
    for name in names {
        let link = format!("/proc/self/ns/{name}");
        let host = fs::read_link(&link).unwrap();
        let container = run(&rocker, &["readlink", &link]);
        assert_ne!(container.trim(), host.to_str().unwrap(), "{name}");
    }
}

#[test]
fn the_hostname_is_the_containers_own() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let named = rocker.ok(&["run", "--rm", "--hostname", "box", "--image", "busybox", "hostname"]);
    assert_eq!(named, "box\n");
    assert_ne!(run(&rocker, &["hostname"]), host);
    assert_eq!(fs::read_to_string("/proc/sys/kernel/hostname").unwrap(), host);
    let files = "cat /etc/hostname; grep -c \"$(hostname)\" /etc/hosts";
    let args = ["run", "--rm", "--hostname", "box", "--image", "busybox", "sh", "-c", files];
    assert_eq!(rocker.ok(&args), "box\n1\n");
}

#[test]
fn without_a_network_there_is_only_lo_and_it_is_up() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    // 1 is IFF_UP, 8 IFF_LOOPBACK.
    let look = "ls /sys/class/net; cat /sys/class/net/lo/flags";
    let args = ["run", "--rm", "--net", "none", "--image", "busybox", "sh", "-c", look];
    assert_eq!(rocker.ok(&args), "lo\n0x9\n");
}

#[test]
fn the_standard_devices_work_and_no_other_exists() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let listing = script(&rocker, "cd /dev; ls -d *");
    let expected = "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero";
    let found: Vec<&str> = listing.split_whitespace().filter(|name| *name != "console").collect();
    assert_eq!(found.join(" "), expected);
    let work = "head -c 3 /dev/zero | wc -c; echo x > /dev/null; head -c 8 /dev/urandom | wc -c; \
        echo x > /dev/full || echo full; echo y > /dev/shm/y; cat /dev/shm/y";
    assert_eq!(script(&rocker, &format!("{{ {work}; }} 2>/dev/null")), "3\n8\nfull\ny\n");
}

#[test]
fn nothing_of_the_callers_environment_is_seen() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let mut command =
        rocker.command(&["run", "--rm", "-e", "GIVEN=1", "--image", "busybox", "env"]);
    command.env("SECRET", "hush");
    let output = finish(command, b"", PATIENCE);
    let mut names: Vec<&str> =
        output.stdout.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    names.sort_unstable();
    assert_eq!(names, ["GIVEN", "HOME", "HOSTNAME", "PATH"], "{output:?}");
}

#[test]
fn no_descriptor_of_the_callers_reaches_the_program() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let line = format!(
        "exec 7<{} 9</; exec {} run --rm --image busybox ls /proc/self/fd",
        base_image().display(),
        rocker.binary().display()
    );
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", &line]);
    rocker.prepare(&mut shell);
    // 3 is the directory that ls reads.
    assert_eq!(finish(shell, b"", PATIENCE).stdout, "0\n1\n2\n3\n");
}

#[test]
fn the_kernels_dangerous_files_are_masked_or_read_only() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let try_all = "for file in /proc/sys/kernel/hostname /proc/sysrq-trigger /sys/kernel/mm/ksm/run; do \
        [ ! -e $file ] || ! echo 1 > $file || echo wrote $file; done; \
        for file in /proc/kcore /proc/keys /proc/timer_list; do \
        [ ! -e $file ] || head -c 1 $file | wc -c; done; ls /sys/firmware 2>/dev/null; exit 0";
    let said = script(&rocker, &format!("{{ {try_all}; }} 2>/dev/null"));
    assert!(said.lines().all(|line| line == "0"), "{said}");
}

#[test]
fn every_path_that_docker_hides_is_hidden_in_run_and_in_exec() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let look = "for file in interrupts kcore keys latency_stats sched_debug timer_list timer_stats; do \
        [ ! -e /proc/$file ] || stat -c '%n %F %t:%T' /proc/$file; done; \
        for dir in /proc/acpi /proc/asound /proc/scsi /sys/devices/virtual/powercap /sys/firmware \
        /sys/devices/system/cpu/cpu*/thermal_throttle; do \
        [ ! -d $dir ] || echo $dir $(ls -A $dir | wc -l) entries; done; \
        for dir in bus fs irq sys sysrq-trigger; do \
        [ ! -e /proc/$dir ] || grep -c \" /proc/$dir proc ro,\" /proc/self/mounts; done";
    let wanted = |line: &str| {
        line.ends_with(" character special file 1:3") || line.ends_with(" 0 entries") || line == "1"
    };
    rocker.sleeper("web", &[]);
    for words in [&["run", "--rm", "busybox"][..], &["exec", "web"]] {
        let said = rocker.ok(&[words, &["sh", "-c", look]].concat());
        assert!(said.lines().all(wanted), "{words:?}: {said}");
        // What every kernel has.
        for path in ["/proc/interrupts ", "/sys/firmware "] {
            assert!(said.contains(path), "{words:?}: {said}");
        }
        assert!(said.lines().filter(|line| *line == "1").count() > 2, "{words:?}: {said}");
    }
}

#[test]
fn the_program_has_the_eleven_capabilities_and_no_more() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let sets = script(&rocker, "grep Cap /proc/self/status");
    let value = |name: &str| {
        let line = sets.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim();
        u64::from_str_radix(line, 16).unwrap()
    };
    assert_eq!(value("CapBnd:"), 0x8004_05fb, "{sets}");
    assert_eq!(value("CapEff:"), 0x8004_05fb, "{sets}");
    assert_eq!((value("CapInh:"), value("CapAmb:")), (0, 0), "{sets}");
    rocker.sleeper("web", &[]);
    assert_eq!(rocker.ok(&["exec", "web", "grep", "Cap", "/proc/self/status"]), sets);
}

#[test]
fn the_hosts_mounts_are_not_seen() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let mounts = script(&rocker, "cut -d' ' -f2 /proc/mounts");
    let base = rocker.root().parent().unwrap().to_str().unwrap().to_string();
    assert!(!mounts.contains(&base), "{mounts}");
    assert!(mounts.lines().any(|point| point == "/"), "{mounts}");
    let own = ["/proc", "/dev", "/sys", "/etc"];
    let is_own = |point: &str| {
        point == "/"
            || own.iter().any(|top| {
                point.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
    };
    for point in mounts.lines() {
        assert!(is_own(point), "{point} in {mounts}");
    }
}

#[test]
fn volumes_bring_directories_and_files_and_may_be_read_only() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let data = rocker.files().join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("in"), "from the host\n").unwrap();
    let volume = format!("{}:/data", data.display());
    let args = [
        "run",
        "--rm",
        "-v",
        &volume,
        "--image",
        "busybox",
        "sh",
        "-c",
        "cat /data/in; echo out > /data/out",
    ];
    assert_eq!(rocker.ok(&args), "from the host\n");
    assert_eq!(fs::read_to_string(data.join("out")).unwrap(), "out\n");
    let file = format!("{}:/etc/one:ro", data.join("in").display());
    let args = [
        "run",
        "--rm",
        "-v",
        &file,
        "--image",
        "busybox",
        "sh",
        "-c",
        "cat /etc/one; echo x > /etc/one",
    ];
    let output = rocker.run(&args);
    assert_eq!((output.code, output.stdout.as_str()), (1, "from the host\n"), "{output:?}");
    assert_eq!(fs::read_to_string(data.join("in")).unwrap(), "from the host\n");
}

#[test]
fn read_only_and_tmpfs_do_as_they_say() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let try_both = "echo x > /root/x || echo refused; echo y > /scratch/y; cat /scratch/y";
    let args = [
        "run",
        "--rm",
        "--read-only",
        "--tmpfs",
        "/scratch",
        "--image",
        "busybox",
        "sh",
        "-c",
        try_both,
    ];
    assert_eq!(rocker.ok(&args), "refused\ny\n");
}

#[test]
fn exec_waits_until_a_container_that_starts_is_complete() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    // So many mounts take some time, in which the container has a process, but not yet its root.
    let mounts: Vec<String> = (0..200).map(|number| format!("/part{number}")).collect();
    let mut args = vec!["run", "-d", "--name", "web"];
    for mount in &mounts {
        args.extend(["--tmpfs", mount]);
    }
    args.extend(["--image", "busybox", "sleep", "1000"]);
    let count = ["exec", "web", "grep", "-c", "^tmpfs /part", "/proc/mounts"];
    for _ in 0..5 {
        let starting = rocker.spawn(&args);
        let mut output = rocker.run(&count);
        wait_until(PATIENCE, || {
            output = rocker.run(&count);
            !output.stderr.contains("No such container") && !output.stderr.contains("not running")
        });
        assert_eq!((output.code, output.stdout.as_str()), (0, "200\n"), "{output:?}");
        assert_eq!(starting.finish().code, 0);
        rocker.ok(&["rm", "-f", "web"]);
    }
}

#[test]
fn the_base_image_is_reproducible() {
    let Some(rocker) = Rocker::as_root() else { return };
    if !has_program("ldd") {
        return skip("this machine has no ldd, so it is none to make images on");
    }
    let before = fs::read(base_image()).unwrap();
    let status =
        Command::new(crate::harness::package().join("base-image/make.sh")).output().unwrap();
    assert!(status.status.success());
    assert!(before == fs::read(base_image()).unwrap(), "the same busybox gave other bytes");
    drop(rocker);
}
