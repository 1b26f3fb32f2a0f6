//! A fresh /dev: a tmpfs of our own with the standard nodes, terminals and shared memory.

use super::root::{c_string, make_directories};
use super::userns::IdMap;
use crate::error::{Context, Result};
use crate::sys::fs::{self, Dir, Kind};
use crate::sys::mount::{self, Attr};
use crate::sys::{Errno, tty};
use std::borrow::Cow;
use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

/// Name, major and minor number of the nodes that programs expect.
const NODES: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

const LINKS: [(&str, &str); 5] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("pts/ptmx", "ptmx"),
];

/// A node to make in /dev besides the usual ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// An absolute path below /dev without `.` and `..`.
    pub path: String,
    pub block: bool,
    pub major: u32,
    pub minor: u32,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Of `r`, `w` and `m`.
    pub access: String,
}

impl Device {
    /// Gives it to the one of a container who has the number of its owner on the host.
    pub fn give_to(&mut self, users: IdMap) {
        self.uid = users.outside(self.uid, false).unwrap_or(self.uid);
        self.gid = users.outside(self.gid, true).unwrap_or(self.gid);
    }
}

impl Device {
    /// A node at `path` for the device that `stat` tells of.
    pub fn new(path: &str, access: &str, stat: &fs::Stat) -> Self {
        let (major, minor) = fs::device_parts(stat.rdev);
        Self {
            path: path.to_owned(),
            block: stat.kind == Kind::BlockDevice,
            major,
            minor,
            mode: stat.mode & 0o777,
            uid: stat.uid,
            gid: stat.gid,
            access: access.to_owned(),
        }
    }
}

/// Makes the node of a device in the /dev that was just mounted; one of ours makes way.
fn make_node(dev: &Dir, device: &Device) -> Result<()> {
    let what = || format!("make {}", device.path);
    let below = device.path.strip_prefix("/dev/").unwrap_or_default();
    let (parent, name) = below.rsplit_once('/').unwrap_or(("", below));
    let parent = match parent {
        "" => dev.duplicate(),
        _ => make_directories(dev, parent).map(Dir::from),
    };
    let parent = parent.context(what())?;
    match parent.unlink(name) {
        Ok(()) | Err(Errno::ENOENT) => {}
        Err(errno) => return Err(errno).context(what()),
    }
    let kind = if device.block { Kind::BlockDevice } else { Kind::CharDevice };
    parent.mknod(name, kind, device.mode, (device.major, device.minor)).context(what())?;
    // The mode is less than was asked for where a mask of the caller's was in the way.
    parent.set_mode(name, device.mode).context(what())?;
    parent.set_owner(name, device.uid, device.gid).context(what())
}

/// The group of terminals, with docker as on most systems.
pub const TERMINALS: u32 = 5;

/// The group that terminals are given, as the host numbers it.
#[derive(Debug, Clone, Copy)]
pub enum Group {
    Usual,
    Of(u32),
    /// That of whoever opens one.
    None,
}

/// Mounts and fills /dev. The directory is there and is no link.
pub fn mount_dev(shm_bytes: Option<u64>, devices: &[Device], terminals: Group) -> Result<()> {
    let attr = Attr::NO_SUID | Attr::NO_EXEC | Attr::STRICT_ATIME;
    mount::create(c"tmpfs", c"/dev", attr, c"mode=755,size=65536k")
        .context("mount tmpfs on /dev")?;
    let dev = Dir::open("/dev").context("open /dev")?;
    for (name, major, minor) in NODES {
        dev.mknod(name, Kind::CharDevice, 0o666, (major, minor))
            .context(format_args!("make /dev/{name}"))?;
    }
    for (target, name) in LINKS {
        dev.symlink(target, name).context(format_args!("make /dev/{name}"))?;
    }
    for name in ["pts", "shm", "mqueue"] {
        dev.mkdir(name, 0o755).context(format_args!("make /dev/{name}"))?;
    }
    let private = Attr::NO_SUID | Attr::NO_EXEC;
    let options: Cow<'_, CStr> = match terminals {
        Group::Usual => c"newinstance,ptmxmode=0666,mode=0620,gid=5".into(),
        Group::Of(group) => {
            c_string(&format!("newinstance,ptmxmode=0666,mode=0620,gid={group}"))?.into()
        }
        Group::None => c"newinstance,ptmxmode=0666,mode=0620".into(),
    };
    mount::create(c"devpts", c"/dev/pts", private, &options).context("mount devpts on /dev/pts")?;
    let data = private | Attr::NO_DEV;
    let asked = shm_bytes.map(|bytes| c_string(&format!("mode=1777,size={bytes}"))).transpose()?;
    let options = asked.as_deref().unwrap_or(c"mode=1777,size=65536k");
    mount::create(c"tmpfs", c"/dev/shm", data, options).context("mount tmpfs on /dev/shm")?;
    devices.iter().try_for_each(|device| make_node(&dev, device))?;
    match mount::create(c"mqueue", c"/dev/mqueue", data, c"") {
        // A kernel without POSIX message queues: nothing that a program could miss is there.
        Err(Errno::ENODEV) => Ok(()),
        other => other.context("mount mqueue on /dev/mqueue"),
    }
}

/// A new pseudo-terminal of the container: the end that the keeper holds, and the program's.
pub struct Terminal {
    pub master: OwnedFd,
    pub peer: OwnedFd,
}

/// Makes a terminal from the container's own devpts, opened by descriptor and never by name.
pub fn open_terminal(size: tty::Size) -> Result<Terminal> {
    let dev = Dir::open("/dev/pts").context("open /dev/pts")?;
    let master = dev.open_in_root("ptmx", libc::O_RDWR | libc::O_NOCTTY, 0);
    let master = master.context("open /dev/pts/ptmx")?;
    let peer = tty::open_peer(master.as_fd()).context("open the terminal")?;
    tty::set_size(master.as_fd(), size).context("set the size of the terminal")?;
    Ok(Terminal { master, peer })
}

/// Shows the terminal as /dev/console too.
pub fn mount_console(peer: &OwnedFd) -> Result<()> {
    let dev = Dir::open("/dev").context("open /dev")?;
    let console = dev.create("console", 0o600).context("make /dev/console")?;
    let tree = mount::clone_file(peer.as_fd()).context("copy the mount of the terminal")?;
    mount::attach(tree.as_fd(), console.as_fd()).context("mount the terminal on /dev/console")
}

/// Makes a terminal the controlling one of a new session.
pub fn take_terminal(peer: &OwnedFd) -> Result<()> {
    tty::set_controlling(peer.as_fd()).context("take the terminal")
}

/// Opens the container's /dev/null; only as the device that it ought to be.
pub fn open_null() -> Result<OwnedFd> {
    let dev = Dir::open("/dev").context("open /dev")?;
    let null = dev.open_in_root("null", libc::O_RDWR, 0).context("open /dev/null")?;
    match fs::stat(null.as_fd()).context("look at /dev/null")?.rdev == fs::device_number(1, 3) {
        true => Ok(null),
        false => Err(crate::error::Error::new("/dev/null in the container is another device")),
    }
}
