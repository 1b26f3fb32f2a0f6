//! The sessions in README.md and doc/: every line that begins with `$ ` is typed, and what stands
//! below it must appear.
//!
//! doc/rocker-tests.md tells the convention.

use crate::harness::{Output, PATIENCE, Rocker, base_image, finish, package};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A command, and the lines that stand below it.
struct Step {
    line: usize,
    command: String,
    expected: Vec<String>,
}

/// The steps of all `console` blocks of a document.
fn steps(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let (mut fenced, mut console) = (false, false);
    for (index, line) in text.lines().enumerate() {
        if let Some(kind) = line.strip_prefix("```") {
            fenced = !fenced;
            console = fenced && kind == "console";
        } else if let Some(command) = line.strip_prefix("$ ").filter(|_| console) {
            let command = command.to_string();
            steps.push(Step { line: index + 1, command, expected: Vec::new() });
        } else if console {
            let step = steps.last_mut().expect("a session begins with a command");
            step.expected.push(line.to_string());
        }
    }
    steps
}

/// A shell in a directory of its own, with a rocker of its own in PATH.
struct Session {
    rocker: Rocker,
    path: String,
    directory: PathBuf,
}

impl Session {
    fn new() -> Option<Self> {
        let rocker = Rocker::as_root()?;
        let (bin, directory) = (rocker.files().join("bin"), rocker.files().join("work"));
        fs::create_dir(&bin).unwrap();
        fs::create_dir(&directory).unwrap();
        symlink(rocker.binary(), bin.join("rocker")).unwrap();
        symlink(base_image().parent().unwrap(), directory.join("base-image")).unwrap();
        // The machine may have no sudo, and root needs none.
        fs::write(bin.join("sudo"), "#!/bin/sh\nexec \"$@\"\n").unwrap();
        fs::set_permissions(bin.join("sudo"), fs::Permissions::from_mode(0o755)).unwrap();
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
        Some(Self { rocker, path, directory })
    }

    /// The documented directories are this session's.
    fn places(&self, text: &str) -> String {
        let (root, run) = (self.rocker.root(), self.rocker.run_root());
        let text = text.replace("/var/lib/rocker", root.to_str().unwrap());
        text.replace("/var/run/rocker", run.to_str().unwrap())
    }

    fn run(&self, command: &str) -> Output {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", &format!("exec 2>&1\n{}", self.places(command))]);
        self.rocker.prepare(&mut shell);
        shell.current_dir(&self.directory).env("PATH", &self.path);
        finish(shell, b"", PATIENCE)
    }
}

/// Whether a word is one that is another each time: an id, a digest, a time, a size.
fn varies(word: &str) -> bool {
    let word = word.trim_matches(['(', ')', ',', ':']);
    let word = word.rsplit(['/', ':']).next().filter(|end| end.len() >= 8).unwrap_or(word);
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let hexadecimal = word.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase());
    let id = word.len() == 10 && digits(word);
    let digest = hexadecimal && matches!(word.len(), 8 | 64);
    let shape: String =
        word.chars().map(|char| if char.is_ascii_digit() { '9' } else { char }).collect();
    let time = matches!(shape.as_str(), "9999-99-99" | "99:99:99");
    let size = ["kB", "MB", "B"]
        .iter()
        .any(|unit| word.strip_suffix(unit).is_some_and(|number| digits(&number.replace('.', ""))));
    id || digest || time || size
}

/// Whether a line of output is the one that is documented.
fn matches(documented: &str, said: &str) -> bool {
    if let Some((before, after)) = documented.split_once('…') {
        // A table cuts long commands by the same mark, so both may have it at the same place.
        return documented.trim() == "…"
            || wild(before.trim(), after.trim(), said)
            || words_match(documented, said);
    }
    words_match(documented, said)
}

fn wild(before: &str, after: &str, said: &str) -> bool {
    let said: Vec<&str> = said.split_whitespace().collect();
    let said = said.join(" ");
    let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (before, after) = (plain(before), plain(after));
    said.len() >= before.len() + after.len() && said.starts_with(&before) && said.ends_with(&after)
}

fn words_match(documented: &str, said: &str) -> bool {
    let (left, right): (Vec<_>, Vec<_>) =
        (documented.split_whitespace().collect(), said.split_whitespace().collect());
    // A row of `ps` has a process id in it.
    let row = left.len() > 3 && left[0].len() == 10 && varies(left[0]);
    let number = |word: &str| word.bytes().all(|byte| byte.is_ascii_digit());
    left.len() == right.len()
        && left.iter().zip(&right).enumerate().all(|(index, (a, b))| {
            a == b || varies(a) && varies(b) || row && index == 2 && number(a) && number(b)
        })
}

#[track_caller]
fn follow(session: &Session, path: &Path) {
    let text = fs::read_to_string(path).unwrap();
    for Step { line, command, expected } in steps(&text) {
        let output = session.run(&command);
        let place = format!("{}:{line}: {command}", path.display());
        assert_eq!(output.code, 0, "{place}\n{}", output.stdout);
        let mut said: Vec<&str> = output.stdout.lines().collect();
        for wanted in expected {
            let wanted = session.places(&wanted);
            // In any order: what was made within one second is listed by its random id.
            let found = said.iter().position(|line| matches(&wanted, line));
            let Some(found) = found else {
                panic!("{place}\nwithout {wanted:?} in\n{}", output.stdout)
            };
            // `…` stands for any number of lines, so it takes none away.
            if wanted != "…" {
                said.swap_remove(found);
            }
        }
    }
}

/// One test for each document with sessions.
macro_rules! documents {
    ($($name:ident: $path:literal)*) => { $(
        #[test]
        fn $name() {
            let Some(session) = Session::new() else { return };
            follow(&session, &package().join($path));
        }
    )* };
}

documents! {
    the_readme_is_true: "README.md"
    image_management_is_true: "doc/image-management.md"
    container_lifecycle_is_true: "doc/container-lifecycle.md"
    container_images_is_true: "doc/container-images.md"
    linux_namespace_is_true: "doc/linux-namespace.md"
    union_file_system_is_true: "doc/union-file-system.md"
    linux_proc_is_true: "doc/linux-proc.md"
    rocker_tests_is_true: "doc/rocker-tests.md"
    networks_is_true: "doc/networks.md"
}

#[test]
fn linux_cgroups_is_true() {
    let Some(session) = Session::new() else { return };
    // Its files are those of v1, as it says.
    if !Path::new("/sys/fs/cgroup/memory/tasks").exists() {
        return crate::harness::skip("no v1 cgroups");
    }
    follow(&session, &package().join("doc/linux-cgroups.md"));
}

#[test]
fn a_line_that_is_not_there_is_missed() {
    assert!(matches("1234567890  web  12  running", "0987654321 web   4711  running"));
    assert!(!matches("1234567890  web  12  running", "0987654321 web   4711  exited"));
    assert!(!matches("104857600", "209715200") && !matches("exit code 1", "exit code 125"));
    assert!(matches("sha256:…", "sha256:12") && !matches("… one", "two"));
}
