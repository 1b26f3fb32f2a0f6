//! Drives the static binary as root, each test with state of its own.
//!
//! The binary is `$ROCKER_BIN` or `target/rocker`. Where it or root is missing a test says so and
//! passes; with `ROCKER_TEST_STRICT` it fails. What a test machine differs in is in `harness_host`.

use crate::harness_census::Census;
use crate::harness_host as machine;
pub use crate::harness_host::{
    has_controller, has_overlay, has_own_users, has_program, is_bare, package, skip, slowed,
};
use crate::harness_net::Host;
use std::ffi::OsStr;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, Once, RwLock, RwLockReadGuard, RwLockWriteGuard, mpsc};
use std::time::{Duration, Instant};

/// No command that these tests give may take longer.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The binary under test with a state of its own, which goes with it.
pub struct Rocker {
    binary: PathBuf,
    base: PathBuf,
    /// The network that its containers see as the host's.
    pub host: Host,
    _turn: Turn,
}

/// How a command ended, and what it said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The exit code; 128 and more for a signal.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// Tests share the machine, but those that count what is left on it run alone.
enum Turn {
    Shared { _guard: RwLockReadGuard<'static, ()> },
    Alone { _guard: RwLockWriteGuard<'static, ()> },
}

static MACHINE: RwLock<()> = RwLock::new(());

impl Rocker {
    /// A rocker without images, or nothing where it cannot run.
    pub fn as_root() -> Option<Self> {
        let binary = binary()?;
        let turn = Turn::Shared { _guard: read_lock() };
        Some(Self::new(binary, turn, &std::env::temp_dir()))
    }

    /// The same with the base image imported as `busybox`.
    pub fn with_busybox() -> Option<Self> {
        let rocker = Self::as_root()?;
        rocker.busybox();
        Some(rocker)
    }

    /// The same with no other test beside it.
    pub fn alone_with_busybox() -> Option<Self> {
        let binary = binary()?;
        let guard = MACHINE.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        let rocker = Self::new(binary, Turn::Alone { _guard: guard }, &std::env::temp_dir());
        rocker.busybox();
        Some(rocker)
    }

    /// The same with its state in memory: for measuring rocker and not a file system. An ext4
    /// without a journal steps over every inode that was freed in the last minutes.
    pub fn alone_in_memory() -> Option<Self> {
        let binary = binary()?;
        let guard = MACHINE.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.into() } else { std::env::temp_dir() };
        let rocker = Self::new(binary, Turn::Alone { _guard: guard }, &parent);
        rocker.busybox();
        Some(rocker)
    }

    fn new(binary: PathBuf, turn: Turn, parent: &Path) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        static SWEEP: Once = Once::new();
        SWEEP.call_once(|| remove_leftovers(&binary));
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let base = parent.join(format!("{PREFIX}{}-{number}", std::process::id()));
        fs::create_dir_all(base.join("files")).unwrap();
        Self { binary, base, host: Host::new(), _turn: turn }
    }

    /// Imports the base image as `busybox:latest`.
    pub fn busybox(&self) {
        self.ok(&["import", base_image().to_str().unwrap(), "busybox"]);
    }

    /// `--root` of this rocker.
    pub fn root(&self) -> PathBuf {
        self.base.join("root")
    }

    /// `--run-root` of this rocker.
    pub fn run_root(&self) -> PathBuf {
        self.base.join("run")
    }

    /// The directory that all of its state lies below.
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// A directory for the files of the test.
    pub fn files(&self) -> PathBuf {
        self.base.join("files")
    }

    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// The command `rocker ARGS`, still to be started; its input is empty.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(machine::with_users(args));
        self.prepare(&mut command);
        command
    }

    /// Gives a command the state directories, the network and the mounts of this rocker.
    pub fn prepare(&self, command: &mut Command) {
        self.prepare_tool(command);
        machine::enter(command);
    }

    /// The same for a program that needs more mounted than rocker does.
    fn prepare_tool(&self, command: &mut Command) {
        self.host.enter(command);
        command
            .env("ROCKER_ROOT", self.root())
            .env("ROCKER_RUN_ROOT", self.run_root())
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
    }

    /// Runs a command of the machine on the host's network; it must succeed. Gives its output.
    #[track_caller]
    pub fn on_host(&self, words: &[&str]) -> String {
        let output = self.try_on_host(words);
        assert_eq!(output.code, 0, "{words:?} said {output:?}");
        output.stdout
    }

    /// Runs a command of the machine on the host's network.
    #[track_caller]
    pub fn try_on_host(&self, words: &[&str]) -> Output {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]);
        self.prepare_tool(&mut command);
        finish(command, b"", PATIENCE)
    }

    /// Runs `rocker ARGS` to its end.
    pub fn run(&self, args: &[&str]) -> Output {
        finish(self.command(args), b"", PATIENCE)
    }

    /// Runs `rocker ARGS` with these bytes as its standard input.
    pub fn run_with_input(&self, args: &[&str], input: &[u8]) -> Output {
        finish(self.command(args), input, PATIENCE)
    }

    /// Runs `rocker ARGS`, which must succeed, and gives its standard output.
    #[track_caller]
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!(output.code, 0, "rocker {args:?} said {output:?}");
        output.stdout
    }

    /// Runs `rocker ARGS`, which must fail with `code` and one line on stderr; gives that line.
    /// A second line may be a hint.
    #[track_caller]
    pub fn refused(&self, args: &[&str], code: i32) -> String {
        let output = self.run(args);
        assert_eq!(output.code, code, "rocker {args:?} said {output:?}");
        assert_eq!(output.stdout, "", "rocker {args:?} printed on stdout");
        one_line(&output.stderr)
    }

    /// Starts `rocker ARGS` and leaves it running; it is killed when this value goes.
    pub fn spawn(&self, args: &[&str]) -> Running {
        Running(self.command(args).spawn().unwrap())
    }

    /// Starts a container that sleeps, by this name.
    pub fn sleeper(&self, name: &str, options: &[&str]) {
        let mut args = vec!["run", "-d", "--name", name];
        args.extend_from_slice(options);
        args.extend_from_slice(&["--image", "busybox", "/bin/sleep", "1000"]);
        self.ok(&args);
    }

    /// A word that a template finds in `inspect NAME`.
    #[track_caller]
    pub fn inspect(&self, name: &str, template: &str) -> String {
        self.ok(&["inspect", "--format", template, name]).trim_end().to_string()
    }

    /// The process that the container sees as 1, by its number on the host.
    #[track_caller]
    pub fn pid(&self, name: &str) -> u32 {
        self.inspect(name, "{{.State.Pid}}").parse().unwrap()
    }

    /// Compiles the C program `name` of tests/integration/programs, static, and gives its path.
    pub fn program(&self, name: &str) -> PathBuf {
        let path = self.files().join(name);
        if let Some(ready) = machine::compiled(name) {
            // Another process writes it: of this one any child that another test starts meanwhile would
            // have the file open for writing for a moment, and then it cannot be executed.
            let copied = Command::new("cp").arg(ready).arg(&path).status();
            assert!(copied.expect("cp runs").success());
            return path;
        }
        let code = package().join("tests/integration/programs").join(format!("{name}.c"));
        let mut compiler = Command::new("musl-gcc");
        compiler.args(["-O1", "-static", "-s", "-o"]).arg(&path).arg(&code);
        let output = compiler.output().expect("musl-gcc, of the package musl-tools, runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        path
    }

    /// What this rocker has on the machine now.
    pub fn census(&self) -> Census {
        Census::take(self)
    }

    /// Waits until nothing is there that was not before, and gives what is: the kernel removes some
    /// things a moment later, and whoever else uses rocker on this machine comes and goes.
    pub fn left_since(&self, before: &Census) -> Vec<String> {
        let mut left = Vec::new();
        wait_until(Duration::from_secs(20), || {
            left = Census::difference(before, &self.census());
            left.is_empty()
        });
        left
    }
}

impl Drop for Rocker {
    fn drop(&mut self) {
        clear(&self.binary, &self.base, Some(&self.host));
    }
}

/// A started command, killed when it goes.
pub struct Running(pub Child);

impl Running {
    /// Waits for its end, which must come.
    #[track_caller]
    pub fn finish(mut self) -> Output {
        let name = format!("process {}", self.0.id());
        collect(&mut self.0, &name, PATIENCE)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail when it has ended by itself, as it should have.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The names in a directory; none when it is not there.
pub fn names(directory: &Path) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned())
}

/// Whether a process runs from this file, by whatever name it came to it.
pub fn runs(pid: u32, binary: &Path) -> bool {
    let identity = |path: &Path| fs::metadata(path).ok().map(|about| (about.dev(), about.ino()));
    let own = identity(Path::new(&format!("/proc/{pid}/exe")));
    own.is_some() && own == identity(binary)
}

/// The processes of the machine.
pub fn processes() -> impl Iterator<Item = u32> {
    names(Path::new("/proc")).filter_map(|name| name.parse().ok())
}

/// Runs a command to its end with these bytes as its standard input.
#[track_caller]
pub fn finish(mut command: Command, input: &[u8], patience: Duration) -> Output {
    let name = format!("{command:?}");
    if !input.is_empty() {
        command.stdin(Stdio::piped());
    }
    let mut started = command.spawn();
    // A program that a test has written just now is still open in what another test is about to
    // start.
    let busy = |started: &std::io::Result<Child>| {
        started.as_ref().is_err_and(|error| error.kind() == ErrorKind::ExecutableFileBusy)
    };
    wait_until(patience, || {
        if busy(&started) {
            started = command.spawn();
        }
        !busy(&started)
    });
    let mut child = started.unwrap_or_else(|error| panic!("{name}: {error}"));
    if let Some(mut pipe) = child.stdin.take() {
        let input = input.to_vec();
        // A command that does not want its input leaves a broken pipe, which is no failure.
        std::thread::spawn(move || pipe.write_all(&input));
    }
    collect(&mut child, &name, patience)
}

/// Reads what a child says until it and everybody who holds its output has ended.
#[track_caller]
fn collect(child: &mut Child, name: &str, patience: Duration) -> Output {
    let patience = slowed(patience);
    let deadline = Instant::now() + patience;
    let streams: [Option<Box<dyn Read + Send>>; 2] = [
        child.stdout.take().map(|pipe| Box::new(pipe) as _),
        child.stderr.take().map(|pipe| Box::new(pipe) as _),
    ];
    let [stdout, stderr] = streams.map(|stream| {
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            if let Some(mut stream) = stream {
                // Reading fails when the other side was killed: what came before is what counts.
                let _ = stream.read_to_end(&mut bytes);
            }
            sender.send(String::from_utf8_lossy(&bytes).into_owned())
        });
        receiver
    });
    let status = wait_for_end(child, deadline);
    let Some(status) = status else {
        let _ = child.kill();
        let _ = child.wait();
        panic!("{name} did not end in {patience:?}");
    };
    let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_secs(2));
    let text = |receiver: mpsc::Receiver<String>| {
        receiver.recv_timeout(left).unwrap_or_else(|_| {
            panic!("{name} has ended, but a process that it started holds its output open")
        })
    };
    Output { code: code(status), stdout: text(stdout), stderr: text(stderr) }
}

fn wait_for_end(child: &mut Child, deadline: Instant) -> Option<ExitStatus> {
    let mut pause = Duration::from_micros(200);
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        if Instant::now() > deadline {
            return None;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}

/// The exit code as a shell shows it.
pub fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// Waits until the condition holds; false when it never did in that time, which a slow machine
/// prolongs.
pub fn wait_until(patience: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + slowed(patience);
    while !condition() {
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    true
}

/// The error in what a command said on stderr: one line, and perhaps a hint after it.
#[track_caller]
pub fn one_line(stderr: &str) -> String {
    let lines: Vec<&str> = stderr.lines().collect();
    let hint = lines.len() == 2 && lines[1].starts_with("hint: ");
    assert!(lines.len() == 1 || hint, "not one line and a hint: {stderr:?}");
    assert!(lines[0].starts_with("rocker: "), "not rocker's own: {stderr:?}");
    assert!(!lines[0].ends_with('.'), "ends with a full stop: {stderr:?}");
    lines[0].to_string()
}

/// The base image, made when it is not there yet.
pub fn base_image() -> PathBuf {
    static MAKE: Mutex<()> = Mutex::new(());
    let _turn = MAKE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let path = package().join("base-image/busybox.tar");
    if !path.exists() {
        let status = Command::new(package().join("base-image/make.sh")).status().unwrap();
        assert!(status.success(), "base-image/make.sh failed");
    }
    path
}

pub const PREFIX: &str = "rocker-test-";

fn binary() -> Option<PathBuf> {
    let given = std::env::var_os("ROCKER_BIN").map(PathBuf::from);
    let path = given.unwrap_or_else(|| package().join("target/rocker"));
    // SAFETY: takes nothing and cannot fail.
    #[allow(unsafe_code)]
    let is_root = unsafe { libc::geteuid() } == 0;
    match path.canonicalize() {
        _ if !is_root => skip("containers need root"),
        Err(_) => skip(&format!("{} is not there: make build", path.display())),
        Ok(path) => return Some(path),
    }
    None
}

fn read_lock() -> RwLockReadGuard<'static, ()> {
    // A test that failed has not made the machine unusable for the next one.
    MACHINE.read().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Removes what test runs left that were killed: their process is not there any more.
fn remove_leftovers(binary: &Path) {
    for directory in [std::env::temp_dir(), PathBuf::from("/dev/shm")] {
        for name in names(&directory) {
            let rest = name.strip_prefix(PREFIX).unwrap_or_default();
            let pid = rest.split('-').next().unwrap_or_default();
            if pid.parse::<u32>().is_ok() && !Path::new("/proc").join(pid).exists() {
                clear(binary, &directory.join(&name), None);
            }
        }
    }
}

/// Removes the containers that have their state below `base`, then everything there.
fn clear(binary: &Path, base: &Path, host: Option<&Host>) {
    let rocker = |args: &[&OsStr]| {
        let mut command = Command::new(binary);
        command.args(args).env("ROCKER_ROOT", base.join("root"));
        command.env("ROCKER_RUN_ROOT", base.join("run")).stdin(Stdio::null());
        host.inspect(|host| host.enter(&mut command));
        machine::enter(&mut command);
        command.output().map(|output| output.stdout).unwrap_or_default()
    };
    let listed = rocker(&["ps".as_ref(), "-a".as_ref(), "-q".as_ref()]);
    let listed = String::from_utf8_lossy(&listed).into_owned();
    let mut args: Vec<&OsStr> = vec!["rm".as_ref(), "-f".as_ref()];
    args.extend(listed.lines().map(OsStr::new));
    if args.len() > 2 {
        rocker(&args);
    }
    // Should the engine itself be what is broken: its processes have the directory open.
    for pid in processes() {
        let directory = PathBuf::from(format!("/proc/{pid}/fd"));
        let opened = |name: String| fs::read_link(directory.join(name)).ok();
        let marked = names(&directory).filter_map(opened).any(|file| file.starts_with(base));
        if marked && runs(pid, binary) {
            kill(pid, libc::SIGKILL);
        }
    }
    // A test may have mounted there.
    for line in fs::read_to_string("/proc/self/mountinfo").unwrap_or_default().lines().rev() {
        let point = line.split(' ').nth(4).unwrap_or_default();
        if Path::new(point).starts_with(base) {
            let _ = Command::new("umount").args(["-l", point]).status();
        }
    }
    let _ = fs::remove_dir_all(base);
}

/// Sends a signal to a process that a test knows by its number.
pub fn kill(pid: u32, signal: i32) {
    assert_ne!(pid, 0, "that would be all processes of this group");
    // SAFETY: takes numbers only; that it may fail is the caller's to see.
    #[allow(unsafe_code)]
    unsafe {
        libc::kill(pid as i32, signal);
    }
}
