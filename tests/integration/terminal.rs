//! `run -it` and `exec -it` on a real terminal.

use crate::harness::{PATIENCE, Rocker, kill, wait_until};
use crate::harness_pty::Terminal;

const SHELL: [&str; 6] = ["run", "-it", "--name", "term", "--image", "busybox"];

fn run<'a>(words: &[&'a str]) -> Vec<&'a str> {
    [&SHELL[..], words].concat()
}

#[test]
fn the_size_is_right_at_the_first_draw() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    for _ in 0..10 {
        let args = ["run", "-it", "--rm", "--image", "busybox", "stty", "size"];
        let mut terminal = Terminal::spawn(&rocker, &args, 33, 101);
        assert_eq!(terminal.finish(), 0);
        terminal.expect("33 101");
    }
}

#[test]
fn a_resize_arrives() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let script = "trap 'stty size' WINCH; echo ready; while :; do sleep 0.05; done";
    let terminal = Terminal::spawn(&rocker, &run(&["sh", "-c", script]), 24, 80);
    terminal.expect("ready");
    terminal.resize(50, 132);
    terminal.expect("50 132");
}

#[test]
fn a_full_screen_editor_works_and_leaves_the_terminal_sane() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let mut terminal = Terminal::spawn(&rocker, &run(&["sh"]), 24, 80);
    let sane = terminal.sane.clone();
    terminal.send("vi /root/note\n");
    terminal.expect("~");
    assert_ne!(terminal.modes(), sane, "the caller's terminal is raw meanwhile");
    // One thing after the other, as a person does: an escape with more behind it is a key.
    terminal.send("ihello from vi\x1b");
    terminal.expect("- /root/note [Modified]");
    terminal.send(":wq\n");
    terminal.expect("\x1b[?1049l");
    terminal.send("echo; cat /root/note | tr a-z A-Z\n");
    terminal.expect("HELLO FROM VI");
    terminal.send("exit 5\n");
    assert_eq!(terminal.finish(), 5);
    assert_eq!(terminal.modes(), sane);
}

#[test]
fn exec_gives_a_terminal_of_its_own() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    rocker.sleeper("web", &[]);
    let mut terminal = Terminal::spawn(&rocker, &["exec", "-it", "web", "sh"], 40, 90);
    let sane = terminal.sane.clone();
    terminal.send("stty size; tty\n");
    terminal.expect("40 90");
    terminal.expect("/dev/pts/");
    terminal.resize(20, 60);
    let arrived = wait_until(PATIENCE, || {
        terminal.send("stty size\n");
        terminal.shown().contains("20 60")
    });
    assert!(arrived, "{}", terminal.shown());
    terminal.send("exit 3\n");
    assert_eq!(terminal.finish(), 3);
    assert_eq!(terminal.modes(), sane);
}

#[test]
fn the_terminal_is_sane_after_a_kill_of_the_container() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let mut terminal = Terminal::spawn(&rocker, &run(&["sh"]), 24, 80);
    let sane = terminal.sane.clone();
    terminal.send("echo re''ady\n");
    terminal.expect("ready");
    kill(rocker.pid("term"), libc::SIGKILL);
    assert_eq!(terminal.finish(), 137);
    assert_eq!(terminal.modes(), sane);
}

#[test]
fn the_terminal_is_sane_after_the_client_was_asked_to_end() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let mut terminal = Terminal::spawn(&rocker, &run(&["sh"]), 24, 80);
    let sane = terminal.sane.clone();
    terminal.send("echo re''ady\n");
    terminal.expect("ready");
    // With a terminal the keys are what reaches the program: the signal is the client's own.
    kill(terminal.pid(), libc::SIGTERM);
    terminal.finish();
    assert_eq!(terminal.modes(), sane);
}

#[test]
fn control_c_reaches_the_program_and_not_the_client() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let script = "trap 'echo caught; exit 9' INT; echo ready; while :; do sleep 0.05; done";
    let mut terminal = Terminal::spawn(&rocker, &run(&["sh", "-c", script]), 24, 80);
    terminal.expect("ready");
    terminal.send("\x03");
    terminal.expect("caught");
    assert_eq!(terminal.finish(), 9);
}

#[test]
fn control_p_control_q_detaches_and_attach_comes_back() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let mut terminal = Terminal::spawn(&rocker, &run(&["sh"]), 24, 80);
    let sane = terminal.sane.clone();
    terminal.send("word=kept; echo re''ady\n");
    terminal.expect("ready");
    terminal.send("\x10\x11");
    assert_eq!(terminal.finish(), 0);
    assert_eq!(terminal.modes(), sane);
    assert_eq!(rocker.inspect("term", "{{.State.Status}}"), "running");
    let mut terminal = Terminal::spawn(&rocker, &["attach", "term"], 24, 80);
    terminal.send("echo still $word; exit 4\n");
    terminal.expect("still kept");
    assert_eq!(terminal.finish(), 4);
}

#[test]
fn a_program_draws_anew_for_who_attaches_with_a_terminal_of_the_same_size() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let script = "trap 'stty size' WINCH; echo re''ady; while :; do sleep 0.05; done";
    let mut terminal = Terminal::spawn(&rocker, &run(&["sh", "-c", script]), 24, 80);
    terminal.expect("ready");
    terminal.send("\x10\x11");
    assert_eq!(terminal.finish(), 0);
    let terminal = Terminal::spawn(&rocker, &["attach", "term"], 24, 80);
    terminal.expect("24 80");
}

#[test]
fn what_a_terminal_showed_is_in_the_log() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let mut terminal = Terminal::spawn(&rocker, &run(&["echo", "written"]), 24, 80);
    assert_eq!(terminal.finish(), 0);
    assert!(rocker.ok(&["logs", "term"]).contains("written"));
}

#[test]
fn term_is_set_with_a_terminal_only() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let args = ["run", "-it", "--rm", "--image", "busybox", "sh", "-c", "echo =$TERM="];
    let mut terminal = Terminal::spawn(&rocker, &args, 24, 80);
    assert_eq!(terminal.finish(), 0);
    terminal.expect("=xterm=");
    let args = ["run", "--rm", "--image", "busybox", "sh", "-c", "echo =$TERM="];
    assert_eq!(rocker.ok(&args), "==\n");
}
