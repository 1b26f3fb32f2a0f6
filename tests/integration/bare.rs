//! A host that has nothing: rocker in a directory that it was chrooted into, with no /proc, /sys,
//! /dev, /run or /var; and a host whose root cannot be left by pivot_root.

use crate::harness::{Output, PATIENCE, Rocker, base_image, finish, skip};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A directory with the binary, an archive, and nothing else; containers in it go with it.
struct Bare {
    rocker: Rocker,
    root: PathBuf,
}

impl Bare {
    fn new() -> Option<Self> {
        let rocker = Rocker::as_root()?;
        if Command::new("chroot").arg("--help").output().is_err() {
            skip("there is no chroot program");
            return None;
        }
        let root = rocker.base().join("bare");
        fs::create_dir(&root).unwrap();
        fs::copy(rocker.binary(), root.join("rocker")).unwrap();
        fs::copy(base_image(), root.join("busybox.tar")).unwrap();
        Some(Self { rocker, root })
    }

    fn with_busybox() -> Option<Self> {
        let bare = Self::new()?;
        bare.ok(&["import", "/busybox.tar", "busybox"]);
        Some(bare)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("chroot");
        command.arg(&self.root).arg("/rocker").args(args).env_remove("RUST_LOG");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Each has its state below the same path, so two of them must not meet on one network.
        self.rocker.host.enter(&mut command);
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        finish(self.command(args), b"", PATIENCE)
    }

    #[track_caller]
    fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!(output.code, 0, "rocker {args:?} said {output:?}");
        output.stdout
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        // The harness knows only containers below its own root.
        let Ok(listed) = self.command(&["ps", "-q"]).output() else { return };
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        let mut args = vec!["rm", "-f"];
        args.extend(listed.lines());
        if args.len() > 2 {
            let _ = self.command(&args).output();
        }
    }
}

/// What is mounted, but for what tests mount that run beside this one.
fn mounts() -> Vec<String> {
    let list = fs::read_to_string("/proc/self/mountinfo").unwrap();
    list.lines().filter(|line| !line.contains("/files/")).map(str::to_string).collect()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Without the filter of system calls, which stops all of it before the mounts do.
const UNFILTERED: &str = "--security-opt=seccomp=unconfined";

/// Whether a user without rights may make a user namespace on this host.
fn has_user_namespaces() -> bool {
    let forbids = |file: &str| {
        fs::read_to_string(format!("/proc/sys/{file}")).is_ok_and(|value| value.trim() == "0")
    };
    Path::new("/proc/self/ns/user").exists()
        && !["user/max_user_namespaces", "kernel/unprivileged_userns_clone"]
            .map(forbids)
            .contains(&true)
}

/// Requires that the attack came to nothing. Its last way must have failed at the mount, not before.
#[track_caller]
fn assert_sealed(said: &str) {
    let last = said.strip_prefix("walk: stays\numount: Operation not permitted\n");
    assert!(last.is_some(), "{said}");
    if !has_user_namespaces() {
        return skip("this kernel has no user namespaces, or none may be made");
    }
    assert_eq!(last, Some("proc: Operation not permitted\n"), "{said}");
}

#[test]
fn no_known_way_leads_out_of_the_root_of_a_container() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let attack = rocker.program("attack");
    let volume = format!("{}:/attack:ro", attack.display());
    let words = ["run", "--rm", UNFILTERED, "-v", &volume, "--image", "busybox", "/attack"];
    assert_sealed(&rocker.ok(&words));
}

#[test]
fn no_known_way_leads_out_of_a_container_that_was_started_inside_a_chroot() {
    let Some(bare) = Bare::with_busybox() else { return };
    fs::copy(bare.rocker.program("attack"), bare.root.join("attack")).unwrap();
    let words =
        ["run", "--rm", UNFILTERED, "-v", "/attack:/attack:ro", "--image", "busybox", "/attack"];
    assert_sealed(&bare.ok(&words));
    // The same where the chroot is a mount of its own, which the mounts can be cut off from.
    let script = "mount --rbind \"$1\" \"$1\" && shift && exec chroot \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, "sh"]).args([&bare.root, &bare.root]);
    command.arg("/rocker").args(words).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = finish(command, b"", PATIENCE);
    assert_eq!(output.code, 0, "{output:?}");
    assert_sealed(&output.stdout);
}

#[test]
fn a_container_lives_and_dies_where_nothing_is_mounted_and_nothing_gets_mounted() {
    let Some(bare) = Bare::with_busybox() else { return };
    let before = mounts();
    let options = ["run", "-d", "--name", "web", "--image", "busybox"];
    bare.ok(&[&options[..], &["sh", "-c", "echo ready; exec sleep 1000"]].concat());
    let listed = bare.ok(&["ps"]);
    assert!(listed.contains("  running  "), "{listed}");
    // The root of the container, and neither that of the chroot nor that of the host.
    let seen = bare.ok(&["exec", "web", "ls", "/"]);
    assert!(seen.contains("linuxrc\n") && !seen.contains("rocker\n"), "{seen}");
    let seen = bare.ok(&["exec", "web", "cat", "/proc/self/mountinfo"]);
    assert_eq!(seen.lines().filter(|line| line.split(' ').nth(4) == Some("/")).count(), 1);
    bare.ok(&["exec", "web", "sh", "-c", "echo new > /root/new; ln -s new /root/link"]);
    bare.ok(&["commit", "web", "mine"]);
    assert_eq!(bare.ok(&["run", "--rm", "--image", "mine", "cat", "/root/link"]), "new\n");
    assert_eq!(bare.ok(&["run", "--rm", "-t", "--image", "busybox", "tty"]), "/dev/pts/0\r\n");
    assert_eq!(bare.ok(&["logs", "web"]), "ready\n");
    bare.ok(&["stop", "-t", "0", "web"]);
    assert!(bare.ok(&["ps"]).contains("  stopped  "));
    bare.ok(&["rm", "web"]);
    assert_eq!(mounts(), before);
    for name in ["proc", "sys", "dev", "tmp", "etc"] {
        assert!(!bare.root.join(name).exists(), "{name} was made");
    }
}

#[test]
fn a_limit_is_kept_by_a_cgroup2_that_is_mounted_nowhere_or_refused_and_nothing_is_left() {
    let Some(bare) = Bare::with_busybox() else { return };
    let before = bare.rocker.census();
    let run = ["run", "--rm", "-m", "64m", "--image", "busybox"];
    let output = bare.run(&[&run[..], &["cat", "/sys/fs/cgroup/memory.max"]].concat());
    // The controller is on cgroup2 only where no v1 hierarchy has it.
    match bare.run(&["check"]).stdout.contains("cgroup memory     ok ") {
        true => assert_eq!((output.code, output.stdout.as_str()), (0, "67108864\n"), "{output:?}"),
        false => {
            assert_eq!(output.code, 125, "{output:?}");
            let said = "rocker: this host has no memory cgroup controller\nhint: ";
            assert!(output.stderr.starts_with(said), "{output:?}");
        }
    }
    assert_eq!(bare.ok(&["ps", "-q"]), "");
    assert_eq!(bare.rocker.left_since(&before), Vec::<String>::new());
}

#[test]
fn directories_that_were_missing_are_open_but_for_those_of_rocker() {
    let Some(bare) = Bare::new() else { return };
    fs::create_dir(bare.root.join("var")).unwrap();
    // Debian's /var/run, in an image that has no /run.
    symlink("/run", bare.root.join("var/run")).unwrap();
    bare.ok(&["import", "/busybox.tar", "busybox"]);
    bare.ok(&["create", "--name", "web", "--image", "busybox", "true"]);
    for (name, expected) in [("run", 0o755), ("run/rocker", 0o700), ("var/lib", 0o755)] {
        assert_eq!(mode(&bare.root.join(name)), expected, "{name}");
    }
    assert_eq!(mode(&bare.root.join("var/lib/rocker")), 0o700);
}

#[test]
fn a_closed_standard_stream_ends_nobody_where_there_is_no_null_device() {
    let Some(bare) = Bare::new() else { return };
    for (closed, said) in [("<&-", "busybox\n"), (">&-", ""), ("2>&-", "busybox\n")] {
        let script = format!("exec chroot \"$0\" /rocker \"$@\" {closed}");
        let run = |words: &[&str]| {
            let mut command = Command::new("sh");
            command.args(["-c", &script]).arg(&bare.root).args(words);
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            finish(command, b"", PATIENCE)
        };
        let output = run(&["import", "/busybox.tar", "busybox"]);
        assert_eq!(output.code, 0, "{closed}: {output:?}");
        let output = run(&["images", "--format", "{{.Repository}}"]);
        assert_eq!((output.code, output.stdout.as_str()), (0, said), "{closed}: {output:?}");
    }
}
