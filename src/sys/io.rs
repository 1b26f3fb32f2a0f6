//! Pipes, sockets, poll, signals as a descriptor: what an event loop is made of.

use super::{Errno, Result, c_path, owned, retry};
use std::ffi::OsStr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;
use syscalls::{Sysno, syscall};

/// A pipe: the end to read from and the end to write to.
pub fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0_i32; 2];
    // SAFETY: the kernel writes two numbers.
    unsafe { syscall!(Sysno::pipe2, ends.as_mut_ptr(), libc::O_CLOEXEC) }?;
    Ok((owned(ends[0] as usize), owned(ends[1] as usize)))
}

/// Makes reads and writes of an open file return `EAGAIN` instead of waiting.
pub fn set_nonblocking(file: BorrowedFd<'_>) -> Result<()> {
    let raw = file.as_raw_fd();
    // SAFETY: no memory is passed.
    unsafe {
        let flags = syscall!(Sysno::fcntl, raw, libc::F_GETFL, 0)?;
        syscall!(Sysno::fcntl, raw, libc::F_SETFL, flags | libc::O_NONBLOCK as usize)?;
    }
    Ok(())
}

/// Reads what is there, at most as much as the buffer holds; 0 at the end.
pub fn read(file: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<usize> {
    let (pointer, length) = (buffer.as_mut_ptr(), buffer.len());
    // SAFETY: the kernel writes at most the length of the buffer.
    retry(|| unsafe { syscall!(Sysno::read, file.as_raw_fd(), pointer, length) })
}

/// Writes as much as fits. `EPIPE` when nobody reads (SIGPIPE is ignored in rocker).
pub fn write(file: BorrowedFd<'_>, bytes: &[u8]) -> Result<usize> {
    // SAFETY: the kernel reads at most the length of the slice.
    retry(|| unsafe { syscall!(Sysno::write, file.as_raw_fd(), bytes.as_ptr(), bytes.len()) })
}

/// Writes everything, waiting where needed.
pub fn write_all(file: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        match write(file, bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::EAGAIN) => drop(poll(&mut [Poll::writable(file)], -1)?),
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// A descriptor that `poll` watches; `ready` tells afterwards whether something came.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct Poll<'a>(libc::pollfd, std::marker::PhantomData<BorrowedFd<'a>>);

impl<'a> Poll<'a> {
    fn new(raw: RawFd, events: i16) -> Self {
        Self(libc::pollfd { fd: raw, events, revents: 0 }, std::marker::PhantomData)
    }

    /// Watches for something to read, or the end.
    pub fn readable(file: BorrowedFd<'a>) -> Self {
        Self::new(file.as_raw_fd(), libc::POLLIN)
    }

    /// Watches for room to write.
    pub fn writable(file: BorrowedFd<'a>) -> Self {
        Self::new(file.as_raw_fd(), libc::POLLOUT)
    }

    /// Watches for what the two booleans say; for nothing when both are false.
    pub fn on(file: BorrowedFd<'a>, read: bool, write: bool) -> Self {
        if !read && !write {
            return Self::nothing();
        }
        let events = if read { libc::POLLIN } else { 0 } | if write { libc::POLLOUT } else { 0 };
        Self::new(file.as_raw_fd(), events)
    }

    /// Keeps a place in the list without watching anything.
    pub fn nothing() -> Self {
        Self::new(-1, 0)
    }

    /// Whether a read, a write or an error is waiting.
    pub fn ready(&self) -> bool {
        self.0.revents != 0
    }

    /// Whether a read would give something: bytes, the end or an error.
    pub fn can_read(&self) -> bool {
        self.0.revents & (libc::POLLIN | libc::POLLHUP | libc::POLLERR) != 0
    }

    /// Whether a write would take something or give an error.
    pub fn can_write(&self) -> bool {
        self.0.revents & (libc::POLLOUT | libc::POLLERR) != 0
    }
}

/// Waits until one of the descriptors is ready; below zero milliseconds for ever.
/// Gives how many are ready; a signal counts as none.
pub fn poll(list: &mut [Poll<'_>], milliseconds: i32) -> Result<usize> {
    // SAFETY: `Poll` is a transparent `pollfd`; the kernel writes within the list.
    match unsafe { syscall!(Sysno::poll, list.as_mut_ptr(), list.len(), milliseconds) } {
        Err(Errno::EINTR) => Ok(0),
        other => other,
    }
}

/// A descriptor that is readable when something in a directory was written to, made, moved or removed.
///
/// Errors: `ENOSYS` without inotify in the kernel, `EMFILE` and `ENOSPC` at the limits of the user.
/// Source: inotify(7).
pub fn watch_directory(path: &Path) -> Result<OwnedFd> {
    let flags = libc::IN_NONBLOCK | libc::IN_CLOEXEC;
    // SAFETY: no memory is passed.
    let watch = owned(unsafe { syscall!(Sysno::inotify_init1, flags) }?);
    let path = c_path(path.as_os_str())?;
    let kinds = libc::IN_MODIFY | libc::IN_CREATE | libc::IN_MOVE | libc::IN_DELETE;
    // SAFETY: the path lives for the whole call.
    unsafe { syscall!(Sysno::inotify_add_watch, watch.as_raw_fd(), path.as_ptr(), kinds) }?;
    Ok(watch)
}

/// Waits until there is something to read, at most that long, and reads all of it away.
pub fn wait_and_drain(file: BorrowedFd<'_>, milliseconds: i32) -> Result<()> {
    if poll(&mut [Poll::readable(file)], milliseconds)? > 0 {
        let mut buffer = [0; 4096];
        while read(file, &mut buffer).is_ok_and(|length| length > 0) {}
    }
    Ok(())
}

/// Whether the other end of a socket is gone, or a message of it waits.
pub fn is_ready(socket: BorrowedFd<'_>) -> bool {
    poll(&mut [Poll::readable(socket)], 0).is_ok_and(|ready| ready > 0)
}

/// Two connected sockets that keep the borders of messages.
pub fn socket_pair() -> Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0_i32; 2];
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
    // SAFETY: the kernel writes two numbers.
    unsafe { syscall!(Sysno::socketpair, libc::AF_UNIX, kind, 0, ends.as_mut_ptr()) }?;
    Ok((owned(ends[0] as usize), owned(ends[1] as usize)))
}

fn socket() -> Result<OwnedFd> {
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
    // SAFETY: no memory is passed.
    unsafe { syscall!(Sysno::socket, libc::AF_UNIX, kind, 0) }.map(owned)
}

/// The address of a socket file: at most 107 bytes, so callers go through a short path.
fn address(path: &OsStr) -> Result<(libc::sockaddr_un, usize)> {
    let path = c_path(path)?;
    let path = path.as_bytes_with_nul();
    let mut address = libc::sockaddr_un { sun_family: libc::AF_UNIX as u16, sun_path: [0; 108] };
    if path.len() > address.sun_path.len() {
        return Err(Errno::ENAMETOOLONG);
    }
    for (to, from) in address.sun_path.iter_mut().zip(path) {
        *to = *from as libc::c_char;
    }
    Ok((address, std::mem::offset_of!(libc::sockaddr_un, sun_path) + path.len()))
}

/// Makes a socket file that others can connect to.
pub fn listen(path: impl AsRef<OsStr>) -> Result<OwnedFd> {
    let (address, length) = address(path.as_ref())?;
    let socket = socket()?;
    // SAFETY: the address lives for the whole call and has the length that is given.
    unsafe {
        syscall!(Sysno::bind, socket.as_raw_fd(), &raw const address, length)?;
        syscall!(Sysno::listen, socket.as_raw_fd(), 16)?;
    }
    Ok(socket)
}

/// Connects to a socket file. `ECONNREFUSED` when nobody listens any more.
pub fn connect(path: impl AsRef<OsStr>) -> Result<OwnedFd> {
    let (address, length) = address(path.as_ref())?;
    let socket = socket()?;
    // SAFETY: the address lives for the whole call and has the length that is given.
    retry(|| unsafe { syscall!(Sysno::connect, socket.as_raw_fd(), &raw const address, length) })?;
    Ok(socket)
}

/// Takes the next connection.
pub fn accept(socket: BorrowedFd<'_>) -> Result<OwnedFd> {
    let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: no address is asked for.
    retry(|| unsafe { syscall!(Sysno::accept4, socket.as_raw_fd(), 0, 0, flags) }).map(owned)
}

#[repr(C, align(8))]
struct Control([u8; 64]);

/// Sends one message, with a descriptor where one is given. `EPIPE` when the other end is gone.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], file: Option<BorrowedFd<'_>>) -> Result<()> {
    let mut part = libc::iovec { iov_base: bytes.as_ptr() as *mut _, iov_len: bytes.len() };
    let mut control = Control([0; 64]);
    // SAFETY: zeroes are a valid msghdr.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    if let Some(file) = file {
        message.msg_control = control.0.as_mut_ptr().cast();
        // SAFETY: the buffer is aligned and larger than one header with one descriptor.
        unsafe {
            message.msg_controllen = libc::CMSG_SPACE(4) as _;
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(4) as _;
            libc::CMSG_DATA(header).cast::<i32>().write_unaligned(file.as_raw_fd());
        }
    }
    let flags = libc::MSG_NOSIGNAL;
    // SAFETY: everything that `message` points to lives until the call returns.
    retry(|| unsafe { syscall!(Sysno::sendmsg, socket.as_raw_fd(), &raw const message, flags) })?;
    Ok(())
}

/// Whether the other end of a Unix socket has received all that was sent. Source: unix(7), `SIOCOUTQ`.
pub fn is_received(socket: BorrowedFd<'_>) -> bool {
    let mut unread = 0_i32;
    // SAFETY: the kernel writes one number.
    let told =
        unsafe { syscall!(Sysno::ioctl, socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut unread) };
    told.is_ok() && unread == 0
}

/// Takes no more messages from the other end, which gets `EPIPE` for them; it can still be sent some.
pub fn refuse_more(socket: BorrowedFd<'_>) {
    // SAFETY: no memory is passed. It fails where the other end is gone.
    let _ = unsafe { syscall!(Sysno::shutdown, socket.as_raw_fd(), libc::SHUT_RD) };
}

/// Sends one message, or `EAGAIN` where it would have to wait.
pub fn send_now(socket: BorrowedFd<'_>, bytes: &[u8]) -> Result<()> {
    let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
    // SAFETY: the kernel reads at most the length of the slice.
    retry(|| unsafe {
        let (raw, pointer, length) = (socket.as_raw_fd(), bytes.as_ptr(), bytes.len());
        syscall!(Sysno::sendto, raw, pointer, length, flags, 0, 0)
    })?;
    Ok(())
}

/// Receives one message into the buffer, and a descriptor where one came along.
/// A length of 0 means that the other end is gone.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<(usize, Option<OwnedFd>)> {
    receive_message(socket, buffer, 0)
}

/// The same, or `EAGAIN` where it would have to wait.
pub fn receive_now(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<(usize, Option<OwnedFd>)> {
    receive_message(socket, buffer, libc::MSG_DONTWAIT)
}

fn receive_message(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    flags: i32,
) -> Result<(usize, Option<OwnedFd>)> {
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let mut control = Control([0; 64]);
    // SAFETY: zeroes are a valid msghdr.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = control.0.len() as _;
    let flags = flags | libc::MSG_CMSG_CLOEXEC;
    let message = &raw mut message;
    // SAFETY: the kernel writes within the buffer and the control area.
    let receive =
        || retry(|| unsafe { syscall!(Sysno::recvmsg, socket.as_raw_fd(), message, flags) });
    let length = match receive() {
        // Said once where the other end went without reading all that we sent, and before the
        // messages that it had sent: those come next. Source: net/unix/af_unix.c,
        // unix_release_sock.
        Err(Errno::ECONNRESET) => receive()?,
        other => other?,
    };
    // SAFETY: the kernel filled in the control area and its length.
    let file = unsafe {
        let header = libc::CMSG_FIRSTHDR(message);
        let rights = !header.is_null()
            && (*header).cmsg_level == libc::SOL_SOCKET
            && (*header).cmsg_type == libc::SCM_RIGHTS;
        rights.then(|| owned(libc::CMSG_DATA(header).cast::<i32>().read_unaligned() as usize))
    };
    Ok((length, file))
}

/// A set of signals, bit n-1 for signal n.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignalSet(pub u64);

impl SignalSet {
    /// Every signal that can be handled, but for those that report a fault of this program.
    pub const FORWARDABLE: Self = {
        let faults = [
            libc::SIGKILL,
            libc::SIGSTOP,
            libc::SIGSEGV,
            libc::SIGBUS,
            libc::SIGFPE,
            libc::SIGILL,
            libc::SIGTRAP,
            libc::SIGABRT,
            libc::SIGSYS,
            libc::SIGPIPE,
        ];
        let (mut bits, mut index) = (!0_u64, 0);
        while index < faults.len() {
            bits &= !(1 << (faults[index] - 1));
            index += 1;
        }
        Self(bits)
    };
}

impl SignalSet {
    /// The set of these signals.
    pub fn of(signals: &[i32]) -> Self {
        Self(signals.iter().fold(0, |bits, signal| bits | 1 << (signal - 1)))
    }

    /// This set but for these signals.
    pub fn without(self, signals: &[i32]) -> Self {
        Self(self.0 & !Self::of(signals).0)
    }
}

/// Holds back exactly these signals; they wait until they are read or let through.
pub fn block_signals(set: SignalSet) -> Result<()> {
    // SAFETY: the set is eight bytes, as the kernel expects.
    unsafe { syscall!(Sysno::rt_sigprocmask, libc::SIG_SETMASK, &raw const set.0, 0, 8) }?;
    Ok(())
}

/// Undoes what a caller may have chosen and `execve` keeps: with SIGCHLD ignored nobody can wait for a
/// child. A file that would grow beyond a limit of the caller's is an error, `EFBIG`, and no signal.
pub fn take_back_signals() -> Result<()> {
    for (signal, handler) in [(libc::SIGCHLD, libc::SIG_DFL), (libc::SIGXFSZ, libc::SIG_IGN)] {
        // struct kernel_sigaction: handler, flags, restorer, mask.
        let action = [handler as u64, 0, 0, 0];
        // SAFETY: the structure lives for the whole call; no handler is installed.
        unsafe { syscall!(Sysno::rt_sigaction, signal, action.as_ptr(), 0, 8) }?;
    }
    Ok(())
}

/// Lets all signals through and gives each its default action: what a new program expects.
pub fn reset_signals() -> Result<()> {
    // struct kernel_sigaction: handler, flags, restorer, mask; all zero is SIG_DFL.
    let default = [0_u64; 4];
    // Only standard signals may have been ignored by our caller, and stay so over execve.
    for signal in 1..=31 {
        if signal != libc::SIGKILL && signal != libc::SIGSTOP {
            // SAFETY: the structure lives for the whole call; no handler is installed.
            unsafe { syscall!(Sysno::rt_sigaction, signal, default.as_ptr(), 0, 8) }?;
        }
    }
    block_signals(SignalSet(0))
}

/// A descriptor to read the blocked signals of `set` from; never waits.
pub fn signal_fd(set: SignalSet) -> Result<OwnedFd> {
    let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
    // SAFETY: the set is eight bytes, as the kernel expects.
    unsafe { syscall!(Sysno::signalfd4, -1_i32, &raw const set.0, 8, flags) }.map(owned)
}

/// The next signal that waits in a signal descriptor.
pub fn next_signal(file: BorrowedFd<'_>) -> Option<u32> {
    let mut info = [0_u8; size_of::<libc::signalfd_siginfo>()];
    match read(file, &mut info) {
        Ok(length) if length == info.len() => {
            Some(u32::from_le_bytes([info[0], info[1], info[2], info[3]]))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn the_last_words_of_an_end_that_did_not_listen_are_heard() {
        let (near, far) = socket_pair().unwrap();
        send(near.as_fd(), b"start", None).unwrap();
        send(far.as_fd(), b"why", None).unwrap();
        drop(far);
        let mut buffer = [0; 8];
        assert_eq!(receive(near.as_fd(), &mut buffer).unwrap().0, 3);
        assert_eq!(&buffer[..3], b"why");
        assert_eq!(receive(near.as_fd(), &mut buffer).unwrap().0, 0);
    }
}
