//! The group of one container: made, joined, asked, killed and removed.

use super::host::{Controller, Hierarchy, Host, Version, open_directory};
use super::limits::{Limits, cpu_list};
use crate::error::{Context, Error, Result};
use crate::sys::fs::Dir;
use crate::sys::{Errno, control, process};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// Directory of all of rocker's groups in each hierarchy.
const PARENT: &str = "rocker";

/// On v2 the file with the controllers that a group hands down.
const DIVISION: &str = "cgroup.subtree_control";

/// The directory of a container in one hierarchy.
#[derive(Debug)]
struct Place {
    version: Version,
    path: String,
    dir: Dir,
}

/// The directories of a container in all hierarchies that its limits need.
#[derive(Debug, Default)]
pub struct Group {
    places: Vec<Place>,
}

/// What a process needs to get into a group.
#[derive(Debug)]
pub struct Entry<'a> {
    /// For `clone_into`: the directory on v2.
    pub into: Option<BorrowedFd<'a>>,
    /// The `tasks` files on v1, into which the process itself writes.
    pub tasks: Vec<OwnedFd>,
}

impl Entry<'_> {
    /// Moves this thread, the only one of its process, into the v1 groups.
    ///
    /// `0` means the caller, which spares the kernel its global lock and us up to 12 ms.
    pub fn join(tasks: &[OwnedFd]) -> Result<()> {
        for file in tasks {
            crate::sys::io::write(file.as_fd(), b"0").context("join the cgroup")?;
        }
        Ok(())
    }
}

/// Makes the groups that the limits need and sets the limits.
///
/// A controller that the host does not have is an error only where it was asked for.
pub fn create(id: &str, limits: &Limits) -> Result<Group> {
    let wanted = |controller| limits.wants(controller);
    if Controller::LIMITING.into_iter().any(wanted)
        && let Some(usual) = Host::usual(wanted)
    {
        match create_on(&usual, id, limits) {
            // Only the whole truth tells which group is ours to divide.
            Err(error) if refused(&error) => {}
            other => return other,
        }
    }
    let mut host = Host::read()?;
    // What was not asked for can be done without.
    if Controller::LIMITING.into_iter().any(|c| limits.asks(c) && host.find(c).is_none()) {
        host.add_unmounted();
    }
    create_on(&host, id, limits)
}

fn create_on(host: &Host, id: &str, limits: &Limits) -> Result<Group> {
    let mut group = Group::default();
    match fill(&mut group, host, id, limits) {
        Ok(()) => Ok(group),
        Err(error) => {
            // The first error is the one to report.
            let _ = group.destroy();
            Err(error)
        }
    }
}

fn fill(group: &mut Group, host: &Host, id: &str, limits: &Limits) -> Result<()> {
    for hierarchy in &host.hierarchies {
        let mut wanted: Vec<Controller> =
            hierarchy.controllers.iter().copied().filter(|c| limits.wants(*c)).collect();
        if wanted.is_empty() {
            continue;
        }
        let place = match group.make(hierarchy, id, &wanted) {
            // What was not asked for can be done without.
            Err(error) if is_shared(&error) => {
                wanted.retain(|controller| limits.asks(*controller));
                group.make(hierarchy, id, &wanted)?
            }
            other => other?,
        };
        for controller in wanted {
            apply(place, limits, controller)?;
        }
    }
    for controller in Controller::LIMITING {
        if limits.asks(controller) && host.find(controller).is_none() {
            let name = controller.name();
            return Err(Error::new(format!("this host has no {name} cgroup controller")).hint(
                "mount the cgroup file system, or leave the limit out; see rocker check, cgroup",
            ));
        }
    }
    // Without any limit one group still tells the processes of the container apart.
    if let (true, Some(unified)) = (group.places.is_empty(), host.unified()) {
        group.make(unified, id, &[])?;
    }
    Ok(())
}

impl Group {
    fn make(&mut self, hierarchy: &Hierarchy, id: &str, wanted: &[Controller]) -> Result<&Place> {
        let root = hierarchy.mount.clone();
        let own = format!("{root}{}", hierarchy.own.trim_end_matches('/'));
        let place = match make_at(hierarchy.version, &root, id, wanted) {
            // Where the root belongs to somebody else, our own group may be ours to divide.
            Err(error) if refused(&error) && own != root => {
                make_at(hierarchy.version, &own, id, wanted).map_err(|_| error)?
            }
            other => other?,
        };
        self.places.push(place);
        let last = self.places.len() - 1;
        Ok(&self.places[last])
    }

    /// The directory in one hierarchy and its path; made where the limits did not need it.
    pub(super) fn place(&mut self, hierarchy: &Hierarchy, id: &str) -> Result<(&str, &Dir)> {
        let inside = |place: &Place| {
            let rest = place.path.strip_prefix(&hierarchy.mount);
            rest.is_some_and(|rest| rest.starts_with('/')) && place.version == hierarchy.version
        };
        let place = match self.places.iter().position(inside) {
            Some(index) => &self.places[index],
            None => self.make(hierarchy, id, &[])?,
        };
        Ok((&place.path, &place.dir))
    }

    /// Absolute paths of the directories: what the container's state remembers.
    pub fn paths(&self) -> Vec<String> {
        self.places.iter().map(|place| place.path.clone()).collect()
    }

    /// Whether there are directories, and every one is of cgroup2, as on a host that has nothing
    /// else. Without any the container would see the groups of the host.
    pub fn is_unified(&self) -> bool {
        !self.places.is_empty() && self.places.iter().all(|place| place.version == Version::V2)
    }

    /// What a new process needs to get in.
    pub fn entry(&self) -> Result<Entry<'_>> {
        let mut entry = Entry { into: None, tasks: Vec::new() };
        for place in &self.places {
            match place.version {
                Version::V2 => entry.into = Some(place.dir.as_fd()),
                Version::V1 => {
                    let tasks = control::open(&place.dir, "tasks");
                    entry.tasks.push(tasks.context(format_args!("open {}/tasks", place.path))?);
                }
            }
        }
        Ok(entry)
    }

    /// Whether the container has divided its own group of v2, which then takes no processes itself.
    pub fn is_divided(&self) -> bool {
        let divides = |place: &Place| {
            let handed = control::read(&place.dir, DIVISION);
            place.version == Version::V2 && handed.is_ok_and(|names| !names.trim().is_empty())
        };
        self.places.iter().any(divides)
    }

    /// Opens the group below the container's own of v2 that a process is in; none where it is in that
    /// one itself. `groups` is its /proc/PID/cgroup as it reads in the cgroup namespace of the container.
    pub fn inner(&self, groups: &str) -> Result<Option<Dir>> {
        let path = groups.lines().find_map(|line| line.strip_prefix("0::/"));
        let place = self.places.iter().find(|place| place.version == Version::V2);
        let (Some(path), Some(place)) = (path, place) else { return Ok(None) };
        match path {
            "" => Ok(None),
            // It was moved out of the container's group.
            _ if path.split('/').any(|name| name == "..") => {
                Err(Error::new(format!("the first process is outside of {}", place.path)))
            }
            _ => place.dir.dir(path).context(format_args!("open {}/{path}", place.path)).map(Some),
        }
    }

    /// Whether the kernel killed a process of the group for want of memory.
    pub fn oom_killed(&self) -> bool {
        self.places.iter().any(|place| {
            let file = match place.version {
                Version::V1 => "memory.oom_control",
                Version::V2 => "memory.events",
            };
            let text = control::read(&place.dir, file).unwrap_or_default();
            let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
            count.is_some_and(|count| count.trim() != "0")
        })
    }

    /// Kills what is left in the group and removes it. May be called at any time, twice.
    pub fn destroy(self) -> Result<()> {
        self.places.iter().try_for_each(remove)
    }
}

fn refused(error: &Error) -> bool {
    matches!(error.errno, Some(Errno::EACCES | Errno::EPERM | Errno::EROFS))
}

/// Whether the group to be divided holds processes itself, which the kernel does not allow of one that
/// is not the root: rocker's may be the first of a container.
fn is_shared(error: &Error) -> bool {
    matches!(error.errno, Some(Errno::EBUSY | Errno::EOPNOTSUPP))
}

fn make_at(version: Version, base: &str, id: &str, wanted: &[Controller]) -> Result<Place> {
    let path = format!("{base}/{PARENT}/{id}");
    let open = |path: &str| open_directory(path).context(format_args!("open {path}"));
    let base_dir = open(base)?;
    let name = format!("{PARENT}/{id}");
    let made = match base_dir.mkdir(&name, 0o755) {
        Err(Errno::ENOENT) => match base_dir.mkdir(PARENT, 0o755) {
            Ok(()) | Err(Errno::EEXIST) => base_dir.mkdir(&name, 0o755),
            Err(errno) => Err(errno),
        },
        other => other,
    };
    match made {
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(errno) => return Err(errno).context(format_args!("make the cgroup {path}")),
    }
    let place = Place { version, dir: open(&path)?, path };
    match version {
        Version::V2 => enable(&base_dir, base, &place, wanted)?,
        Version::V1 if wanted.contains(&Controller::Cpuset) => {
            inherit_cpuset(&base_dir, PARENT)?;
            inherit_cpuset(&base_dir, &name)?;
        }
        Version::V1 => {}
    }
    Ok(place)
}

/// On v2 a controller works in a group only after every group above has handed it down.
fn enable(base: &Dir, base_path: &str, place: &Place, wanted: &[Controller]) -> Result<()> {
    let present =
        control::read(&place.dir, "cgroup.controllers").context("read cgroup.controllers")?;
    for controller in wanted {
        let name = controller.name();
        if present.split_ascii_whitespace().any(|word| word == name) {
            continue;
        }
        let had = control::read(base, DIVISION).context(format_args!("read {DIVISION}"))?;
        let hand_down = |file: &str| {
            control::write(base, file, &format!("+{name}"))
                .context(format_args!("enable the {name} controller in {base_path}/{file}"))
        };
        let enabled = hand_down(DIVISION).and_then(|()| {
            hand_down(&format!("{PARENT}/{DIVISION}")).inspect_err(|_| {
                // A controller of threads can be handed down by a group with processes, but below that
                // none can be started any more.
                if !had.split_ascii_whitespace().any(|word| word == name) {
                    let _ = control::write(base, DIVISION, &format!("-{name}"));
                }
            })
        });
        match enabled {
            Err(error) if is_shared(&error) => {
                return Err(error.hint(format!(
                    "processes in {base_path} are in the way: move them into a group below it, or leave the limit out"
                )));
            }
            other => other?,
        }
    }
    Ok(())
}

/// On v1 a new group has no processors and no memory nodes until it is given some.
fn inherit_cpuset(base: &Dir, name: &str) -> Result<()> {
    let parent = name.rsplit_once('/').map_or(".", |(parent, _)| parent);
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let here =
            control::read(base, format!("{name}/{file}")).context(format_args!("read {file}"))?;
        if here.trim().is_empty() {
            let above = control::read(base, format!("{parent}/{file}"))
                .context(format_args!("read {file}"))?;
            control::write(base, format!("{name}/{file}"), above.trim())
                .context(format_args!("set {file} of {name}"))?;
        }
    }
    Ok(())
}

fn apply(place: &Place, limits: &Limits, controller: Controller) -> Result<()> {
    if let (Controller::Cpuset, Some(asked)) = (controller, &limits.cpuset) {
        check_cpuset(place, asked)?;
    }
    for setting in limits.settings(controller, place.version) {
        match control::write(&place.dir, setting.file, &setting.value) {
            Err(Errno::ENOENT | Errno::EACCES) if setting.optional => {}
            Err(Errno::ENOENT) => {
                let what = format!("this kernel has no {}", setting.file);
                return Err(Error::new(what).hint("it was built or started without this limit"));
            }
            other => other.context(format_args!("set {} to {}", setting.file, setting.value))?,
        }
    }
    Ok(())
}

/// v2 takes processors that are not there without a word, v1 says `EINVAL`: so look first.
fn check_cpuset(place: &Place, asked: &str) -> Result<()> {
    let file = match place.version {
        Version::V1 => "../cpuset.cpus",
        Version::V2 => "../cpuset.cpus.effective",
    };
    let there = control::read(&place.dir, file).context("read the usable processors")?;
    let there = there.trim();
    let usable = cpu_list(there).unwrap_or_default();
    let asked_list = cpu_list(asked)
        .ok_or_else(|| Error::new(format!("cpuset {asked}: is not a list such as 0-1,3")))?;
    match asked_list.iter().all(|cpu| usable.contains(cpu)) {
        true => Ok(()),
        false => Err(Error::new(format!(
            "cpuset {asked}: not available: this host has the processors {there}"
        ))),
    }
}

/// Opens the groups of a container whose paths were remembered; those that are gone are left out.
pub fn open(paths: &[String]) -> Result<Group> {
    let mut group = Group::default();
    for path in paths {
        let dir = match open_directory(path) {
            Err(Errno::ENOENT) => continue,
            other => other.context(format_args!("open the cgroup {path}"))?,
        };
        // Only v1 has `tasks`.
        let version = if dir.stat("tasks").is_ok() { Version::V1 } else { Version::V2 };
        group.places.push(Place { version, path: path.clone(), dir });
    }
    Ok(group)
}

/// Finds and removes the groups of a container of which nothing but the id is known.
pub fn remove_leftovers(host: &Host, id: &str) -> Result<()> {
    for hierarchy in &host.hierarchies {
        let own = format!("{}{}", hierarchy.mount, hierarchy.own.trim_end_matches('/'));
        for base in [&hierarchy.mount, &own] {
            open(&[format!("{base}/{PARENT}/{id}")])?.destroy()?;
        }
    }
    Ok(())
}

fn remove(place: &Place) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    // Groups that the container made inside its own go first.
    remove_inner(&place.dir);
    loop {
        // By path: an empty group can be removed while it is open.
        let parent = open_directory(place.path.trim_end_matches(|c| c != '/'));
        let name = place.path.rsplit('/').next().unwrap_or_default();
        match parent.and_then(|parent| parent.rmdir(name)) {
            Ok(()) | Err(Errno::ENOENT) => return Ok(()),
            Err(Errno::EBUSY) if Instant::now() < deadline => {
                kill(place);
                remove_inner(&place.dir);
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(errno) => {
                return Err(errno).context(format_args!("remove the cgroup {}", place.path));
            }
        }
    }
}

fn remove_inner(dir: &Dir) {
    // Only a group with groups in it has more than two links, on v1 and on v2.
    if crate::sys::fs::stat(dir.as_fd()).is_ok_and(|stat| stat.links <= 2) {
        return;
    }
    for name in dir.names().unwrap_or_default() {
        if let Ok(inner) = dir.dir(&name) {
            remove_inner(&inner);
            let _ = dir.rmdir(&name);
        }
    }
}

/// Kills every process of a group. What appears meanwhile is caught by the next round.
fn kill(place: &Place) {
    if place.version == Version::V2 && control::write(&place.dir, "cgroup.kill", "1").is_ok() {
        return;
    }
    // Before Linux 5.14: hold still what can be held, so that nothing forks while we go through.
    let frozen =
        place.version == Version::V2 && control::write(&place.dir, "cgroup.freeze", "1").is_ok();
    // On v1 this does the same where the group is one of the pids controller.
    let _ = control::write(&place.dir, "pids.max", "0");
    let listed = || -> Vec<u32> {
        let list = control::read(&place.dir, "cgroup.procs").unwrap_or_default();
        list.lines().filter_map(|line| line.parse().ok()).collect()
    };
    let open = |pid| process::pidfd_open(pid).ok().map(|pidfd| (pid, pidfd));
    let opened: Vec<_> = listed().into_iter().filter_map(open).collect();
    // A number that is still listed after its pidfd was opened was not another's meanwhile.
    let still = listed();
    for (pid, pidfd) in opened {
        if still.contains(&pid) {
            let _ = process::send_signal(pidfd.as_fd(), libc::SIGKILL as u32);
        }
    }
    if frozen {
        let _ = control::write(&place.dir, "cgroup.freeze", "0");
    }
}
