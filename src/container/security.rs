//! What a container may do: from the options to what is stored, and from there to its rights.

use super::record::{DeviceRule, Record, Security, Ulimit};
use super::userns::IdMap;
use crate::cgroups::devices::{Rule, restrict};
use crate::cgroups::{self, Group};
use crate::error::{Context, Error, Result};
pub use crate::namespace::capabilities;
use crate::namespace::capabilities::{DEFAULT_CAPABILITIES, SYS_PTRACE};
use crate::namespace::credentials::{Filter, Limit, Rights};
use crate::namespace::dev::Device;
use crate::namespace::seccomp::profile;
use crate::sys::fs::{self, Dir, Kind};
use crate::sys::mount::Attr;

/// What was asked for; unsaid is the default.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// Bit sets; all bits stand for the word `ALL`.
    pub cap_add: u64,
    pub cap_drop: u64,
    pub privileged: bool,
    pub no_new_privileges: Option<bool>,
    /// Neither masked nor read-only paths: `--security-opt systempaths=unconfined`.
    pub unmasked: bool,
    /// `unconfined`, or the path of a profile.
    pub seccomp: Option<String>,
    pub ulimits: Vec<Ulimit>,
    pub devices: Vec<DeviceRule>,
    /// `KEY=VALUE` each.
    pub sysctls: Vec<String>,
    pub shm_size: Option<u64>,
    pub oom_score_adj: Option<i64>,
}

impl Security {
    /// What every container may do.
    pub fn usual() -> Self {
        Self {
            capabilities: DEFAULT_CAPABILITIES,
            privileged: false,
            no_new_privileges: None,
            unmasked: false,
            seccomp: String::new(),
            filter: Vec::new(),
            ulimits: Vec::new(),
            devices: Vec::new(),
            sysctls: Vec::new(),
            shm_size: None,
            oom_score_adj: None,
        }
    }

    /// Names of the capabilities besides the usual ones, and of those of the usual ones that it
    /// does not have.
    pub fn changed_capabilities(&self) -> (Vec<String>, Vec<String>) {
        let added = capabilities::names(self.capabilities & !DEFAULT_CAPABILITIES);
        (added, capabilities::names(DEFAULT_CAPABILITIES & !self.capabilities))
    }

    /// `--security-opt`, as it was given.
    pub fn options(&self) -> Vec<String> {
        let privileges = self.no_new_privileges.map(|on| format!("no-new-privileges={on}"));
        let seccomp = Some(&self.seccomp).filter(|seccomp| !seccomp.is_empty());
        privileges.into_iter().chain(seccomp.map(|name| format!("seccomp={name}"))).collect()
    }
}

/// The word for no filter at all.
pub const UNCONFINED: &str = "unconfined";
/// What is stored where the filter is the user's.
const PROFILE: &str = "profile";
/// The longest profile that is read.
const PROFILE_LIMIT: u64 = 1 << 20;

/// Decides what a new container may do; nothing where all is as always.
pub fn decide(asked: &Asked, own_network: bool) -> Result<Option<Security>> {
    let capabilities = match asked {
        Asked { privileged: true, .. } => capabilities::ALL,
        // What is added and dropped by that word is added.
        Asked { cap_add: capabilities::ALL, cap_drop, .. } => match *cap_drop {
            capabilities::ALL => capabilities::ALL,
            dropped => capabilities::ALL & !dropped,
        },
        Asked { cap_add, cap_drop, .. } => DEFAULT_CAPABILITIES & !cap_drop | cap_add,
    };
    let (seccomp, filter) = match asked.seccomp.as_deref() {
        Some(UNCONFINED) => (UNCONFINED, Vec::new()),
        None if asked.privileged => (UNCONFINED, Vec::new()),
        None => ("", Vec::new()),
        Some(path) => (PROFILE, read_profile(path, capabilities)?),
    };
    for sysctl in &asked.sysctls {
        check_sysctl(sysctl, own_network)?;
    }
    for device in &asked.devices {
        devices_of(device)?;
    }
    let security = Security {
        capabilities,
        privileged: asked.privileged,
        no_new_privileges: asked.no_new_privileges,
        unmasked: asked.unmasked || asked.privileged,
        seccomp: seccomp.to_owned(),
        filter,
        ulimits: asked.ulimits.clone(),
        devices: asked.devices.clone(),
        sysctls: asked.sysctls.clone(),
        shm_size: asked.shm_size,
        oom_score_adj: asked.oom_score_adj,
    };
    Ok((security != Security::usual()).then_some(security))
}

fn read_profile(path: &str, capabilities: u64) -> Result<Vec<u64>> {
    let what = || format!("seccomp profile {path}");
    let file = std::fs::File::open(path).map_err(fs::errno).context(what())?;
    let text = fs::read_file(file.into(), PROFILE_LIMIT).context(what())?;
    let text = String::from_utf8(text).map_err(|_| Error::new("is not UTF-8")).context(what())?;
    profile::read(&text, capabilities).context(what())
}

/// Values of the kernel that belong to one namespace: others would be the host's own.
const OF_IPC: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

fn check_sysctl(text: &str, own_network: bool) -> Result<()> {
    let (key, _) = split_sysctl(text)?;
    let refuse = |why: &str| Err(Error::new(format!("sysctl {key}: {why}")));
    let name = |part: &str| {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b"_-@:".contains(&byte);
        !part.is_empty() && part.bytes().all(good)
    };
    if !key.split('.').all(name) {
        return refuse("is no name of a kernel value");
    }
    match () {
        () if OF_IPC.contains(&key.as_str()) || key == "kernel.domainname" => Ok(()),
        () if key.starts_with("fs.mqueue.") => Ok(()),
        () if key.starts_with("net.") && own_network => Ok(()),
        () if key.starts_with("net.") => refuse("the network is the host's own"),
        () => refuse("belongs to the whole host, not to a container"),
    }
}

/// Key, with dots, and value of `KEY=VALUE`.
fn split_sysctl(text: &str) -> Result<(String, &str)> {
    match text.split_once('=') {
        // With slashes a part may hold a dot, as the name of an interface: that stays refused.
        Some((key, value)) if !value.is_empty() && !value.contains('\0') => {
            Ok((key.replace('/', "."), value))
        }
        _ => Err(Error::new(format!("sysctl {text}: is not KEY=VALUE"))),
    }
}

/// Path below /proc/sys and value of each kernel value of a container.
pub fn sysctls(security: &Security) -> Result<Vec<(String, String)>> {
    let path = |text: &String| {
        split_sysctl(text).map(|(key, value)| (key.replace('.', "/"), value.to_owned()))
    };
    security.sysctls.iter().map(path).collect()
}

/// How deep a directory of devices may be.
const DEVICE_DEPTH: u32 = 8;

/// The device, or all devices in the directory, as they are on the host now.
pub fn devices_of(rule: &DeviceRule) -> Result<Vec<Device>> {
    let what = || format!("device {}", rule.source);
    let mut found = Vec::new();
    let stat = fs::stat_path(&rule.source).context(what())?;
    match stat.kind {
        Kind::CharDevice | Kind::BlockDevice => {
            found.push(Device::new(&rule.target, &rule.access, &stat));
        }
        Kind::Directory => {
            let dir = Dir::open(&rule.source).context(what())?;
            walk(&dir, &rule.target, &rule.access, DEVICE_DEPTH, &mut found).context(what())?;
            if found.is_empty() {
                return Err(Error::new("has no devices in it")).context(what());
            }
        }
        _ => return Err(Error::new("is no device")).context(what()),
    }
    Ok(found)
}

fn walk(
    dir: &Dir,
    target: &str,
    access: &str,
    depth: u32,
    found: &mut Vec<Device>,
) -> crate::sys::Result<()> {
    for name in dir.names()? {
        let (Ok(stat), Some(text)) = (dir.stat(&name), name.to_str()) else { continue };
        let path = format!("{target}/{text}");
        match stat.kind {
            Kind::CharDevice | Kind::BlockDevice => found.push(Device::new(&path, access, &stat)),
            // A new /dev has these of its own.
            Kind::Directory if depth > 0 && !OWN.contains(&path.as_str()) => {
                walk(&dir.dir(&name)?, &path, access, depth - 1, found)?;
            }
            _ => {}
        }
    }
    Ok(())
}

const OWN: [&str; 3] = ["/dev/pts", "/dev/shm", "/dev/mqueue"];

/// Every device that a container gets besides the usual ones. Those that it was given by name are
/// its own users', as far as it has users of its own.
pub fn devices(security: &Security, userns: Option<IdMap>) -> Result<Vec<Device>> {
    let mut all = Vec::new();
    if security.privileged {
        let host = DeviceRule {
            source: "/dev".to_owned(),
            target: "/dev".to_owned(),
            access: "rwm".to_owned(),
        };
        all = devices_of(&host)?;
        // Of these a container has its own: docker leaves them out too.
        all.retain(|device| device.path != "/dev/console" && device.path != "/dev/ptmx");
    }
    for rule in &security.devices {
        let mut named = devices_of(rule)?;
        if let Some(map) = userns {
            named.iter_mut().for_each(|device| device.give_to(map));
        }
        all.append(&mut named);
    }
    Ok(all)
}

/// `CAP_MKNOD`
const MKNOD: u64 = 1 << 27;

/// How the root is mounted. A container that cannot make nodes of devices cannot use those that
/// its image brings along either: it has the ones in /dev. With users of its own none can.
pub fn root_attr(record: &Record) -> Attr {
    let security = record.security.as_ref().filter(|_| record.userns.is_none());
    match security.is_some_and(|security| security.capabilities & MKNOD != 0) {
        true => Attr::default(),
        false => Attr::NO_DEV,
    }
}

/// What the cgroup of a container has to restrict its devices to; nothing where the kernel does
/// so without it: no nodes can be made, and those in /dev may be read and written.
pub fn device_rules(security: Option<&Security>) -> Result<Option<Vec<Rule>>> {
    let Some(security) = security.filter(|security| !security.privileged) else { return Ok(None) };
    let makes_nodes = security.capabilities & MKNOD != 0;
    let all = |rule: &DeviceRule| rule.access.contains('r') && rule.access.contains('w');
    if !makes_nodes && security.devices.iter().all(all) {
        return Ok(None);
    }
    let mut rules: Vec<Rule> =
        [3, 5, 7, 8, 9].into_iter().map(|minor| Rule::char(1, Some(minor), "rw")).collect();
    rules.extend([Rule::char(5, Some(0), "rw"), Rule::char(5, Some(2), "rw")]);
    rules.push(Rule::char(136, None, "rw"));
    for device in devices(security, None)? {
        let Device { block, major, minor, access, .. } = device;
        rules.push(Rule { block, major: Some(major), minor: Some(minor), access });
    }
    // A node alone is harmless: to open it is what needs a rule. And /dev is made from inside.
    for block in [false, true] {
        rules.push(Rule { block, major: None, minor: None, access: "m".to_owned() });
    }
    Ok(Some(rules))
}

/// Makes the groups of a container: its limits, and its devices where they need restricting.
pub fn group(record: &Record) -> Result<Group> {
    let mut group = cgroups::create(&record.id, &record.limits)?;
    let Some(rules) = device_rules(record.security.as_ref())? else { return Ok(group) };
    match restrict(&mut group, &record.id, &rules) {
        Ok(()) => Ok(group),
        Err(error) => {
            // The first error is the one to report.
            let _ = group.destroy();
            Err(error)
        }
    }
}

/// The rights of a container's programs.
pub fn rights(record: &Record) -> Rights {
    let Some(security) = &record.security else {
        return Rights {
            capabilities: DEFAULT_CAPABILITIES,
            no_new_privileges: None,
            filter: Filter::Default,
            limits: Vec::new(),
        };
    };
    let limit =
        |limit: &Ulimit| Limit { resource: limit.resource, soft: limit.soft, hard: limit.hard };
    Rights {
        capabilities: security.capabilities,
        // Privileged means all privileges, whoever the user is.
        no_new_privileges: match security.no_new_privileges {
            None if security.privileged => Some(false),
            asked => asked,
        },
        filter: match security.seccomp.as_str() {
            UNCONFINED => Filter::None,
            PROFILE => Filter::Profile(security.filter.clone()),
            _ => Filter::Default,
        },
        limits: security.ulimits.iter().map(limit).collect(),
    }
}

/// The rights of a program of `exec --privileged`.
pub fn all_rights(record: &Record) -> Rights {
    Rights {
        capabilities: capabilities::ALL,
        no_new_privileges: Some(false),
        filter: Filter::None,
        ..rights(record)
    }
}

/// Whether programs of the container may trace what they see of ours, as users of the host's.
pub fn can_trace(record: &Record) -> bool {
    let capabilities = record.security.as_ref().map_or(DEFAULT_CAPABILITIES, |s| s.capabilities);
    record.userns.is_none() && capabilities & SYS_PTRACE != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capabilities_of(asked: Asked) -> u64 {
        decide(&asked, true).unwrap().map_or(DEFAULT_CAPABILITIES, |security| security.capabilities)
    }

    #[test]
    fn a_container_that_asks_for_nothing_stores_nothing() {
        assert_eq!(decide(&Asked::default(), true), Ok(None));
        let same = Asked { cap_add: 1, ..Asked::default() };
        assert_eq!(decide(&same, true), Ok(None));
    }

    #[test]
    fn capabilities_are_dropped_before_they_are_added() {
        let asked = |cap_add, cap_drop| Asked { cap_add, cap_drop, ..Asked::default() };
        let all = capabilities::ALL;
        assert_eq!(capabilities_of(asked(0, all)), 0);
        assert_eq!(capabilities_of(asked(1 << 12, all)), 1 << 12);
        assert_eq!(capabilities_of(asked(all, 1)), all & !1);
        assert_eq!(capabilities_of(asked(1 << 12, 1)), DEFAULT_CAPABILITIES & !1 | 1 << 12);
        assert_eq!(capabilities_of(asked(1, 1)), DEFAULT_CAPABILITIES);
        let privileged = Asked { privileged: true, ..Asked::default() };
        assert_eq!(capabilities_of(privileged), all);
    }

    #[test]
    fn only_kernel_values_of_a_namespace_can_be_set() {
        for good in ["net.ipv4.ip_forward=1", "net/ipv4/ip_forward=1", "kernel.shmmax=1"] {
            assert!(check_sysctl(good, true).is_ok(), "{good}");
        }
        assert!(check_sysctl("net.ipv4.ip_forward=1", false).is_err());
        for bad in [
            "kernel.core_pattern=|/x",
            "vm.swappiness=1",
            "kernel.shmmax",
            "net.=1",
            "net...kernel.sysrq=1",
            "net.ipv4/../../kernel/sysrq=1",
            "=1",
            "fs.mqueue.=1",
        ] {
            assert!(check_sysctl(bad, true).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_no_device_is_refused_by_name() {
        let rule = |source: &str| DeviceRule {
            source: source.to_owned(),
            target: "/dev/x".to_owned(),
            access: "rw".to_owned(),
        };
        let null = &devices_of(&rule("/dev/null")).unwrap()[0];
        assert_eq!((null.major, null.minor, null.path.as_str()), (1, 3, "/dev/x"));
        for bad in ["/no/such/device", "/etc/passwd", "/etc"] {
            assert!(devices_of(&rule(bad)).unwrap_err().to_string().contains(bad), "{bad}");
        }
    }
}
