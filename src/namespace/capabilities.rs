//! Names of capabilities, and those that a container has.

use crate::error::{Error, Result};

/// In the order of their numbers: include/uapi/linux/capability.h.
const NAMES: &str = "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP \
    LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE \
    SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME \
    SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG \
    WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE";

/// chown, dac_override, fowner, fsetid, kill, setgid, setuid, setpcap, net_bind_service,
/// sys_chroot, setfcap: podman's eleven. Numbers: include/uapi/linux/capability.h.
const DEFAULT: [u32; 11] = [0, 1, 3, 4, 5, 6, 7, 8, 10, 18, 31];

/// The capabilities that a container may have when nothing else is asked, as a bit set.
pub const DEFAULT_CAPABILITIES: u64 = {
    let (mut bits, mut index) = (0, 0);
    while index < DEFAULT.len() {
        bits |= 1 << DEFAULT[index];
        index += 1;
    }
    bits
};

const CHOWN: u64 = 1;
pub const DAC_READ_SEARCH: u64 = 1 << 2;
const SETGID: u64 = 1 << 6;
const SETUID: u64 = 1 << 7;
const SETPCAP: u64 = 1 << 8;
const NET_ADMIN: u64 = 1 << 12;
pub const SYS_MODULE: u64 = 1 << 16;
pub const SYS_RAWIO: u64 = 1 << 17;
pub const SYS_CHROOT: u64 = 1 << 18;
/// What has it may trace every process that it sees and that has no users of its own.
pub const SYS_PTRACE: u64 = 1 << 19;
pub const SYS_PACCT: u64 = 1 << 20;
/// Without `no_new_privs` only this one lets a filter be loaded.
pub const SYS_ADMIN: u64 = 1 << 21;
pub const SYS_BOOT: u64 = 1 << 22;
pub const SYS_NICE: u64 = 1 << 23;
pub const SYS_TIME: u64 = 1 << 25;
pub const SYS_TTY_CONFIG: u64 = 1 << 26;
const MKNOD: u64 = 1 << 27;
pub const SYSLOG: u64 = 1 << 34;
pub const PERFMON: u64 = 1 << 38;
pub const BPF: u64 = 1 << 39;

/// Without one of these no container starts.
pub const OF_A_START: u64 =
    CHOWN | SETGID | SETUID | SETPCAP | NET_ADMIN | SYS_CHROOT | SYS_ADMIN | MKNOD;

/// Every capability that has a name.
pub const ALL: u64 = (1 << 41) - 1;

/// The bits of a name, with or without `CAP_`, in any case; `ALL` is all of them.
pub fn parse(name: &str) -> Result<u64> {
    let upper = name.to_ascii_uppercase();
    let short = upper.strip_prefix("CAP_").unwrap_or(&upper);
    if short == "ALL" {
        return Ok(ALL);
    }
    match NAMES.split(' ').position(|other| other == short) {
        Some(number) => Ok(1 << number),
        None => Err(Error::new("there is no such capability")
            .hint("a name such as NET_ADMIN or CAP_NET_ADMIN, or ALL: see capabilities(7)")),
    }
}

/// The names in a set, as docker shows them, lowest number first.
pub fn names(bits: u64) -> Vec<String> {
    let named = NAMES.split(' ').enumerate().filter(|(number, _)| bits & 1 << number != 0);
    named.map(|(_, name)| format!("CAP_{name}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_known_in_any_case_with_and_without_its_prefix() {
        for name in ["SYS_ADMIN", "sys_admin", "CAP_SYS_ADMIN", "cap_sys_admin"] {
            assert_eq!(parse(name), Ok(1 << 21), "{name}");
        }
        assert_eq!(parse("checkpoint_restore"), Ok(1 << 40));
        assert_eq!((parse("all"), names(ALL).len()), (Ok(ALL), 41));
        for bad in ["", "CAP_", "ROOT", "CAP_CAP_KILL", "KILL CHOWN", "CHOWN "] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
        assert_eq!(names(1 << 5 | 1), ["CAP_CHOWN", "CAP_KILL"]);
    }
}
