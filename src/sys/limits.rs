//! Limits of what one process may use, which its children inherit.

use super::Result;
use syscalls::{Sysno, syscall};

/// The limit on open files.
pub const OPEN_FILES: u32 = libc::RLIMIT_NOFILE as u32;

/// The limit of a process, 0 for this one, on a resource.
fn get(pid: u32, resource: u32) -> Result<libc::rlimit> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes one structure.
    unsafe { syscall!(Sysno::prlimit64, pid, resource, 0, &raw mut limit) }?;
    Ok(limit)
}

fn put(pid: u32, resource: u32, limit: libc::rlimit) -> Result<()> {
    // SAFETY: the kernel reads one structure.
    unsafe { syscall!(Sysno::prlimit64, pid, resource, &raw const limit, 0) }?;
    Ok(())
}

/// Sets a limit, in its own unit; `u64::MAX` is none. `EPERM` to go above a hard limit.
pub fn set(resource: u32, soft: u64, hard: u64) -> Result<()> {
    put(0, resource, libc::rlimit { rlim_cur: soft, rlim_max: hard })
}

/// Limits how many files this process can have open: softly, and at the most.
/// What is lower already stays.
pub fn lower_open_files(soft: u64, hard: u64) -> Result<()> {
    lower(OPEN_FILES, soft, hard)
}

/// Lets this process have as many files open as it may, and tells how many.
pub fn raise_open_files() -> Result<u64> {
    let limit = get(0, OPEN_FILES)?;
    put(0, OPEN_FILES, libc::rlimit { rlim_cur: limit.rlim_max, ..limit })?;
    Ok(limit.rlim_max)
}

/// How many files this process can have open.
pub fn open_files() -> Result<u64> {
    get(0, OPEN_FILES).map(|limit| limit.rlim_cur)
}

/// Takes limits away that a shell sets for what it starts: of the size of files, of processor time, memory
/// and processes. Who lacks CAP_SYS_RESOURCE gets as much as it may have.
pub fn lift_usual() {
    const NONE: u64 = libc::RLIM_INFINITY;
    let usual = [
        libc::RLIMIT_FSIZE,
        libc::RLIMIT_CPU,
        libc::RLIMIT_AS,
        libc::RLIMIT_DATA,
        libc::RLIMIT_NPROC,
    ];
    for resource in usual {
        let limit = get(0, resource as u32);
        if let Ok(limit) = limit
            && (limit.rlim_cur, limit.rlim_max) != (NONE, NONE)
            && set(resource as u32, NONE, NONE).is_err()
        {
            let _ = set(resource as u32, limit.rlim_max, limit.rlim_max);
        }
    }
}

/// Has the kernel write no core files of this process, unless it asks for them.
pub fn lower_core_files() -> Result<()> {
    lower(libc::RLIMIT_CORE as u32, 0, u64::MAX)
}

fn lower(resource: u32, soft: u64, hard: u64) -> Result<()> {
    let old = get(0, resource)?;
    set(resource, soft.min(old.rlim_max), hard.min(old.rlim_max))
}

/// Lets a process set a limit of its own up to `hard`; `u64::MAX` is no limit. What it may already
/// stays.
pub fn let_raise(pid: u32, resource: u32, hard: u64) -> Result<()> {
    let limit = get(pid, resource)?;
    put(pid, resource, libc::rlimit { rlim_max: limit.rlim_max.max(hard), ..limit })
}

/// Calls with no limit on locked memory, which before Linux 5.11 bounds what BPF programs take.
pub fn without_memory_lock_limit<T>(call: impl Fn() -> Result<T>) -> Result<T> {
    const LOCKED: u32 = libc::RLIMIT_MEMLOCK as u32;
    let old = get(0, LOCKED)?;
    set(LOCKED, u64::MAX, u64::MAX)?;
    let result = call();
    put(0, LOCKED, old)?;
    result
}
