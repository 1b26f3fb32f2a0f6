//! What the machine is like that the tests run on: a developer's, or a small one with hardly
//! anything on it, made by tests/vm.
//!
//! Such a machine says in the environment where things are (`ROCKER_TEST_PACKAGE`, the tree;
//! `ROCKER_TEST_PROGRAMS`, compiled programs), how much slower it is (`ROCKER_TEST_SLOWNESS`),
//! where to write what was skipped (`ROCKER_TEST_SKIPS`), and whether rocker has a view of the
//! host that has less mounted than the tests need for themselves (`ROCKER_TEST_BARE`), and which part
//! of the kernel's networking it lacks (`ROCKER_TEST_LACKS`).

use std::env;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

/// The package's own directory.
pub fn package() -> &'static Path {
    static PACKAGE: OnceLock<PathBuf> = OnceLock::new();
    PACKAGE.get_or_init(|| match env::var_os("ROCKER_TEST_PACKAGE") {
        Some(given) => given.into(),
        None => env!("CARGO_MANIFEST_DIR").into(),
    })
}

/// Says why a test does nothing here; fails it where everything must run.
#[track_caller]
pub fn skip(reason: &str) {
    assert!(env::var_os("ROCKER_TEST_STRICT").is_none(), "cannot run here: {reason}");
    let thread = std::thread::current();
    let line = format!("skipped {}: {reason}\n", thread.name().unwrap_or("a test"));
    if let Some(path) = env::var_os("ROCKER_TEST_SKIPS") {
        // In one call, so that lines of tests that run beside it do not mix.
        File::options().append(true).open(path).unwrap().write_all(line.as_bytes()).unwrap();
        return;
    }
    #[allow(clippy::print_stderr, reason = "the person who runs the tests must see it")]
    {
        eprint!("{line}");
    }
}

/// A count for the person who runs the tests, also where all went well: not by a macro, whose output
/// the harness keeps to itself then.
pub fn report(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Whether everything is to be tried, for as long as it takes: `make torture`.
pub fn is_torture() -> bool {
    env::var_os("ROCKER_TORTURE").is_some()
}

/// Whether this is a test of a module `own_users`, where each container has users of its own.
pub fn has_own_users() -> bool {
    std::thread::current().name().is_some_and(|name| name.contains("::own_users::"))
}

/// The words of a command, with the option that such a test gives to each new container.
pub fn with_users<'a>(words: &[&'a str]) -> Vec<&'a str> {
    match words {
        [command @ ("run" | "create"), rest @ ..] if has_own_users() => {
            [&[*command, "--userns", "auto"], rest].concat()
        }
        _ => words.to_vec(),
    }
}

/// Whether the machine has this program, for tests that need more than a small one has.
pub fn has_program(name: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|directory| directory.join(name).exists())
}

/// Whether the machine has the cgroup controller that an option needs, in either version.
pub fn has_controller(option: &str) -> bool {
    let name = match option {
        "--cpuset" => "cpuset",
        "--cpushare" => "cpu",
        "--pids-limit" => "pids",
        _ => "memory",
    };
    let v2 = std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    v2.split_whitespace().any(|word| word == name)
        || Path::new("/sys/fs/cgroup").join(name).join("tasks").exists()
}

/// Whether the machine was made without a part of the kernel: `nft`, `bridge` or `veth`.
pub fn lacks(part: &str) -> bool {
    env::var("ROCKER_TEST_LACKS").is_ok_and(|lacks| lacks == part)
}

/// Whether the kernel has overlayfs, or the module loader that it asks.
pub fn has_overlay() -> bool {
    let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    known.contains("\toverlay\n") || Path::new("/sbin/modprobe").exists()
}

/// A time that is enough on a developer's machine, as long as it takes on this one.
pub fn slowed(time: Duration) -> Duration {
    static SLOWNESS: OnceLock<f64> = OnceLock::new();
    let given = || env::var("ROCKER_TEST_SLOWNESS").map_or(1.0, |factor| factor.parse().unwrap());
    time.mul_f64(*SLOWNESS.get_or_init(given))
}

/// A program of tests/integration/programs that was compiled before, for a machine without a
/// compiler.
pub fn compiled(name: &str) -> Option<PathBuf> {
    let directory = PathBuf::from(env::var_os("ROCKER_TEST_PROGRAMS")?);
    Some(directory.join(name))
}

/// Whether the host has less mounted than these tests, which then live in a namespace of mounts of
/// their own. The host's is that of process 1.
pub fn is_bare() -> bool {
    env::var_os("ROCKER_TEST_BARE").is_some()
}

/// The file that lists what is mounted on the host.
pub fn mountinfo() -> &'static str {
    if is_bare() { "/proc/1/mountinfo" } else { "/proc/self/mountinfo" }
}

/// Lets a command see the host as it is.
pub fn enter(command: &mut Command) {
    if !is_bare() {
        return;
    }
    let namespace = File::open("/proc/1/ns/mnt").unwrap();
    // SAFETY: all three calls are async-signal-safe; the buffer lives on the stack of the child, and
    // the file moves into the closure and is open as long as it.
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(move || {
            // The directory was entered already, and entering a namespace leads to its root.
            let mut directory = [0; libc::PATH_MAX as usize];
            let entered = !libc::getcwd(directory.as_mut_ptr(), directory.len()).is_null()
                && libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNS) == 0
                && libc::chdir(directory.as_ptr()) == 0;
            if entered { Ok(()) } else { Err(std::io::Error::last_os_error()) }
        });
    }
}

/// The version of the kernel that runs.
pub fn kernel() -> (u32, u32) {
    let release = Command::new("uname").arg("-r").output().expect("uname runs").stdout;
    let release = String::from_utf8_lossy(&release).into_owned();
    let mut numbers = release.split(['.', '-']).map_while(|number| number.parse().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}
