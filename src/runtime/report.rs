//! The messages between a process that is being set up and the one that waits for it.
//!
//! From the child: a terminal, an error, and in the end nothing, because the socket closes when
//! the program is executed. To the child: its network namespace where it has none yet, and one byte
//! that lets it go on.

use crate::error::Error;
use crate::sys::{Errno, io};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

const TERMINAL: u8 = b'T';
const ERROR: u8 = b'E';
const OVERLAY: u8 = b'O';
const START: u8 = b'S';
const NETWORK: u8 = b'N';

/// Longest message.
const LIMIT: usize = 4096;

/// What the child tells.
#[derive(Debug)]
pub enum Message {
    /// The master end of the program's terminal.
    Terminal(OwnedFd),
    /// The child gives up.
    Failed(Error),
    /// The child gives up because an overlay cannot be mounted here.
    NoOverlay(Error),
    /// The program runs, or the child has died: its exit status tells.
    Executed,
}

/// Sends the terminal's master end to the parent.
pub fn send_terminal(socket: BorrowedFd<'_>, master: &OwnedFd) -> crate::sys::Result<()> {
    io::send(socket, &[TERMINAL], Some(master.as_fd()))
}

/// Sends an error, whole: the parent reports it as its own.
pub fn send_error(socket: BorrowedFd<'_>, error: &Error, overlay: bool) {
    let mut bytes = vec![if overlay { OVERLAY } else { ERROR }];
    bytes.extend(encode_error(error));
    bytes.truncate(LIMIT);
    // Nobody is left to tell when this does not work.
    let _ = io::send(socket, &bytes, None);
}

/// An error as bytes: code, errno, message, a NUL, hint.
pub fn encode_error(error: &Error) -> Vec<u8> {
    let mut bytes = vec![error.code];
    bytes.extend(error.errno.map_or(0, Errno::into_raw).to_le_bytes());
    bytes.extend(error.message.bytes().filter(|byte| *byte != 0));
    bytes.push(0);
    bytes.extend(error.hint.as_deref().unwrap_or_default().bytes());
    bytes
}

/// Waits for the next message of the child.
pub fn receive(socket: BorrowedFd<'_>) -> crate::sys::Result<Message> {
    let mut buffer = [0_u8; LIMIT];
    let (length, file) = match io::receive(socket, &mut buffer) {
        // A child that was killed before it read what we sent.
        Err(Errno::ECONNRESET) => (0, None),
        other => other?,
    };
    Ok(match (&buffer[..length], file) {
        ([], _) => Message::Executed,
        ([TERMINAL], Some(master)) => Message::Terminal(master),
        ([ERROR, rest @ ..], _) => Message::Failed(decode_error(rest)),
        ([OVERLAY, rest @ ..], _) => Message::NoOverlay(decode_error(rest)),
        _ => Message::Failed(Error::new("the new process sent nonsense")),
    })
}

/// The error in what `encode_error` made.
pub fn decode_error(bytes: &[u8]) -> Error {
    let (code, errno, text) = match bytes {
        [code, a, b, c, d, text @ ..] => (*code, i32::from_le_bytes([*a, *b, *c, *d]), text),
        _ => return Error::new("the new process sent half an error"),
    };
    let mut parts = text.splitn(2, |byte| *byte == 0).map(String::from_utf8_lossy);
    let message = parts.next().unwrap_or_default().into_owned();
    let hint = parts.next().filter(|hint| !hint.is_empty()).map(|hint| hint.into_owned());
    let mut error = Error::new(message).code(code);
    error.errno = (errno != 0).then(|| Errno::new(errno));
    error.hint = hint;
    error
}

/// How long something that is to arrive is waited for.
const PATIENCE_MILLISECONDS: i32 = 1000;

/// Waits for a network namespace, which comes as the first message of somebody else. `None` where
/// that one cannot have it made, or has gone, or is stopped.
pub fn receive_network(socket: BorrowedFd<'_>) -> Option<OwnedFd> {
    let ready = io::poll(&mut [io::Poll::readable(socket)], PATIENCE_MILLISECONDS);
    match ready {
        Ok(1..) => io::receive_now(socket, &mut [0]).ok()?.1,
        _ => None,
    }
}

/// Sends the child the network namespace that it is to enter.
pub fn send_network(socket: BorrowedFd<'_>, netns: BorrowedFd<'_>) -> crate::sys::Result<()> {
    io::send(socket, &[NETWORK], Some(netns))
}

/// Waits for the network namespace that the parent sends; `None` when the parent is gone.
pub fn wait_for_network(socket: BorrowedFd<'_>) -> Option<OwnedFd> {
    let mut byte = [0_u8];
    let (_, netns) = io::receive(socket, &mut byte).ok()?;
    netns.filter(|_| byte == [NETWORK])
}

/// Lets the child go on.
pub fn send_start(socket: BorrowedFd<'_>) -> crate::sys::Result<()> {
    io::send(socket, &[START], None)
}

/// Waits until the parent lets us go on; false when the parent is gone.
pub fn wait_for_start(socket: BorrowedFd<'_>) -> bool {
    let mut byte = [0_u8];
    matches!(io::receive(socket, &mut byte), Ok((1, _)) if byte == [START])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_arrives_as_it_was_sent() {
        let (near, far) = io::socket_pair().unwrap();
        let error = Error::from(Errno::EPERM).message("mount proc on /proc".to_owned());
        let error = error.code(125).hint("be root");
        send_error(far.as_fd(), &error, false);
        drop(far);
        assert!(matches!(receive(near.as_fd()), Ok(Message::Failed(got)) if got == error));
        assert!(matches!(receive(near.as_fd()), Ok(Message::Executed)));
    }
}
