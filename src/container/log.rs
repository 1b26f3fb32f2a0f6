//! The log of a container: a plain file that `cat` shows, and beside it an index that tells which
//! bytes came when from which stream. Bounded: at `MAX` bytes the file becomes `.1`.

use crate::sys::fs::Dir;
use crate::sys::{Result, io};
use std::fs::File;
use std::os::fd::AsFd;

pub const LOG: &str = "container.log";
pub const INDEX: &str = "container.log.index";
/// What is kept of the one before.
pub const OLD_LOG: &str = "container.log.1";
pub const OLD_INDEX: &str = "container.log.index.1";

/// Largest size of one file.
pub const MAX: u64 = 10 << 20;

/// One run of bytes of one stream in the log. 24 bytes in the file, little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Nanoseconds since the epoch.
    pub time: i64,
    /// Where it begins, counted from the first byte that the container ever wrote.
    pub offset: u64,
    pub length: u32,
    /// 1 for stdout or a terminal, 2 for stderr.
    pub stream: u32,
}

pub const ENTRY_SIZE: usize = 24;

impl Entry {
    pub fn encode(&self) -> [u8; ENTRY_SIZE] {
        let mut bytes = [0; ENTRY_SIZE];
        bytes[..8].copy_from_slice(&self.time.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.offset.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.length.to_le_bytes());
        bytes[20..].copy_from_slice(&self.stream.to_le_bytes());
        bytes
    }

    /// `None` for bytes that are no entry.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; ENTRY_SIZE] = bytes.try_into().ok()?;
        let (time, rest) = bytes.split_first_chunk::<8>()?;
        let (offset, rest) = rest.split_first_chunk::<8>()?;
        let (length, stream) = rest.split_first_chunk::<4>()?;
        let entry = Self {
            time: i64::from_le_bytes(*time),
            offset: u64::from_le_bytes(*offset),
            length: u32::from_le_bytes(*length),
            stream: u32::from_le_bytes(stream.try_into().ok()?),
        };
        matches!(entry.stream, 1 | 2).then_some(entry)
    }
}

/// Writes the log. Made at the first byte, so that a silent container costs no file.
#[derive(Debug)]
pub struct Writer {
    dir: Dir,
    open: Option<Open>,
    /// Bytes that the container has written so far, in all its life.
    total: u64,
}

#[derive(Debug)]
struct Open {
    log: File,
    index: File,
    /// Bytes in the present file.
    size: u64,
}

impl Writer {
    /// Goes on where an earlier run of the container ended; a `fresh` one had none.
    pub fn new(dir: Dir, fresh: bool) -> Self {
        let total = if fresh { None } else { last(&dir) };
        let total = total.map_or(0, |entry| entry.offset + u64::from(entry.length));
        Self { dir, open: None, total }
    }

    /// Appends what a stream gave. When the disk is full or broken the bytes are lost, but
    /// neither the container nor its client waits.
    pub fn append(&mut self, stream: u32, bytes: &[u8], time: i64) {
        if self.try_append(stream, bytes, time).is_err() {
            self.open = None;
        }
    }

    fn try_append(&mut self, stream: u32, bytes: &[u8], time: i64) -> Result<()> {
        if self.open.as_ref().is_some_and(|open| open.size + bytes.len() as u64 > MAX) {
            self.open = None;
            self.dir.rename(LOG, &self.dir, OLD_LOG)?;
            self.dir.rename(INDEX, &self.dir, OLD_INDEX)?;
        }
        let open = match &mut self.open {
            Some(open) => open,
            none => none.insert(Open {
                log: self.dir.append(LOG)?,
                index: self.dir.append(INDEX)?,
                size: self.dir.stat(LOG)?.size,
            }),
        };
        io::write_all(open.log.as_fd(), bytes)?;
        let length = bytes.len() as u32;
        let entry = Entry { time, offset: self.total, length, stream };
        io::write_all(open.index.as_fd(), &entry.encode())?;
        open.size += bytes.len() as u64;
        self.total += bytes.len() as u64;
        Ok(())
    }
}

fn last(dir: &Dir) -> Option<Entry> {
    last_entry(dir, INDEX).or_else(|| last_entry(dir, OLD_INDEX))
}

/// The last whole entry of an index.
fn last_entry(dir: &Dir, name: &str) -> Option<Entry> {
    let bytes = dir.read(name, 64 << 20).ok()?;
    let whole = bytes.len() / ENTRY_SIZE * ENTRY_SIZE;
    Entry::decode(bytes.get(whole.checked_sub(ENTRY_SIZE)?..whole)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_read_as_it_was_written() {
        let entry = Entry { time: -5, offset: 1 << 40, length: 7, stream: 2 };
        assert_eq!(Entry::decode(&entry.encode()), Some(entry));
        assert_eq!(Entry::decode(&[0; ENTRY_SIZE]), None);
        assert_eq!(Entry::decode(&[0; 3]), None);
    }
}
