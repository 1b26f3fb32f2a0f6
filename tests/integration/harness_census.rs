//! What a rocker has on the machine, to compare before and after.

use crate::harness::{PREFIX, Rocker, names, processes, runs};
use crate::harness_host as machine;
use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

/// What a rocker has on the machine: equal before and after means that nothing was left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Census {
    pub mounts: BTreeSet<String>,
    pub cgroups: BTreeSet<PathBuf>,
    pub processes: BTreeSet<String>,
    pub links: BTreeSet<String>,
    pub files: BTreeSet<PathBuf>,
}

impl Census {
    /// What only the second one has.
    pub fn difference(before: &Self, after: &Self) -> Vec<String> {
        let paths = |a: &BTreeSet<PathBuf>, b: &BTreeSet<PathBuf>| -> Vec<String> {
            b.difference(a).map(|path| path.display().to_string()).collect()
        };
        let texts = |a: &BTreeSet<String>, b: &BTreeSet<String>| -> Vec<String> {
            b.difference(a).cloned().collect()
        };
        let mut all = texts(&before.mounts, &after.mounts);
        all.extend(paths(&before.cgroups, &after.cgroups));
        all.extend(texts(&before.processes, &after.processes));
        all.extend(texts(&before.links, &after.links));
        all.extend(paths(&before.files, &after.files));
        all
    }

    /// What there is now.
    pub fn take(rocker: &Rocker) -> Self {
        let base = rocker.base().to_str().unwrap();
        let mountinfo = fs::read_to_string(machine::mountinfo()).unwrap();
        let ours = |line: &&str| line.contains(base) || line.contains("/rocker/");
        let others = Others::of(rocker);
        let mut cgroups = BTreeSet::new();
        find_cgroups(Path::new("/sys/fs/cgroup"), false, &mut cgroups);
        cgroups.retain(|path| !others.have_group(&path.to_string_lossy()));
        let mut files = BTreeSet::new();
        for directory in [rocker.root(), rocker.run_root()] {
            walk(&directory, &mut files);
        }
        files.retain(|path| !path.strip_prefix(rocker.root()).is_ok_and(is_own));
        files.remove(&rocker.run_root().join(".boot"));
        Self {
            mounts: mountinfo.lines().filter(ours).map(str::to_string).collect(),
            cgroups,
            processes: processes()
                .filter_map(|pid| {
                    describe(pid, rocker.binary()).filter(|_| !others.have_process(pid))
                })
                .collect(),
            links: links(rocker),
            files,
        }
    }
}

/// The tests beside this one: what is theirs was not left by this one.
struct Others {
    bases: Vec<PathBuf>,
    containers: Vec<String>,
}

impl Others {
    fn of(rocker: &Rocker) -> Self {
        let places = [env::temp_dir(), PathBuf::from("/dev/shm")];
        let mut bases: Vec<PathBuf> = places
            .iter()
            .flat_map(|place| names(place).map(|name| place.join(name)))
            .filter(|path| {
                path.file_name()
                    .is_some_and(|n| n.as_encoded_bytes().starts_with(PREFIX.as_bytes()))
            })
            .collect();
        bases.retain(|base| base != rocker.base());
        let inside =
            |base: &PathBuf, name: &str| names(&base.join("root").join(name)).collect::<Vec<_>>();
        let containers = bases
            .iter()
            .flat_map(|base| [inside(base, "containers"), inside(base, "tmp")].concat());
        Self { containers: containers.collect(), bases }
    }

    fn have_group(&self, path: &str) -> bool {
        path.split('/').any(|part| self.containers.iter().any(|id| id == part))
    }

    /// Whether a process lies in a group of theirs or has something of theirs open.
    fn have_process(&self, pid: u32) -> bool {
        let directory = PathBuf::from(format!("/proc/{pid}"));
        let groups = fs::read_to_string(directory.join("cgroup")).unwrap_or_default();
        let fds = directory.join("fd");
        let mut open = names(&fds).filter_map(|name| fs::read_link(fds.join(name)).ok());
        groups.lines().any(|line| self.have_group(line))
            || open.any(|path| self.bases.iter().any(|base| path.starts_with(base)))
    }
}

/// Whether a path below the root is rocker's own: these stand from their first use on, empty or not.
pub fn is_own(path: &Path) -> bool {
    // The default network is made at its first use, and the host forwards from then on.
    let network = ["networks/rocker0", "networks/rocker0/leases", "networks/rocker0/network.json"];
    let made = network.into_iter().chain(["networks/.forwarding"]);
    let empty = ["images", "images/.ids", "layers", "containers", "tmp", "networks"];
    made.chain(empty).any(|own| Path::new(own) == path) || path.starts_with("places")
}

/// The interfaces of the host. The default bridge stays from its first use on.
fn links(rocker: &Rocker) -> BTreeSet<String> {
    let table = rocker.on_host(&["cat", "/proc/net/dev"]);
    let names = table.lines().filter_map(|line| Some(line.split_once(':')?.0.trim()));
    names.filter(|name| *name != "rocker0").map(str::to_string).collect()
}

/// All directories below one that is called `rocker`, in any hierarchy.
fn find_cgroups(directory: &Path, below: bool, found: &mut BTreeSet<PathBuf>) {
    for name in names(directory) {
        let path = directory.join(&name);
        // Links are the other names of a hierarchy: cpu,cpuacct.
        if path.is_dir() && !path.is_symlink() {
            let inside = below || name == "rocker";
            if below {
                found.insert(path.clone());
            }
            find_cgroups(&path, inside, found);
        }
    }
}

fn walk(directory: &Path, found: &mut BTreeSet<PathBuf>) {
    for name in names(directory) {
        let path = directory.join(name);
        if path.is_dir() && !path.is_symlink() {
            walk(&path, found);
        }
        found.insert(path);
    }
}

/// A process as text when it is rocker's: it runs the binary or lies in a cgroup of ours.
fn describe(pid: u32, binary: &Path) -> Option<String> {
    let directory = PathBuf::from(format!("/proc/{pid}"));
    let cgroup = fs::read_to_string(directory.join("cgroup")).unwrap_or_default();
    if !runs(pid, binary) && !cgroup.contains("/rocker/") {
        return None;
    }
    let words = fs::read(directory.join("cmdline")).unwrap_or_default();
    Some(format!("{pid} {}", String::from_utf8_lossy(&words).replace('\0', " ")))
}
