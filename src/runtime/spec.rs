//! What is to be run, as plain data; nothing in it needs to be looked up any more.

use crate::namespace::credentials::Rights;
use crate::namespace::dev::Device;
use crate::namespace::mounts::Volume;
use crate::namespace::root::Root;
use crate::namespace::userns::{IdMap, Mapped};
use crate::sys::process::Namespaces;
use crate::sys::tty;
use std::os::fd::{BorrowedFd, OwnedFd};

/// A container: its surroundings and its first program.
#[derive(Debug, Clone)]
pub struct Spec {
    pub root: Root,
    /// Volumes, tmpfs mounts and the files below /etc that are the container's own.
    pub volumes: Vec<Volume>,
    pub hostname: String,
    pub read_only: bool,
    /// Those to make anew; the others are shared with the host.
    pub namespaces: Namespaces,
    /// Where the container has users of its own.
    pub mapped: Option<Mapped>,
    /// Whether /sys/fs/cgroup is shown: only where all controllers are in cgroup2.
    pub cgroup2: bool,
    /// Whether a process of ours comes first, which reaps what the program leaves behind.
    pub init: bool,
    /// Whether others can change files of the container while it is being started: it has some
    /// of theirs.
    pub shared: bool,
    /// Besides the usual ones.
    pub devices: Vec<Device>,
    /// Whether every user may use low ports and send echo requests, in a network of its own.
    pub opens_network: bool,
    /// Path below /proc/sys, and value.
    pub sysctls: Vec<(String, String)>,
    /// Size of /dev/shm; unsaid, 64 MiB.
    pub shm_bytes: Option<u64>,
    /// Whether nothing in /proc and /sys is hidden or protected.
    pub unmasked: bool,
    /// Whether /sys and the cgroups can be written.
    pub privileged: bool,
    pub program: Program,
}

impl Spec {
    /// Whether the first process can find out what it is going to execute: nothing changes that
    /// meanwhile, and nothing of ours stays inside.
    pub fn can_look_ahead(&self) -> bool {
        !(self.init || self.shared || self.mapped.is_some())
    }
}

/// A program and the rights it runs with: for the first process, and for `exec`.
#[derive(Debug, Clone)]
pub struct Program {
    /// At least one word. A single word with blanks that is no file is split as a shell would.
    pub args: Vec<String>,
    /// `KEY=VALUE`; `HOME` is added from the account where it is missing.
    pub env: Vec<String>,
    /// `USER[:GROUP]`, names or numbers, looked up in the container; empty for root.
    pub user: String,
    /// Absolute; made for a first program where it is missing.
    pub workdir: String,
    pub rights: Rights,
    /// Where the container has users of its own.
    pub ids: Option<IdMap>,
    /// From -1000, never killed when memory is short, to 1000; unsaid, as its parent.
    pub oom_score_adj: Option<i64>,
}

/// Where the network namespace comes from, when it is none of the host's.
#[derive(Debug, Clone, Copy)]
pub enum Network<'a> {
    /// The kernel makes it together with the first process.
    New,
    /// The parent sends it, by `Process::give_network`; its loopback is up.
    FromParent,
    /// It comes over this socket, for which see `report::receive_network`; else it is made.
    Arriving(BorrowedFd<'a>),
}

/// Where the three standard descriptors of a program lead.
#[derive(Debug)]
pub enum Stdio {
    /// To a new terminal of the container.
    Terminal(tty::Size),
    /// To pipes, of which the program gets these ends.
    Pipes {
        /// Without one the program reads the container's /dev/null.
        stdin: Option<OwnedFd>,
        stdout: OwnedFd,
        stderr: OwnedFd,
    },
    /// To the container's /dev/null.
    Null,
}

/// The same without the descriptors, which a new process takes over one by one.
#[derive(Debug, Clone, Copy)]
pub enum StdioKind {
    Terminal(tty::Size),
    Pipes,
    Null,
}

impl Stdio {
    /// The kind, and the program's stdin, stdout and stderr where it has pipes.
    pub fn split(self) -> (StdioKind, [Option<OwnedFd>; 3]) {
        match self {
            Self::Terminal(size) => (StdioKind::Terminal(size), [None, None, None]),
            Self::Pipes { stdin, stdout, stderr } => {
                (StdioKind::Pipes, [stdin, Some(stdout), Some(stderr)])
            }
            Self::Null => (StdioKind::Null, [None, None, None]),
        }
    }
}
