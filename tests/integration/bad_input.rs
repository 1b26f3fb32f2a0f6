//! Wrong input: each refusal is one clear line with the right exit code, and leaves nothing.

use crate::harness::{Rocker, base_image, is_bare, one_line, package, skip};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Refuses `rocker ARGS` with this exit code and these words in its one line, and nothing is left.
#[track_caller]
fn refused(rocker: &Rocker, args: &[&str], code: i32, words: &[&str]) {
    let before = rocker.census().files;
    let line = rocker.refused(args, code);
    for word in words {
        assert!(line.contains(word), "rocker {args:?} does not say {word:?}: {line}");
    }
    assert_eq!(rocker.census().files, before, "rocker {args:?} left files");
}

/// `run` of something that cannot be: 125, and no container afterwards.
#[track_caller]
fn run_refused(rocker: &Rocker, options: &[&str], code: i32, words: &[&str]) {
    let args = [&["run"][..], options].concat();
    let line = one_line(&rocker.run(&args).stderr);
    assert_eq!(rocker.run(&args).code, code, "{line}");
    for word in words {
        assert!(line.contains(word), "rocker {args:?} does not say {word:?}: {line}");
    }
    // A container whose program could not start may be kept, as docker does; with --rm none is.
    let args = [&["run", "--rm"][..], options].concat();
    assert_eq!(rocker.run(&args).code, code);
    assert_eq!(running(rocker), 0, "rocker {args:?} left a container running");
}

fn running(rocker: &Rocker) -> usize {
    let listed = rocker.ok(&["ps", "--filter", "status=running", "-q"]);
    listed.lines().count()
}

#[test]
fn an_image_that_is_not_there_is_named() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let words = ["No such image: ghost"];
    refused(&rocker, &["run", "--image", "ghost", "/bin/true"], 125, &words);
    refused(&rocker, &["create", "--image", "ghost", "/bin/true"], 125, &words);
    refused(&rocker, &["rmi", "ghost"], 1, &words);
    refused(&rocker, &["tag", "ghost", "other"], 1, &words);
}

#[test]
fn a_container_that_is_not_there_is_named() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    for command in ["stop", "rm", "logs", "start", "restart", "kill", "wait", "attach"] {
        refused(&rocker, &[command, "ghost"], 1, &["No such container: ghost"]);
    }
    refused(&rocker, &["commit", "ghost", "image"], 1, &["No such container: ghost"]);
    let code = rocker.run(&["exec", "ghost", "true"]).code;
    assert!(code == 1 || code == 125, "exec gave {code}");
}

#[test]
fn an_id_that_is_none_is_refused_and_does_not_leave_the_program_root() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    rocker.sleeper("web", &["--net", "none"]);
    for user in ["4294967295", "2147483648", "0:4294967295"] {
        let words = ["ids go from 0 to 2147483647"];
        let run = ["run", "--rm", "--net", "none", "-u", user, "busybox", "id"];
        refused(&rocker, &run, 125, &words);
        refused(&rocker, &["exec", "-u", user, "web", "id"], 125, &words);
    }
}

#[test]
fn import_refuses_what_is_no_archive() {
    let Some(rocker) = Rocker::as_root() else { return };
    let file = |name: &str, content: &[u8]| {
        let path = rocker.files().join(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_string()
    };
    let archive = fs::read(base_image()).unwrap();
    let missing = rocker.files().join("ghost.tar");
    refused(&rocker, &["import", missing.to_str().unwrap(), "x"], 1, &["ghost.tar", "ENOENT"]);
    let directory = rocker.files();
    refused(&rocker, &["import", directory.to_str().unwrap(), "x"], 1, &["directory"]);
    refused(&rocker, &["import", &file("empty.tar", b""), "x"], 1, &["empty.tar", "empty"]);
    let cut = file("cut.tar", &archive[..archive.len() / 2]);
    refused(&rocker, &["import", &cut, "x"], 1, &["cut.tar"]);
    let noise: Vec<u8> =
        (0..4096_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    refused(&rocker, &["import", &file("noise.tar", &noise), "x"], 1, &["noise.tar"]);
    assert_eq!(rocker.ok(&["images", "-q"]), "");
}

#[test]
fn import_refuses_a_cut_gzip_archive() {
    let Some(rocker) = Rocker::as_root() else { return };
    let output = Command::new("gzip").args(["-c"]).arg(base_image()).output().unwrap();
    let path = rocker.files().join("cut.tar.gz");
    fs::write(&path, &output.stdout[..output.stdout.len() - 1000]).unwrap();
    refused(&rocker, &["import", path.to_str().unwrap(), "x"], 1, &["cut.tar.gz"]);
}

#[test]
fn image_names_are_held_to_their_grammar() {
    let Some(rocker) = Rocker::as_root() else { return };
    let archive = base_image();
    let archive = archive.to_str().unwrap();
    let names = [
        "a/../b",
        "../x",
        "a b",
        "",
        "/x",
        "x:",
        "x:a/../b",
        "x:a b",
        "x\x1b[31m",
        "x:\x1b[31m",
        ".",
        "..",
    ];
    for name in names {
        let output = rocker.run(&["import", archive, name]);
        assert!(output.code == 1 || output.code == 125, "{name:?} gave {output:?}");
        let line = one_line(&output.stderr);
        assert!(!line.contains('\x1b'), "{name:?} reaches the terminal: {line:?}");
    }
    assert_eq!(rocker.ok(&["images", "-q"]), "");
    assert_eq!(rocker.census().files.iter().filter(|path| path.ends_with("image.json")).count(), 0);
}

#[test]
fn container_names_are_held_to_their_grammar() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    for name in ["a/../b", "../x", "a b", "", ".", "..", "-x", "x\x1b[31m", "x/y"] {
        let name = format!("--name={name}");
        refused(&rocker, &["run", &name, "--image", "busybox", "true"], 125, &[]);
        refused(&rocker, &["create", &name, "--image", "busybox", "true"], 125, &[]);
    }
    assert_eq!(rocker.ok(&["ps", "-q"]), "");
}

#[test]
fn limits_that_make_no_sense_are_refused() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    for (option, value) in [
        ("-m", "1k"),
        ("-m", "banana"),
        ("-m", "-5"),
        ("-m", ""),
        ("--cpuset", "99"),
        ("--cpuset", "banana"),
        ("--cpuset", "1-0"),
        ("--cpushare", "0"),
        ("--cpushare", "1"),
        ("--cpushare", "banana"),
        ("--cpus", "0.001"),
        ("--cpus", "banana"),
        ("--pids-limit", "banana"),
    ] {
        let option = format!("{option}={value}").replacen("-m=", "--memory=", 1);
        let output = rocker.run(&["run", &option, "--image", "busybox", "true"]);
        assert_eq!(output.code, 125, "{option}: {output:?}");
        let first = output.stderr.lines().next().unwrap_or_default();
        assert!(first.starts_with("rocker: "), "{option}: {output:?}");
        assert_eq!(rocker.ok(&["ps", "-q"]), "", "{option} left a container");
    }
}

#[test]
fn a_taken_name_is_refused_and_the_first_one_kept() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    rocker.sleeper("web", &[]);
    let args = ["run", "-d", "--name", "web", "--image", "busybox", "true"];
    refused(&rocker, &args, 125, &["web", "is already in use"]);
    assert_eq!(rocker.inspect("web", "{{.State.Status}}"), "running");
}

#[test]
fn a_running_container_is_not_removed() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    rocker.sleeper("web", &[]);
    refused(&rocker, &["rm", "web"], 1, &["web"]);
    assert_eq!(rocker.inspect("web", "{{.State.Status}}"), "running");
}

#[test]
fn exec_needs_a_running_container() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    rocker.ok(&["run", "--name", "done", "--image", "busybox", "true"]);
    refused(&rocker, &["exec", "done", "true"], 1, &["done", "is not running"]);
}

#[test]
fn a_program_that_does_not_exist_gives_127() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    run_refused(&rocker, &["--image", "busybox", "/bin/ghost"], 127, &["/bin/ghost"]);
    run_refused(&rocker, &["--image", "busybox", "ghost"], 127, &["ghost"]);
    rocker.sleeper("web", &[]);
    assert_eq!(rocker.run(&["exec", "web", "ghost"]).code, 127);
}

#[test]
fn an_empty_word_is_a_program_that_does_not_exist() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    rocker.sleeper("web", &["--net", "none"]);
    for words in [&["exec", "web", ""][..], &["run", "--rm", "--net", "none", "busybox", ""]] {
        refused(&rocker, words, 127, &["\"\": executable file not found in $PATH"]);
    }
}

#[test]
fn a_program_that_may_not_be_executed_gives_126() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    run_refused(&rocker, &["--image", "busybox", "/etc/passwd"], 126, &["/etc/passwd"]);
    run_refused(&rocker, &["--image", "busybox", "/etc"], 126, &["/etc"]);
    rocker.sleeper("web", &[]);
    assert_eq!(rocker.run(&["exec", "web", "/etc/passwd"]).code, 126);
}

#[test]
fn a_volume_that_is_not_there_is_refused() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let missing = rocker.files().join("ghost");
    let volume = format!("{}:/data", missing.display());
    let args = ["run", "-v", &volume, "--image", "busybox", "true"];
    refused(&rocker, &args, 125, &["ghost"]);
    assert!(!missing.exists(), "the missing directory was made");
    refused(&rocker, &["run", "-v", "/etc:relative", "--image", "busybox", "true"], 125, &[]);
    refused(&rocker, &["run", "-v", "/etc:/data:rx", "--image", "busybox", "true"], 125, &[]);
}

#[test]
fn a_damaged_config_is_shown_as_dead_and_removed() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    rocker.ok(&["run", "--name", "broken", "--image", "busybox", "true"]);
    rocker.ok(&["run", "--name", "whole", "--image", "busybox", "true"]);
    fs::write(rocker.run_root().join("broken/config.json"), "{\"pid\": ").unwrap();
    let output = rocker.run(&["ps"]);
    assert_eq!(output.code, 0, "{output:?}");
    let row =
        |name: &str| output.stdout.lines().find(|line| line.contains(name)).map(str::to_string);
    assert!(row("whole").is_some_and(|row| row.contains("exited")), "{output:?}");
    // The durable record still knows it: repaired or dead, but not silently gone.
    assert!(row("broken").is_some(), "{output:?}");
    rocker.ok(&["rm", "-f", "broken"]);
    assert!(!rocker.ok(&["ps"]).contains("broken"));
}

#[test]
fn unknown_commands_and_options_are_told_apart() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let output = rocker.run(&["imges"]);
    assert_eq!(output.code, 1, "{output:?}");
    assert!(output.stderr.contains("images"), "no did-you-mean: {output:?}");
    let output = rocker.run(&["run", "--banana", "--image", "busybox", "true"]);
    assert_eq!(output.code, 125, "{output:?}");
    assert!(output.stderr.contains("--banana"), "{output:?}");
    assert_eq!(rocker.run(&["ps", "--banana"]).code, 125);
    assert_eq!(rocker.run(&["import"]).code, 1);
}

#[test]
fn a_full_disk_fails_the_import_and_leaves_nothing() {
    let Some(rocker) = Rocker::as_root() else { return };
    if is_bare() {
        return skip("the host has nothing mounted, so no disk that could be full");
    }
    let disk = rocker.files().join("disk");
    fs::create_dir(&disk).unwrap();
    let mount = ["-t", "tmpfs", "-o", "size=1m,mode=700", "full"];
    let status = Command::new("mount").args(mount).arg(&disk).status().unwrap();
    assert!(status.success(), "a small tmpfs can be mounted");
    let root = disk.join("root");
    let archive = base_image();
    let args = ["--root", root.to_str().unwrap(), "import", archive.to_str().unwrap(), "x"];
    let output = rocker.run(&args);
    assert_eq!(output.code, 1, "{output:?}");
    assert!(one_line(&output.stderr).contains("ENOSPC"), "{output:?}");
    assert_eq!(rocker.ok(&["--root", root.to_str().unwrap(), "images", "-q"]), "");
    let used = Command::new("du").args(["-sk"]).arg(&root).output().unwrap();
    let used = String::from_utf8_lossy(&used.stdout).into_owned();
    let kib: u32 = used.split_whitespace().next().unwrap().parse().unwrap();
    assert!(kib < 64, "{kib} KiB are left");
}

#[test]
fn without_root_the_need_is_named() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    // Not where it lies: an unprivileged user may not reach root's directories.
    let binary = std::env::temp_dir().join(format!("rocker-unprivileged-{}", std::process::id()));
    fs::copy(rocker.binary(), &binary).unwrap();
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).unwrap();
    let as_nobody = |args: &[&str]| {
        let mut command = Command::new(&binary);
        command.args(args);
        rocker.prepare(&mut command);
        become_nobody(&mut command);
        crate::harness::finish(command, b"", crate::harness::PATIENCE)
    };
    let run = as_nobody(&["run", "--image", "busybox", "true"]);
    let ps = as_nobody(&["ps"]);
    let version = as_nobody(&["--version"]);
    fs::remove_file(&binary).unwrap();
    assert_eq!(run.code, 125, "{run:?}");
    assert!(one_line(&run.stderr).contains("root"), "{run:?}");
    assert_eq!(ps.code, 1, "{ps:?}");
    assert!(one_line(&ps.stderr).contains("root"), "{ps:?}");
    assert_eq!(version.code, 0, "{version:?}");
}

/// After what was prepared, which may need root.
fn become_nobody(command: &mut Command) {
    // SAFETY: the three calls are async-signal-safe and take numbers only.
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(|| {
            let done = libc::setgroups(0, std::ptr::null()) == 0
                && libc::setgid(65534) == 0
                && libc::setuid(65534) == 0;
            if done { Ok(()) } else { Err(std::io::Error::last_os_error()) }
        });
    }
}

#[test]
fn after_all_refusals_nothing_runs_and_no_cgroup_is_left() {
    let Some(rocker) = Rocker::alone_with_busybox() else { return };
    // A first container makes what stays: the parent cgroup.
    rocker.ok(&["run", "--rm", "--image", "busybox", "true"]);
    let before = rocker.census();
    for args in [
        &["run", "--rm", "--image", "busybox", "/bin/ghost"][..],
        &["run", "--rm", "--image", "busybox", "/etc/passwd"],
        &["run", "--rm", "--image", "busybox", "-m", "1k", "true"],
        &["run", "--rm", "--image", "busybox", "--cpuset", "99", "true"],
        &["run", "--rm", "--image", "busybox", "-v", "/ghost:/x", "true"],
        &["run", "--rm", "--image", "busybox", "-w", "/etc/passwd", "true"],
        &["run", "--rm", "--image", "busybox", "-u", "ghost", "true"],
        &["run", "--rm", "--image", "ghost", "true"],
    ] {
        assert_ne!(rocker.run(args).code, 0, "{args:?}");
    }
    let left = rocker.left_since(&before);
    assert!(left.is_empty(), "left: {left:#?}");
}

#[test]
fn a_file_in_the_place_of_a_directory_is_no_reason_to_panic() {
    let Some(rocker) = Rocker::as_root() else { return };
    let file = package().join("Cargo.toml");
    let output = rocker.run(&["--root", file.to_str().unwrap(), "images"]);
    assert_ne!(output.code, 0);
    assert!(!output.stderr.contains("panicked"), "{output:?}");
    one_line(&output.stderr);
}

#[test]
fn a_container_that_fails_early_says_why_each_time() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    // The first process gives up before it reads the word to start, which waits for it.
    for _ in 0..20 {
        let args = ["run", "--rm", "--user", "ghost", "--image", "busybox", "true"];
        refused(&rocker, &args, 125, &["no user \"ghost\""]);
    }
}

#[test]
fn what_is_too_large_to_be_read_again_is_not_made() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let file = rocker.files().join("env");
    let lines: String = (0..1100).map(|n| format!("V{n}={}\n", "x".repeat(1000))).collect();
    fs::write(&file, lines).unwrap();
    let options = ["--name", "web", "--env-file", file.to_str().unwrap(), "busybox", "true"];
    for command in [&["create"][..], &["run"], &["run", "-d"], &["run", "--rm"]] {
        let line = rocker.refused(&[command, &options].concat(), 125);
        assert!(line.contains("record.json") && line.contains("bytes"), "{line}");
        assert_eq!(rocker.ok(&["ps", "-aq"]), "");
    }
    rocker.ok(&["create", "--name", "web", "busybox", "true"]);
}

#[test]
fn exec_in_the_moment_of_the_end_says_that_the_container_does_not_run() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    for _ in 0..15 {
        rocker.ok(&["run", "-d", "--name", "web", "--net", "none", "busybox", "sleep", "0.1"]);
        // A program that runs already is killed with the container.
        let failed = loop {
            let output = rocker.run(&["exec", "web", "true"]);
            if !matches!(output.code, 0 | 137) {
                break output;
            }
        };
        assert_eq!(failed.code, 1, "{failed:?}");
        assert_eq!(one_line(&failed.stderr), "rocker: container web is not running");
        rocker.ok(&["wait", "web"]);
        rocker.ok(&["rm", "web"]);
    }
}
