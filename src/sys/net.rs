//! Network interfaces.

use super::{Result, owned};
use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use syscalls::{Sysno, syscall};

/// A request about one interface. A name that is too long is cut, and then names none.
fn request(name: &[u8]) -> libc::ifreq {
    // SAFETY: zeroes are a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().take(15).zip(name) {
        *to = *from as libc::c_char;
    }
    request
}

/// A socket of this network namespace, for requests only.
pub fn socket() -> Result<OwnedFd> {
    let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC;
    // SAFETY: no memory is passed.
    unsafe { syscall!(Sysno::socket, libc::AF_INET, kind, 0) }.map(owned)
}

/// Brings an interface up, in the namespace of `socket`.
pub fn interface_up(socket: BorrowedFd<'_>, name: &CStr) -> Result<()> {
    let mut request = request(name.to_bytes());
    request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
    let request = &raw const request;
    // SAFETY: the structure is the one that the request takes, and lives for the whole call.
    unsafe { syscall!(Sysno::ioctl, socket.as_raw_fd(), libc::SIOCSIFFLAGS as u64, request) }?;
    Ok(())
}

/// The network namespace in which a socket was opened.
///
/// Since Linux 4.10; source: net/socket.c, `SIOCGSKNS`.
pub fn namespace_of(socket: BorrowedFd<'_>) -> Result<OwnedFd> {
    const GET_NAMESPACE: u64 = 0x894C;
    // SAFETY: no memory is passed.
    unsafe { syscall!(Sysno::ioctl, socket.as_raw_fd(), GET_NAMESPACE, 0) }.map(owned)
}

/// Asks about an interface in the namespace of `socket`; gives what the kernel filled in.
fn ask(socket: BorrowedFd<'_>, number: u64, name: &str) -> Result<libc::__c_anonymous_ifr_ifru> {
    let mut request = request(name.as_bytes());
    let (raw, pointer) = (socket.as_raw_fd(), &raw mut request);
    // SAFETY: the structure is the one that the request takes, and lives for the whole call.
    unsafe { syscall!(Sysno::ioctl, raw, number, pointer) }?;
    Ok(request.ifr_ifru)
}

/// The number of an interface in the namespace of `socket`. `ENODEV` where there is none.
pub fn interface_index(socket: BorrowedFd<'_>, name: &str) -> Result<u32> {
    let answer = ask(socket, libc::SIOCGIFINDEX as u64, name)?;
    // SAFETY: this request fills in the number.
    Ok(unsafe { answer.ifru_ifindex } as u32)
}

/// The hardware address of an interface, as for `interface_index`.
pub fn hardware_address(socket: BorrowedFd<'_>, name: &str) -> Result<[u8; 6]> {
    let answer = ask(socket, libc::SIOCGIFHWADDR as u64, name)?;
    // SAFETY: this request fills in the address.
    let bytes = unsafe { answer.ifru_hwaddr }.sa_data;
    Ok(std::array::from_fn(|index| bytes[index] as u8))
}

/// Whether an interface is up, as for `interface_index`.
pub fn is_up(socket: BorrowedFd<'_>, name: &str) -> Result<bool> {
    let answer = ask(socket, libc::SIOCGIFFLAGS as u64, name)?;
    // SAFETY: this request fills in the flags.
    Ok(i32::from(unsafe { answer.ifru_flags }) & libc::IFF_UP != 0)
}
