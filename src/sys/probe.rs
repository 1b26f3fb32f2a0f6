//! Questions to the kernel that change nothing: what it has, asked without using it.

use super::{Errno, Result, c_path, io, owned};
use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd};
use syscalls::{Sysno, syscall};

/// Whether this process may write to a file or directory. `EROFS` on a read-only file system.
pub fn writable(path: impl AsRef<OsStr>) -> Result<()> {
    let path = c_path(path.as_ref())?;
    // SAFETY: the path lives for the whole call.
    unsafe { syscall!(Sysno::faccessat, libc::AT_FDCWD, path.as_ptr(), libc::W_OK) }?;
    Ok(())
}

/// Bytes that are free on the file system of a path, and bytes that it has. None are free where it can
/// have no further file.
pub fn room(path: impl AsRef<OsStr>) -> Result<(u64, u64)> {
    let path = c_path(path.as_ref())?;
    let mut statfs = std::mem::MaybeUninit::<libc::statfs>::zeroed();
    // SAFETY: the structure is as large as the kernel's, and zeroes are valid in it.
    let statfs = unsafe {
        syscall!(Sysno::statfs, path.as_ptr(), statfs.as_mut_ptr())?;
        statfs.assume_init()
    };
    let unit = statfs.f_bsize as u64;
    // Where files take no numbers it says 0 of 0.
    let is_crowded = statfs.f_files != 0 && statfs.f_ffree == 0;
    let free = if is_crowded { 0 } else { statfs.f_bavail * unit };
    Ok((free, statfs.f_blocks * unit))
}

/// Whether programs can be given a filter of system calls. `EINVAL` without seccomp.
pub fn seccomp_filter() -> Result<()> {
    // SAFETY: a null filter is refused, after the kernel has said whether it knows filters.
    match unsafe { syscall!(Sysno::prctl, libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, 0) } {
        Err(Errno::EFAULT) | Ok(_) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Makes an interface of this kind, such as `veth`: in a network namespace that is thrown away.
/// `EOPNOTSUPP` where the kernel does not have it.
pub fn make_interface(kind: &str) -> Result<()> {
    // struct ifinfomsg; IFLA_LINKINFO (18) with IFLA_INFO_KIND (1): linux/if_link.h.
    let name_length = 4 + kind.len() as u16 + 1;
    let mut body = vec![0; 16];
    for part in [name_length + 4, 18, name_length, 1] {
        body.extend(part.to_ne_bytes());
    }
    body.extend(kind.bytes());
    body.resize(16 + 4 + usize::from(name_length).next_multiple_of(4), 0);
    const NEW_LINK: u16 = 16;
    const CREATE: u16 = 0x400 | 0x200;
    ask_netlink(libc::NETLINK_ROUTE, NEW_LINK, CREATE, &body)
}

/// Whether nf_tables is there. `EPROTONOSUPPORT` or `EINVAL` where it is not.
pub fn nf_tables() -> Result<()> {
    // NFNL_SUBSYS_NFTABLES and NFT_MSG_GETGEN; struct nfgenmsg. linux/netfilter/nf_tables.h.
    ask_netlink(libc::NETLINK_NETFILTER, 10 << 8 | 16, 0, &[0; 4])
}

/// Sends one request and takes the error from its acknowledgement.
fn ask_netlink(family: i32, kind: u16, flags: u16, body: &[u8]) -> Result<()> {
    const REQUEST_AND_ACKNOWLEDGE: u16 = 1 | 4;
    let socket_kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
    // SAFETY: no memory is passed.
    let socket = owned(unsafe { syscall!(Sysno::socket, libc::AF_NETLINK, socket_kind, family) }?);
    // struct nlmsghdr: length 4, type 2, flags 2, sequence 4, port 4.
    let mut message = (16 + body.len() as u32).to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend((flags | REQUEST_AND_ACKNOWLEDGE).to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    // SAFETY: the kernel reads at most the length of the message.
    unsafe {
        let (raw, pointer, length) = (socket.as_raw_fd(), message.as_ptr(), message.len());
        syscall!(Sysno::sendto, raw, pointer, length, 0, 0, 0)
    }?;
    let mut answer = [0; 512];
    let length = io::read(socket.as_fd(), &mut answer)?;
    match answer[..length] {
        // NLMSG_ERROR, and the negative errno behind the header; 0 is success.
        [_, _, _, _, 2, 0, _, _, _, _, _, _, _, _, _, _, a, b, c, d, ..] => {
            match i32::from_ne_bytes([a, b, c, d]) {
                0 => Ok(()),
                errno => Err(Errno::new(-errno)),
            }
        }
        // What was asked for.
        _ => Ok(()),
    }
}
