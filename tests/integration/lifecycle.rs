//! From create to rm: what each state allows, and what is said of it.

use crate::harness::{
    PATIENCE, Rocker, Running, base_image, finish, has_program, kill, names, one_line, skip,
    wait_until,
};
use std::fs;
use std::process::Command;
use std::time::Instant;

fn status(rocker: &Rocker, name: &str) -> String {
    rocker.inspect(name, "{{.State.Status}}")
}

#[test]
fn a_container_goes_through_its_states() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let id = rocker.ok(&["create", "--name", "web", "--image", "busybox", "sleep", "1000"]);
    assert_eq!(id.trim_end(), rocker.inspect("web", "{{.Id}}"));
    assert_eq!(status(&rocker, "web"), "created");
    assert_eq!(rocker.ok(&["start", "web"]), "web\n");
    assert_eq!(status(&rocker, "web"), "running");
    assert_eq!(rocker.ok(&["stop", "-t", "0", "web"]), "web\n");
    assert!(rocker.ok(&["ps"]).contains("  stopped  "));
    assert_eq!(rocker.ok(&["restart", "-t", "0", "web"]), "web\n");
    assert_eq!(status(&rocker, "web"), "running");
    assert_eq!(rocker.ok(&["kill", "web"]), "web\n");
    assert_eq!(rocker.ok(&["wait", "web"]), "137\n");
    assert_eq!(rocker.ok(&["rm", "web"]), "web\n");
    assert_eq!(rocker.run(&["inspect", "web"]).code, 1);
}

#[test]
fn stop_asks_first_and_kills_after_its_time() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let script = "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.05; done";
    rocker.ok(&["run", "-d", "--name", "polite", "--image", "busybox", "sh", "-c", script]);
    assert!(wait_until(PATIENCE, || rocker.ok(&["logs", "polite"]) == "ready\n"));
    rocker.ok(&["stop", "polite"]);
    assert_eq!(rocker.inspect("polite", "{{.State.ExitCode}}"), "3");
    assert_eq!(rocker.ok(&["logs", "polite"]), "ready\nbye\n");
    rocker.sleeper("deaf", &[]);
    let start = Instant::now();
    rocker.ok(&["stop", "-t", "1", "deaf"]);
    let seconds = start.elapsed().as_secs_f64();
    assert!((0.9..5.0).contains(&seconds), "{seconds}");
    assert_eq!(rocker.inspect("deaf", "{{.State.ExitCode}}"), "137");
}

#[test]
fn the_stop_signal_is_a_choice() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let script = "trap 'exit 4' USR1; echo ready; while :; do sleep 0.05; done";
    let options = ["run", "-d", "--name", "web", "--stop-signal", "USR1", "--image", "busybox"];
    rocker.ok(&[&options[..], &["sh", "-c", script]].concat());
    assert!(wait_until(PATIENCE, || rocker.ok(&["logs", "web"]) == "ready\n"));
    rocker.ok(&["stop", "web"]);
    assert_eq!(rocker.inspect("web", "{{.State.ExitCode}}"), "4");
}

#[test]
fn several_names_are_all_done_and_one_failure_gives_1() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    rocker.sleeper("a", &[]);
    rocker.sleeper("b", &[]);
    rocker.ok(&["stop", "-t", "0", "a", "b"]);
    let output = rocker.run(&["rm", "a", "ghost", "b"]);
    assert_eq!((output.code, output.stdout.as_str()), (1, "a\nb\n"));
    assert!(output.stderr.contains("No such container: ghost"), "{output:?}");
    assert_eq!(rocker.ok(&["ps", "-q"]), "");
}

#[test]
fn logs_keep_both_streams_in_order_and_can_be_cut() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let script = "for i in 1 2 3 4 5; do echo out$i; echo err$i >&2; done";
    rocker.run(&["run", "--name", "talk", "--image", "busybox", "sh", "-c", script]);
    let output = rocker.run(&["logs", "talk"]);
    assert_eq!(output.stdout, "out1\nout2\nout3\nout4\nout5\n");
    assert_eq!(output.stderr, "err1\nerr2\nerr3\nerr4\nerr5\n");
    let tail = rocker.run(&["logs", "--tail", "3", "talk"]);
    assert_eq!(tail.stdout.lines().count() + tail.stderr.lines().count(), 3, "{tail:?}");
    assert_eq!(rocker.run(&["logs", "--tail", "-5", "talk"]), rocker.run(&["logs", "talk"]));
    let stamped = rocker.ok(&["logs", "-t", "talk"]);
    let time = stamped.lines().next().unwrap().split(' ').next().unwrap();
    assert!(time.starts_with("20") && time.contains('T') && time.ends_with('Z'), "{stamped}");
    assert_eq!(rocker.ok(&["logs", "--until", "2001-01-01T00:00:00Z", "talk"]), "");
    assert_eq!(rocker.ok(&["logs", "--since", "1h", "talk"]), output.stdout);
    let plain = std::fs::read_to_string(rocker.run_root().join("talk/container.log")).unwrap();
    assert!(plain.contains("out5\n") && plain.contains("err5\n"), "{plain}");
}

#[test]
fn logs_can_be_followed_to_the_end() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let script = "for i in 1 2 3; do echo $i; sleep 0.2; done";
    rocker.ok(&["run", "-d", "--name", "talk", "--image", "busybox", "sh", "-c", script]);
    assert_eq!(rocker.ok(&["logs", "-f", "talk"]), "1\n2\n3\n");
}

#[test]
fn a_log_that_is_followed_is_looked_at_only_when_it_grows() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    if !has_program("strace") {
        return skip("strace is not there");
    }
    let script = "for i in 1 2 3; do echo $i; sleep 1; done";
    // A kernel that tells of no changes is asked all the time.
    let without: &[&str] = &["-e", "inject=inotify_init1:error=ENOSYS"];
    for (inject, most) in [(&[][..], 500), (without, usize::MAX)] {
        rocker.ok(&["run", "-d", "--name", "talk", "--net", "none", "busybox", "sh", "-c", script]);
        let calls = rocker.files().join("calls");
        let mut command = Command::new("strace");
        command.arg("-qq").args(inject).arg("-o").arg(&calls);
        command.arg(rocker.binary()).args(["logs", "-f", "talk"]);
        rocker.prepare(&mut command);
        let output = finish(command, b"", PATIENCE);
        assert_eq!((output.code, output.stdout.as_str()), (0, "1\n2\n3\n"), "{output:?}");
        let count = fs::read_to_string(&calls).unwrap().lines().count();
        assert!(count < most, "{inject:?}: {count} calls");
        rocker.ok(&["rm", "-f", "talk"]);
    }
}

#[test]
fn a_container_that_comes_to_its_place_while_its_lock_is_waited_for_is_removed_from_there() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    if !has_program("strace") {
        return skip("strace is not there");
    }
    let mut command = Command::new("strace");
    command.args(["-qq", "-o", "/dev/null", "-e", "inject=renameat2:delay_enter=700000"]);
    command
        .arg(rocker.binary())
        .args(["create", "--name", "web", "--net", "none", "busybox", "true"]);
    rocker.prepare(&mut command);
    let maker = Running(command.spawn().unwrap());
    let link = rocker.run_root().join("web");
    assert!(wait_until(PATIENCE, || link.is_symlink()), "it is not being made");
    rocker.ok(&["rm", "-f", "web"]);
    assert_eq!(maker.finish().code, 0);
    for directory in ["tmp", "containers"] {
        let left: Vec<_> = names(&rocker.root().join(directory)).collect();
        assert!(left.is_empty(), "{directory}: {left:?}");
    }
}

#[test]
fn a_restarted_container_can_be_attached() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    rocker.ok(&["create", "-i", "--name", "echo", "--image", "busybox", "cat"]);
    let output = rocker.run_with_input(&["start", "-a", "-i", "echo"], b"once\n");
    assert_eq!((output.code, output.stdout.as_str()), (0, "once\n"));
    let output = rocker.run_with_input(&["start", "-ai", "echo"], b"twice\n");
    assert_eq!((output.code, output.stdout.as_str()), (0, "twice\n"));
}

#[test]
fn exec_gives_code_input_user_and_directory() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    rocker.sleeper("web", &["-e", "GIVEN=1"]);
    assert_eq!(rocker.run(&["exec", "web", "sh", "-c", "exit 9"]).code, 9);
    assert_eq!(rocker.run_with_input(&["exec", "-i", "web", "cat"], b"in\n").stdout, "in\n");
    assert_eq!(rocker.ok(&["exec", "-u", "nobody", "web", "id", "-u"]), "65534\n");
    assert_eq!(rocker.ok(&["exec", "-w", "/usr", "web", "pwd"]), "/usr\n");
    let said = rocker.ok(&["exec", "-e", "MORE=2", "web", "sh", "-c", "echo $GIVEN $MORE"]);
    assert_eq!(said, "1 2\n");
    assert_eq!(rocker.ok(&["exec", "web", "ls", "-la", "/root"]).lines().count(), 3);
}

#[test]
fn a_committed_image_runs_and_its_parent_is_as_it_was() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let change =
        "echo new > /root/new; rm -r /var; chmod 600 /etc/group; ln /etc/profile /etc/link";
    rocker.ok(&["run", "--name", "made", "--image", "busybox", "sh", "-c", change]);
    rocker.ok(&["commit", "-m", "a message", "made", "mine:2"]);
    let look =
        "cat /root/new; ls -d /var; stat -c %a /etc/group; cmp /etc/profile /etc/link; exit 0";
    let seen = rocker.ok(&["run", "--rm", "--net", "none", "--image", "mine:2", "sh", "-c", look]);
    assert!(seen.starts_with("new\n600\n"), "{seen}");
    let seen = rocker.ok(&["run", "--rm", "--image", "busybox", "ls", "/root", "/var"]);
    assert!(!seen.contains("new") && seen.contains("spool"), "{seen}");
    // The image outlives its container, and the parent's name.
    rocker.ok(&["rm", "made"]);
    rocker.ok(&["rmi", "busybox"]);
    assert_eq!(rocker.ok(&["run", "--rm", "--image", "mine:2", "cat", "/root/new"]), "new\n");
}

#[test]
fn several_are_stopped_and_restarted_together() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    // As process 1 it obeys no TERM.
    let names = ["a", "b", "c", "d"];
    names.iter().for_each(|name| rocker.sleeper(name, &["--net", "none"]));
    for (command, state) in [("restart", "running"), ("stop", "stopped")] {
        let start = Instant::now();
        let printed =
            rocker.run(&[&[command, "-t", "3"], &names[..2], &["no"], &names[2..]].concat());
        let took = start.elapsed().as_secs_f64();
        assert_eq!((printed.code, printed.stdout.as_str()), (1, "a\nb\nc\nd\n"), "{printed:?}");
        assert!(printed.stderr.contains("No such container: no"), "{printed:?}");
        // One after the other would take twelve.
        assert!((3.0..9.0).contains(&took), "{command} took {took} s");
        assert!(names.iter().all(|name| status(&rocker, name) == state), "{command}");
    }
}

#[test]
fn a_container_that_removes_itself_is_not_ended_by_restart() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    rocker.sleeper("web", &["--rm", "--net", "none"]);
    rocker.ok(&["exec", "web", "touch", "/root/work"]);
    let line = rocker.refused(&["restart", "-t", "0", "web"], 1);
    assert_eq!(line, "rocker: cannot restart web: it removes itself when it ends");
    rocker.ok(&["exec", "web", "test", "-e", "/root/work"]);
    rocker.ok(&["stop", "-t", "0", "web"]);
    assert_eq!(rocker.ok(&["ps", "-aq"]), "");
}

#[test]
fn a_container_without_its_keeper_has_ended_whoever_else_looks_at_it() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    rocker.sleeper("web", &["--net", "none"]);
    let path = format!("containers/{}/upper", rocker.inspect("web", "{{.Id}}"));
    let looked_at = fs::File::open(rocker.root().join(path)).unwrap();
    kill(rocker.inspect("web", "{{.Rocker.KeeperPid}}").parse().unwrap(), libc::SIGKILL);
    assert!(wait_until(PATIENCE, || looked_at.try_lock_shared().is_ok()));
    assert!(wait_until(PATIENCE, || status(&rocker, "web") == "exited"), "{}", rocker.ok(&["ps"]));
    rocker.ok(&["rm", "web"]);
}

#[test]
fn what_is_not_there_is_no_failure_of_a_forced_removal() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    rocker.sleeper("web", &["--net", "none", "-v", "data:/data"]);
    let line = rocker.refused(&["volume", "rm", "-f", "data"], 1);
    assert!(line.contains("data") && line.contains("web"), "{line}");
    for (command, object, names) in [
        (&["rm"][..], "container", &["no", "web"][..]),
        (&["rmi"], "image", &["no", "busybox"]),
        (&["volume", "rm"], "volume", &["no"]),
        (&["network", "rm"], "network", &["no"]),
    ] {
        let output = rocker.run(&[command, &["-f"], names].concat());
        assert_eq!(output.code, 0, "{output:?}");
        assert!(output.stderr.contains(&format!("No such {object}: no")), "{output:?}");
        assert_eq!(rocker.run(&[command, &["no"]].concat()).code, 1, "{command:?}");
    }
    assert_eq!((rocker.ok(&["ps", "-aq"]), rocker.ok(&["images", "-q"])), Default::default());
}

#[test]
fn stop_and_restart_send_the_signal_that_they_are_given() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let script = "trap 'echo asked; exit 3' USR1; trap 'exit 4' TERM; echo ready; \
        while :; do sleep 0.1; done";
    let words = ["--name", "web", "--net", "none", "busybox", "sh", "-c", script];
    rocker.ok(&[&["run", "-d"], &words[..]].concat());
    let says = |text: &str| wait_until(PATIENCE, || rocker.ok(&["logs", "web"]) == text);
    assert!(says("ready\n"));
    rocker.ok(&["restart", "-s", "USR1", "web"]);
    assert!(says("ready\nasked\nready\n"), "{}", rocker.ok(&["logs", "web"]));
    rocker.ok(&["stop", "--signal", "SIGUSR1", "web"]);
    assert_eq!(rocker.inspect("web", "{{.State.ExitCode}} {{.State.Status}}"), "3 stopped");
    let refused = rocker.refused(&["stop", "-s", "NOTHING", "web"], 125);
    assert!(refused.contains("no such signal"), "{refused}");
}

#[test]
fn exec_takes_variables_from_files_before_those_of_options() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    rocker.sleeper("web", &["--net", "none", "-e", "A=run", "-e", "C=run"]);
    let file = rocker.files().join("variables");
    fs::write(&file, "# of the test\nA=file\nB=file\n").unwrap();
    let exec = ["exec", "--env-file", file.to_str().unwrap(), "-e", "A=option", "web"];
    let said = rocker.ok(&[&exec[..], &["sh", "-c", "echo $A $B $C"]].concat());
    assert_eq!(said, "option file run\n");
    let refused = rocker.refused(&["exec", "--env-file", "/nowhere", "web", "true"], 125);
    assert!(refused.contains("read the environment file /nowhere"), "{refused}");
}

#[test]
fn a_container_that_is_removed_while_it_is_committed_makes_no_image() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    if !has_program("strace") {
        return skip("strace is not there");
    }
    let make = "mkdir /d; for i in 1 2 3 4 5 6; do echo $i > /d/$i; done";
    rocker.ok(&["run", "--name", "made", "--net", "none", "busybox", "sh", "-c", make]);
    let mut command = Command::new("strace");
    command.args(["-qq", "-o", "/dev/null", "-e", "inject=ftruncate:delay_enter=2000000:when=2"]);
    command.arg(rocker.binary()).args(["commit", "made", "half"]);
    rocker.prepare(&mut command);
    let maker = Running(command.spawn().unwrap());
    let tmp = rocker.root().join("tmp");
    let has_begun = || names(&tmp).any(|name| tmp.join(name).join("layer/d/2").exists());
    assert!(wait_until(PATIENCE, has_begun), "nothing is copied");
    rocker.ok(&["rm", "made"]);
    let output = maker.finish();
    assert_eq!((output.code, &*output.stdout), (1, ""), "{output:?}");
    assert!(output.stderr.contains("was removed while it was committed"), "{output:?}");
    assert_eq!(rocker.ok(&["images", "-q", "half"]), "");
    let left: Vec<_> = names(&tmp).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_committed_image_starts_what_its_container_ran() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let run = |options: &[&str]| rocker.ok(&[&["run", "--net", "none"], options].concat());
    run(&["--name", "plain", "busybox", "echo", "one", "two words"]);
    rocker.ok(&["commit", "plain", "plain"]);
    assert_eq!(rocker.inspect("plain", "{{json .Config.Cmd}}"), r#"["echo","one","two words"]"#);
    assert_eq!(run(&["--rm", "plain"]), "one two words\n");
    assert_eq!(run(&["--rm", "plain", "echo", "three"]), "three\n");
    // An entry point stays one.
    run(&["--name", "entry", "--entrypoint", "echo", "busybox", "four"]);
    let shown = rocker.inspect("entry", "{{json .Config.Entrypoint}} {{json .Config.Cmd}}");
    assert_eq!(shown, r#"["echo"] ["four"]"#);
    rocker.ok(&["commit", "entry", "entry"]);
    assert_eq!(run(&["--rm", "entry"]), "four\n");
    assert_eq!(run(&["--rm", "entry", "five"]), "five\n");
    rocker.ok(&["commit", "-c", r#"CMD ["six"]"#, "entry", "changed"]);
    assert_eq!(run(&["--rm", "changed"]), "six\n");
}

#[test]
fn changes_of_a_commit_know_the_variables_of_the_image() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    rocker.ok(&["create", "--net", "none", "--name", "web", "-e", "A=1", "busybox", "old"]);
    let path = "ENV PATH=$PATH:/opt/bin B=${A}2";
    rocker.ok(&["commit", "-c", path, "-c", "LABEL b=$B", "-c", "CMD echo $B", "web", "web"]);
    let run = ["run", "--rm", "--net", "none", "web"];
    assert_eq!(rocker.ok(&run), "12\n");
    assert_eq!(rocker.inspect("web:latest", "{{.Config.Labels}}"), "map[b:12]");
    // A command that is given with an entry point stays.
    let given = ["commit", "-c", r#"CMD ["x"]"#, "-c", r#"ENTRYPOINT ["echo"]"#, "web", "both"];
    rocker.ok(&given);
    assert_eq!(rocker.ok(&["run", "--rm", "--net", "none", "both"]), "x\n");
}

#[test]
fn a_committed_image_keeps_what_its_own_image_said_whatever_became_of_its_name() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let base = base_image();
    let exposes = ["import", base.to_str().unwrap(), "app", "-c", "EXPOSE 80"];
    rocker.ok(&[&exposes[..], &["-c", "VOLUME /data", "-c", "STOPSIGNAL QUIT"]].concat());
    rocker.ok(&["create", "--net", "none", "--name", "web", "--image", "app", "true"]);
    let kept = "{{.Config.ExposedPorts}} {{.Config.Volumes}} {{.Config.StopSignal}}";
    let expected = "map[80/tcp:map[]] map[/data:map[]] SIGQUIT";
    // The second finds what the first has made of the name.
    for _ in 0..2 {
        rocker.ok(&["commit", "-c", "LABEL a=1", "web", "app"]);
        assert_eq!(rocker.inspect("app", kept), expected);
    }
    // Another image has the name.
    rocker.ok(&["tag", "busybox", "app"]);
    rocker.ok(&["commit", "web", "mine"]);
    assert_eq!(rocker.inspect("mine", "{{.Config.StopSignal}}"), "SIGQUIT");
    rocker.ok(&["import", base_image().to_str().unwrap(), "old", "-c", "EXPOSE 90"]);
    rocker.ok(&["create", "--net", "none", "--name", "moved", "--image", "old", "true"]);
    rocker.ok(&["tag", "old", "other"]);
    rocker.ok(&["tag", "busybox", "old"]);
    rocker.ok(&["commit", "moved", "mine"]);
    assert_eq!(rocker.inspect("mine", "{{.Config.ExposedPorts}}"), "map[90/tcp:map[]]");
}

#[test]
fn a_committed_image_keeps_what_its_container_was_given_but_not_what_a_start_adds() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let create = |name: &str, options: &[&str], image: &str| {
        let start = ["create", "--net", "none", "-t", "--name", name];
        rocker.ok(&[&start[..], options, &[image, "env"]].concat());
        rocker.ok(&["commit", name, name]);
        rocker.inspect(
            &format!("{name}:latest"),
            "{{.Config.WorkingDir}} {{.Config.StopSignal}} {{slice (json .Config.Env) 0 8}}",
        )
    };
    assert_eq!(create("plain", &[], "busybox"), "  [\"PATH=/");
    let image = ["-w", "/usr", "--stop-signal", "INT", "-e", "HOSTNAME=mine", "-e", "TERM=dumb"];
    create("given", &image, "busybox");
    let env = rocker.inspect("given:latest", "{{json .Config.Env}}");
    assert!(env.contains("HOSTNAME=mine") && env.contains("TERM=dumb"), "{env}");
    let seen = rocker.ok(&["run", "--rm", "--net", "none", "--image", "given", "env"]);
    assert!(seen.contains("HOSTNAME=mine\n") && seen.contains("TERM=dumb\n"), "{seen}");
    let back = create("back", &["-w", "/", "--stop-signal", "TERM"], "given");
    assert!(back.starts_with("/ SIGTERM "), "{back}");
    // What a start adds is there all the same.
    let run = ["run", "--rm", "--net", "none", "--hostname", "here", "busybox", "env"];
    assert!(rocker.ok(&run).contains("HOSTNAME=here\n"));
}

#[test]
fn a_container_is_found_by_its_name_with_a_slash_and_by_expressions() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    for name in ["web1", "web2", "db"] {
        rocker.ok(&["create", "--net", "none", "--name", name, "busybox", "true"]);
    }
    let found = |name: &str| {
        let filter = format!("name={name}");
        let text = rocker.ok(&["ps", "-a", "-f", &filter, "--format", "{{.Names}}"]);
        let mut names: Vec<String> = text.lines().map(str::to_owned).collect();
        names.sort();
        names.join(" ")
    };
    for name in ["web", "/web", "web.*", "^web[12]$", "^/web[0-9]+$"] {
        assert_eq!(found(name), "web1 web2", "{name}");
    }
    assert_eq!(found("^/web1$"), "web1");
    let said = rocker.refused(&["ps", "-f", "name=^(web1|db)$"], 1);
    assert_eq!(said, "rocker: invalid filter 'name=^(web1|db)$'");
    assert_eq!(rocker.inspect("/web1", "{{.Name}}"), "/web1");
    assert_eq!(rocker.ok(&["rm", "/web1"]), "/web1\n");
    assert_eq!(found("web"), "web2");
}

#[test]
fn nothing_is_left_of_a_container_that_cannot_be_made() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    if !has_program("strace") {
        return skip("strace is not there");
    }
    // Those of the command alone: what its keeper is refused is seen by the tests of faults.
    let calls = [("clone3", 1), ("openat", 12), ("mkdirat", 6), ("write", 4), ("socketpair", 1)];
    let commands = [["run", "--rm"], ["run", "--name=web"], ["create", "--name=web"]];
    let mut refused = 0;
    for (call, count) in calls {
        for (number, words) in (1..=count).flat_map(|n| commands.map(|words| (n, words))) {
            let mut command = Command::new("strace");
            let inject = format!("inject={call}:error=ENOMEM:when={number}");
            command.args(["-qq", "-o", "/dev/null", "-e", &inject]).arg(rocker.binary());
            command.args(words).args(["--net", "none", "busybox", "true"]);
            rocker.prepare(&mut command);
            let output = finish(command, b"", PATIENCE);
            if output.code == 0 {
                rocker.run(&["rm", "web"]);
                continue;
            }
            refused += 1;
            let message = one_line(&output.stderr);
            for directory in ["tmp", "containers"] {
                let left: Vec<_> = names(&rocker.root().join(directory)).collect();
                assert!(left.is_empty(), "{inject}: {message}: {directory}: {left:?}");
            }
            let run = rocker.run_root();
            let known = names(&run).filter(|name| !name.starts_with('.'));
            assert_eq!(known.collect::<Vec<_>>(), [""; 0], "{inject}: {message}");
        }
    }
    assert!(refused > 20, "only {refused} calls were refused");
}

#[test]
fn a_large_file_is_looked_through_for_holes_only_once() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    if !has_program("strace") {
        return skip("strace is not there");
    }
    let write = "dd if=/dev/urandom of=/large bs=1M count=64 2>/dev/null";
    rocker.ok(&["run", "--name", "large", "--net", "none", "busybox", "sh", "-c", write]);
    let calls = rocker.files().join("calls");
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-e", "trace=lseek", "-o"]).arg(&calls).arg(rocker.binary());
    command.args(["commit", "large", "large"]);
    rocker.prepare(&mut command);
    let output = finish(command, b"", PATIENCE);
    assert_eq!(output.code, 0, "{output:?}");
    // The kernel goes through all the rest of the file at each of them.
    let count = fs::read_to_string(&calls).unwrap().lines().count();
    assert!((1..50).contains(&count), "{count} searches");
}

#[test]
fn an_image_in_use_is_not_removed() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    rocker.sleeper("web", &[]);
    assert_eq!(rocker.run(&["rmi", "busybox"]).code, 1);
    assert_eq!(rocker.ok(&["exec", "web", "echo", "alive"]), "alive\n");
    rocker.ok(&["rm", "-f", "web"]);
    rocker.ok(&["rmi", "busybox"]);
    assert_eq!(rocker.ok(&["images", "-q"]), "");
}

#[test]
fn a_start_that_fails_is_recorded_as_a_failure_with_its_time() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let volume = rocker.files().join("volume");
    fs::create_dir(&volume).unwrap();
    let bind = format!("{}:/data", volume.display());
    for (name, words) in [
        ("missing", &["busybox", "nosuch"][..]),
        ("refused", &["busybox", "/etc/passwd"]),
        ("bound", &["-v", &bind, "busybox", "sh", "-c", "exit 5"]),
    ] {
        rocker.ok(&[&["create", "--net", "none", "--name", name], words].concat());
    }
    rocker.ok(&["start", "bound"]);
    assert_eq!(rocker.ok(&["wait", "bound"]), "5\n");
    fs::remove_dir(&volume).unwrap();
    for (name, code) in [("missing", 127), ("refused", 126), ("bound", 125)] {
        assert_eq!(rocker.run(&["start", name]).code, 1, "{name}");
        assert_eq!(rocker.ok(&["wait", name]), format!("{code}\n"), "{name}");
        let shown =
            rocker.ok(&["ps", "--filter", &format!("name={name}"), "--format", "{{.Status}}"]);
        assert!(shown.starts_with(&format!("Exited ({code}) ")), "{name}: {shown}");
        assert!(!shown.contains("year"), "{name}: {shown}");
        let state = rocker.inspect(name, "{{.State.FinishedAt}} {{.State.Error}}");
        assert!(state.starts_with("20") && !state.ends_with("Z "), "{name}: {state}");
    }
    assert_eq!(rocker.ok(&["ps", "-q", "--filter", "exited=0"]), "");
}

#[test]
fn the_end_of_a_visitors_input_is_not_that_of_a_container_made_in_the_background() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let script = "while read line; do echo got $line; done; echo end";
    let words = ["--net", "none", "busybox", "sh", "-c", script];
    rocker.ok(&[&["run", "-d", "-i", "--name", "server"], &words[..]].concat());
    let mut expected = String::new();
    for word in ["one", "two"] {
        let output = rocker.run_with_input(&["attach", "server"], format!("{word}\n").as_bytes());
        assert_eq!(output.code, 0, "{output:?}");
        expected += &format!("got {word}\n");
        assert!(wait_until(PATIENCE, || rocker.ok(&["logs", "server"]) == expected), "{word}");
    }
    assert_eq!(status(&rocker, "server"), "running");
    rocker.ok(&["stop", "-t", "0", "server"]);
    let output = rocker.run_with_input(&["start", "-ai", "server"], b"three\n");
    assert_eq!((output.code, status(&rocker, "server").as_str()), (0, "running"), "{output:?}");
    // One that was made to be attached ends with its input, whoever gives it that.
    rocker.ok(&[&["create", "-i", "--name", "filter"], &words[..]].concat());
    rocker.ok(&["start", "filter"]);
    let output = rocker.run_with_input(&["attach", "filter"], b"one\n");
    assert!(output.stdout.ends_with("end\n"), "{output:?}");
}

#[test]
fn exec_makes_no_directory_and_an_empty_one_is_the_containers_own() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    rocker.sleeper("web", &["--net", "none", "-w", "/made"]);
    let said = rocker.refused(&["exec", "-w", "/nodir", "web", "pwd"], 125);
    assert!(said.contains("/nodir: No such file or directory"), "{said}");
    assert_eq!(rocker.run(&["exec", "web", "ls", "-d", "/nodir"]).code, 1);
    assert_eq!(rocker.ok(&["exec", "-w", "", "web", "pwd"]), "/made\n");
}

#[test]
fn what_was_made_within_one_second_is_listed_in_its_order() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    for number in 1..=6 {
        let name = format!("c{number}");
        rocker.ok(&["create", "--net", "none", "--name", &name, "busybox", "true"]);
        assert_eq!(rocker.ok(&["ps", "-l", "--format", "{{.Names}}"]), format!("{name}\n"));
    }
    let listed = rocker.ok(&["ps", "-n", "4", "--format", "{{.Names}}"]);
    assert_eq!(listed, "c6\nc5\nc4\nc3\n");
}

#[test]
fn containers_are_found_by_an_ancestor_of_their_image() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let create = |name: &str, image: &str| {
        rocker.ok(&["create", "--net", "none", "--name", name, image, "true"]);
    };
    create("first", "busybox");
    rocker.ok(&["commit", "first", "child"]);
    rocker.ok(&["import", "-c", "ENV A=1", base_image().to_str().unwrap(), "sibling"]);
    create("second", "child");
    create("third", "sibling");
    let found = |image: &str| {
        let filter = format!("ancestor={image}");
        rocker.ok(&["ps", "--filter", &filter, "--format", "{{.Names}}"])
    };
    assert_eq!(found("busybox"), "second\nfirst\n");
    assert_eq!(found("child"), "second\n");
    // It has the layers of the first, but was not made of it.
    let id = rocker.inspect("busybox", "{{.Id}}");
    assert_eq!(found(&id["sha256:".len()..][..12]), "second\nfirst\n");
    assert_eq!(found("nosuch"), "");
}
