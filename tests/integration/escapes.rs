//! Ways out of a container that other engines had, tried from inside: rocker's own file, what it has
//! open, links in the image where it mounts or writes.

use crate::harness::{PATIENCE, Rocker, wait_until};
use crate::privileges::with_probe;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};

/// How often an attack is tried that needs luck: more with `ROCKER_TORTURE`.
pub fn rounds(usual: usize) -> usize {
    if std::env::var_os("ROCKER_TORTURE").is_some() { usual * 10 } else { usual }
}

/// The file of rocker, which nothing inside may change.
fn own_file(rocker: &Rocker) -> Vec<u8> {
    fs::read(rocker.binary()).unwrap()
}

#[test]
fn the_program_of_rocker_cannot_be_written_from_inside_while_it_enters() {
    let Some((rocker, volume)) = with_probe() else { return };
    // A file of its own, as after an update: the kernel keeps anybody from writing to the one that
    // the keeper runs from, but nobody runs from this one for long.
    let copy = rocker.files().join("rocker");
    fs::copy(rocker.binary(), &copy).unwrap();
    let before = fs::read(&copy).unwrap();
    let file = fs::metadata(&copy).unwrap();
    let exec = |words: &[&str]| {
        let mut command = Command::new(&copy);
        command.args(["exec", "-i", "evil"]).args(words);
        rocker.prepare(&mut command);
        command.stdin(Stdio::piped()).spawn().unwrap()
    };
    let (inode, size) = (file.ino().to_string(), file.len().to_string());
    // Once as every container, once with the right to look into processes of others.
    for right in [&[][..], &["--cap-add", "SYS_PTRACE"]] {
        let options =
            [&["run", "-d", "--name", "evil", "-v", &volume], right, &["busybox"]].concat();
        let attack = "ln -s /proc/self/exe /self; exec /probe exe \"$@\"";
        let program = ["sh", "-c", attack, "sh", &inode, &size];
        rocker.ok(&[&options[..], &program].concat());
        for _ in 0..rounds(5) {
            rocker.ok(&["exec", "evil", "rm", "-f", "/seen"]);
            // The program is rocker's own file then, by the magic link, and waits for its input.
            let mut own = exec(&["/self", "import", "-", "x"]);
            let seen = || rocker.run(&["exec", "evil", "test", "-e", "/seen"]).code == 0;
            assert!(wait_until(PATIENCE, seen), "{right:?}");
            drop(own.stdin.take());
            own.wait().unwrap();
            assert!(exec(&["true"]).wait().unwrap().success());
        }
        rocker.ok(&["exec", "evil", "touch", "/end"]);
        rocker.ok(&["wait", "evil"]);
        // It was seen, and could be opened for reading alone.
        assert_eq!(rocker.ok(&["logs", "evil"]), "seen 1 opened 0 read-only 1\n", "{right:?}");
        rocker.ok(&["rm", "evil"]);
    }
    assert!(fs::read(&copy).unwrap() == before);
}

#[test]
fn an_image_whose_shell_is_the_program_of_rocker_changes_nothing() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let before = own_file(&rocker);
    let script = "rm /bin/sh; ln -s /proc/self/exe /bin/sh; printf '#!/proc/self/exe\n' > /run.sh; \
        chmod 755 /run.sh";
    rocker.ok(&["run", "--name", "maker", "busybox", "sh", "-c", script]);
    rocker.ok(&["commit", "maker", "evil"]);
    rocker.ok(&["rm", "maker"]);
    for program in ["/bin/sh", "/run.sh"] {
        for _ in 0..rounds(5) {
            // Rocker's own words, from inside: there is nothing there that it could do.
            let output = rocker.run(&["run", "--rm", "evil", program, "ps"]);
            assert_ne!(output.code, 125, "{output:?}");
        }
    }
    assert!(own_file(&rocker) == before);
}

#[test]
fn a_process_of_ours_that_stays_inside_holds_nothing_of_the_host_open() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let options = ["run", "--rm", "--init", "--cap-add", "SYS_PTRACE", "busybox"];
    let script = "ls -l /proc/1/fd | grep -o ' -> .*'; cat /proc/1/environ; readlink /proc/1/exe";
    let text = rocker.ok(&[&options[..], &["sh", "-c", script]].concat());
    let lines: Vec<&str> = text.lines().collect();
    let open = [" -> anon_inode:[signalfd]", " -> anon_inode:[pidfd]"];
    assert_eq!(lines[..2], open, "{text}");
    // No directory of the host leads to it, and the caller's environment is not there.
    assert_eq!(lines[2..], ["/"], "{text}");
}
