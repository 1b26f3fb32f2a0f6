//! What is mounted inside the new root: the pseudo file systems, volumes, masks.

use super::dev::{self, Device};
use super::root::{self, c_string, mount_point, require_directory};
use super::submounts::{descriptor_path, restrict};
use super::userns::IdMap;
use crate::error::{Context, Error, Result};
use crate::sys::fs::{self, Dir, Kind};
use crate::sys::mount::{self, Attr};
use crate::sys::{Errno, control, file, ids, process, statfs};
use std::borrow::Cow;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};

/// Something of the host, or a tmpfs, that appears in the container.
#[derive(Debug, Clone)]
pub struct Volume {
    pub source: Source,
    /// An absolute path in the container.
    pub target: String,
    pub attr: Attr,
}

/// Where the content of a volume comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// A file or directory of the host, taken before the host's mounts are let go of.
    Bind(String),
    /// A directory of ours, which may have to be given what the container has at its place.
    Named(String, Fill),
    /// A new tmpfs with these options.
    Tmpfs(CString),
}

/// How a directory of ours comes to its first content.
#[derive(Debug, Clone, Copy)]
pub struct Fill {
    /// Whether the directory has none yet.
    pub is_wanted: fn(&Dir) -> Result<bool>,
    /// Copies what is below the first directory into the second.
    pub copy: fn(&Dir, &Dir) -> Result<()>,
}

/// A volume whose content is held and waits for its place.
pub struct Held<'a> {
    volume: &'a Volume,
    tree: Option<OwnedFd>,
    /// An empty directory to be filled.
    empty: Option<(Dir, Fill)>,
    /// Whether it has its attributes; before Linux 5.12 `place` sets them when it is mounted.
    restricted: bool,
}

/// Takes hold of what the volumes show, while the host's files can still be named.
pub fn hold(volumes: &[Volume]) -> Result<Vec<Held<'_>>> {
    volumes.iter().map(hold_one).collect()
}

fn hold_one(volume: &Volume) -> Result<Held<'_>> {
    let (path, fill) = match &volume.source {
        Source::Bind(path) => (path, None),
        Source::Named(path, fill) => (path, Some(*fill)),
        Source::Tmpfs(_) => {
            return Ok(Held { volume, tree: None, empty: None, restricted: true });
        }
    };
    let empty = match fill {
        Some(fill) => {
            let dir = Dir::open(path).context(format_args!("open {path}"))?;
            (fill.is_wanted)(&dir).context(format_args!("list {path}"))?.then_some((dir, fill))
        }
        None => None,
    };
    let tree = mount::clone_tree(path).context(format_args!("open {path}"))?;
    let restricted = match volume.attr == Attr::default() {
        true => Ok(()),
        false => mount::set_attr_tree(tree.as_fd(), volume.attr),
    };
    match restricted {
        Ok(()) | Err(Errno::ENOSYS) => {}
        Err(errno) => return Err(errno).context(format_args!("restrict {path}")),
    }
    Ok(Held { volume, tree: Some(tree), empty, restricted: restricted.is_ok() })
}

/// Mounts the volumes at their places, in the order of their depth, so that one may lie in another.
/// What is to be filled is filled before anything covers what the image has.
pub fn place(root: &Dir, mut held: Vec<Held<'_>>) -> Result<()> {
    held.iter().try_for_each(|held| fill_one(root, held))?;
    held.sort_by_key(|held| held.volume.target.split('/').filter(|name| !name.is_empty()).count());
    let mut closed = Vec::new();
    let proc = match held.iter().all(|held| held.restricted) {
        true => None,
        false => Some(Dir::open("/proc").context("open /proc")?),
    };
    for held in &held {
        closed.extend(place_one(root, held)?);
        if let (false, Some(tree), Some(proc)) = (held.restricted, &held.tree, &proc) {
            // The descriptor of the tree is the mounted one now.
            restrict(proc, root, tree.as_fd(), held.volume.attr)
                .context(format_args!("volume {}", held.volume.target))?;
        }
    }
    closed.iter().try_for_each(|(tmpfs, volume)| {
        let what = || format!("make {} read-only", volume.target);
        process::fchdir(tmpfs.as_fd()).context(what())?;
        let closed = mount::set_attr_at(c".", volume.attr);
        process::chdir(c"/").context("enter /")?;
        closed.context(what())
    })
}

fn fill_one(root: &Dir, held: &Held<'_>) -> Result<()> {
    let (target, Some((empty, fill))) = (&held.volume.target, &held.empty) else { return Ok(()) };
    // Where the image has nothing the volume becomes like a directory that the container makes.
    mount_point(root, target, true)?;
    let from = root.open_in_root(target, libc::O_RDONLY | libc::O_DIRECTORY, 0);
    let from = Dir::from(from.context(format_args!("open {target}"))?);
    (fill.copy)(&from, empty).context(format_args!("fill the volume for {target}"))
}

/// The place of a tmpfs and its options: the directory that it covers gives it its mode, if nothing else
/// does. One that is made for it can be written by all, as a tmpfs is: the next start finds it there.
fn tmpfs_place(root: &Dir, target: &str, options: &CStr) -> Result<(OwnedFd, CString)> {
    let is_new = matches!(root.open_in_root(target, libc::O_PATH, 0), Err(Errno::ENOENT));
    let place = mount_point(root, target, true)?;
    let options = options.to_string_lossy();
    if options.contains("mode=") {
        return Ok((place, c_string(&options)?));
    }
    if is_new {
        file::set_mode(place.as_fd(), 0o1777).context(format_args!("open {target} to all"))?;
    }
    let stat = fs::stat(place.as_fd()).context(format_args!("look at {target}"))?;
    Ok((place, c_string(&format!("mode={:o},{options}", stat.mode))?))
}

/// Mounts one volume at its place. Gives it again where it is a tmpfs that is to be read-only, with its
/// root: what lies in it needs places first.
fn place_one<'a>(root: &Dir, held: &Held<'a>) -> Result<Option<(OwnedFd, &'a Volume)>> {
    let Volume { source, target, attr } = held.volume;
    let Some(tree) = &held.tree else {
        let Source::Tmpfs(options) = source else {
            return Err(Error::new(format!("{target}: has no source")));
        };
        let what = || format!("mount tmpfs on {target}");
        let (place, options) = tmpfs_place(root, target, options)?;
        process::fchdir(place.as_fd()).context(format_args!("enter {target}"))?;
        let open = Attr(attr.0 & !Attr::READ_ONLY.0);
        let mounted = mount::create(c"tmpfs", c".", open, &options);
        process::chdir(c"/").context("enter /")?;
        mounted.context(what())?;
        if open == *attr {
            return Ok(None);
        }
        let tmpfs = root.open_in_root(target, libc::O_PATH, 0).context(what())?;
        return Ok(Some((tmpfs, held.volume)));
    };
    let kind = fs::stat(tree.as_fd()).context(format_args!("look at the source of {target}"))?.kind;
    let place = mount_point(root, target, kind == Kind::Directory)?;
    mount::attach(tree.as_fd(), place.as_fd()).context(format_args!("mount on {target}"))?;
    Ok(None)
}

/// Attributes of the pseudo file systems.
const PSEUDO: Attr = Attr(Attr::NO_SUID.0 | Attr::NO_DEV.0 | Attr::NO_EXEC.0);

/// What differs between containers in /dev.
pub struct Devices<'a> {
    pub shm_bytes: Option<u64>,
    pub nodes: &'a [Device],
    pub terminals: dev::Group,
}

/// Mounts /proc and /dev, and sees that there is a place for /sys.
pub fn mount_proc_and_dev(root: &Dir, devices: &Devices<'_>) -> Result<()> {
    for name in ["proc", "sys", "dev"] {
        require_directory(root, name)?;
    }
    mount::create(c"proc", c"/proc", PSEUDO, c"").context("mount proc on /proc")?;
    dev::mount_dev(devices.shm_bytes, devices.nodes, devices.terminals)
}

/// Mounts /sys, which shows the network namespace of this process: only where that is the container's
/// own does the kernel let it. `cgroup2` mounts the groups there too; `writable` is for both.
pub fn mount_sys(cgroup2: bool, writable: bool) -> Result<()> {
    let attr = if writable { PSEUDO } else { PSEUDO | Attr::READ_ONLY };
    mount::create(c"sysfs", c"/sys", attr, c"").context("mount sysfs on /sys")?;
    if !cgroup2 {
        return Ok(());
    }
    match mount::create(c"cgroup2", c"/sys/fs/cgroup", attr, c"") {
        // No directory to mount on, or all controllers elsewhere: programs do without.
        Ok(()) | Err(Errno::ENOENT | Errno::EBUSY | Errno::EPERM | Errno::ENODEV) => Ok(()),
        Err(errno) => Err(errno).context("mount cgroup2 on /sys/fs/cgroup"),
    }
}

/// Lets every user of the container use ports below 1024 and send echo requests in a network
/// namespace of the container's own, as docker does. Nothing lies over /proc yet.
pub fn open_network(owner: Option<IdMap>) -> Result<()> {
    const HIGHEST: u32 = i32::MAX as u32;
    let dir = Dir::open("/proc/sys/net/ipv4").context("open /proc/sys/net/ipv4")?;
    // The groups are those of whoever writes: the host's.
    let first = owner.map_or(0, |map| map.gid).min(HIGHEST);
    let last = owner.map_or(HIGHEST, |map| (map.gid + (map.size - 1)).min(HIGHEST));
    let groups = format!("{first} {last}");
    for (name, value) in [("ip_unprivileged_port_start", "0"), ("ping_group_range", &groups)] {
        match write_as_owner(&dir, name, value, owner) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno).context(format_args!("set {name} of the network")),
        }
    }
    Ok(())
}

/// Sets kernel values of the new namespaces. Nothing lies over /proc yet.
pub fn set_sysctls(sysctls: &[(String, String)], owner: Option<IdMap>) -> Result<()> {
    if sysctls.is_empty() {
        return Ok(());
    }
    let dir = Dir::open("/proc/sys").context("open /proc/sys")?;
    sysctls.iter().try_for_each(|(path, value)| {
        write_as_owner(&dir, path, value, owner)
            .context(format_args!("set the kernel value {} to {value}", path.replace('/', ".")))
    })
}

fn write_as_owner(
    dir: &Dir,
    path: &str,
    value: &str,
    owner: Option<IdMap>,
) -> crate::sys::Result<()> {
    let write = || control::write(dir, path, value);
    match (write(), owner) {
        // Of the container's own namespaces some belong to its root alone.
        (Err(Errno::EACCES), Some(map)) => {
            ids::acting_as(map.uid, map.gid, write).and_then(|written| written)
        }
        (written, _) => written,
    }
}

/// Files that tell too much of the host, or change it: docker's.
const MASKED_FILES: [&CStr; 7] = [
    c"/proc/interrupts",
    c"/proc/kcore",
    c"/proc/keys",
    c"/proc/latency_stats",
    c"/proc/sched_debug",
    c"/proc/timer_list",
    c"/proc/timer_stats",
];

/// Directories that do: docker's.
///
/// The places of other file systems in /sys, such as /sys/kernel/debug and /sys/fs/bpf, are empty
/// in a sysfs that was mounted anew: there is nothing to hide.
const MASKED_DIRECTORIES: [&CStr; 5] = [
    c"/proc/acpi",
    c"/proc/asound",
    c"/proc/scsi",
    c"/sys/devices/virtual/powercap",
    c"/sys/firmware",
];

/// Where each processor that counts how often it got too hot has a directory with those counts, which
/// tell of others' work: docker hides them too.
const PROCESSORS: &str = "/sys/devices/system/cpu";
const THROTTLE: &str = "thermal_throttle";

/// The directories of counts below the directory of processors; the first processor has one where any has.
fn throttles(processors: &Dir) -> crate::sys::Result<Vec<CString>> {
    match processors.stat(format!("cpu0/{THROTTLE}")) {
        Ok(_) => {}
        Err(Errno::ENOENT) => return Ok(Vec::new()),
        Err(errno) => return Err(errno),
    }
    let is_processor = |name: &&str| {
        let number = name.strip_prefix("cpu").unwrap_or_default();
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    };
    let names = processors.names()?;
    let names = names.iter().filter_map(|name| name.to_str()).filter(is_processor);
    let paths = names.map(|name| CString::new(format!("{PROCESSORS}/{name}/{THROTTLE}")));
    Ok(paths.filter_map(std::result::Result::ok).collect())
}

/// What may be read but not written.
const READ_ONLY: [&CStr; 5] =
    [c"/proc/bus", c"/proc/fs", c"/proc/irq", c"/proc/sys", c"/proc/sysrq-trigger"];

/// Directories of sysfs that others mount on, in which nothing can be made: `sysfs_create_mount_point`.
const ALWAYS_EMPTY: [&str; 2] = ["sys/fs/cgroup", "sys/fs/bpf"];

/// What is put over what is hidden: held from before there are volumes, which may lie over /dev and /sys.
pub struct Covers {
    null: OwnedFd,
    /// One empty directory serves all, at best one that is there: an empty file system costs as much
    /// as a whole /dev. A bind of a file onto a directory, to find out, would cost even more: when
    /// it fails the kernel waits for a grace period of RCU.
    empty: Option<OwnedFd>,
}

impl Covers {
    /// Takes hold of them. /dev and /sys are what was just mounted.
    pub fn hold(root: &Dir) -> Result<Self> {
        let open = |path| root.open_in_root(path, libc::O_PATH | libc::O_NOFOLLOW, 0);
        let mut places = ALWAYS_EMPTY.into_iter().filter_map(|path| open(path).ok());
        Ok(Self {
            null: open("dev/null").context("open /dev/null")?,
            empty: places.find(|place| statfs::is_sysfs(place.as_fd())),
        })
    }
}

/// Hides and protects what the container shares with the host in /proc and /sys.
///
/// Anything but a path that this kernel does not have is an error: a mask that is missing is a hole.
pub fn mask(covers: &Covers) -> Result<()> {
    let what = |path: &CStr| format!("hide {}", path.to_string_lossy());
    let null = descriptor_path(&covers.null);
    for path in MASKED_FILES {
        match mount::bind(&null, path) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno).context(what(path)),
        }
    }
    let mut empty: Option<Cow<'_, CStr>> =
        covers.empty.as_ref().map(|it| descriptor_path(it).into());
    let throttles = match Dir::open(PROCESSORS) {
        Ok(processors) => throttles(&processors).context("list the processors")?,
        // There is no /sys where the network is somebody else's.
        Err(Errno::ENOENT) => Vec::new(),
        Err(errno) => return Err(errno).context("list the processors"),
    };
    let counts = throttles.iter().map(CString::as_c_str);
    for path in MASKED_DIRECTORIES.into_iter().chain(counts) {
        let attr = PSEUDO | Attr::READ_ONLY;
        let mounted = match &empty {
            Some(empty) => mount::bind(empty, path),
            None => mount::create(c"tmpfs", path, attr, c"size=0k,nr_inodes=1"),
        };
        match mounted {
            Ok(()) => empty = empty.or(Some(path.into())),
            Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno).context(what(path)),
        }
    }
    for path in READ_ONLY {
        let what = || format!("protect {}", path.to_string_lossy());
        match mount::bind(path, path) {
            Ok(()) => mount::set_attr_at(path, PSEUDO | Attr::READ_ONLY).context(what())?,
            Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno).context(what()),
        }
    }
    Ok(())
}

/// Makes the root itself read-only; what is mounted in it stays as it is. `attr` is what the root
/// was mounted with.
pub fn protect_root(attr: Attr) -> Result<()> {
    root::restrict(c"/", attr | Attr::READ_ONLY).context("make the root read-only")
}

/// Reads mount options such as `ro,noexec,size=64m` of a tmpfs: attributes, and what is left for
/// the file system. Docker's defaults are nosuid, nodev, noexec.
pub fn tmpfs_options(options: &str) -> Result<(Attr, CString)> {
    let mut bits = PSEUDO.0;
    let mut rest = Vec::new();
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "rw" => bits &= !Attr::READ_ONLY.0,
            "ro" => bits |= Attr::READ_ONLY.0,
            "exec" => bits &= !Attr::NO_EXEC.0,
            "noexec" => bits |= Attr::NO_EXEC.0,
            "suid" => bits &= !Attr::NO_SUID.0,
            "nosuid" => bits |= Attr::NO_SUID.0,
            "dev" => bits &= !Attr::NO_DEV.0,
            "nodev" => bits |= Attr::NO_DEV.0,
            "noatime" => bits |= Attr::NO_ATIME.0,
            "nodiratime" => bits |= Attr::NO_DIRATIME.0,
            "strictatime" => bits |= Attr::STRICT_ATIME.0,
            // That is how it is anyway.
            "defaults" | "async" | "relatime" => {}
            _ => {
                let key = option.split('=').next().unwrap_or_default();
                if !["size", "mode", "uid", "gid", "nr_inodes", "nr_blocks"].contains(&key) {
                    return Err(Error::new(format!("tmpfs option {option:?}: not known")));
                }
                rest.push(option);
            }
        }
    }
    Ok((Attr(bits), c_string(&rest.join(","))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_processor_that_counts_its_throttling_is_found() {
        let path = std::env::temp_dir().join(format!("rocker-throttles-{}", std::process::id()));
        let make = |name: &str| std::fs::create_dir_all(path.join(name)).unwrap();
        for name in ["cpu0", "cpu10/thermal_throttle", "cpuidle", "cpufreq/thermal_throttle"] {
            make(name);
        }
        let found = || {
            let mut found = throttles(&Dir::open(&path).unwrap()).unwrap();
            found.sort();
            found
        };
        assert!(found().is_empty());
        make("cpu0/thermal_throttle");
        let expected = ["cpu0", "cpu10"].map(|name| format!("{PROCESSORS}/{name}/{THROTTLE}"));
        assert_eq!(found(), expected.map(|path| CString::new(path).unwrap()));
        std::fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn tmpfs_options_are_split_into_attributes_and_the_rest() {
        let (attr, data) = tmpfs_options("rw,exec,size=64m,mode=1777").unwrap();
        assert_eq!(attr, Attr::NO_SUID | Attr::NO_DEV);
        assert_eq!(data.as_c_str(), c"size=64m,mode=1777");
        assert_eq!(tmpfs_options("noatime,exec").unwrap().0, attr | Attr::NO_ATIME);
        assert!(tmpfs_options("context=x").is_err());
    }
}
