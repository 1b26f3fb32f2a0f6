//! What this host can do for containers, and why not: each fact from a try that leaves nothing.

use super::layer;
use super::store::{Engine, boot_id};
use crate::cgroups::Host;
use crate::cgroups::host::{Controller, UNMOUNTED, Version};
use crate::error::Error;
use crate::namespace::capabilities;
use crate::namespace::root;
use crate::sys::fs::{self, Dir};
use crate::sys::mount::{self, Propagation};
use crate::sys::process::{self, Exit, Namespaces};
use crate::sys::{Errno, probe, proc, statfs, time};
use std::os::fd::AsFd;
use std::path::Path;

/// How a fact stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Ok,
    /// Containers run, but with less, or in another way.
    Limited,
    /// Containers cannot run.
    Missing,
}

impl Verdict {
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Limited => "limited",
            Self::Missing => "missing",
        }
    }
}

/// One line of what was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    pub name: String,
    pub verdict: Verdict,
    pub detail: String,
}

// Of its own, which keeps the many callers small.
#[inline(never)]
fn fact(name: &str, verdict: Verdict, detail: &str) -> Fact {
    Fact { name: name.to_owned(), verdict, detail: detail.to_owned() }
}

/// A fact about something without which no container runs.
fn missing(name: &str, what: &str, errno: Errno) -> Fact {
    Fact { verdict: Verdict::Missing, ..without(name, what, errno) }
}

/// Oldest kernel that rocker runs on.
const OLDEST: (u32, u32) = (5, 10);

/// All facts, in the order in which a start needs them.
pub fn facts(root: &Path, run: &Path) -> Vec<Fact> {
    let mut facts = vec![kernel(), privileges(), proc_filesystem()];
    for (name, namespaces) in Namespaces::ALL {
        facts.push(namespace(name, namespaces));
    }
    facts.push(root_switch());
    cgroups(&mut facts);
    facts.push(directory("state directory", root, false));
    facts.push(directory("run directory", run, true));
    facts.push(writable_layer(root));
    stored(root, run, &mut facts);
    facts.push(match probe::seccomp_filter() {
        Ok(()) => fact("seccomp", Verdict::Ok, "filters of system calls"),
        Err(errno) => without("seccomp", "programs may make any system call", errno),
    });
    network(&mut facts);
    facts.push(clock());
    facts
}

/// A fact about something that is missed, but not needed.
#[inline(never)]
fn without(name: &str, what: &str, errno: Errno) -> Fact {
    let errno = errno.name().unwrap_or("unknown error");
    fact(name, Verdict::Limited, &[what, " (", errno, ")"].concat())
}

fn kernel() -> Fact {
    let release = proc::read("sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim();
    let mut numbers = release.split(['.', '-']);
    let mut number = || numbers.next().and_then(|number| number.parse().ok()).unwrap_or(0);
    let version = (number(), number());
    let verdict = match version {
        (0, 0) => Verdict::Limited,
        version if version < OLDEST => Verdict::Missing,
        _ => Verdict::Ok,
    };
    let shown = if release.is_empty() { "unknown release" } else { release };
    fact("kernel", verdict, &[shown, ", 5.10 or newer is needed"].concat())
}

/// An error with the line that tells of it, where this process is denied something and lacks what a
/// start needs.
pub fn blame_privileges(error: Error) -> Error {
    match error.errno {
        Some(Errno::EPERM) if error.hint.is_none() && missing_capabilities() != 0 => {
            error.hint("see rocker check, privileges")
        }
        _ => error,
    }
}

/// What a start needs and this process does not have.
fn missing_capabilities() -> u64 {
    capabilities::OF_A_START & !process::permitted_capabilities().unwrap_or(0)
}

fn privileges() -> Fact {
    let without = capabilities::names(missing_capabilities());
    match (process::is_root(), without.is_empty()) {
        (true, true) => fact("privileges", Verdict::Ok, "root"),
        (true, false) => {
            fact("privileges", Verdict::Missing, &format!("root without {}", without.join(", ")))
        }
        (false, _) => fact("privileges", Verdict::Missing, "not root"),
    }
}

fn proc_filesystem() -> Fact {
    if let Err(error) = boot_id() {
        return fact("proc", Verdict::Missing, &error.to_string());
    }
    match (proc::is_mounted(), proc::own()) {
        (true, _) => fact("proc", Verdict::Ok, "mounted on /proc"),
        (false, Ok(_)) => fact("proc", Verdict::Ok, "not mounted; rocker has its own"),
        (false, Err(errno)) => missing("proc", "neither mounted nor to be had", errno),
    }
}

fn namespace(name: &str, namespaces: Namespaces) -> Fact {
    let else_missing = match namespaces {
        Namespaces::CGROUP => "containers see the host's paths of control groups",
        Namespaces::USER => "no --userns; SYS_ADMIN in a container is not locked in",
        _ => "",
    };
    // A namespace that is compiled out may be made without a word, and then is none.
    let made = match namespaces.missing() {
        None => attempt(namespaces, &|| Ok(())),
        Some(_) => Err(Errno::EINVAL),
    };
    let title = ["namespace ", name].concat();
    let what = match &made {
        Ok(()) => return fact(&title, Verdict::Ok, "can be made"),
        Err(Errno::EINVAL) => "this kernel does not have it",
        Err(Errno::ENOSPC | Errno::EUSERS) => "a limit is reached: raise user.max_*_namespaces",
        Err(_) => "may not be made here",
    };
    let errno = made.err().unwrap_or(Errno::EIO);
    match else_missing.is_empty() {
        true => missing(&title, what, errno),
        false => without(&title, &[what, ": ", else_missing].concat(), errno),
    }
}

/// Runs a try in a child that first makes these namespaces; what it does goes with it.
fn attempt(namespaces: Namespaces, act: &dyn Fn() -> Result<(), Errno>) -> Result<(), Errno> {
    fn main((namespaces, act): (Namespaces, &dyn Fn() -> Result<(), Errno>)) -> ! {
        let result = process::unshare(namespaces).and_then(|()| act());
        // The numbers of x86_64 fit.
        process::exit_now(result.err().map_or(0, |errno| errno.into_raw() as u8))
    }
    let child = process::clone_into(Namespaces::default(), None, (namespaces, act), main)?;
    match process::wait(child.pidfd.as_fd())? {
        Exit::Code(0) => Ok(()),
        Exit::Code(errno) => Err(Errno::new(errno.into())),
        Exit::Signal(_) => Err(Errno::EIO),
    }
}

fn root_switch() -> Fact {
    let pivot = attempt(Namespaces::MOUNT, &|| {
        root::cut_off(Propagation::Private).map_err(|error| error.errno.unwrap_or(Errno::EIO))?;
        // Nobody else sees that it covers the root.
        let tree = mount::detached(c"ramfs")?;
        mount::attach(tree.as_fd(), Dir::open("/")?.as_fd())?;
        process::fchdir(tree.as_fd())?;
        mount::pivot_root_here()
    });
    match pivot {
        Ok(()) => fact("root", Verdict::Ok, "pivot_root"),
        Err(Errno::EINVAL) => {
            fact("root", Verdict::Ok, "an initramfs or a chroot: moved over, the rest detached")
        }
        Err(errno) => missing("root", "neither pivot_root nor a move of mounts", errno),
    }
}

fn cgroups(facts: &mut Vec<Fact>) {
    let mut host = Host::read().unwrap_or_default();
    let is_v1 = host.hierarchies.iter().any(|hierarchy| hierarchy.version == Version::V1);
    let is_mounted = host.unified().is_some();
    host.add_unmounted();
    let (verdict, layout) = match (is_v1, is_mounted, host.unified()) {
        (true, true, _) => (Verdict::Ok, "v1 and v2 (hybrid)"),
        (true, false, _) => (Verdict::Ok, "v1"),
        (false, true, _) => (Verdict::Ok, "v2"),
        (false, false, Some(_)) => {
            (Verdict::Ok, "none mounted; rocker has its own v2 where a limit is asked")
        }
        (false, false, None) => (Verdict::Limited, "none: no limits"),
    };
    facts.push(fact("cgroups", verdict, layout));
    for controller in Controller::LIMITING {
        let name = ["cgroup ", controller.name()].concat();
        facts.push(match host.find(controller) {
            Some(found) => {
                let version = if found.version == Version::V1 { "v1" } else { "v2" };
                let place = if found.mount == UNMOUNTED { "not mounted" } else { &found.mount };
                fact(&name, Verdict::Ok, &[version, ", ", place].concat())
            }
            None => fact(&name, Verdict::Limited, "not there: its limits are refused"),
        });
    }
}

/// The nearest directory above a path that is there, the path itself included.
fn nearest(path: &Path) -> &Path {
    path.ancestors().find(|path| fs::stat_path(path).is_ok()).unwrap_or(Path::new("/"))
}

fn directory(name: &str, path: &Path, needs_links: bool) -> Fact {
    // PROC and SYSFS_SUPER_MAGIC: no files of ours at all; MSDOS and EXFAT: no links.
    const USELESS: [u64; 2] = [0x9fa0, 0x6265_6572];
    const WITHOUT_LINKS: [u64; 2] = [0x4d44, 0x2011_bab0];
    let there = nearest(path);
    let shown = path.to_string_lossy();
    let kind = Dir::open(there).map(|dir| statfs::kind_of(dir.as_fd()));
    let kind_known = kind.unwrap_or(0);
    // The nearest thing that is there may be a file.
    let writable = kind.and_then(|_| probe::writable(there)).and_then(|()| probe::room(there));
    let why = match writable {
        Err(errno) => {
            return missing(name, &[&shown, ": cannot be written to"].concat(), errno);
        }
        Ok(_)
            if USELESS.contains(&kind_known)
                || needs_links && WITHOUT_LINKS.contains(&kind_known) =>
        {
            "this kind of file system cannot hold it"
        }
        // One that knows no bounds says 0 of 0.
        Ok((free, total)) if total != 0 && free < 1 << 20 => "the disk is full",
        Ok((free, _)) => {
            let made = if there == path { "" } else { ", still to be made" };
            let detail = format!("{shown}, {} MiB free{made}", free >> 20);
            return fact(name, Verdict::Ok, &detail);
        }
    };
    fact(name, Verdict::Missing, &[&shown, ": ", why].concat())
}

fn writable_layer(path: &Path) -> Fact {
    const NAME: &str = "writable layer";
    match mount::knows(c"overlay") {
        Err(errno @ Errno::ENODEV) => {
            return without(NAME, "copy: this kernel has no overlayfs", errno);
        }
        Err(errno @ Errno::EPERM) => return without(NAME, "cannot be tried", errno),
        _ => {}
    }
    match Dir::open(nearest(path)).is_ok_and(|dir| layer::holds_layer(&dir)) {
        true => fact(NAME, Verdict::Ok, "overlay"),
        false => {
            let why = "tmpfs: the file system of the state directory cannot hold an overlay";
            fact(NAME, Verdict::Limited, why)
        }
    }
}

/// Whether what is stored is whole: each image with its layers, each container.
fn stored(root: &Path, run: &Path, facts: &mut Vec<Fact>) {
    // Opening an engine would make the directory.
    let engine = match fs::stat_path(root) {
        Ok(_) => Engine::open(root, run),
        Err(_) => return,
    };
    let Ok(engine) = engine else { return };
    let mut damaged = Vec::new();
    let images = engine.images.list_all(&mut |error| damaged.push(error.to_string()));
    let images = images.unwrap_or_default();
    for image in &images {
        let there =
            |digest: &str| engine.images.directory().stat(format!("layers/{digest}")).is_ok();
        if !image.layers.iter().all(|layer| there(&layer.digest)) {
            damaged.push(format!("image {}:{}: a layer is missing", image.name, image.tag));
        }
    }
    facts.push(whole("images", images.len(), &damaged));
    damaged.clear();
    let ids = engine.ids().unwrap_or_default();
    for container in ids.iter().filter_map(|id| engine.open_id(id).ok().flatten()) {
        if let Err(error) = container.record().and_then(|_| container.stored_state())
            // It is being made or removed just now.
            && !container.ephemeral
        {
            damaged.push(error.to_string());
        }
    }
    facts.push(whole("containers", ids.len(), &damaged));
}

fn whole(name: &str, count: usize, damaged: &[String]) -> Fact {
    match damaged {
        [] => fact(name, Verdict::Ok, &count.to_string()),
        _ => fact(name, Verdict::Limited, &damaged.join("; ")),
    }
}

fn network(facts: &mut Vec<Fact>) {
    for kind in ["bridge", "veth"] {
        facts.push(match attempt(Namespaces::NET, &|| probe::make_interface(kind)) {
            Ok(()) => fact(kind, Verdict::Ok, "can be made"),
            Err(errno) => without(kind, "no network but loopback", errno),
        });
    }
    facts.push(match attempt(Namespaces::NET, &probe::nf_tables) {
        Ok(()) => fact("nf_tables", Verdict::Ok, "can be asked"),
        Err(errno) => without("nf_tables", "no way out of a bridge, no published ports", errno),
    });
}

fn clock() -> Fact {
    // When this was written.
    const LEAST_YEAR: i32 = 2025;
    let now = time::local(time::seconds()).unwrap_or_default();
    let shown = format!("{:04}-{:02}-{:02}", now.year, now.month, now.day);
    match now.year >= LEAST_YEAR {
        true => fact("clock", Verdict::Ok, &shown),
        false => {
            let why = "the times of images and logs will be wrong, ages not";
            fact("clock", Verdict::Limited, &[&shown, ": ", why].concat())
        }
    }
}
