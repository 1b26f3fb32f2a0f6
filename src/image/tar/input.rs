//! The bytes of an archive where their source has them: whole blocks, and data without a copy.

use crate::error::{Cause, Context, Error, Result};
use crate::sys;
use std::io::BufRead;

/// The unit of the format: headers are one block, data is padded to whole ones.
pub const BLOCK: usize = 512;

/// A source that knows how far into the archive it is.
#[derive(Debug)]
pub struct Input<R> {
    source: R,
    position: u64,
}

impl<R: BufRead> Input<R> {
    pub fn new(source: R) -> Self {
        Self { source, position: 0 }
    }

    /// Bytes of the archive that were taken.
    pub fn position(&self) -> u64 {
        self.position
    }

    pub fn into_source(self) -> R {
        self.source
    }

    /// What comes next, as much of it as lies together; nothing at the end.
    fn next(&mut self) -> Result<&[u8]> {
        self.source.fill_buf().map_err(sys::fs::errno).context("read")
    }

    /// The next block, or none at the end. Less than a block at the very end counts as the end,
    /// as it does for other readers.
    pub fn block(&mut self) -> Result<Option<[u8; BLOCK]>> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            let bytes = self.next()?;
            let length = bytes.len().min(BLOCK - filled);
            if length == 0 {
                return Ok(None);
            }
            block[filled..filled + length].copy_from_slice(&bytes[..length]);
            self.consume(length);
            filled += length;
        }
        Ok(Some(block))
    }

    /// The next at most `limit` bytes, at least one; the caller says with `consume` that it is
    /// done with them.
    pub fn bytes(&mut self, limit: u64) -> Result<&[u8]> {
        let cut_short = self.position;
        let bytes = self.next()?;
        if bytes.is_empty() {
            return Err(cut_short_at(cut_short));
        }
        let length = usize::try_from(limit).unwrap_or(usize::MAX).min(bytes.len());
        Ok(&bytes[..length])
    }

    /// Takes bytes that `bytes` showed.
    pub fn consume(&mut self, bytes: usize) {
        self.source.consume(bytes);
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
            match self.next()?.len() {
                0 => return Ok(()),
                length => self.consume(length),
            }
        }
    }

    pub fn cut_short(&self) -> Error {
        cut_short_at(self.position)
    }
}

pub fn cut_short_at(position: u64) -> Error {
    Error::new(format!("the archive is cut short at byte {position}")).cause(Cause::CutShort)
}
