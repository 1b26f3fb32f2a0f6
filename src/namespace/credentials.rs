//! The rights of a program in a container: capabilities, user and groups.

use super::accounts::Account;
use crate::error::{Context, Result};
use crate::sys::{Errno, process};

/// Highest capability that any supported kernel may know; what it does not know is no error.
const LAST_CAPABILITY: u32 = 63;

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

/// Becomes the account, with no more capabilities than `allowed`.
///
/// Order: groups and user while the right to change them is there, then the bounding set, then
/// the capabilities themselves; inheritable and ambient ones stay empty.
pub fn become_account(account: &Account, allowed: u64) -> Result<()> {
    let have = process::permitted_capabilities().context("read the capabilities")?;
    let allowed = allowed & have;
    // The bounding set needs CAP_SETPCAP, which a change of the user takes away.
    for capability in 0..=LAST_CAPABILITY {
        if allowed & 1 << capability == 0 {
            match process::drop_bounding(capability) {
                Ok(()) => {}
                // The kernel knows none from here on.
                Err(Errno::EINVAL) => break,
                Err(errno) => return Err(errno).context("drop a capability"),
            }
        }
    }
    process::set_user(account.uid, account.gid, &account.groups)
        .context(format_args!("become user {} group {}", account.uid, account.gid))?;
    // A user other than root keeps none: the kernel took the effective ones away with the id.
    let left = if account.uid == 0 { allowed } else { 0 };
    process::set_capabilities(left, left, 0).context("set the capabilities")
}
