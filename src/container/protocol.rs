//! What a keeper and its clients say to each other: one packet a message, its kind in front.

use crate::error::Error;
use crate::runtime::report;
use crate::sys::tty::Size;

/// Most bytes of input or output in one packet.
pub const CHUNK: usize = 32 << 10;

/// How many packets of input a client may send before it hears that one was taken. The keeper reads its
/// other messages meanwhile.
pub const WINDOW: u8 = 2;

/// A message from the keeper to a client.
#[derive(Debug, PartialEq, Eq)]
pub enum FromKeeper<'a> {
    /// The program runs.
    Started,
    Stdout(&'a [u8]),
    Stderr(&'a [u8]),
    /// The program has taken the input of that many packets.
    Taken(u8),
    /// The container could not be started.
    Failed(Error),
    /// The program has ended. With what holds the container's mounts: they go when the client lets go
    /// of it, while the keeper removes the rest.
    Mounts,
    /// The program has ended with this code, and nothing is left of the container's processes.
    Exited(u8),
}

/// A message from a client to the keeper.
#[derive(Debug, PartialEq, Eq)]
pub enum FromClient<'a> {
    /// The first message of one that connected: whether it wants the output.
    Hello {
        output: bool,
    },
    Stdin(&'a [u8]),
    StdinEnd,
    Resize(Size),
    Signal(u32),
    /// With the container's network namespace, or without one where it could not be made.
    Network,
}

impl FromKeeper<'_> {
    /// The packet that `decode` reads. The descriptor of `Mounts` is sent beside it.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Started => vec![b'S'],
            Self::Stdout(bytes) => [b"o", *bytes].concat(),
            Self::Stderr(bytes) => [b"e", *bytes].concat(),
            Self::Taken(count) => vec![b'T', *count],
            Self::Failed(error) => [b"E", &report::encode_error(error)[..]].concat(),
            Self::Mounts => vec![b'M'],
            Self::Exited(code) => vec![b'X', *code],
        }
    }

    /// `None` for a packet that no keeper sends.
    pub fn decode(packet: &[u8]) -> Option<FromKeeper<'_>> {
        Some(match packet {
            [b'S'] => FromKeeper::Started,
            [b'o', bytes @ ..] => FromKeeper::Stdout(bytes),
            [b'e', bytes @ ..] => FromKeeper::Stderr(bytes),
            [b'T', count] => FromKeeper::Taken(*count),
            [b'E', rest @ ..] => FromKeeper::Failed(report::decode_error(rest)),
            [b'M'] => FromKeeper::Mounts,
            [b'X', code] => FromKeeper::Exited(*code),
            _ => return None,
        })
    }
}

impl FromClient<'_> {
    /// The packet that `decode` reads. The descriptor of `Network` is sent beside it.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Hello { output } => vec![b'H', u8::from(*output)],
            Self::Stdin(bytes) => [b"i", *bytes].concat(),
            Self::StdinEnd => vec![b'c'],
            Self::Resize(size) => {
                let (rows, columns) = (size.rows.to_le_bytes(), size.columns.to_le_bytes());
                vec![b'w', rows[0], rows[1], columns[0], columns[1]]
            }
            Self::Signal(signal) => vec![b'k', *signal as u8],
            Self::Network => vec![b'n'],
        }
    }

    /// `None` for a packet that no client sends.
    pub fn decode(packet: &[u8]) -> Option<FromClient<'_>> {
        Some(match packet {
            [b'H', output] => FromClient::Hello { output: *output != 0 },
            [b'i', bytes @ ..] => FromClient::Stdin(bytes),
            [b'c'] => FromClient::StdinEnd,
            [b'w', a, b, c, d] => FromClient::Resize(Size {
                rows: u16::from_le_bytes([*a, *b]),
                columns: u16::from_le_bytes([*c, *d]),
            }),
            [b'k', signal] => FromClient::Signal((*signal).into()),
            [b'n'] => FromClient::Network,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_is_read_as_it_was_written() {
        let error = Error::new("x").code(127).hint("y");
        for message in [
            FromKeeper::Started,
            FromKeeper::Stdout(b"a"),
            FromKeeper::Stderr(b""),
            FromKeeper::Taken(2),
            FromKeeper::Failed(error),
            FromKeeper::Mounts,
            FromKeeper::Exited(137),
        ] {
            assert_eq!(FromKeeper::decode(&message.encode()), Some(message));
        }
        for message in [
            FromClient::Hello { output: true },
            FromClient::Stdin(b"a"),
            FromClient::StdinEnd,
            FromClient::Resize(Size { rows: 300, columns: 80 }),
            FromClient::Signal(64),
        ] {
            assert_eq!(FromClient::decode(&message.encode()), Some(message));
        }
        assert_eq!(FromClient::decode(b""), None);
        assert_eq!(FromKeeper::decode(b"?"), None);
    }
}
