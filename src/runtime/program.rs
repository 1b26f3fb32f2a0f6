//! The last steps before a program runs: account, directory, rights, and execve itself.

use super::executable;
use super::report;
use super::spec::Program;
use super::words;
use crate::error::{Context, Error, NOT_EXECUTABLE, NOT_FOUND, Result};
use crate::namespace::accounts::{self, Account};
use crate::namespace::credentials::{self, Rights};
use crate::namespace::dev;
use crate::namespace::root::{c_string, make_directories};
use crate::sys::fs::{self, Dir, Kind};
use crate::sys::{Errno, file, io, process};
use std::convert::Infallible;
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Where docker looks when neither the image nor the user says.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program with everything about it looked up in the container: only rights are still to be
/// given away.
pub struct Prepared {
    account: Account,
    args: Vec<CString>,
    env: Vec<CString>,
    /// Every path to try, in order.
    paths: Vec<CString>,
    workdir: CString,
    rights: Rights,
}

/// Looks up account, words and directory. The process is in the container's root, as root.
pub fn prepare(program: &Program) -> Result<Prepared> {
    let root = Dir::open("/").context("open the root")?;
    let mut account = accounts::find(&root, &program.user)?;
    if let Some(ids) = program.ids {
        let (has_user, has_group) = (account.uid < ids.size, account.gid < ids.size);
        if !has_user || !has_group {
            let (kind, id) = if has_user { ("group", account.gid) } else { ("user", account.uid) };
            let what = format!("the user namespace has no {kind} {id}, only {} of them", ids.size);
            return Err(Error::new(what));
        }
        account.groups.retain(|group| *group < ids.size);
    }
    let args = command(&root, &program.args)?;
    let mut env = program.env.clone();
    if value(&env, "HOME").is_none() {
        env.push(format!("HOME={}", account.home));
    }
    let name = args.first().map_or("", String::as_str);
    if name.is_empty() {
        // With a directory before it, it would be that directory.
        return Err(not_in_path("\"\""));
    }
    let paths = match name.contains('/') {
        true => vec![c_string(name)?],
        false => value(&env, "PATH")
            .unwrap_or(DEFAULT_PATH)
            .split(':')
            .map(|dir| c_string(&format!("{}/{name}", if dir.is_empty() { "." } else { dir })))
            .collect::<Result<_>>()?,
    };
    Ok(Prepared {
        account,
        paths,
        args: args.iter().map(|word| c_string(word)).collect::<Result<_>>()?,
        env: env.iter().map(|entry| c_string(entry)).collect::<Result<_>>()?,
        workdir: c_string(&program.workdir)?,
        rights: program.rights.clone(),
    })
}

/// Makes the directory that a first program starts in. Others find it, or there is none.
pub fn make_workdir(program: &Program) -> Result<()> {
    let workdir = &program.workdir;
    if workdir != "/" {
        let root = Dir::open("/").context("open the root")?;
        make_directories(&root, workdir).context(format_args!("open the directory {workdir}"))?;
    }
    Ok(())
}

impl Prepared {
    /// Whether executing the program certainly involves no file that a link of /proc leads to.
    pub fn is_certain(&self) -> Result<bool> {
        let root = Dir::open("/").context("open the root")?;
        Ok(self.paths.iter().all(|path| match path.to_str() {
            Ok(path) if path.starts_with('/') => executable::is_certain(&root, path),
            Ok(path) => {
                let workdir = self.workdir.to_string_lossy();
                executable::is_certain(&root, &format!("{workdir}/{path}"))
            }
            Err(_) => false,
        }))
    }
}

/// A single word with blanks is a whole command line, unless the container has such a file.
fn command(root: &Dir, args: &[String]) -> Result<Vec<String>> {
    match args {
        [] => Err(Error::new("no command was given and the image names none")),
        [word]
            if word.contains([' ', '\t']) && root.open_in_root(word, libc::O_PATH, 0).is_err() =>
        {
            words::split(word)
        }
        _ => Ok(args.to_vec()),
    }
}

fn value<'a>(env: &'a [String], key: &str) -> Option<&'a str> {
    env.iter().find_map(|entry| entry.strip_prefix(key)?.strip_prefix('='))
}

/// The program's ends of its standard descriptors.
pub enum Streams {
    Terminal(OwnedFd),
    Pipes { stdin: OwnedFd, stdout: OwnedFd, stderr: OwnedFd },
}

impl Streams {
    /// Gives the ends to the account, so that `/dev/stdout` can be opened again by it.
    fn chown(&self, account: &Account) -> Result<()> {
        let ends = match self {
            Self::Terminal(peer) => vec![peer],
            Self::Pipes { stdin, stdout, stderr } => vec![stdin, stdout, stderr],
        };
        for end in ends {
            // /dev/null stays root's; it is open to everybody.
            if fs::stat(end.as_fd()).is_ok_and(|stat| matches!(stat.kind, Kind::Fifo))
                || matches!(self, Self::Terminal(_))
            {
                file::set_owner(end.as_fd(), account.uid, u32::MAX)
                    .context("give the output away")?;
            }
        }
        Ok(())
    }

    /// The ends themselves.
    pub fn ends(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let (first, others) = match self {
            Self::Terminal(peer) => (peer, [None, None]),
            Self::Pipes { stdin, stdout, stderr } => (stdin, [Some(stdout), Some(stderr)]),
        };
        [Some(first)].into_iter().chain(others).flatten().map(AsFd::as_fd)
    }

    /// Makes the ends the three standard descriptors of this process.
    pub fn connect(&self) -> Result<()> {
        let ends = match self {
            Self::Terminal(peer) => [peer, peer, peer],
            Self::Pipes { stdin, stdout, stderr } => [stdin, stdout, stderr],
        };
        for (number, end) in (0..).zip(ends) {
            process::set_standard(end.as_fd(), number).context("open the output")?;
        }
        Ok(())
    }
}

/// Gives up every right that the program shall not have. Nothing is looked up any more.
pub fn give_up_rights(prepared: &Prepared, streams: &Streams) -> Result<()> {
    match process::join_new_keyring() {
        // No keyrings in this kernel, or the quota of our user is used up: the session's own
        // keyring is out of reach only in the first case, so only that may pass.
        Ok(()) | Err(Errno::ENOSYS) => {}
        Err(errno) => return Err(errno).context("make a session keyring"),
    }
    if prepared.account.uid != 0 {
        streams.chown(&prepared.account)?;
    }
    credentials::limit(&prepared.rights.limits)?;
    credentials::become_account(&prepared.account, &prepared.rights)
}

/// Gives up what is kept for `execute`; for a first process of ours, which executes nothing.
pub fn give_up_the_rest(prepared: &Prepared) -> Result<()> {
    credentials::give_up_admin(&prepared.account, &prepared.rights)
}

/// Whether a program ends when the process ends that started it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tie {
    Tied,
    Loose,
}

/// Becomes the program, in a session of its own. The socket of reports closes when it works.
///
/// `parent` is that socket where the other end is the parent's own: one that died before the tie
/// was made is gone from there.
pub fn execute(
    prepared: &Prepared,
    streams: &Streams,
    tie: Tie,
    parent: Option<BorrowedFd<'_>>,
) -> Result<Infallible> {
    settle(prepared, streams, tie, parent)?;
    seal(prepared)?;
    Err(try_paths(prepared))
}

/// Takes the last rights away and loads the filter.
pub fn seal(prepared: &Prepared) -> Result<()> {
    credentials::seal(&prepared.account, &prepared.rights)
}

/// Makes session, descriptors, signals and directory the program's; see `execute`. Needs no rights.
pub fn settle(
    prepared: &Prepared,
    streams: &Streams,
    tie: Tie,
    parent: Option<BorrowedFd<'_>>,
) -> Result<()> {
    process::setsid().context("start a session")?;
    if let Streams::Terminal(peer) = streams {
        dev::take_terminal(peer)?;
    }
    streams.connect()?;
    io::reset_signals().context("reset the signals")?;
    process::umask(0o022);
    process::chdir(&prepared.workdir)
        .context(format_args!("enter {}", prepared.workdir.to_string_lossy()))?;
    // A directory outside the root would be a way out of it.
    let cwd = process::getcwd().context("look at the working directory")?;
    if !cwd.is_absolute() {
        return Err(Error::new("the working directory lies outside the container"));
    }
    close_rest()?;
    if tie == Tie::Tied {
        // Late, because a change of the user takes it away.
        process::die_with_parent().context("tie the program to its keeper")?;
        if parent.is_some_and(io::is_ready) {
            return Err(Error::new("the process that started it is gone"));
        }
    }
    Ok(())
}

/// As many files as hardly any caller has open.
const MOST_FILES: i32 = 1 << 16;

/// Marks whatever is still open to be closed by execve, the caller's stray descriptors included.
pub fn close_rest() -> Result<()> {
    match process::close_on_exec_all() {
        // Before Linux 5.11.
        Err(Errno::EINVAL | Errno::ENOSYS) => {
            let numbers: Vec<i32> = match Dir::open("/proc/self/fd").and_then(|dir| dir.names()) {
                // Its limit leaves none to list them by.
                Err(Errno::EMFILE) => (0..MOST_FILES).collect(),
                list => {
                    let list = list.context("list the open files")?;
                    list.iter().filter_map(|name| name.to_str()?.parse().ok()).collect()
                }
            };
            for number in numbers.into_iter().filter(|number| *number > 2) {
                // The one that listed them is gone meanwhile.
                let _ = process::set_close_on_exec(number, true);
            }
            Ok(())
        }
        other => other.context("close the open files"),
    }
}

/// Tries every path as execvp(3) does: what may not be executed is remembered, not fatal. Gives
/// the reason why the program could not be executed.
pub fn try_paths(prepared: &Prepared) -> Error {
    let name = prepared.args.first().map(|name| name.to_string_lossy()).unwrap_or_default();
    let mut refused = None;
    for path in &prepared.paths {
        match process::execve(path, &prepared.args, &prepared.env) {
            Errno::ENOENT | Errno::ENOTDIR => {
                if let Some(error) = missing_interpreter(path) {
                    return error;
                }
            }
            Errno::EACCES => refused = Some(path),
            errno => return failure(path, errno),
        }
    }
    match (refused, &prepared.paths[..]) {
        (Some(path), _) => failure(path, Errno::EACCES),
        (None, [path]) if name.contains('/') => {
            let message = path.to_string_lossy().into_owned();
            Error::from(Errno::ENOENT).message(message).code(NOT_FOUND)
        }
        _ => not_in_path(&name),
    }
}

fn not_in_path(name: &str) -> Error {
    Error::new(format!("{name}: executable file not found in $PATH")).code(NOT_FOUND)
}

fn failure(path: &CString, errno: Errno) -> Error {
    let message = path.to_string_lossy().into_owned();
    let error = Error::from(errno).message(message).code(NOT_EXECUTABLE);
    match errno {
        Errno::ENOEXEC => match foreign_machine(path) {
            Some(machine) => {
                error.hint(format!("the file is a program for {machine}, this host is x86_64"))
            }
            None => error.hint("a script needs a first line such as #!/bin/sh"),
        },
        _ => error,
    }
}

fn open(path: &CString) -> Option<std::fs::File> {
    std::fs::File::open(path.to_str().ok()?).ok()
}

/// ENOENT for a file that is there means that the interpreter in it is not.
fn missing_interpreter(path: &CString) -> Option<Error> {
    open(path)?;
    let what =
        format!("{}: the interpreter or loader that it names is not there", path.to_string_lossy());
    Some(Error::new(what).code(NOT_FOUND))
}

/// The name of the machine that an ELF file is for, when it is not this one.
fn foreign_machine(path: &CString) -> Option<String> {
    use std::io::Read;
    let mut header = [0_u8; 20];
    open(path)?.read_exact(&mut header).ok()?;
    if !header.starts_with(b"\x7fELF") {
        return None;
    }
    // Numbers: include/uapi/linux/elf-em.h.
    Some(match u16::from_le_bytes([header[18], header[19]]) {
        62 => return None,
        183 => "aarch64".to_owned(),
        40 => "arm".to_owned(),
        243 => "riscv".to_owned(),
        3 => "i386".to_owned(),
        8 => "mips".to_owned(),
        other => format!("machine {other}"),
    })
}

/// Reports why the program could not be run, and ends this process.
pub fn give_up(socket: BorrowedFd<'_>, error: &Error) -> ! {
    report::send_error(socket, error, false);
    process::exit_now(error.code)
}
