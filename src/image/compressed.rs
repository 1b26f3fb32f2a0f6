//! The two ends of a forked process that turns what is compressed into the bytes of an archive, and
//! what it says when it ends.

use crate::sys::child::failed;
use crate::sys::io;
use crate::sys::ring::{Filler, SLOT};
use std::fs::File;
use std::os::fd::AsFd;

/// What the child says by its exit code, besides an errno.
pub const DONE: u8 = 0;
pub const DAMAGED: u8 = 10;
pub const CUT_SHORT: u8 = 11;
/// The data was good, and something else came behind it, which was left out.
pub const GARBAGE: u8 = 12;

/// How many bytes can be given back.
const UNREAD: usize = 8;
const INPUT: usize = 128 << 10;

/// The bytes as they come: first those that were read to recognise them.
pub struct Compressed<'a> {
    file: &'a File,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    ended: bool,
}

impl<'a> Compressed<'a> {
    /// `prefix`, and then what `file` gives.
    pub fn new(prefix: &[u8], file: &'a File) -> Self {
        let mut buffer = prefix.to_vec();
        buffer.resize(prefix.len() + INPUT, 0);
        Self { file, buffer, start: 0, end: prefix.len(), ended: false }
    }

    /// What was read and not yet taken.
    pub fn rest(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Makes sure that `count` bytes, a few, are there, unless the end comes first.
    pub fn need(&mut self, count: usize) -> Result<bool, u8> {
        while self.end - self.start < count && !self.ended {
            let kept = self.start - self.start.min(UNREAD);
            self.buffer.copy_within(kept..self.end, 0);
            self.start -= kept;
            self.end -= kept;
            let read = io::read(self.file.as_fd(), &mut self.buffer[self.end..]).map_err(failed)?;
            self.end += read;
            self.ended = read == 0;
        }
        Ok(self.end - self.start >= count)
    }

    /// Says that so many bytes of `rest` were used.
    pub fn took(&mut self, bytes: usize) {
        self.start += bytes;
    }

    /// Gives back at most `UNREAD` bytes that were taken.
    pub fn unread(&mut self, count: usize) {
        self.start = self.start.saturating_sub(count.min(UNREAD));
    }

    /// Takes the next byte; none at the end.
    pub fn next(&mut self) -> Result<Option<u8>, u8> {
        if self.start == self.end && !self.need(1)? {
            return Ok(None);
        }
        let byte = self.buffer.get(self.start).copied();
        self.start += 1;
        Ok(byte)
    }
}

/// Where the bytes go: to the processes that unpack and hash them.
pub struct Sink<'a> {
    ring: Filler<&'a File>,
    filled: usize,
}

impl<'a> Sink<'a> {
    pub fn new(ring: Filler<&'a File>) -> Self {
        Self { ring, filled: 0 }
    }

    /// Room for what comes next.
    pub fn space(&mut self) -> Result<&mut [u8], u8> {
        Ok(&mut self.ring.space().map_err(failed)?[self.filled..])
    }

    /// Takes bytes that were put into `space`.
    pub fn took(&mut self, bytes: usize) -> Result<(), u8> {
        self.filled += bytes;
        match self.filled == SLOT {
            true => self.flush(),
            false => Ok(()),
        }
    }

    /// Takes a copy of bytes.
    pub fn take(&mut self, mut bytes: &[u8]) -> Result<(), u8> {
        while !bytes.is_empty() {
            let space = self.space()?;
            let (now, later) = bytes.split_at(bytes.len().min(space.len()));
            space[..now.len()].copy_from_slice(now);
            self.took(now.len())?;
            bytes = later;
        }
        Ok(())
    }

    /// Passes on what is there, at the end.
    pub fn flush(&mut self) -> Result<(), u8> {
        match std::mem::take(&mut self.filled) {
            0 => Ok(()),
            filled => self.ring.pass(filled).map_err(failed),
        }
    }
}
