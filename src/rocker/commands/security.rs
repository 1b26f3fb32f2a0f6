//! The values of the options that say what a container may do.

use crate::container::record::{DeviceRule, Ulimit};
use crate::container::security::{Asked, capabilities};
use crate::error::{Error, Result};
use crate::rocker::units;

/// `--security-opt`: docker's words, with `=` or the older `:`.
pub fn security_option(asked: &mut Asked, text: &str) -> Result<()> {
    let (key, value) = text.split_once(['=', ':']).unwrap_or((text, ""));
    match (key, value) {
        ("no-new-privileges", "" | "true") => asked.no_new_privileges = Some(true),
        ("no-new-privileges", "false") => asked.no_new_privileges = Some(false),
        ("seccomp", "builtin") => asked.seccomp = None,
        ("seccomp", value) if !value.is_empty() => asked.seccomp = Some(value.to_owned()),
        ("systempaths", "unconfined") => asked.unmasked = true,
        // There is no label in the first place.
        ("apparmor", "unconfined") | ("label", "disable") => {}
        ("apparmor" | "label", _) => {
            return Err(Error::new("no AppArmor profile and no SELinux label is applied here"));
        }
        _ => {
            return Err(Error::new("not a security option")
                .hint("no-new-privileges[=false], seccomp=unconfined, seccomp=FILE"));
        }
    }
    Ok(())
}

/// `--cap-add` and `--cap-drop`: one name, or several between commas.
pub fn capability_names(set: &mut u64, text: &str) -> Result<()> {
    for name in text.split(',') {
        *set |= capabilities::parse(name)?;
    }
    Ok(())
}

/// In the order of their numbers: include/uapi/asm-generic/resource.h.
const RESOURCES: &str = "cpu fsize data stack core rss nproc nofile memlock as locks sigpending \
    msgqueue nice rtprio rttime";

/// `--ulimit NAME=SOFT[:HARD]`; -1 is no limit.
pub fn ulimit(text: &str) -> Result<Ulimit> {
    let wrong = || Error::new("not NAME=SOFT[:HARD], as nofile=1024:2048");
    let (name, values) = text.split_once('=').ok_or_else(wrong)?;
    let resource = RESOURCES.split(' ').position(|resource| resource == name);
    let resource = resource.ok_or_else(|| {
        Error::new(format!("there is no resource {name:?}")).hint(format!("one of {RESOURCES}"))
    })?;
    let number = |text: &str| match text {
        "-1" | "unlimited" => Ok(u64::MAX),
        _ => text.parse().map_err(|_| wrong()),
    };
    let (soft, hard) = values.split_once(':').unwrap_or((values, values));
    let (soft, hard) = (number(soft)?, number(hard)?);
    match soft <= hard {
        // Its standard ones count.
        true if name == "nofile" && soft < 3 => {
            Err(Error::new("a program has at least 3 open files"))
        }
        true => Ok(Ulimit { resource: resource as u32, soft, hard }),
        false => Err(Error::new("the soft limit is above the hard one")),
    }
}

/// `--device HOST[:CONTAINER[:rwm]]`
pub fn device(text: &str) -> Result<DeviceRule> {
    let parts: Vec<&str> = text.split(':').collect();
    let is_access = |text: &str| !text.is_empty() && text.bytes().all(|b| b"rwm".contains(&b));
    let (source, target, access) = match parts[..] {
        [source] => (source, source, "rwm"),
        [source, access] if is_access(access) => (source, source, access),
        [source, target] => (source, target, "rwm"),
        [source, target, access] if is_access(access) => (source, target, access),
        _ => return Err(Error::new("not DEVICE[:CONTAINER[:rwm]]")),
    };
    let plain = |path: &str| path.split('/').all(|name| name != "." && name != "..");
    let target = target.trim_end_matches('/');
    if !source.starts_with('/') {
        return Err(Error::new("the device is no absolute path"));
    }
    if !target.starts_with("/dev/") || target.contains("//") || !plain(target) {
        return Err(Error::new("a device can only be shown below /dev"));
    }
    Ok(DeviceRule {
        source: source.to_owned(),
        target: target.to_owned(),
        access: access.to_owned(),
    })
}

/// `--oom-score-adj`: from -1000, never killed, to 1000, killed first.
pub fn oom_score(text: &str) -> Result<i64> {
    match units::whole(text)? {
        score @ -1000..=1000 => Ok(score),
        _ => Err(Error::new("not a number from -1000 to 1000")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_limit_has_a_soft_and_a_hard_value() {
        assert_eq!(ulimit("nofile=10"), Ok(Ulimit { resource: 7, soft: 10, hard: 10 }));
        assert_eq!(ulimit("nofile=3").map(|limit| limit.soft), Ok(3));
        assert!(ulimit("nofile=2:10").is_err());
        let core = Ulimit { resource: 4, soft: 0, hard: u64::MAX };
        assert_eq!(ulimit("core=0:-1"), Ok(core));
        for bad in ["nofile", "nofile=", "nofile=2:1", "files=1", "nofile=1:2:3", "nofile=-2"] {
            assert!(ulimit(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_device_is_shown_below_dev_alone() {
        let fuse = device("/dev/fuse").unwrap();
        assert_eq!((fuse.target.as_str(), fuse.access.as_str()), ("/dev/fuse", "rwm"));
        let other = device("/dev/null:/dev/a/b:r").unwrap();
        assert_eq!((other.target.as_str(), other.access.as_str()), ("/dev/a/b", "r"));
        assert_eq!(device("/dev/null:rw").unwrap().target, "/dev/null");
        for bad in [
            "dev/null",
            "/dev/null:/etc/x",
            "/dev/null:/dev/../etc/x",
            "/dev/null:/dev/x:z",
            "/dev/null:/dev/x:r:w",
            "/dev/null:/dev/",
            "",
        ] {
            assert!(device(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn security_options_are_dockers_with_either_sign() {
        let mut asked = Asked::default();
        for option in ["no-new-privileges", "no-new-privileges:true", "no-new-privileges=true"] {
            asked.no_new_privileges = None;
            security_option(&mut asked, option).unwrap();
            assert_eq!(asked.no_new_privileges, Some(true), "{option}");
        }
        security_option(&mut asked, "no-new-privileges=false").unwrap();
        security_option(&mut asked, "seccomp:unconfined").unwrap();
        assert_eq!(asked.no_new_privileges, Some(false));
        assert_eq!(asked.seccomp.as_deref(), Some("unconfined"));
        for bad in ["", "seccomp", "seccomp=", "label=type:x", "apparmor=x", "other=1"] {
            assert!(security_option(&mut asked, bad).is_err(), "{bad}");
        }
    }
}
