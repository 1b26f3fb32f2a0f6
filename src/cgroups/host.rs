//! Which hierarchies are mounted on this host, and which controllers each has.

use crate::error::{Context, Result};
use crate::sys::fs::Dir;
use crate::sys::proc::unescape;
use crate::sys::{control, mount, proc, statfs};

/// A controller that rocker can set a limit with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Controller {
    Cpu,
    Cpuset,
    Memory,
    Pids,
    /// Only where devices are to be restricted.
    Devices,
}

impl Controller {
    /// Those with limits: all but that of devices.
    pub const LIMITING: [Self; 4] = [Self::Cpu, Self::Cpuset, Self::Memory, Self::Pids];
    const ALL: [Self; 5] = [Self::Cpu, Self::Cpuset, Self::Memory, Self::Pids, Self::Devices];

    /// The kernel's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cpuset => "cpuset",
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Devices => "devices",
        }
    }
}

/// The two interfaces of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    V1,
    V2,
}

/// One mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    pub version: Version,
    /// Where it is mounted, an absolute path.
    pub mount: String,
    /// Of v2 `parse` leaves it empty, since mountinfo does not tell; `read` fills it.
    pub controllers: Vec<Controller>,
    /// The caller's own group, relative to the mount: `/` or `/user.slice/…`.
    pub own: String,
}

/// The hierarchies of this host that rocker can see.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Host {
    pub hierarchies: Vec<Hierarchy>,
}

/// `CGROUP_SUPER_MAGIC` and `CGROUP2_SUPER_MAGIC`, include/uapi/linux/magic.h.
const CGROUP: u64 = 0x0027_e0eb;
const CGROUP2: u64 = 0x6367_7270;

/// The most that rocker reads of mountinfo: tens of thousands of mounts.
const MOUNTINFO_LIMIT: u64 = 16 << 20;

impl Host {
    /// Looks at this process's mounts and groups. A host without any is no error.
    pub fn read() -> Result<Self> {
        let Ok(own) = proc::dir("self") else { return Ok(Self::default()) };
        let mounts = own.read_special("mountinfo", MOUNTINFO_LIMIT).context("read mountinfo")?;
        // A kernel without cgroups has no such file.
        let own = control::read(&own, "cgroup").unwrap_or_default();
        let mut host = Self::parse(&String::from_utf8_lossy(&mounts), &own);
        for hierarchy in &mut host.hierarchies {
            if hierarchy.version == Version::V2 {
                hierarchy.controllers = controllers_at(&hierarchy.mount);
            }
        }
        Ok(host)
    }

    /// Adds the hierarchy of cgroup2 where none is mounted and the kernel has it. Its groups are as
    /// real as others, only that no path of the host leads to them.
    pub fn add_unmounted(&mut self) {
        if self.unified().is_none() && mount::detached(c"cgroup2").is_ok() {
            self.hierarchies.push(Hierarchy {
                version: Version::V2,
                mount: UNMOUNTED.to_owned(),
                controllers: controllers_at(UNMOUNTED),
                own: "/".to_owned(),
            });
        }
    }

    /// Looks only where nearly every host has them, all below /sys/fs/cgroup, under their names;
    /// on v1 only for the controllers that are `wanted`.
    ///
    /// Mountinfo tells the same, and everything else, but is long; `None` sends the caller there.
    pub fn usual(wanted: impl Fn(Controller) -> bool) -> Option<Self> {
        const MOUNT: &str = "/sys/fs/cgroup";
        let hierarchy = |version, mount: String, controllers| Hierarchy {
            version,
            mount,
            controllers,
            own: "/".to_owned(),
        };
        if statfs::kind_at(MOUNT) == CGROUP2 {
            let controllers = controllers_at(MOUNT);
            return Some(Self {
                hierarchies: vec![hierarchy(Version::V2, MOUNT.to_owned(), controllers)],
            });
        }
        let mut host = Self::default();
        for controller in Controller::LIMITING.into_iter().filter(|one| wanted(*one)) {
            let mount = format!("{MOUNT}/{}", controller.name());
            if statfs::kind_at(&mount) != CGROUP {
                return None;
            }
            host.hierarchies.push(hierarchy(Version::V1, mount, vec![controller]));
        }
        Some(host)
    }

    /// Finds the hierarchies in the text of `/proc/self/mountinfo` and `/proc/self/cgroup`.
    pub fn parse(mountinfo: &str, own: &str) -> Self {
        let mut host = Self::default();
        for line in mountinfo.lines() {
            let Some(found) = hierarchy(line, own) else { continue };
            // The same hierarchy may be mounted twice: the first mount serves.
            let known = host.hierarchies.iter().any(|other| {
                other.version == found.version
                    && (found.version == Version::V2 || other.controllers == found.controllers)
            });
            if !known {
                host.hierarchies.push(found);
            }
        }
        host
    }

    /// The hierarchy that has a controller.
    pub fn find(&self, controller: Controller) -> Option<&Hierarchy> {
        self.hierarchies.iter().find(|hierarchy| hierarchy.controllers.contains(&controller))
    }

    /// The hierarchy of cgroup2, with controllers or without.
    pub fn unified(&self) -> Option<&Hierarchy> {
        self.hierarchies.iter().find(|hierarchy| hierarchy.version == Version::V2)
    }
}

/// Stands for the mount point of a cgroup2 that is mounted nowhere.
pub const UNMOUNTED: &str = "cgroup2:";

/// Opens a directory of a hierarchy.
pub fn open_directory(path: &str) -> crate::sys::Result<Dir> {
    match path.strip_prefix(UNMOUNTED).map(|path| path.trim_matches('/')) {
        None => Dir::open(path),
        Some("") => mount::detached(c"cgroup2")?.duplicate(),
        Some(inner) => mount::detached(c"cgroup2")?.dir(inner),
    }
}

/// The controllers that a cgroup2 mount offers.
fn controllers_at(mount: &str) -> Vec<Controller> {
    let words = open_directory(mount).and_then(|dir| control::read(&dir, "cgroup.controllers"));
    let words = words.unwrap_or_default();
    let has = |c: &Controller| words.split_ascii_whitespace().any(|word| word == c.name());
    Controller::LIMITING.into_iter().filter(has).collect()
}

/// One line of mountinfo: `36 35 0:31 / /sys/fs/cgroup/cpu rw,… shared:9 - cgroup cgroup rw,cpu`.
fn hierarchy(line: &str, own: &str) -> Option<Hierarchy> {
    let (left, right) = line.split_once(" - ")?;
    let mut right = right.split(' ');
    let version = match right.next()? {
        "cgroup2" => Version::V2,
        "cgroup" => Version::V1,
        _ => return None,
    };
    let options = right.nth(1).unwrap_or_default();
    let has = |c: &Controller| options.split(',').any(|option| option == c.name());
    let controllers: Vec<_> = match version {
        Version::V1 => Controller::ALL.into_iter().filter(has).collect(),
        Version::V2 => Vec::new(),
    };
    if version == Version::V1 && controllers.is_empty() {
        return None;
    }
    let mut left = left.split(' ').skip(3);
    let (root, mount) = (unescape(left.next()?), unescape(left.next()?));
    let own = own_group(own, version, controllers.first().copied())?;
    // Where only a part of the hierarchy is mounted, our group is seen relative to that part.
    let own = match own.strip_prefix(root.trim_end_matches('/')) {
        Some(rest) if rest.starts_with('/') => rest.to_owned(),
        _ => "/".to_owned(),
    };
    Some(Hierarchy { version, mount, controllers, own })
}

/// Our own group in one hierarchy, from lines such as `4:memory:/a` and `0::/b`.
fn own_group(text: &str, version: Version, controller: Option<Controller>) -> Option<String> {
    let line = text.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (names, path) = (fields.next()?, fields.next()?);
        let matches = match (version, controller) {
            (Version::V2, _) => names.is_empty(),
            (Version::V1, Some(c)) => names.split(',').any(|name| name == c.name()),
            (Version::V1, None) => false,
        };
        matches.then_some(path)
    });
    Some(line.unwrap_or("/").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

    #[test]
    fn a_hybrid_host_has_each_controller_where_it_is_mounted() {
        let host = Host::parse(HYBRID, "4:memory:/a/b\n1:cpu,cpuacct:/\n0::/c\n");
        let memory = host.find(Controller::Memory).unwrap();
        assert_eq!((memory.mount.as_str(), memory.own.as_str()), ("/sys/fs/cgroup/memory", "/a/b"));
        assert_eq!(host.find(Controller::Cpu).unwrap().mount, "/sys/fs/cgroup/cpu,cpuacct");
        assert_eq!(host.find(Controller::Pids), None);
        assert_eq!(host.unified().unwrap().own, "/c");
    }

    #[test]
    fn a_hierarchy_without_a_known_controller_is_left_alone() {
        let host = Host::parse(HYBRID, "");
        assert!(host.hierarchies.iter().all(|hierarchy| !hierarchy.mount.ends_with("systemd")));
    }

    #[test]
    fn a_partly_mounted_hierarchy_is_seen_relative_to_its_root() {
        let line = "9 8 0:9 /docker/x /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n";
        let host = Host::parse(line, "8:pids:/docker/x/y\n");
        assert_eq!(host.find(Controller::Pids).unwrap().own, "/y");
        let host = Host::parse(line, "8:pids:/elsewhere\n");
        assert_eq!(host.find(Controller::Pids).unwrap().own, "/");
    }
}
