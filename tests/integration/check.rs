//! `rocker check`: each line from a fact, its exit code from whether containers can run.

use crate::harness::{Output, PATIENCE, Rocker, finish, has_program, one_line, skip};
use crate::harness_host as machine;
use std::fs;
use std::process::Command;

/// Runs a shell script in a user namespace of its own, whose limits are its own too.
fn in_user_namespace(rocker: &Rocker, script: &str) -> Output {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "sh", "-c", script]);
    rocker.prepare(&mut command);
    command.env("binary", rocker.binary());
    finish(command, b"", PATIENCE)
}

/// The line of the table that begins with this name.
#[track_caller]
fn line<'a>(table: &'a str, name: &str) -> &'a str {
    let found = table.lines().find(|line| line.starts_with(&format!("{name}  ")));
    found.unwrap_or_else(|| panic!("no line {name} in {table}"))
}

#[test]
fn where_containers_run_check_says_so_and_changes_nothing() {
    let Some(rocker) = Rocker::as_root() else { return };
    let before = rocker.census();
    let table = rocker.ok(&["check"]);
    assert!(table.starts_with("CHECK  "), "{table}");
    assert!(!table.contains("  missing  "), "{table}");
    for name in ["kernel", "namespace pid", "cgroup memory", "state directory", "veth", "clock"] {
        line(&table, name);
    }
    assert!(!rocker.root().exists(), "check made the state directory");
    assert_eq!(rocker.left_since(&before), Vec::<String>::new());
}

#[test]
fn the_lines_are_the_same_in_each_format() {
    let Some(rocker) = Rocker::as_root() else { return };
    let names = rocker.ok(&["check", "--format", "{{.Name}} {{.Status}}"]);
    let objects = rocker.ok(&["check", "--format", "json"]);
    assert_eq!(names.lines().count(), objects.lines().count());
    for (name, object) in names.lines().zip(objects.lines()) {
        let (name, status) = name.rsplit_once(' ').unwrap();
        assert!(
            object.contains(&format!("\"Name\":\"{name}\",\"Status\":\"{status}\"")),
            "{object}"
        );
        assert!(object.contains("\"Detail\":\""), "{object}");
    }
}

#[test]
fn what_is_stored_is_counted_and_what_is_damaged_is_named() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    rocker.ok(&["create", "--name", "web", "--image", "busybox", "true"]);
    let table = rocker.ok(&["check"]);
    for name in ["images", "containers"] {
        let words: Vec<&str> = line(&table, name).split_whitespace().collect();
        assert_eq!(words, [name, "ok", "1"], "{table}");
    }
    let id = rocker.inspect("web", "{{.Id}}");
    let container = rocker.root().join("containers").join(&id);
    std::fs::write(container.join("record.json"), "{").unwrap();
    let image = rocker.root().join("images/busybox/latest/image.json");
    std::fs::write(image, "{").unwrap();
    let table = rocker.ok(&["check"]);
    let said = line(&table, "containers");
    assert!(
        said.contains("  limited  ") && said.contains(&id) && said.contains("damaged"),
        "{said}"
    );
    let said = line(&table, "images");
    assert!(said.contains("  limited  ") && said.contains("busybox"), "{said}");
}

#[test]
fn a_namespace_that_cannot_be_made_is_missing_and_a_start_names_the_line() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    for name in ["pid", "net"] {
        let script = format!(
            "echo 0 > /proc/sys/user/max_{name}_namespaces || exit 77; \"$binary\" check; echo $?; \
             \"$binary\" run --net none --image busybox true; echo $?; \"$binary\" ps -q"
        );
        let output = in_user_namespace(&rocker, &script);
        if output.code == 77 || output.stderr.contains("unshare") {
            return skip("this kernel has no user namespaces, or none may be made");
        }
        let missing = line(&output.stdout, &format!("namespace {name}"));
        assert!(missing.contains("  missing  ") && missing.contains("ENOSPC"), "{output:?}");
        assert!(output.stdout.ends_with("\n1\n125\n"), "{output:?}");
        assert!(one_line(&output.stderr).contains("ENOSPC"), "{output:?}");
        assert!(output.stderr.contains("rocker check, namespace"), "{output:?}");
    }
}

#[test]
fn a_capability_that_a_start_needs_is_missed_by_check() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    if !has_program("setpriv") {
        return skip("setpriv is not there");
    }
    for (name, needed) in
        [("mknod", true), ("net_admin", true), ("setpcap", true), ("audit_write", false)]
    {
        let without = |words: &[&str]| {
            let mut command = Command::new("setpriv");
            command.args([format!("--bounding-set=-{name}"), format!("--inh-caps=-{name}")]);
            command.arg(rocker.binary()).args(words);
            rocker.prepare(&mut command);
            finish(command, b"", PATIENCE)
        };
        let table = without(&["check"]);
        let said = line(&table.stdout, "privileges");
        let output = without(&["run", "--rm", "--net", "none", "busybox", "true"]);
        let runs = output.code;
        match needed {
            true => {
                assert!(
                    said.contains(&format!("root without CAP_{}", name.to_uppercase())),
                    "{said}"
                );
                assert!(one_line(&output.stderr).contains("EPERM"), "{output:?}");
                let hint = "\nhint: see rocker check, privileges\n";
                assert!(output.stderr.ends_with(hint), "{output:?}");
            }
            false => assert!(said.ends_with("root"), "{said}"),
        }
        assert_eq!((table.code, runs), if needed { (1, 125) } else { (0, 0) }, "{name}");
    }
}

#[test]
fn where_the_kernels_values_are_hidden_containers_run_and_check_says_so() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    if machine::is_bare() {
        return skip("the host has no values that could be hidden");
    }
    let script = "mount -t tmpfs none /proc/sys && \"$binary\" check && \"$binary\" run --rm --net none busybox true";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", script]);
    rocker.prepare(&mut command);
    command.env("binary", rocker.binary());
    let output = finish(command, b"", PATIENCE);
    assert_eq!(output.code, 0, "{output:?}");
}

#[test]
fn a_proc_that_is_hidden_and_cannot_be_mounted_is_missing_and_errors_name_the_line() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    if machine::is_bare() {
        return skip("the host has no values that could be hidden");
    }
    // Nobody in a user namespace is given a new proc of a pid namespace that is not theirs.
    let script = "unshare --mount sh -c 'mount -t tmpfs none /proc/sys || exit 77; \"$binary\" check; echo $?; \
        \"$binary\" ps'";
    let output = in_user_namespace(&rocker, script);
    if output.code == 77 || output.stderr.contains("unshare") {
        return skip("this kernel has no user namespaces, or none may be made");
    }
    assert!(line(&output.stdout, "proc").contains("  missing  "), "{output:?}");
    assert!(output.stdout.ends_with("\n1\n"), "{output:?}");
    assert!(one_line(&output.stderr).contains("boot id"), "{output:?}");
    assert!(output.stderr.ends_with("\nhint: see rocker check, proc\n"), "{output:?}");
}

#[test]
fn what_this_kernel_has_of_namespaces_decides_whether_containers_run() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let before = rocker.census();
    let check = rocker.run(&["check"]);
    let output = rocker.run(&["run", "--rm", "--net", "none", "busybox", "echo", "works"]);
    let known = |name: &&str| fs::symlink_metadata(format!("/proc/self/ns/{name}")).is_ok();
    let Some(name) = ["cgroup", "ipc", "net", "pid", "uts"].into_iter().find(|name| !known(name))
    else {
        assert_eq!((check.code, output.code), (0, 0), "{check:?} {output:?}");
        assert_eq!(output.stdout, "works\n");
        return;
    };
    let missing = line(&check.stdout, &format!("namespace {name}"));
    assert!(missing.contains("  missing  "), "{check:?}");
    assert_eq!((check.code, output.code), (1, 125), "{check:?} {output:?}");
    let said = one_line(&output.stderr);
    assert!(said.contains(&format!("this kernel has no {name} namespace")), "{said}");
    let hint = format!("hint: see rocker check, namespace {name}\n");
    assert!(output.stderr.ends_with(&hint), "{output:?}");
    assert_eq!(rocker.ok(&["ps", "-q"]), "");
    assert_eq!(rocker.left_since(&before), Vec::<String>::new());
}

#[test]
fn what_this_kernel_has_decides_who_gets_a_lock_by_a_user_namespace() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let limit = fs::read_to_string("/proc/sys/user/max_user_namespaces").unwrap_or_default();
    let has = fs::symlink_metadata("/proc/self/ns/user").is_ok() && limit.trim() != "0";
    let table = rocker.ok(&["check"]);
    let words = ["run", "--rm", "--net", "none", "--image", "busybox", "echo", "works"];
    assert_eq!(rocker.ok(&words), "works\n");
    let admin = [&words[..2], &["--cap-add", "SYS_ADMIN"], &words[2..]].concat();
    if has {
        assert!(line(&table, "namespace user").contains("  ok  "), "{table}");
        assert_eq!(rocker.ok(&admin), "works\n");
        return;
    }
    assert!(line(&table, "namespace user").contains("  limited  "), "{table}");
    let output = rocker.run(&admin);
    assert_eq!((output.code, &*output.stdout), (125, ""), "{output:?}");
    assert!(one_line(&output.stderr).contains("lock the mounts"), "{output:?}");
    assert!(output.stderr.ends_with("; see rocker check, namespace user\n"), "{output:?}");
    assert_eq!(rocker.ok(&["ps", "-q"]), "");
}

#[test]
fn a_file_system_that_can_have_no_further_file_is_full() {
    let Some(rocker) = Rocker::as_root() else { return };
    fs::create_dir_all(rocker.root()).unwrap();
    // The one file that it can have is its own directory.
    let script = "mount -t tmpfs -o nr_inodes=1 none $ROCKER_ROOT && \"$binary\" check";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script]);
    rocker.prepare(&mut command);
    command.env("binary", rocker.binary());
    let output = finish(command, b"", PATIENCE);
    assert_eq!(output.code, 1, "{output:?}");
    assert!(line(&output.stdout, "state directory").ends_with(": the disk is full"), "{output:?}");
}

#[test]
fn a_state_directory_that_cannot_be_used_is_missing() {
    let Some(rocker) = Rocker::as_root() else { return };
    let check = |root: &str| rocker.run(&["--root", root, "check"]);
    let file = rocker.files().join("file");
    fs::write(&file, "").unwrap();
    let output = check(file.join("rocker").to_str().unwrap());
    assert_eq!(output.code, 1, "{output:?}");
    assert!(line(&output.stdout, "state directory").contains("  missing  "), "{output:?}");
    let output = rocker.run(&["--root", file.to_str().unwrap(), "images"]);
    assert!(one_line(&output.stderr).contains("ENOTDIR"), "{output:?}");
    assert!(output.stderr.ends_with("hint: see rocker check, state directory\n"), "{output:?}");
    let deep = rocker.files().join("a/b");
    let output = check(deep.to_str().unwrap());
    assert_eq!(output.code, 0, "{output:?}");
    assert!(line(&output.stdout, "state directory").contains("still to be made"), "{output:?}");
}
