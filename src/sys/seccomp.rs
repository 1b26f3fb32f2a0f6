//! Seccomp filters: the instructions they are made of, and loading one.

use super::Result;
use syscalls::{Sysno, syscall};

/// One instruction, a `struct sock_filter` of include/uapi/linux/filter.h as the number that it is
/// in memory: code 16 bits, two jumps of 8 bits, value 32 bits, lowest first.
pub type Step = u64;

/// Loads the word of `struct seccomp_data` at this offset.
pub const fn load_word(offset: u32) -> Step {
    step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, offset)
}

/// Skips `yes` instructions where the loaded word equals `value`, else `no`.
pub const fn jump_equal(value: u32, yes: u8, no: u8) -> Step {
    step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, yes, no, value)
}

/// Skips `yes` instructions where the loaded word is `value` or more, else `no`.
pub const fn jump_from(value: u32, yes: u8, no: u8) -> Step {
    step(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, yes, no, value)
}

/// Skips `yes` instructions where the loaded word is more than `value`, else `no`.
pub const fn jump_above(value: u32, yes: u8, no: u8) -> Step {
    step(libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K, yes, no, value)
}

/// Skips `yes` instructions where the loaded word has any bit of `value`, else `no`.
pub const fn jump_any(value: u32, yes: u8, no: u8) -> Step {
    step(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K, yes, no, value)
}

/// Skips that many instructions.
pub const fn jump(distance: u32) -> Step {
    step(libc::BPF_JMP | libc::BPF_JA, 0, 0, distance)
}

/// Keeps only these bits of the loaded word.
pub const fn and(bits: u32) -> Step {
    step(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0, 0, bits)
}

/// Ends with a verdict: one of `ALLOW`, `KILL_PROCESS` and so on, or `errno`.
pub const fn give(verdict: u32) -> Step {
    step(libc::BPF_RET | libc::BPF_K, 0, 0, verdict)
}

const fn step(code: u32, yes: u8, no: u8, value: u32) -> Step {
    code as u64 | (yes as u64) << 16 | (no as u64) << 24 | (value as u64) << 32
}

pub const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
pub const KILL_PROCESS: u32 = libc::SECCOMP_RET_KILL_PROCESS;
pub const KILL_THREAD: u32 = libc::SECCOMP_RET_KILL_THREAD;
pub const TRAP: u32 = libc::SECCOMP_RET_TRAP;
pub const TRACE: u32 = libc::SECCOMP_RET_TRACE;
pub const LOG: u32 = libc::SECCOMP_RET_LOG;

/// The verdict that makes a call fail with that number.
pub const fn errno(number: u32) -> u32 {
    libc::SECCOMP_RET_ERRNO | number & libc::SECCOMP_RET_DATA
}

/// Offsets in `struct seccomp_data`, include/uapi/linux/seccomp.h.
pub const NUMBER: u32 = 0;
pub const ARCHITECTURE: u32 = 4;

/// Offset of the low word of an argument; the high one is 4 further.
pub const fn argument(index: u32) -> u32 {
    16 + 8 * index
}

/// `AUDIT_ARCH_X86_64`, include/uapi/linux/audit.h.
pub const X86_64: u32 = 0xc000_003e;

/// The longest filter that the kernel takes: `BPF_MAXINSNS`.
pub const LONGEST: usize = 4096;

/// Loads a filter for this process and all that it will start. It can never be taken away.
///
/// Errors: `EINVAL` without seccomp in the kernel or for a wrong program, `EACCES` without
/// `CAP_SYS_ADMIN` and `no_new_privs`. Source: kernel/seccomp.c, `seccomp_set_mode_filter`.
pub fn load(filter: &[Step]) -> Result<()> {
    let filter = libc::sock_fprog {
        len: u16::try_from(filter.len()).unwrap_or(u16::MAX),
        filter: filter.as_ptr().cast_mut().cast(),
    };
    // SAFETY: the kernel only reads as many instructions as the slice has; a `Step` has the size
    // and the layout of a `sock_filter` on this machine, and more than its alignment.
    unsafe {
        syscall!(Sysno::prctl, libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter)
    }?;
    Ok(())
}

const _: () = assert!(size_of::<libc::sock_filter>() == size_of::<Step>());
