//! Netlink: requests to the kernel's networking, their answers, and the text of a refusal.
//!
//! Layout: Documentation/userspace-api/netlink/intro.rst, include/uapi/linux/netlink.h.

use super::{Errno, Result, owned, retry};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use syscalls::{Sysno, syscall};

/// `struct nlmsghdr`: length, kind, flags, sequence, port.
const HEADER: usize = 16;
/// The largest answer: the kernel fills at most this much of a dump into one packet.
const BUFFER: usize = 32 << 10;
/// A dump that was disturbed by a change is asked for again, this often.
const TRIES: usize = 16;

pub const REQUEST: u16 = libc::NLM_F_REQUEST as u16;
pub const ACK: u16 = libc::NLM_F_ACK as u16;
pub const DUMP: u16 = libc::NLM_F_DUMP as u16;
pub const CREATE: u16 = libc::NLM_F_CREATE as u16;
pub const EXCL: u16 = libc::NLM_F_EXCL as u16;
pub const REPLACE: u16 = libc::NLM_F_REPLACE as u16;
pub const APPEND: u16 = libc::NLM_F_APPEND as u16;
/// `NLM_F_DUMP_INTR`: the answer is not of one moment.
const DUMP_INTR: u16 = 0x10;
/// `NLM_F_CAPPED`, `NLM_F_ACK_TLVS`, since Linux 4.12.
const CAPPED: u16 = 0x100;
const ACK_TLVS: u16 = 0x200;
/// `NLMSGERR_ATTR_MSG`.
const ERROR_TEXT: u16 = 1;
/// `NLA_F_NESTED`.
const NESTED: u16 = 0x8000;

/// What the kernel said instead of doing it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    pub errno: Errno,
    /// The kernel's own words; often empty.
    pub text: String,
    /// Which of the messages that were sent together.
    pub index: usize,
}

impl From<Errno> for Refused {
    fn from(errno: Errno) -> Self {
        Self { errno, text: String::new(), index: 0 }
    }
}

/// What a request gives.
pub type Answer<T> = std::result::Result<T, Refused>;

/// Messages that are sent together, each with its attributes.
#[derive(Debug, Default)]
pub struct Messages {
    bytes: Vec<u8>,
    /// Where each message starts.
    starts: Vec<usize>,
    /// The one that may be refused.
    optional: Option<usize>,
}

impl Messages {
    /// Begins a message: its kind, its flags, and the fixed structure of that kind.
    pub fn start(&mut self, kind: u16, flags: u16, fixed: &[u8]) -> &mut Self {
        self.starts.push(self.bytes.len());
        let mut header = [0; HEADER];
        header[4..6].copy_from_slice(&kind.to_ne_bytes());
        header[6..8].copy_from_slice(&(flags | REQUEST).to_ne_bytes());
        let number = self.starts.len() as u32;
        header[8..12].copy_from_slice(&number.to_ne_bytes());
        self.bytes.extend(header);
        self.bytes.extend(fixed);
        self.close(0)
    }

    /// Pads, and sets the lengths of the message and of what began at `from`, if anything did.
    fn close(&mut self, from: usize) -> &mut Self {
        let length = self.bytes.len();
        if from > 0 {
            let part = ((length - from) as u16).to_ne_bytes();
            self.bytes[from..from + 2].copy_from_slice(&part);
        }
        self.bytes.resize(length.next_multiple_of(4), 0);
        if let Some(start) = self.starts.last() {
            let whole = ((self.bytes.len() - start) as u32).to_ne_bytes();
            self.bytes[*start..start + 4].copy_from_slice(&whole);
        }
        self
    }

    /// Adds an attribute to the last message.
    pub fn put(&mut self, kind: u16, payload: &[u8]) -> &mut Self {
        let from = self.bytes.len();
        self.bytes.extend([0, 0]);
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(payload);
        self.close(from)
    }

    /// A text attribute, ended by a NUL byte.
    pub fn put_text(&mut self, kind: u16, text: &str) -> &mut Self {
        let from = self.bytes.len();
        self.put(kind, text.as_bytes());
        self.bytes.truncate(from + 4 + text.len());
        self.bytes.push(0);
        self.close(from)
    }

    /// A number in the machine's order.
    pub fn put_u32(&mut self, kind: u16, number: u32) -> &mut Self {
        self.put(kind, &number.to_ne_bytes())
    }

    /// A number in the order of the network.
    pub fn put_be32(&mut self, kind: u16, number: u32) -> &mut Self {
        self.put(kind, &number.to_be_bytes())
    }

    /// Begins an attribute that holds others, with a fixed structure before them; gives its place
    /// for `end`.
    pub fn nest(&mut self, kind: u16, fixed: &[u8]) -> usize {
        let from = self.bytes.len();
        self.put(kind | NESTED, fixed);
        from
    }

    /// Ends what `nest` began.
    pub fn end(&mut self, from: usize) -> &mut Self {
        self.close(from)
    }

    /// Lets it be no error when the last message is refused.
    pub fn let_fail(&mut self) -> &mut Self {
        self.optional = self.starts.len().checked_sub(1);
        self
    }

    /// What stands behind the header of the only message.
    #[cfg(test)]
    pub fn body(&self) -> &[u8] {
        &self.bytes[HEADER..]
    }

    /// Has the last message answered.
    pub fn acknowledge(&mut self) {
        if let Some(start) = self.starts.last() {
            self.bytes[start + 6] |= ACK as u8;
        }
    }

    fn flags(&self, index: usize) -> u16 {
        let start = self.starts[index];
        u16::from_ne_bytes([self.bytes[start + 6], self.bytes[start + 7]])
    }
}

/// The parts of the kernel that are talked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// Links, addresses, routes.
    Route,
    /// Packet filters and address translation.
    Netfilter,
}

/// A connection to the networking of the namespace in which it was opened.
#[derive(Debug)]
pub struct Netlink {
    socket: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Netlink {
    /// Errors: `EPROTONOSUPPORT` where the kernel has no such subject.
    pub fn open(subject: Subject) -> Result<Self> {
        let protocol = match subject {
            Subject::Route => libc::NETLINK_ROUTE,
            Subject::Netfilter => libc::NETLINK_NETFILTER,
        };
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
        // SAFETY: no memory is passed.
        let socket = owned(unsafe { syscall!(Sysno::socket, libc::AF_NETLINK, kind, protocol) }?);
        for option in [libc::NETLINK_EXT_ACK, libc::NETLINK_CAP_ACK] {
            let (raw, on) = (socket.as_raw_fd(), 1_i32);
            // SAFETY: the number lives for the whole call and has the length that is given.
            unsafe {
                syscall!(Sysno::setsockopt, raw, libc::SOL_NETLINK, option, &raw const on, 4)
            }?;
        }
        Ok(Self { socket, sequence: 0, buffer: Vec::new() })
    }

    /// The descriptor, for requests about interfaces by ioctl.
    pub fn socket(&self) -> BorrowedFd<'_> {
        use std::os::fd::AsFd;
        self.socket.as_fd()
    }

    /// Sends messages and waits until the kernel has answered all that want an answer.
    pub fn send(&mut self, messages: Messages) -> Answer<()> {
        self.exchange(messages, &mut |_| ()).map(drop)
    }

    /// Sends a request and gives the bodies of the messages that come back. A dump that was
    /// disturbed is asked for again.
    pub fn ask(&mut self, build: &dyn Fn(&mut Messages)) -> Answer<Vec<Vec<u8>>> {
        for _ in 0..TRIES {
            let mut messages = Messages::default();
            build(&mut messages);
            let mut bodies = Vec::new();
            if self.exchange(messages, &mut |body| bodies.push(body.to_vec()))? {
                return Ok(bodies);
            }
        }
        Err(Errno::EBUSY.into())
    }

    /// Sends a request and shows the bodies of the messages that come back, whether or not they are of
    /// one moment.
    pub fn each(&mut self, messages: Messages, take: &mut dyn FnMut(&[u8])) -> Answer<()> {
        self.exchange(messages, take).map(drop)
    }

    /// False when an answer is not of one moment.
    fn exchange(&mut self, mut messages: Messages, take: &mut dyn FnMut(&[u8])) -> Answer<bool> {
        let first = self.sequence.wrapping_add(1);
        for (index, start) in messages.starts.iter().enumerate() {
            let number = first.wrapping_add(index as u32).to_ne_bytes();
            messages.bytes[start + 8..start + 12].copy_from_slice(&number);
        }
        let count = messages.starts.len();
        self.sequence = self.sequence.wrapping_add(count as u32);
        // The bits of a dump are those of CREATE and EXCL too: only both together are one.
        let wants = |index: usize| {
            let flags = messages.flags(index);
            flags & ACK != 0 || flags & DUMP == DUMP
        };
        let mut waiting = (0..count).filter(|index| wants(*index)).count();
        self.write(&messages.bytes)?;
        let mut refused: Option<Refused> = None;
        let mut whole = true;
        while waiting > 0 {
            self.receive()?;
            let mut rest = &self.buffer[..];
            while let Some((header, body, after)) = split_message(rest) {
                rest = after;
                let index = header.sequence.wrapping_sub(first) as usize;
                // What an earlier request left.
                if index >= count {
                    continue;
                }
                whole &= header.flags & DUMP_INTR == 0;
                let errno = match header.kind as i32 {
                    libc::NLMSG_ERROR | libc::NLMSG_DONE => body
                        .first_chunk()
                        .map_or(0, |bytes| i32::from_ne_bytes(*bytes).wrapping_neg()),
                    _ => {
                        take(body);
                        continue;
                    }
                };
                if errno > 0 && messages.optional != Some(index) {
                    let errno = Errno::new(errno);
                    let text = error_text(&header, body);
                    let error = Refused { errno, text, index };
                    // One that wanted no answer stands for all: nothing else need come.
                    if !wants(index) {
                        return Err(error);
                    }
                    refused.get_or_insert(error);
                }
                if wants(index) {
                    waiting -= 1;
                }
            }
        }
        match refused {
            Some(refused) => Err(refused),
            None => Ok(whole),
        }
    }

    fn write(&self, bytes: &[u8]) -> Result<()> {
        let raw = self.socket.as_raw_fd();
        // SAFETY: the kernel reads at most the length of the slice; the kernel is the receiver.
        retry(|| unsafe { syscall!(Sysno::sendto, raw, bytes.as_ptr(), bytes.len(), 0, 0, 0) })?;
        Ok(())
    }

    /// Receives one packet of the kernel's into the buffer; another process's is dropped.
    fn receive(&mut self) -> Result<()> {
        let raw = self.socket.as_raw_fd();
        self.buffer.clear();
        // It is never filled: an answer takes one of its pages, and the others are never touched.
        self.buffer.reserve(BUFFER);
        loop {
            // SAFETY: zeroes are a valid address.
            let mut sender: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
            let mut size = size_of::<libc::sockaddr_nl>() as u32;
            let pointer = self.buffer.as_mut_ptr();
            // SAFETY: the kernel writes at most what the buffer has room for, and the address.
            let length = retry(|| unsafe {
                let (sender, size) = (&raw mut sender, &raw mut size);
                syscall!(Sysno::recvfrom, raw, pointer, BUFFER, libc::MSG_TRUNC, sender, size)
            })?;
            if sender.nl_pid != 0 {
                continue;
            }
            if length > BUFFER {
                return Err(Errno::EMSGSIZE);
            }
            // SAFETY: the kernel has written so much, and there is room for it.
            unsafe { self.buffer.set_len(length) };
            return Ok(());
        }
    }
}

struct Header {
    kind: u16,
    flags: u16,
    sequence: u32,
}

/// The first message of a packet, its body, and what follows it.
fn split_message(bytes: &[u8]) -> Option<(Header, &[u8], &[u8])> {
    let header = bytes.first_chunk::<HEADER>()?;
    let word = |at: usize| {
        u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    let half = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
    let length = word(0) as usize;
    let body = bytes.get(HEADER..length)?;
    let after = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((Header { kind: half(4), flags: half(6), sequence: word(8) }, body, after))
}

/// The kernel's words in a refusal: attributes behind the number and the message refused.
fn error_text(header: &Header, body: &[u8]) -> String {
    if header.flags & ACK_TLVS == 0 {
        return String::new();
    }
    let refused = body.get(4..8).and_then(|bytes| bytes.first_chunk());
    let refused = refused.map_or(0, |bytes| u32::from_ne_bytes(*bytes) as usize);
    let message = if header.flags & CAPPED != 0 { HEADER } else { refused.next_multiple_of(4) };
    let texts = attributes(body.get(4 + message..).unwrap_or_default());
    let text = find(texts, ERROR_TEXT).unwrap_or_default();
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

/// The attributes in a message, behind its fixed structure, or in another attribute.
pub fn attributes(bytes: &[u8]) -> Attributes<'_> {
    Attributes(bytes)
}

/// See `attributes`. Ends at the first one that is cut off.
#[derive(Debug, Clone, Copy)]
pub struct Attributes<'a>(&'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let [a, b, c, d] = *self.0.first_chunk()?;
        let length = usize::from(u16::from_ne_bytes([a, b]));
        let payload = self.0.get(4..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([c, d]) & 0x3fff, payload))
    }
}

/// The payload of the first attribute of this kind.
pub fn find(attributes: Attributes<'_>, kind: u16) -> Option<&[u8]> {
    attributes.into_iter().find(|(found, _)| *found == kind).map(|(_, payload)| payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_cover_padding_between_but_not_after_an_attribute() {
        let mut messages = Messages::default();
        messages.start(16, ACK, &[7; 4]).put_text(3, "lo");
        let outer = messages.nest(18, b"");
        messages.put(1, b"veth").end(outer);
        let bytes = &messages.bytes;
        assert_eq!(bytes.len(), 16 + 4 + 8 + 4 + 8);
        assert_eq!(bytes[..4], 40_u32.to_ne_bytes());
        assert_eq!(bytes[20..28], [7, 0, 3, 0, b'l', b'o', 0, 0]);
        assert_eq!(bytes[28..32], [12, 0, 18, 0x80]);
        let (_, body, after) = split_message(bytes).unwrap();
        assert!(after.is_empty());
        let inner = find(attributes(&body[4..]), 18).unwrap();
        assert_eq!(find(attributes(inner), 1), Some(&b"veth"[..]));
    }

    #[test]
    fn what_is_cut_off_anywhere_ends_the_list_without_a_panic() {
        let mut messages = Messages::default();
        messages.start(16, 0, &[0; 16]).put(1, b"one").put(2, b"second");
        for length in 0..messages.bytes.len() {
            let cut = &messages.bytes[..length];
            assert!(split_message(cut).is_none());
            let _ = attributes(cut.get(32..).unwrap_or_default()).count();
        }
        for first in 0..=255 {
            let _ = attributes(&[first, 0, 1, 0, 9, 9]).count();
        }
    }

    #[test]
    fn the_words_of_a_refusal_are_found_behind_a_capped_message() {
        let mut body = (-17_i32).to_ne_bytes().to_vec();
        body.extend([0; 16]);
        body.extend([8, 0, 1, 0, b'o', b'h', b'!', 0]);
        let header = Header { kind: 2, flags: CAPPED | ACK_TLVS, sequence: 1 };
        assert_eq!(error_text(&header, &body), "oh!");
        let plain = Header { flags: CAPPED, ..header };
        assert_eq!(error_text(&plain, &body), "");
    }

    #[test]
    fn the_kernel_answers_a_dump_and_refuses_with_a_number() {
        let mut netlink = Netlink::open(Subject::Route).unwrap();
        let links = netlink.ask(&|messages| {
            messages.start(libc::RTM_GETLINK, DUMP, &[0; 16]);
        });
        assert!(!links.unwrap().is_empty());
        let mut messages = Messages::default();
        messages.start(libc::RTM_DELLINK, ACK, &[0; 16]).put_text(libc::IFLA_IFNAME, "none-such");
        let refused = netlink.send(messages).unwrap_err();
        assert!(matches!(refused.errno, Errno::ENODEV | Errno::EPERM), "{refused:?}");
    }

    #[test]
    fn a_message_that_may_be_refused_hides_no_other_refusal() {
        let mut netlink = Netlink::open(Subject::Route).unwrap();
        let remove = |messages: &mut Messages| {
            messages.start(libc::RTM_DELLINK, ACK, &[0; 16]).put_text(libc::IFLA_IFNAME, "no-one");
        };
        let mut messages = Messages::default();
        remove(&mut messages);
        messages.let_fail();
        assert_eq!(netlink.send(messages), Ok(()));
        let mut messages = Messages::default();
        remove(&mut messages);
        messages.let_fail();
        remove(&mut messages);
        assert_eq!(netlink.send(messages).map_err(|refused| refused.index), Err(1));
    }
}
