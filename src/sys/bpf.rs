//! BPF programs that decide which devices a control group may use.

use super::{Errno, Result, owned};
use std::os::fd::{AsRawFd, BorrowedFd};
use syscalls::{Sysno, syscall};

/// One instruction, a `struct bpf_insn` of include/uapi/linux/bpf.h as the number that it is in
/// memory: code 8 bits, two registers of 4, offset 16 bits, value 32 bits, lowest first.
pub type Step = u64;

const fn step(code: u8, to: u8, from: u8, offset: i16, value: i32) -> Step {
    code as u64
        | (to as u64) << 8
        | (from as u64) << 12
        | (offset as u16 as u64) << 16
        | (value as u32 as u64) << 32
}

/// `to = *(u32 *)(from + offset)`
pub const fn load(to: u8, from: u8, offset: i16) -> Step {
    step(0x61, to, from, offset, 0)
}

/// `to = from`
pub const fn copy(to: u8, from: u8) -> Step {
    step(0xbf, to, from, 0, 0)
}

/// `to = value`
pub const fn set(to: u8, value: i32) -> Step {
    step(0xb7, to, 0, 0, value)
}

/// `to &= value`
pub const fn and(to: u8, value: i32) -> Step {
    step(0x57, to, 0, 0, value)
}

/// `to >>= bits`
pub const fn shift_right(to: u8, bits: i32) -> Step {
    step(0x77, to, 0, 0, bits)
}

/// Skips `distance` instructions unless the register has that value.
pub const fn jump_unless(register: u8, value: i32, distance: i16) -> Step {
    step(0x55, register, 0, distance, value)
}

/// Ends with what is in register 0.
pub const fn exit() -> Step {
    step(0x95, 0, 0, 0, 0)
}

/// `BPF_PROG_LOAD` and `BPF_PROG_ATTACH`; `BPF_PROG_TYPE_CGROUP_DEVICE`, `BPF_CGROUP_DEVICE`.
const LOAD: u32 = 5;
const ATTACH: u32 = 8;
const CGROUP_DEVICE_PROGRAM: u32 = 15;
const CGROUP_DEVICE: u32 = 6;
/// `BPF_F_ALLOW_MULTI`: beside programs of others, all of which must agree.
const ALLOW_MULTI: u32 = 2;

/// The part of `union bpf_attr` that `BPF_PROG_LOAD` reads here.
#[repr(C)]
#[derive(Default)]
struct LoadAttr {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
}

#[repr(C)]
struct AttachAttr {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
}

/// Has a program decide which devices the processes of a group of cgroup2 may use. It lasts as
/// long as the group.
///
/// Errors: `ENOSYS` and `EINVAL` without cgroup BPF in the kernel, `EPERM` without the right to it
/// and, before Linux 5.11, when the limit of locked memory is reached. Since Linux 4.15.
/// Source: kernel/bpf/cgroup.c, `cgroup_dev_is_valid_access`.
pub fn attach_device_program(group: BorrowedFd<'_>, program: &[Step]) -> Result<()> {
    let load = LoadAttr {
        prog_type: CGROUP_DEVICE_PROGRAM,
        insn_cnt: program.len() as u32,
        insns: program.as_ptr().addr() as u64,
        license: c"MIT".as_ptr().addr() as u64,
        ..Default::default()
    };
    let call = || {
        // SAFETY: program and licence live for the whole call, and the size is the structure's.
        unsafe { syscall!(Sysno::bpf, LOAD, &raw const load, size_of::<LoadAttr>()) }
    };
    let loaded = match call() {
        Err(Errno::EPERM) => super::limits::without_memory_lock_limit(call)?,
        other => other?,
    };
    let loaded = owned(loaded);
    let attach = AttachAttr {
        target_fd: group.as_raw_fd() as u32,
        attach_bpf_fd: loaded.as_raw_fd() as u32,
        attach_type: CGROUP_DEVICE,
        attach_flags: ALLOW_MULTI,
    };
    // SAFETY: the kernel reads one structure of that size.
    unsafe { syscall!(Sysno::bpf, ATTACH, &raw const attach, size_of::<AttachAttr>()) }?;
    Ok(())
}
