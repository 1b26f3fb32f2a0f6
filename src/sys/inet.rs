//! TCP and UDP sockets, and what moves bytes between them.

use super::{Errno, Result, owned, retry};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use syscalls::{Sysno, syscall};

/// An address of either family with a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    pub v6: bool,
    /// An IPv4 address is in the low 32 bits.
    pub number: u128,
    pub port: u16,
}

/// Room for an address of either family.
type Room = libc::sockaddr_in6;
const SIZE: usize = size_of::<Room>();

impl Peer {
    /// The kernel's form and its length.
    fn encode(self) -> (Room, usize) {
        // SAFETY: zeroes are a valid address.
        let mut room: Room = unsafe { std::mem::zeroed() };
        if self.v6 {
            room.sin6_family = libc::AF_INET6 as u16;
            room.sin6_port = self.port.to_be();
            room.sin6_addr.s6_addr = self.number.to_be_bytes();
            return (room, SIZE);
        }
        room.sin6_family = libc::AF_INET as u16;
        room.sin6_port = self.port.to_be();
        // struct sockaddr_in has its address where the flow of sockaddr_in6 is.
        room.sin6_flowinfo = (self.number as u32).to_be();
        (room, size_of::<libc::sockaddr_in>())
    }

    fn decode(room: &Room) -> Self {
        let v6 = room.sin6_family == libc::AF_INET6 as u16;
        let number = match v6 {
            true => u128::from_be_bytes(room.sin6_addr.s6_addr),
            false => u32::from_be(room.sin6_flowinfo).into(),
        };
        Self { v6, number, port: u16::from_be(room.sin6_port) }
    }
}

fn socket(v6: bool, udp: bool) -> Result<OwnedFd> {
    let family = if v6 { libc::AF_INET6 } else { libc::AF_INET };
    let kind = if udp { libc::SOCK_DGRAM } else { libc::SOCK_STREAM };
    let kind = kind | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: no memory is passed.
    unsafe { syscall!(Sysno::socket, family, kind, 0) }.map(owned)
}

fn set(socket: &OwnedFd, level: i32, option: i32) -> Result<()> {
    let (raw, on) = (socket.as_raw_fd(), 1_i32);
    // SAFETY: the number lives for the whole call and has the length that is given.
    unsafe { syscall!(Sysno::setsockopt, raw, level, option, &raw const on, 4) }?;
    Ok(())
}

/// A socket that listens, or for UDP one that receives; nothing of it waits.
///
/// Errors: `EADDRINUSE`, `EADDRNOTAVAIL`, `EAFNOSUPPORT` where the kernel has no IPv6.
pub fn listen(at: Peer, udp: bool) -> Result<OwnedFd> {
    let socket = socket(at.v6, udp)?;
    if at.v6 {
        // IPv4 has a socket of its own.
        set(&socket, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY)?;
    }
    if udp {
        // Answers must come from the address that was asked.
        match at.v6 {
            true => set(&socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO)?,
            false => set(&socket, libc::IPPROTO_IP, libc::IP_PKTINFO)?,
        }
    } else {
        // Connections of an earlier run that are still ending are in nobody's way.
        set(&socket, libc::SOL_SOCKET, libc::SO_REUSEADDR)?;
    }
    let (room, length) = at.encode();
    // SAFETY: the address lives for the whole call and has the length that is given.
    unsafe { syscall!(Sysno::bind, socket.as_raw_fd(), &raw const room, length) }?;
    if !udp {
        // SAFETY: no memory is passed.
        unsafe { syscall!(Sysno::listen, socket.as_raw_fd(), 4096) }?;
    }
    Ok(socket)
}

/// A socket that is being connected; it can be written to when that is done, or has an error.
pub fn connect(to: Peer, udp: bool) -> Result<OwnedFd> {
    let socket = socket(to.v6, udp)?;
    let (room, length) = to.encode();
    // SAFETY: the address lives for the whole call and has the length that is given.
    match unsafe { syscall!(Sysno::connect, socket.as_raw_fd(), &raw const room, length) } {
        Ok(_) | Err(Errno::EINPROGRESS) => Ok(socket),
        Err(errno) => Err(errno),
    }
}

/// Takes the next connection. `EAGAIN` where there is none.
pub fn accept(socket: BorrowedFd<'_>) -> Result<OwnedFd> {
    let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: no address is asked for.
    retry(|| unsafe { syscall!(Sysno::accept4, socket.as_raw_fd(), 0, 0, flags) }).map(owned)
}

/// The port that a socket has.
pub fn local_port(socket: BorrowedFd<'_>) -> Result<u16> {
    // SAFETY: zeroes are a valid address.
    let mut room: Room = unsafe { std::mem::zeroed() };
    let mut length = SIZE as u32;
    let (raw, pointer) = (socket.as_raw_fd(), &raw mut room);
    // SAFETY: the kernel writes at most the length that is given.
    unsafe { syscall!(Sysno::getsockname, raw, pointer, &raw mut length) }?;
    Ok(Peer::decode(&room).port)
}

/// Tells the other side that nothing more comes.
pub fn end_output(socket: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: no memory is passed.
    unsafe { syscall!(Sysno::shutdown, socket.as_raw_fd(), libc::SHUT_WR) }?;
    Ok(())
}

/// Looks at what a socket has, and leaves it there; 0 is its end. `EAGAIN` where it has nothing.
pub fn peek(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<usize> {
    let (raw, pointer, size) = (socket.as_raw_fd(), buffer.as_mut_ptr(), buffer.len());
    let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
    // SAFETY: the kernel writes at most the length of the slice, and no address is asked for.
    retry(|| unsafe { syscall!(Sysno::recvfrom, raw, pointer, size, flags, 0, 0) })
}

/// Drops so many bytes that were looked at. Source: tcp(7), `MSG_TRUNC`.
pub fn skip(socket: BorrowedFd<'_>, bytes: usize) -> Result<()> {
    let (raw, flags) = (socket.as_raw_fd(), libc::MSG_TRUNC | libc::MSG_DONTWAIT);
    // SAFETY: with this flag a stream socket writes nothing, and no address is asked for.
    retry(|| unsafe { syscall!(Sysno::recvfrom, raw, 0, bytes, flags, 0, 0) })?;
    Ok(())
}

/// Moves bytes from one file to another, one of which is a pipe, without copying them through
/// this process. 0 at the end, `EAGAIN` where it would wait.
pub fn splice(from: BorrowedFd<'_>, to: BorrowedFd<'_>, most: usize) -> Result<usize> {
    let flags = libc::SPLICE_F_MOVE | libc::SPLICE_F_NONBLOCK;
    let (from, to) = (from.as_raw_fd(), to.as_raw_fd());
    // SAFETY: no memory is passed; both files are read and written where they are.
    retry(|| unsafe { syscall!(Sysno::splice, from, 0, to, 0, most, flags) })
}

/// Lets a pipe hold this many bytes.
pub fn widen_pipe(pipe: BorrowedFd<'_>, bytes: usize) -> Result<()> {
    // SAFETY: no memory is passed.
    unsafe { syscall!(Sysno::fcntl, pipe.as_raw_fd(), libc::F_SETPIPE_SZ, bytes) }?;
    Ok(())
}

/// Room for what the kernel tells of a datagram beside its bytes.
#[repr(C, align(8))]
struct Control([u8; 64]);

/// Receives a datagram, tells whose it is, and to which address of this host it was sent, where
/// `listen` made the socket. `EAGAIN` where there is none.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<(usize, Peer, Option<u128>)> {
    // SAFETY: zeroes are a valid address and a valid msghdr.
    let (mut room, mut message): (Room, libc::msghdr) =
        unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let mut control = Control([0; 64]);
    message.msg_name = (&raw mut room).cast();
    message.msg_namelen = SIZE as u32;
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = control.0.len() as _;
    let (raw, pointer) = (socket.as_raw_fd(), &raw mut message);
    // SAFETY: the kernel writes within the buffer, the address and the control area.
    let got = retry(|| unsafe { syscall!(Sysno::recvmsg, raw, pointer, 0) })?;
    // SAFETY: the kernel filled in the control area and its length; the structures are read
    // unaligned, and only for the kind that says that they are there.
    let local = unsafe {
        let header = libc::CMSG_FIRSTHDR(pointer);
        match header.as_ref().map(|header| (header.cmsg_level, header.cmsg_type)) {
            Some((libc::IPPROTO_IP, libc::IP_PKTINFO)) => {
                let info = libc::CMSG_DATA(header).cast::<libc::in_pktinfo>().read_unaligned();
                Some(u32::from_be(info.ipi_spec_dst.s_addr).into())
            }
            Some((libc::IPPROTO_IPV6, libc::IPV6_PKTINFO)) => {
                let info = libc::CMSG_DATA(header).cast::<libc::in6_pktinfo>().read_unaligned();
                Some(u128::from_be_bytes(info.ipi6_addr.s6_addr))
            }
            _ => None,
        }
    };
    Ok((got, Peer::decode(&room), local))
}

/// Sends a datagram to a peer, from the address of this host that it is known by.
pub fn answer(socket: BorrowedFd<'_>, bytes: &[u8], to: Peer, from: Option<u128>) -> Result<()> {
    let (mut room, length) = to.encode();
    let mut part = libc::iovec { iov_base: bytes.as_ptr() as *mut _, iov_len: bytes.len() };
    let mut control = Control([0; 64]);
    // SAFETY: zeroes are a valid msghdr.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_name = (&raw mut room).cast();
    message.msg_namelen = length as u32;
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    if let Some(from) = from {
        message.msg_control = control.0.as_mut_ptr().cast();
        // SAFETY: the area is aligned and larger than a header with either structure, for which
        // zeroes are valid.
        unsafe {
            let put = |message: &mut libc::msghdr, level, kind, size: usize| {
                message.msg_controllen = libc::CMSG_SPACE(size as u32) as _;
                let header = libc::CMSG_FIRSTHDR(&raw const *message);
                (*header).cmsg_level = level;
                (*header).cmsg_type = kind;
                (*header).cmsg_len = libc::CMSG_LEN(size as u32) as _;
                libc::CMSG_DATA(header)
            };
            if to.v6 {
                let mut info: libc::in6_pktinfo = std::mem::zeroed();
                info.ipi6_addr.s6_addr = from.to_be_bytes();
                let (level, kind) = (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO);
                let data = put(&mut message, level, kind, size_of_val(&info));
                data.cast::<libc::in6_pktinfo>().write_unaligned(info);
            } else {
                let mut info: libc::in_pktinfo = std::mem::zeroed();
                info.ipi_spec_dst.s_addr = (from as u32).to_be();
                let (level, kind) = (libc::IPPROTO_IP, libc::IP_PKTINFO);
                let data = put(&mut message, level, kind, size_of_val(&info));
                data.cast::<libc::in_pktinfo>().write_unaligned(info);
            }
        }
    }
    let flags = libc::MSG_NOSIGNAL;
    // SAFETY: everything that `message` points to lives until the call returns.
    retry(|| unsafe { syscall!(Sysno::sendmsg, socket.as_raw_fd(), &raw const message, flags) })?;
    Ok(())
}

/// Files that are watched together, each under a number; can be watched itself.
#[derive(Debug)]
pub struct Watch(OwnedFd);

const EDGES: i32 = libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET;

/// What happened to a watched file.
pub type Event = libc::epoll_event;

impl Watch {
    pub fn new() -> Result<Self> {
        // SAFETY: no memory is passed.
        unsafe { syscall!(Sysno::epoll_create1, libc::EPOLL_CLOEXEC) }.map(owned).map(Self)
    }

    pub fn as_fd(&self) -> BorrowedFd<'_> {
        use std::os::fd::AsFd;
        self.0.as_fd()
    }

    /// Watches a file under this number until it is closed. `edge`: told once for each change in
    /// either direction; else as long as there is something to read.
    pub fn add(&self, file: BorrowedFd<'_>, number: u64, edge: bool) -> Result<()> {
        let events = if edge { EDGES } else { libc::EPOLLIN };
        self.control(libc::EPOLL_CTL_ADD, file, events, number)
    }

    /// Tells once more what there is of a file that is watched by its edges.
    pub fn renew(&self, file: BorrowedFd<'_>, number: u64) -> Result<()> {
        self.control(libc::EPOLL_CTL_MOD, file, EDGES, number)
    }

    fn control(
        &self,
        operation: i32,
        file: BorrowedFd<'_>,
        events: i32,
        number: u64,
    ) -> Result<()> {
        let event = libc::epoll_event { events: events as u32, u64: number };
        let (raw, file) = (self.0.as_raw_fd(), file.as_raw_fd());
        // SAFETY: the structure lives for the whole call.
        unsafe { syscall!(Sysno::epoll_ctl, raw, operation, file, &raw const event) }?;
        Ok(())
    }

    /// The numbers of the files to which something has happened; does not wait.
    pub fn ready<'a>(&self, events: &'a mut [Event]) -> Result<&'a [Event]> {
        let (raw, pointer, size) = (self.0.as_raw_fd(), events.as_mut_ptr(), events.len());
        // SAFETY: the kernel writes at most as many events as the slice holds.
        let count = retry(|| unsafe { syscall!(Sysno::epoll_wait, raw, pointer, size, 0) })?;
        Ok(&events[..count])
    }
}

/// No events yet.
pub fn no_events<const N: usize>() -> [Event; N] {
    [libc::epoll_event { events: 0, u64: 0 }; N]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn an_address_is_decoded_as_it_was_encoded() {
        for peer in [
            Peer { v6: false, number: 0x7f00_0001, port: 80 },
            Peer { v6: true, number: 1, port: 65535 },
        ] {
            assert_eq!(Peer::decode(&peer.encode().0), peer);
        }
    }

    #[test]
    fn a_port_can_be_taken_once_and_a_connection_arrives() {
        let loopback = Peer { v6: false, number: 0x7f00_0001, port: 0 };
        let server = listen(loopback, false).unwrap();
        let port = local_port(server.as_fd()).unwrap();
        let taken = listen(Peer { port, ..loopback }, false).map(drop);
        assert_eq!(taken, Err(Errno::EADDRINUSE));
        let _client = connect(Peer { port, ..loopback }, false).unwrap();
        let arrived = (0..1000).any(|_| {
            std::thread::yield_now();
            accept(server.as_fd()).is_ok()
        });
        assert!(arrived);
    }
}
