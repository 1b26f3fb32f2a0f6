//! Every example of the document that the project started from, typed as it stands there.
//!
//! A session is a shell with `rocker` in its PATH, in the package's directory, whose commands
//! begin with `sudo` as the document writes them.

use crate::harness::{
    Output, PATIENCE, Rocker, base_image, finish, has_controller, package, skip, wait_until,
};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

/// A shell's view of a rocker.
struct Session {
    rocker: Rocker,
    path: String,
}

impl Session {
    fn new() -> Option<Self> {
        let rocker = Rocker::as_root()?;
        base_image();
        let bin = rocker.files().join("bin");
        fs::create_dir(&bin).unwrap();
        std::os::unix::fs::symlink(rocker.binary(), bin.join("rocker")).unwrap();
        // The machine may have no sudo, and root needs none.
        let sudo = bin.join("sudo");
        fs::write(&sudo, "#!/bin/sh\nexec \"$@\"\n").unwrap();
        fs::set_permissions(&sudo, fs::Permissions::from_mode(0o755)).unwrap();
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
        Some(Self { rocker, path })
    }

    fn with_busybox() -> Option<Self> {
        let session = Self::new()?;
        session.ok("sudo rocker import base-image/busybox.tar busybox");
        Some(session)
    }

    /// Types a line.
    fn run(&self, line: &str) -> Output {
        self.run_with_input(line, "")
    }

    /// Types a line, and then this into what it started.
    fn run_with_input(&self, line: &str, input: &str) -> Output {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", line]);
        self.rocker.prepare(&mut shell);
        shell.current_dir(package()).env("PATH", &self.path);
        finish(shell, input.as_bytes(), PATIENCE)
    }

    /// Types a line that must succeed, and gives its output.
    #[track_caller]
    fn ok(&self, line: &str) -> String {
        let output = self.run(line);
        assert_eq!(output.code, 0, "{line}: {output:?}");
        output.stdout
    }

    /// Starts a line in the background: its container keeps the terminal.
    #[track_caller]
    fn background(&self, line: &str) -> String {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", &format!("{line} >/dev/null 2>&1 </dev/null &")]);
        self.rocker.prepare(&mut shell);
        shell.current_dir(package()).env("PATH", &self.path);
        assert_eq!(finish(shell, b"", PATIENCE).code, 0);
        self.wait_for("running")
    }

    /// Waits until a container has this status, and gives its id.
    #[track_caller]
    fn wait_for(&self, status: &str) -> String {
        let mut id = String::new();
        let came = wait_until(PATIENCE, || {
            let table = self.ok("rocker ps");
            let row = table.lines().map(columns).find(|row| row.get(3) == Some(&status));
            id = row.map(|row| row[0].to_string()).unwrap_or_default();
            !id.is_empty()
        });
        assert!(came, "no container is {status}: {}", self.ok("rocker ps"));
        id
    }
}

/// The columns of a table's row, which two or more blanks part.
fn columns(row: &str) -> Vec<&str> {
    row.split("  ").map(str::trim).filter(|column| !column.is_empty()).collect()
}

/// Whether a text has this form, where `9` is any digit and `f` any hexadecimal one.
fn has_form(text: &str, form: &str) -> bool {
    text.chars().count() == form.chars().count()
        && text.chars().zip(form.chars()).all(|(char, form)| match form {
            '9' => char.is_ascii_digit(),
            'f' => char.is_ascii_hexdigit() && !char.is_ascii_uppercase(),
            _ => char == form,
        })
}

#[test]
fn version_is_one_line_of_program_and_version() {
    let Some(session) = Session::new() else { return };
    assert_eq!(session.ok("rocker --version"), "rocker 0.1.0\n");
}

#[test]
fn import_says_name_id_and_a_size_that_counts_each_file_once() {
    let Some(session) = Session::new() else { return };
    let said = session.ok("sudo rocker import base-image/busybox.tar busybox");
    let rest =
        said.strip_prefix("Imported busybox:latest (ID: ").unwrap_or_else(|| panic!("{said}"));
    let (id, rest) = rest.split_at(8);
    assert!(has_form(id, "ffffffff"), "{said}");
    let size = rest.strip_prefix(", Size: ").and_then(|rest| rest.strip_suffix("MB)\n"));
    let size: f64 = size.unwrap_or_else(|| panic!("{said}")).parse().unwrap();
    // 400 hard links of one program of about 2 MB are 2 MB.
    assert!((0.5..8.0).contains(&size), "{said}");
}

#[test]
fn import_takes_a_tag() {
    let Some(session) = Session::new() else { return };
    let copy = session.rocker.files().join("alpine.tar");
    fs::copy(base_image(), &copy).unwrap();
    let line = format!(
        "cd {} && sudo rocker import alpine.tar alpine:3.18",
        copy.parent().unwrap().display()
    );
    let said = session.ok(&line);
    assert!(said.starts_with("Imported alpine:3.18 (ID: "), "{said}");
    assert!(session.ok("sudo rocker run --image alpine:3.18 /bin/sh").is_empty());
}

#[test]
fn images_is_a_table_as_documented() {
    let Some(session) = Session::with_busybox() else { return };
    let table = session.ok("sudo rocker images");
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(columns(lines[0]), ["REPOSITORY", "TAG", "IMAGE ID", "SIZE", "CREATED"]);
    let row = columns(lines[1]);
    assert_eq!(row[..2], ["busybox", "latest"]);
    assert!(has_form(row[2], "ffffffff"), "{table}");
    assert!(has_form(row[4], "9999-99-99 99:99:99"), "{table}");
    assert_eq!(lines.len(), 2, "{table}");
    // Two blanks between columns, each as wide as its widest cell.
    assert!(lines[0].starts_with("REPOSITORY  TAG     IMAGE ID  SIZE"), "{table}");
}

#[test]
fn run_of_a_shell_without_input_ends_at_once() {
    let Some(session) = Session::with_busybox() else { return };
    let output = session.run("sudo rocker run --image busybox /bin/sh");
    assert_eq!((output.code, output.stdout.as_str(), output.stderr.as_str()), (0, "", ""));
}

#[test]
fn run_with_a_tty_gives_a_shell_on_a_terminal() {
    let Some(session) = Session::with_busybox() else { return };
    // The shell's input is no terminal here: a pty is made all the same, with one warning.
    let line = "sudo rocker run --tty --image busybox /bin/sh";
    let output = session.run_with_input(line, "tty; exit 7\n");
    assert_eq!(output.code, 7, "{output:?}");
    assert!(output.stdout.contains("/dev/"), "{output:?}");
    assert!(output.stderr.starts_with("rocker: warning: "), "{output:?}");
}

#[test]
fn run_splits_a_single_word_with_blanks() {
    let Some(session) = Session::with_busybox() else { return };
    let listing = session.ok(r#"sudo rocker run --image busybox "ls -l""#);
    assert!(
        listing.lines().any(|line| line.starts_with('d') && line.ends_with(" bin")),
        "{listing}"
    );
}

#[test]
fn run_limits_memory() {
    let Some(session) = Session::with_busybox() else { return };
    if !has_controller("--memory") {
        return skip("this machine has no cgroup controller for --memory");
    }
    let output = session.run("sudo rocker run --image busybox -m 100m /bin/sh");
    assert_eq!(output.code, 0, "{output:?}");
}

#[test]
fn run_sets_cpu_shares() {
    let Some(session) = Session::with_busybox() else { return };
    if !has_controller("--cpushare") {
        return skip("this machine has no cgroup controller for --cpushare");
    }
    let output = session.run("sudo rocker run --image busybox --cpushare 512 /bin/sh");
    assert_eq!(output.code, 0, "{output:?}");
}

#[test]
fn run_takes_tty_and_memory_together() {
    let Some(session) = Session::with_busybox() else { return };
    if !has_controller("--memory") {
        return skip("this machine has no cgroup controller for --memory");
    }
    let line = "sudo rocker run --tty --image busybox -m 256m /bin/sh";
    assert_eq!(session.run_with_input(line, "exit\n").code, 0);
}

#[test]
fn run_pins_to_cores() {
    let Some(session) = Session::with_busybox() else { return };
    if !has_controller("--cpuset") {
        return skip("this machine has no cgroup controller for --cpuset");
    }
    let line =
        "sudo rocker run --image busybox --cpuset 0 grep Cpus_allowed_list /proc/self/status";
    assert_eq!(session.ok(line), "Cpus_allowed_list:\t0\n");
}

#[test]
fn a_container_in_the_background_is_listed_logged_stopped_and_removed() {
    let Some(session) = Session::with_busybox() else { return };
    let id = session.background("sudo rocker run --image busybox /bin/sleep 1000");
    assert!(has_form(&id, "9999999999"), "{id}");

    let table = session.ok("sudo rocker ps");
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(columns(lines[0]), ["ID", "NAME", "PID", "STATUS", "COMMAND", "CREATED"]);
    let row = columns(lines[1]);
    assert_eq!(row[..2], [&id, &id], "{table}");
    assert!(row[2].parse::<u32>().is_ok_and(|pid| pid > 1), "{table}");
    assert_eq!(row[3..5], ["running", "/bin/sleep 1000"], "{table}");
    assert!(has_form(row[5], "9999-99-99 99:99:99"), "{table}");

    assert_eq!(session.ok(&format!("sudo rocker logs {id}")), "");
    // sleep does not handle SIGTERM, and as process 1 is not ended by it: stop needs its 10 seconds.
    assert_eq!(session.ok(&format!("sudo rocker stop {id}")), format!("{id}\n"));
    assert_eq!(columns(session.ok("sudo rocker ps").lines().nth(1).unwrap())[3], "stopped");
    assert_eq!(session.ok(&format!("sudo rocker rm {id}")), format!("{id}\n"));
    assert_eq!(session.ok("sudo rocker ps").lines().count(), 1);
}

#[test]
fn logs_shows_what_the_container_said() {
    let Some(session) = Session::with_busybox() else { return };
    let said = session.ok(r#"sudo rocker run --image busybox /bin/echo "Hello World""#);
    assert_eq!(said, "Hello World\n");
    let id = session.wait_for("exited");
    assert_eq!(session.ok(&format!("sudo rocker logs {id}")), "Hello World\n");
}

#[test]
fn exec_runs_the_documented_commands() {
    let Some(session) = Session::with_busybox() else { return };
    let id = session.background("sudo rocker run --image busybox /bin/sleep 1000");
    let processes = session.ok(&format!("sudo rocker exec {id} ps aux"));
    assert!(processes.lines().any(|line| line.contains("/bin/sleep 1000")), "{processes}");
    let listing = session.ok(&format!("sudo rocker exec {id} ls /"));
    for name in ["bin", "dev", "etc", "proc", "root", "sys", "tmp"] {
        assert!(listing.lines().any(|line| line == name), "{name} in {listing}");
    }
    let status = session.ok(&format!("sudo rocker exec {id} cat /proc/1/status"));
    assert!(status.starts_with("Name:\tsleep\n"), "{status}");
    assert!(status.contains("\nPid:\t1\n"), "{status}");
    let listing = session.ok(&format!("sudo rocker exec {id} ls -la /"));
    assert!(listing.lines().any(|line| line.ends_with(" ..")), "{listing}");
}

#[test]
fn commit_makes_an_image_of_the_container() {
    let Some(session) = Session::with_busybox() else { return };
    let id = session.background("sudo rocker run --image busybox /bin/sleep 1000");
    session.ok(&format!("sudo rocker exec {id} sh -c 'echo changed > /root/note'"));
    let said = session.ok(&format!("sudo rocker commit {id} myimage"));
    assert!(said.starts_with("sha256:") && said.lines().count() == 1, "{said}");
    let table = session.ok("sudo rocker images");
    assert!(table.lines().any(|line| columns(line)[..2] == ["myimage", "latest"]), "{table}");
    assert_eq!(session.ok("sudo rocker run --image myimage cat /root/note"), "changed\n");
    // And the image that it was made from is as it was.
    assert_ne!(session.run("sudo rocker run --image busybox cat /root/note").code, 0);
}

#[test]
fn state_lies_where_it_is_documented() {
    let Some(session) = Session::with_busybox() else { return };
    let id = session.background("sudo rocker run --image busybox /bin/sleep 1000");
    let container = session.rocker.run_root().join(&id);
    let config = fs::read_to_string(container.join("config.json")).unwrap();
    for key in [
        "pid",
        "id",
        "name",
        "command",
        "created_time",
        "status",
        "volume",
        "port_mapping",
        "network",
        "image_name",
    ] {
        assert!(config.contains(&format!("\"{key}\":")), "{key} in {config}");
    }
    assert!(container.join("container.log").is_file());
    let image = session.rocker.root().join("images/busybox/latest");
    let json = fs::read_to_string(image.join("image.json")).unwrap();
    for key in ["name", "tag", "id", "size", "created_time"] {
        assert!(json.contains(&format!("\"{key}\":")), "{key} in {json}");
    }
    assert!(image.join("rootfs/bin/busybox").is_file());
}

#[test]
fn the_image_may_be_left_out_before_an_absolute_path() {
    let Some(session) = Session::with_busybox() else { return };
    let line = "RUST_LOG=trace rocker run --tty /bin/sh";
    assert_eq!(session.run_with_input(line, "exit 3\n").code, 3);
    assert_eq!(session.run("rocker run /bin/sleep 0").code, 0);
}

#[test]
fn two_containers_of_the_quick_start_run_beside_each_other() {
    let Some(session) = Session::with_busybox() else { return };
    session.background("sudo rocker run --image busybox /bin/sleep 1000");
    session.background("sudo rocker run --image busybox /bin/sleep 1001");
    let both = wait_until(Duration::from_secs(5), || {
        session.ok("rocker ps").matches("  running  ").count() == 2
    });
    assert!(both, "{}", session.ok("rocker ps"));
}
