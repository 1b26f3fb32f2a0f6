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

/// `_LINUX_CAPABILITY_VERSION_3`, include/uapi/linux/capability.h.
pub const CAPABILITY_VERSION_3: u32 = 0x2008_0522;

/// `struct __user_cap_header_struct`, include/uapi/linux/capability.h.
#[repr(C)]
pub struct CapHeader {
    pub version: u32,
    pub pid: i32,
}

/// `struct __user_cap_data_struct`, include/uapi/linux/capability.h.
#[repr(C)]
#[derive(Default, Clone, Copy)]
pub struct CapData {
    pub effective: u32,
    pub permitted: u32,
    pub inheritable: u32,
}
const _: () = assert!(size_of::<CapData>() == 12);

/// `struct mount_attr`, include/uapi/linux/mount.h, since Linux 5.12.
#[repr(C)]
#[derive(Default)]
pub struct MountAttr {
    pub attr_set: u64,
    pub attr_clr: u64,
    pub propagation: u64,
    pub userns_fd: u64,
}
const _: () = assert!(size_of::<MountAttr>() == 32);

/// include/uapi/linux/sched.h, since Linux 5.7.
pub const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
