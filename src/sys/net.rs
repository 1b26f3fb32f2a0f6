//! Network interfaces.

use super::Result;
use super::fs::owned;
use std::ffi::CStr;
use std::os::fd::AsRawFd;
use syscalls::{Sysno, syscall};

/// Brings an interface of this network namespace up.
pub fn interface_up(name: &CStr) -> Result<()> {
    // SAFETY: no memory is passed.
    let socket = owned(unsafe {
        syscall!(Sysno::socket, libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0)
    }?);
    // SAFETY: zeroes are a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.to_bytes()) {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
    let request = &raw const request;
    // SAFETY: the structure is the one that the request takes, and lives for the whole call.
    unsafe { syscall!(Sysno::ioctl, socket.as_raw_fd(), libc::SIOCSIFFLAGS as u64, request) }?;
    Ok(())
}
