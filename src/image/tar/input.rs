//! The bytes of an archive through one buffer: whole blocks, and data without a second copy.

use crate::error::{Context, Error, Result};
use crate::sys;
use std::io::{ErrorKind, Read};

/// The unit of the format: headers are one block, data is padded to whole ones.
pub const BLOCK: usize = 512;

const BUFFER: usize = 256 << 10;

/// A buffered source that knows how far into the archive it is.
#[derive(Debug)]
pub struct Input<R> {
    source: R,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Offset in the archive of `buffer[start]`.
    position: u64,
}

impl<R: Read> Input<R> {
    pub fn new(source: R) -> Self {
        Self { source, buffer: vec![0; BUFFER], start: 0, end: 0, position: 0 }
    }

    pub fn position(&self) -> u64 {
        self.position
    }

    pub fn source(&mut self) -> &mut R {
        &mut self.source
    }

    pub fn into_source(self) -> R {
        self.source
    }

    /// Reads once more behind what is there. Gives the bytes read, 0 at the end.
    fn fill(&mut self) -> Result<usize> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        loop {
            match self.source.read(&mut self.buffer[self.end..]) {
                Ok(read) => {
                    self.end += read;
                    return Ok(read);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(sys::fs::errno(error)).context("read"),
            }
        }
    }

    /// The next block, or none at the end. Less than a block at the very end counts as the end,
    /// as it does for other readers.
    pub fn block(&mut self) -> Result<Option<[u8; BLOCK]>> {
        while self.end - self.start < BLOCK {
            if self.fill()? == 0 {
                return Ok(None);
            }
        }
        let mut block = [0; BLOCK];
        block.copy_from_slice(&self.buffer[self.start..self.start + BLOCK]);
        self.consume(BLOCK);
        Ok(Some(block))
    }

    /// The next at most `limit` bytes, at least one; the caller says with `consume` that it is
    /// done with them.
    pub fn bytes(&mut self, limit: u64) -> Result<&[u8]> {
        if self.start == self.end && self.fill()? == 0 {
            return Err(self.cut_short());
        }
        let length = usize::try_from(limit).unwrap_or(usize::MAX).min(self.end - self.start);
        Ok(&self.buffer[self.start..self.start + length])
    }

    /// Takes bytes that `bytes` showed.
    pub fn consume(&mut self, bytes: usize) {
        self.start += bytes;
        self.position += bytes as u64;
    }

    /// Passes over `bytes`.
    pub fn skip(&mut self, mut bytes: u64) -> Result<()> {
        while bytes > 0 {
            let length = self.bytes(bytes)?.len();
            self.consume(length);
            bytes -= length as u64;
        }
        Ok(())
    }

    /// Reads to the end of the source, whatever is there.
    pub fn drain(&mut self) -> Result<()> {
        loop {
            self.consume(self.end - self.start);
            if self.fill()? == 0 {
                return Ok(());
            }
        }
    }

    pub fn cut_short(&self) -> Error {
        let end = self.position + (self.end - self.start) as u64;
        Error::new(format!("the archive is cut short at byte {end}"))
    }
}
