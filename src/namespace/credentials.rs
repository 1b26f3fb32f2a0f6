//! The rights of a program in a container: capabilities, user and groups, limits, system calls.

use super::accounts::Account;
use super::capabilities::SYS_ADMIN;
use super::seccomp;
use crate::error::{Context, Result};
use crate::sys::seccomp::Step;
use crate::sys::{Errno, limits, process};

/// Highest capability that any supported kernel may know; what it does not know is no error.
const LAST_CAPABILITY: u32 = 63;

/// What a program may do, before it is known who it runs as.
#[derive(Debug, Clone)]
pub struct Rights {
    /// A bit set.
    pub capabilities: u64,
    /// Whether setuid programs and file capabilities give nothing; unsaid, for all but root.
    pub no_new_privileges: Option<bool>,
    pub filter: Filter,
    /// Besides those that every container has.
    pub limits: Vec<Limit>,
}

/// Which system calls a program may make.
#[derive(Debug, Clone)]
pub enum Filter {
    /// All of them.
    None,
    /// Those of the default list.
    Default,
    /// Those of a profile of the user's.
    Profile(Vec<Step>),
}

/// A resource of setrlimit(2), and how much of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    pub resource: u32,
    pub soft: u64,
    pub hard: u64,
}

impl Rights {
    fn no_new_privileges(&self, account: &Account) -> bool {
        self.no_new_privileges.unwrap_or(account.uid != 0)
    }

    /// A user other than root keeps no capability: the kernel takes them away with the id.
    fn left(&self, account: &Account) -> u64 {
        if account.uid == 0 { self.capabilities } else { 0 }
    }

    /// Whether the filter can be loaded only by somebody with more rights than the program has.
    fn needs_admin(&self, account: &Account) -> bool {
        !matches!(self.filter, Filter::None) && !self.no_new_privileges(account)
    }
}

/// Lets a process, 0 for this one, set these limits even when it has lost the host's rights.
pub fn let_raise(pid: u32, asked: &[Limit]) -> Result<()> {
    asked.iter().try_for_each(|Limit { resource, hard, .. }| {
        limits::let_raise(pid, *resource, *hard)
            .context(format_args!("raise the resource limit {resource}"))
    })
}

/// Sets the limits: the usual ones, then those that were asked for.
pub fn limit(asked: &[Limit]) -> Result<()> {
    // What is lowered once cannot be raised again in a user namespace.
    if !asked.iter().any(|limit| limit.resource == limits::OPEN_FILES) {
        limits::lower_open_files(1024, 524_288).context("limit open files")?;
    }
    limits::lower_core_files().context("limit core files")?;
    for limit in asked {
        limits::set(limit.resource, limit.soft, limit.hard)
            .context(format_args!("set the resource limit {}", limit.resource))?;
    }
    Ok(())
}

/// Becomes the account, with no more capabilities than `rights` allow, but for the one that
/// `seal` may need to load the filter.
///
/// Order: groups and user while the right to change them is there, then the bounding set, then
/// the capabilities themselves; inheritable and ambient ones stay empty.
pub fn become_account(account: &Account, rights: &Rights) -> Result<()> {
    let have = process::permitted_capabilities().context("read the capabilities")?;
    let allowed = rights.capabilities & have;
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
    let admin = if rights.needs_admin(account) { SYS_ADMIN & have } else { 0 };
    let other = account.uid != 0;
    if other && admin != 0 {
        process::keep_capabilities().context("keep a capability")?;
    }
    process::set_user(account.uid, account.gid, &account.groups)
        .context(format_args!("become user {} group {}", account.uid, account.gid))?;
    if other {
        // A change of the user makes a process dumpable again where fs.suid_dumpable says so.
        process::set_not_dumpable().context("protect the new process")?;
    }
    let left = rights.left(account) & have | admin;
    process::set_capabilities(left, left, 0).context("set the capabilities")
}

/// Gives up what `become_account` kept; for a process of ours that stays in the container.
pub fn give_up_admin(account: &Account, rights: &Rights) -> Result<()> {
    let have = process::permitted_capabilities().context("read the capabilities")?;
    let left = rights.left(account) & have;
    process::set_capabilities(left, left, 0).context("set the capabilities")
}

/// The last step before execve: no new privileges, the filter, and no right to load another.
///
/// A filter of the user's that allows neither capset nor execve lets no program start.
pub fn seal(account: &Account, rights: &Rights) -> Result<()> {
    if rights.no_new_privileges(account) {
        process::set_no_new_privileges().context("forbid new privileges")?;
    }
    match &rights.filter {
        Filter::None => return Ok(()),
        Filter::Profile(filter) => {
            crate::sys::seccomp::load(filter).context("load the seccomp profile")?;
        }
        Filter::Default => {
            match crate::sys::seccomp::load(&seccomp::default(rights.capabilities)) {
                // A kernel without seccomp.
                Ok(()) | Err(Errno::EINVAL | Errno::ENOSYS) => {}
                Err(errno) => return Err(errno).context("load the seccomp filter"),
            }
        }
    }
    match rights.needs_admin(account) && rights.left(account) & SYS_ADMIN == 0 {
        true => give_up_admin(account, rights),
        false => Ok(()),
    }
}
