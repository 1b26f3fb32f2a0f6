//! What is stored of a container: the durable record and the state of its processes.

use crate::cgroups::Limits;
use crate::error::Result;
use crate::namespace::userns::IdMap;
use crate::runtime::processes;
use miniserde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

/// `record.json`: what a container is. Survives a reboot.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// Version of this layout: 1.
    pub version: u32,
    /// Ten decimal digits.
    pub id: String,
    pub name: String,
    /// Reference of the image as it was given, tag included.
    pub image: String,
    /// 64 hexadecimal digits.
    pub image_id: String,
    /// Digests of the layers, lowest first.
    pub layers: Vec<String>,
    /// Bytes of each of them.
    pub layer_sizes: Vec<u64>,
    /// Seconds since the epoch.
    pub created: i64,
    /// Entry point and arguments together. A single word with blanks is split when it starts.
    pub args: Vec<String>,
    /// How many of them are the entry point.
    pub entrypoint: Option<u32>,
    pub env: Vec<String>,
    /// Whether `HOME` and the like were asked for is decided when it starts.
    pub user: String,
    pub workdir: String,
    pub hostname: String,
    pub labels: BTreeMap<String, String>,
    pub mounts: Vec<Mount>,
    pub read_only: bool,
    pub limits: Limits,
    pub stop_signal: u32,
    /// Seconds; below zero waits for ever.
    pub stop_timeout: i64,
    pub init: bool,
    pub tty: bool,
    pub interactive: bool,
    pub auto_remove: bool,
    /// `on-failure`, `always` or `unless-stopped`; empty for a container that stays down.
    pub restart: String,
    /// How often `on-failure` starts it again; 0 is without a bound.
    pub restart_most: u32,
    /// `none`, `host`, `container:ID`, or the names of networks.
    pub network: String,
    pub net: NetRecord,
    /// `overlay`, `tmpfs` or `copy` where one was asked for, or a copy was made; else empty, and
    /// each start finds out.
    pub layer_mode: String,
    /// Its ids on the host, where it has users of its own.
    pub userns: Option<IdMap>,
    /// Nothing where the rights are those of every container.
    pub security: Option<Security>,
    /// Made by `run -d`: the end of a client's input is not that of the program's.
    pub keeps_stdin: Option<bool>,
}

impl Record {
    /// Whether the program's input ends with that of a client.
    pub fn ends_stdin(&self) -> bool {
        self.keeps_stdin != Some(true)
    }

    /// The entry point, and the command that is given to it.
    pub fn entrypoint_and_command(&self) -> (&[String], &[String]) {
        let words = self.entrypoint.map_or(0, |words| words as usize);
        self.args.split_at(words.min(self.args.len()))
    }
}

/// An overlay with its upper layer in the container's directory.
pub const OVERLAY: &str = "overlay";
/// An overlay with its upper layer in a tmpfs, which goes when the container ends.
pub const TMPFS: &str = "tmpfs";
/// A copy of the image in the container's directory.
pub const COPY: &str = "copy";

/// Something that is mounted into the container besides its root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    pub kind: MountKind,
    /// The name of a volume; empty for what belongs to the host.
    pub volume: String,
    /// An absolute path of the host; empty for a tmpfs.
    pub source: String,
    /// An absolute path in the container.
    pub target: String,
    pub read_only: bool,
    /// Further options of a tmpfs, `size=64m,mode=1777`; `nocopy` of a volume that stays empty.
    pub options: String,
}

/// What is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountKind {
    #[serde(rename = "bind")]
    Bind,
    #[serde(rename = "tmpfs")]
    Tmpfs,
}

/// The part of a record that is about networks.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct NetRecord {
    /// Whether loopback only will do where the kernel cannot.
    pub by_default: bool,
    pub memberships: Vec<Membership>,
    pub ports: Vec<Port>,
    /// `nft`, `proxy`, or empty for whatever works.
    pub publish_mode: String,
    pub dns: Vec<String>,
    pub dns_search: Vec<String>,
    pub dns_options: Vec<String>,
    /// `NAME:ADDRESS` each.
    pub hosts: Vec<String>,
}

/// A network that a container is a member of.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Membership {
    pub network: String,
    /// Those that were asked for, at most one of each family.
    pub addresses: Vec<String>,
    /// Empty for one that follows from the address.
    pub mac: String,
    /// Further names by which other members find it.
    pub aliases: Vec<String>,
}

/// A published port.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// The address of the host; empty for all.
    pub at: String,
    /// 0 for any that is free.
    pub host: u16,
    pub inner: u16,
    pub udp: bool,
}

/// The part of a state that is about networks: what a running container has.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct NetState {
    pub endpoints: Vec<Endpoint>,
    pub ports: Vec<Port>,
    /// How they are published: `nft` or `proxy`.
    pub publish_mode: String,
}

/// One connection of a running container to a network.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Endpoint {
    pub network: String,
    /// Its name in the container.
    pub interface: String,
    pub mac: String,
    /// `ADDRESS/PREFIX`, one of each family of the network.
    pub addresses: Vec<String>,
    pub gateways: Vec<String>,
    /// Set on a network that leads nowhere.
    pub internal: Option<bool>,
}

/// What a container that is not like every other stores of its rights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Security {
    /// A bit set.
    pub capabilities: u64,
    pub privileged: bool,
    pub no_new_privileges: Option<bool>,
    pub unmasked: bool,
    /// Empty for the default, `unconfined`, or `profile`.
    pub seccomp: String,
    /// The instructions of the profile.
    pub filter: Vec<u64>,
    pub ulimits: Vec<Ulimit>,
    pub devices: Vec<DeviceRule>,
    pub sysctls: Vec<String>,
    pub shm_size: Option<u64>,
    pub oom_score_adj: Option<i64>,
}

/// A resource of setrlimit(2); `u64::MAX` is no limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    pub resource: u32,
    pub soft: u64,
    pub hard: u64,
}

/// A device of the host that a container gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRule {
    /// A device, or a directory of devices.
    pub source: String,
    /// An absolute path below /dev.
    pub target: String,
    /// Of `r`, `w` and `m`.
    pub access: String,
}

/// The words that `ps` shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    #[default]
    #[serde(rename = "created")]
    Created,
    #[serde(rename = "running")]
    Running,
    #[serde(rename = "paused")]
    Paused,
    #[serde(rename = "restarting")]
    Restarting,
    /// It ended by itself.
    #[serde(rename = "exited")]
    Exited,
    /// It was ended by `stop`.
    #[serde(rename = "stopped")]
    Stopped,
    /// Its files are damaged.
    #[serde(rename = "dead")]
    Dead,
}

impl Status {
    /// Whether a container that is stored so has processes, if it is true.
    pub fn is_alive(self) -> bool {
        matches!(self, Self::Running | Self::Paused | Self::Restarting)
    }

    /// The word that is shown and stored.
    pub fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Exited => "exited",
            Self::Stopped => "stopped",
            Self::Dead => "dead",
        }
    }
}

/// `config.json`: the state of a container, and what `ps` shows of it.
///
/// The first ten keys are the documented ones. A process in it is believed only together with
/// its start time and in the boot that is named.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct State {
    /// Of the first process; 0 when nothing runs.
    pub pid: u32,
    pub id: String,
    pub name: String,
    /// The words of the command, joined by blanks.
    pub command: String,
    /// RFC 3339, in UTC, to the nanosecond: `2026-01-14T09:07:17.123456789Z`. It orders those of one
    /// second.
    pub created_time: String,
    pub status: Status,
    /// `HOST:CTR` of each volume.
    pub volume: Vec<String>,
    /// `0.0.0.0:8080->80/tcp` of each published port, while it runs.
    pub port_mapping: Vec<String>,
    pub network: String,
    pub net: NetState,
    pub image_name: String,
    /// Seconds since the epoch.
    pub created: i64,
    /// In clock ticks since the boot, from `/proc/PID/stat`.
    pub pid_start: u64,
    pub keeper: u32,
    pub keeper_start: u64,
    /// Inode of the directory that the keeper has locked for as long as it lives; 0 for none.
    pub keeper_lock: u64,
    /// Absolute paths of its control groups, while it runs.
    pub cgroups: Vec<String>,
    /// From `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// Nanoseconds since the epoch; 0 when it never started or has not ended.
    pub started: i64,
    pub finished: i64,
    pub exit_code: u8,
    pub oom_killed: bool,
    /// Why the last start did not work; empty when it did.
    pub error: String,
    /// `stop` has been asked for: the end counts as stopped.
    pub stopping: bool,
    /// `overlay`, `tmpfs` or `copy`: what the last start used; empty before the first.
    pub layer: String,
    /// It was ended on purpose, though not by `stop`: it is not started again.
    pub stay_down: bool,
    /// How often its policy started it since it was started by hand.
    pub restarts: u32,
    /// The times above in nanoseconds since the boot that `boot_id` names; 0 for another boot.
    pub created_uptime: i64,
    pub started_uptime: i64,
    pub finished_uptime: i64,
}

impl State {
    /// Whether a process of the container, or its keeper, is still there.
    pub fn has_processes(&self, boot: &str) -> bool {
        self.has_first_process(boot)
            || self.boot_id == boot && processes::is_running(self.keeper, self.keeper_start)
    }

    /// Whether the container's first process is still there.
    pub fn has_first_process(&self, boot: &str) -> bool {
        self.boot_id == boot && processes::is_running(self.pid, self.pid_start)
    }

    /// The container's first process, where its program runs.
    pub fn running(&self) -> Result<Option<OwnedFd>> {
        match self.status {
            Status::Running => processes::open(self.pid, self.pid_start),
            _ => Ok(None),
        }
    }

    /// Makes it that of a container without processes.
    pub fn end(&mut self) {
        self.status = if self.stopping { Status::Stopped } else { Status::Exited };
        (self.pid, self.keeper) = (0, 0);
    }

    /// Forgets what it had of networks when it ran.
    pub fn forget_networks(&mut self) {
        self.net = Default::default();
        self.port_mapping.clear();
    }
}
