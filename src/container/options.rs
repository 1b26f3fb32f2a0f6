//! What the command line asks of the engine: plain data, checked by `spec` and by the commands.

pub use super::membership::NetOptions;
pub use super::security::Asked;
use super::userns;
pub use crate::cgroups::Limits;

/// What `run` and `create` were asked for.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// `--image`; without it the first of `words` is the image.
    pub image: Option<String>,
    /// The positional words: the command, or the image and the command.
    pub words: Vec<String>,
    pub name: Option<String>,
    pub hostname: Option<String>,
    /// `KEY=VALUE`; a bare `KEY` takes the caller's value, as with docker.
    pub env: Vec<String>,
    pub env_files: Vec<String>,
    pub workdir: Option<String>,
    /// `USER[:GROUP]`, names or numbers.
    pub user: Option<String>,
    /// `Some("")` clears the image's entry point.
    pub entrypoint: Option<String>,
    /// `HOST:CTR[:ro|rw]` each.
    pub volumes: Vec<String>,
    /// `type=bind|volume|tmpfs,source=…,target=…` each.
    pub mounts: Vec<String>,
    /// `PATH[:OPTIONS]` each.
    pub tmpfs: Vec<String>,
    pub read_only: bool,
    /// `overlay`, `tmpfs` or `copy`; unless asked, what is possible.
    pub layer: Option<String>,
    /// `KEY[=VALUE]` each.
    pub labels: Vec<String>,
    pub label_files: Vec<String>,
    pub limits: Limits,
    pub security: Asked,
    /// Users of its own, instead of the host's.
    pub userns: Option<userns::Asked>,
    pub stop_signal: Option<String>,
    /// Seconds; below zero waits for ever.
    pub stop_timeout: Option<i64>,
    pub init: bool,
    pub tty: bool,
    pub interactive: bool,
    /// Removed by itself when it ends.
    pub rm: bool,
    /// `no`, `on-failure[:N]`, `always` or `unless-stopped`.
    pub restart: Option<String>,
    pub net: NetOptions,
    pub detach: bool,
    pub detach_keys: Option<String>,
    pub cidfile: Option<String>,
    pub pidfile: Option<String>,
    /// What the caller's mask takes away from the modes of files that are made for the caller.
    pub mask: u32,
    /// Off with `--sig-proxy=false`.
    pub no_signal_proxy: bool,
}

/// What `exec` was asked for.
#[derive(Debug, Clone, Default)]
pub struct ExecOptions {
    pub interactive: bool,
    pub tty: bool,
    pub detach: bool,
    pub env: Vec<String>,
    pub env_files: Vec<String>,
    pub user: Option<String>,
    pub workdir: Option<String>,
    /// With all capabilities and no filter of system calls.
    pub privileged: bool,
    pub words: Vec<String>,
}

/// What `start` and `attach` were asked for.
#[derive(Debug, Clone, Default)]
pub struct AttachOptions {
    /// `start -a`; always so for `attach`.
    pub attach: bool,
    /// `start -i`; off for `attach --no-stdin`.
    pub interactive: bool,
    pub detach_keys: Option<String>,
    pub no_signal_proxy: bool,
}

/// How a container is to be stopped.
#[derive(Debug, Clone, Default)]
pub struct StopOptions {
    /// Before KILL; below zero for ever. `None` for what the container was made with.
    pub seconds: Option<i64>,
    /// Sent first. `None` for the one that the container wants.
    pub signal: Option<u32>,
    /// It is to be started again: one that is removed at its end, with all that it has written, is not
    /// ended for that.
    pub again: bool,
}

/// What `logs` was asked for.
#[derive(Debug, Clone, Default)]
pub struct LogsOptions {
    pub follow: bool,
    /// Only that many lines from the end.
    pub tail: Option<u64>,
    /// Nanoseconds since the epoch.
    pub since: Option<i64>,
    pub until: Option<i64>,
    pub timestamps: bool,
}

/// How a command that may be attached ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ran {
    /// It runs on; this is its id.
    Detached(String),
    /// It ended with this exit code.
    Ended(u8),
}
