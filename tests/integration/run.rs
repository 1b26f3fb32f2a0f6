//! `run` and its options: the program's exit, input, output, environment and user.

use crate::harness::{PATIENCE, Rocker, base_image, has_overlay, kill, skip, wait_until};
use std::fs;

/// Runs words in a new container of the base image with these options.
fn run(rocker: &Rocker, options: &[&str], words: &[&str]) -> crate::harness::Output {
    rocker.run(&[&["run", "--rm"][..], options, &["--image", "busybox"], words].concat())
}

#[track_caller]
fn ok(rocker: &Rocker, options: &[&str], words: &[&str]) -> String {
    let output = run(rocker, options, words);
    assert_eq!(output.code, 0, "{options:?} {words:?}: {output:?}");
    output.stdout
}

#[test]
fn the_exit_code_is_the_programs_own() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    for code in ["0", "1", "7", "125", "255"] {
        let exit = format!("exit {code}");
        assert_eq!(run(&rocker, &[], &["sh", "-c", &exit]).code.to_string(), code);
    }
    assert_eq!(run(&rocker, &["--init"], &["sh", "-c", "kill -9 $$"]).code, 137);
}

#[test]
fn both_streams_come_apart_and_whole() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let output = run(&rocker, &[], &["sh", "-c", "echo out; echo err >&2"]);
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("out\n", "err\n"));
    let output = run(&rocker, &[], &["sh", "-c", "seq 300000"]);
    assert_eq!(output.stdout.lines().count(), 300_000);
    assert!(output.stdout.ends_with("\n300000\n"));
}

#[test]
fn a_client_that_falls_behind_gets_everything_later() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let script = "seq 300000";
    let args = ["run", "--name", "web", "--net", "none", "--image", "busybox", "sh", "-c", script];
    let client = rocker.spawn(&args);
    // Nobody reads: the output stops when all that lies between is full.
    let length =
        || std::fs::metadata(rocker.run_root().join("web/container.log")).map_or(0, |m| m.len());
    let (mut last, mut same) = (0, 0);
    let stopped = || {
        let now = length();
        same = if now > 0 && now == last { same + 1 } else { 0 };
        last = now;
        same > 40
    };
    assert!(crate::harness::wait_until(crate::harness::PATIENCE, stopped));
    let output = client.finish();
    assert_eq!(output.stdout.lines().count(), 300_000);
}

#[test]
fn input_is_connected_with_i_only() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let args = ["run", "--rm", "-i", "--image", "busybox", "cat"];
    assert_eq!(rocker.run_with_input(&args, b"hello\n").stdout, "hello\n");
    let long = vec![b'x'; 1 << 20];
    let args = ["run", "--rm", "-i", "--image", "busybox", "wc", "-c"];
    assert_eq!(rocker.run_with_input(&args, &long).stdout, "1048576\n");
    let args = ["run", "--rm", "--image", "busybox", "wc", "-c"];
    assert_eq!(rocker.run_with_input(&args, b"hello\n").stdout, "0\n");
}

#[test]
fn words_reach_the_program_unchanged() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let script = "for word; do echo \"[$word]\"; done";
    let words = ["sh", "-c", script, "sh", "-l", "--rm", "a  b", "", "--", "$HOME", "'"];
    let said = ok(&rocker, &[], &words);
    assert_eq!(said, "[-l]\n[--rm]\n[a  b]\n[]\n[--]\n[$HOME]\n[']\n");
    assert_eq!(ok(&rocker, &[], &["echo 'a  b' \"c d\"  e"]), "a  b c d e\n");
}

#[test]
fn the_image_may_be_the_first_word() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    assert_eq!(rocker.ok(&["run", "--rm", "busybox", "echo", "-n", "x"]), "x");
    assert_eq!(rocker.ok(&["run", "--rm", "busybox:latest", "echo", "y"]), "y\n");
}

#[test]
fn the_environment_is_what_was_asked_for() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let file = rocker.files().join("env");
    // With the mark and the ends of lines that editors of Windows leave.
    fs::write(&file, "\u{feff}B=two words\r\n# a remark\r\nA=file\r\n\n").unwrap();
    let options = ["--env-file", file.to_str().unwrap(), "-e", "A=option", "--env=C="];
    let said = ok(&rocker, &options, &["sh", "-c", "echo $A; echo $B; echo =$C="]);
    assert_eq!(said, "option\ntwo words\n==\n");
    assert_eq!(ok(&rocker, &[], &["sh", "-c", "echo $HOME"]), "/root\n");
}

#[test]
fn labels_come_from_files_and_the_command_line() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let file = rocker.files().join("labels");
    fs::write(&file, "# a remark\ntier=front\nnote=two words\nempty\n").unwrap();
    let file = file.to_str().unwrap();
    let options = ["--label-file", file, "-l", "tier=back"];
    rocker.ok(&[&["create", "--name", "web"], &options[..], &["busybox", "true"]].concat());
    let labels = rocker.inspect("web", "{{json .Config.Labels}}");
    assert_eq!(labels, r#"{"empty":"","note":"two words","tier":"back"}"#);
    let said = rocker.refused(&["create", "--label-file", "/none", "busybox", "true"], 125);
    assert_eq!(said, "rocker: read the label file /none: No such file or directory (ENOENT)");
    let said = rocker.refused(&["create", "--expose", "80:80", "busybox", "true"], 125);
    assert_eq!(said, "rocker: exposed port \"80:80\": not PORT[-PORT][/PROTOCOL]");
}

#[test]
fn user_and_directory_are_set() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let id = |user: &str| ok(&rocker, &["-u", user], &["sh", "-c", "id -u; id -g"]);
    assert_eq!(id("nobody"), "65534\n65534\n");
    assert_eq!(id("1234:5"), "1234\n5\n");
    assert_eq!(id("daemon:tty"), "1\n5\n");
    assert_eq!(ok(&rocker, &["-u", "nobody"], &["sh", "-c", "echo $HOME"]), "/home\n");
    assert_eq!(ok(&rocker, &["-w", "/usr/bin"], &["pwd"]), "/usr/bin\n");
    assert_eq!(ok(&rocker, &["-w", "/made/for/it"], &["pwd"]), "/made/for/it\n");
    // root is in the group wheel of the base image.
    assert_eq!(ok(&rocker, &["-u", "root"], &["id", "-G"]), "0 10\n");
}

#[test]
fn an_entry_point_comes_before_the_words() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    assert_eq!(ok(&rocker, &["--entrypoint", "/bin/echo"], &["a", "b"]), "a b\n");
}

#[test]
fn init_reaps_what_lost_its_parent() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let script =
        "(sleep 0.1 &) ; sleep 0.5; grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null; echo end";
    assert_eq!(ok(&rocker, &["--init"], &["sh", "-c", script]), "end\n");
}

#[test]
fn cidfile_and_pidfile_are_written() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let (cid, pid) = (rocker.files().join("cid"), rocker.files().join("pid"));
    let options = ["--cidfile", cid.to_str().unwrap(), "--pidfile", pid.to_str().unwrap()];
    rocker.sleeper("web", &options);
    assert_eq!(fs::read_to_string(&cid).unwrap().trim(), rocker.inspect("web", "{{.Id}}"));
    assert_eq!(fs::read_to_string(&pid).unwrap().trim(), rocker.pid("web").to_string());
    let again = [&["run"][..], &options, &["--image", "busybox", "true"]].concat();
    assert_eq!(rocker.run(&again).code, 125, "an existing cidfile belongs to another container");
}

#[test]
fn a_pidfile_that_cannot_be_made_is_an_error_before_anything_runs() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let (cid, pid) = (rocker.files().join("cid"), rocker.files().join("missing/pid"));
    let options = ["--cidfile", cid.to_str().unwrap(), "--pidfile", pid.to_str().unwrap()];
    for detach in [&[][..], &["-d"]] {
        let words = [&["run"], detach, &options[..], &["busybox", "sleep", "1000"]].concat();
        let line = rocker.refused(&words, 125);
        assert!(line.contains("missing/pid") && line.contains("ENOENT"), "{line}");
        assert_eq!(rocker.ok(&["ps", "-aq"]), "");
        assert!(!cid.exists());
    }
}

#[test]
fn detached_prints_the_id_and_returns() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let said = rocker.ok(&["run", "-d", "--name", "web", "--image", "busybox", "sleep", "1000"]);
    assert_eq!(said.trim_end(), rocker.inspect("web", "{{.Id}}"));
    assert_eq!(said.len(), 11, "{said}");
    assert_eq!(rocker.inspect(&said[..6], "{{.Id}}"), said.trim_end(), "a unique prefix will do");
}

#[test]
fn signals_are_forwarded_to_the_program() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let script = "trap 'echo got it; exit 42' TERM; echo ready; while :; do sleep 0.05; done";
    let args = ["run", "--name", "web", "--image", "busybox", "sh", "-c", script];
    let client = rocker.spawn(&args);
    assert!(wait_until(PATIENCE, || rocker.run(&["logs", "web"]).stdout == "ready\n"));
    kill(client.0.id(), libc::SIGTERM);
    let output = client.finish();
    assert_eq!((output.code, output.stdout.as_str()), (42, "ready\ngot it\n"));
}

#[test]
fn a_closed_pipe_is_no_error() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let line = format!("{} images | true; echo $?", rocker.binary().display());
    let mut shell = std::process::Command::new("/bin/sh");
    shell.args(["-c", &line]);
    rocker.prepare(&mut shell);
    let output = crate::harness::finish(shell, b"", PATIENCE);
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("0\n", ""));
}

#[test]
fn a_client_whose_output_nobody_reads_ends_and_the_container_runs_on() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let run = format!("{} run --name web --net none busybox yes", rocker.binary().display());
    let mut shell = std::process::Command::new("/bin/sh");
    shell.args(["-c", &format!("{{ {run}; echo $? >&2; }} | head -n 1")]);
    rocker.prepare(&mut shell);
    let output = crate::harness::finish(shell, b"", PATIENCE);
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("y\n", "141\n"));
    assert_eq!(rocker.inspect("web", "{{.State.Status}}"), "running");
}

#[test]
fn a_detached_exec_outlives_its_command() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    rocker.sleeper("web", &[]);
    let script = "sleep 0.2; echo done > /done; exec sleep 1000";
    assert_eq!(rocker.ok(&["exec", "-d", "web", "sh", "-c", script]), "");
    let done = || rocker.run(&["exec", "web", "cat", "/done"]).stdout == "done\n";
    assert!(wait_until(PATIENCE, done));
    assert!(rocker.ok(&["exec", "web", "ps"]).contains("sleep 1000"));
}

#[test]
fn a_copy_of_the_image_keeps_its_changes_where_no_overlay_is_possible() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    if !has_overlay() {
        return skip(
            "this kernel has no overlay to lay another on, and every other test makes copies",
        );
    }
    // An upper directory that is an overlay itself is refused by the kernel.
    let base = rocker.files().join("stacked");
    let script = "set -e; cd \"$1\"; mkdir -p lower upper work all; \
        mount -t overlay x -o lowerdir=lower,upperdir=upper,workdir=work all; \
        export ROCKER_ROOT=$1/all/root ROCKER_RUN_ROOT=$1/run; \
        \"$2\" import \"$3\" busybox > /dev/null; \
        \"$2\" run --name a --layer copy busybox sh -c 'echo new > /etc/new; rm -f /etc/passwd'; \
        \"$2\" run --rm busybox sh -c 'ls /etc/new 2>&1; ls /etc/passwd'; \
        \"$2\" start -a a; \"$2\" commit a copied > /dev/null; \
        \"$2\" run --rm copied sh -c 'cat /etc/new; ls /etc/passwd 2>&1; true'; \
        \"$2\" rm a > /dev/null; ls all/root/tmp all/root/containers";
    std::fs::create_dir_all(&base).unwrap();
    let output = std::process::Command::new("unshare")
        .args(["-m", "--propagation", "private", "sh", "-c", script, "sh"])
        .args([base.as_os_str(), rocker.binary().as_os_str(), base_image().as_os_str()])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let wanted = "ls: /etc/new: No such file or directory\n/etc/passwd\n\
        new\nls: /etc/passwd: No such file or directory\n\
        all/root/containers:\n\nall/root/tmp:\n";
    assert_eq!((text.as_ref(), output.status.code()), (wanted, Some(0)), "{output:?}");
}

#[test]
fn a_first_process_of_ours_starts_reaps_and_ends_with_the_program() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let args = ["run", "-d", "--init", "--name", "web", "--image", "busybox", "sh", "-c"];
    let script = "trap 'exit 9' TERM; (sleep 0.1 &); while :; do sleep 0.1; done";
    rocker.ok(&[&args[..], &[script]].concat());
    let zombies = || rocker.ok(&["exec", "web", "ps", "-o", "stat"]).contains('Z');
    assert!(wait_until(PATIENCE, || !zombies()));
    rocker.ok(&["stop", "web"]);
    assert_eq!(rocker.inspect("web", "{{.State.ExitCode}}"), "9");
    let missing = run(&rocker, &["--init"], &["nosuch"]);
    assert_eq!(missing.code, 127, "{missing:?}");
}
