//! Kernel structures and constants that the libc crate does not have, each with its source.

/// `struct open_how`, include/uapi/linux/openat2.h, since Linux 5.6.
#[repr(C)]
#[derive(Default)]
pub struct OpenHow {
    pub flags: u64,
    pub mode: u64,
    pub resolve: u64,
}
const _: () = assert!(size_of::<OpenHow>() == 24);

/// `struct clone_args`, include/uapi/linux/sched.h, since Linux 5.3; `cgroup` since 5.7.
#[repr(C)]
#[derive(Default)]
pub struct CloneArgs {
    pub flags: u64,
    pub pidfd: u64,
    pub child_tid: u64,
    pub parent_tid: u64,
    pub exit_signal: u64,
    pub stack: u64,
    pub stack_size: u64,
    pub tls: u64,
    pub set_tid: u64,
    pub set_tid_size: u64,
    pub cgroup: u64,
}
const _: () = assert!(size_of::<CloneArgs>() == 88);
