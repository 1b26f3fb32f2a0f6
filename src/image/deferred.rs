//! Modes and times of directories, kept until the end: a journal that leaves memory for a file
//! when it grows.

use crate::error::{Context, Error, Result};
use crate::sys::fs::{self, Dir};
use std::fs::File;
use std::io::{Read, Write};

/// From here on the journal goes to a file.
const MEMORY: usize = 512 << 10;
const FILE: &str = "directories";

/// What a directory gets at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    /// A clean path below the root; empty for the root itself.
    pub path: Vec<u8>,
    pub mode: u32,
    pub modified: (i64, i64),
}

/// Length of a record without its path.
const FIXED: usize = 24;

/// The journal. Records come back in the order in which they were added.
pub struct Deferred {
    scratch: Dir,
    buffer: Vec<u8>,
    file: Option<File>,
}

impl Deferred {
    pub fn new(scratch: Dir) -> Self {
        Self { scratch, buffer: Vec::new(), file: None }
    }

    /// Adds the record of a directory. Writes what is in memory to the scratch file when that is much.
    pub fn add(&mut self, meta: &Meta) -> Result<()> {
        let length = u32::try_from(meta.path.len()).unwrap_or(u32::MAX);
        self.buffer.extend_from_slice(&length.to_le_bytes());
        self.buffer.extend_from_slice(&meta.mode.to_le_bytes());
        self.buffer.extend_from_slice(&meta.modified.0.to_le_bytes());
        self.buffer.extend_from_slice(&meta.modified.1.to_le_bytes());
        self.buffer.extend_from_slice(&meta.path);
        match self.buffer.len() < MEMORY {
            true => Ok(()),
            false => self.spill(),
        }
    }

    fn spill(&mut self) -> Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(self.scratch.create(FILE, 0o600).context("make a scratch file")?),
        };
        file.write_all(&self.buffer).map_err(fs::errno).context("write a scratch file")?;
        self.buffer.clear();
        Ok(())
    }

    /// Gives every record to `take`, the earliest first.
    pub fn replay(&mut self, take: &mut dyn FnMut(&Meta) -> Result<()>) -> Result<()> {
        if self.file.take().is_some() {
            let file = self.scratch.open_file(FILE).context("read a scratch file")?;
            let mut file = std::io::BufReader::new(file);
            while let Some(meta) = next(&mut file)? {
                take(&meta)?;
            }
            // Where another extraction makes one of the same name.
            self.scratch.unlink(FILE).context("remove a scratch file")?;
        }
        let buffer = std::mem::take(&mut self.buffer);
        let mut rest = buffer.as_slice();
        while let Some(meta) = next(&mut rest)? {
            take(&meta)?;
        }
        Ok(())
    }
}

fn next(source: &mut impl Read) -> Result<Option<Meta>> {
    let mut fixed = [0; FIXED];
    let mut filled = 0;
    while filled < FIXED {
        match source.read(&mut fixed[filled..]).map_err(fs::errno).context("read a scratch file")? {
            0 if filled == 0 => return Ok(None),
            0 => return Err(Error::new("a scratch file ends too early")),
            read => filled += read,
        }
    }
    let four = |at: usize| u32::from_le_bytes(std::array::from_fn(|index| fixed[at + index]));
    let eight = |at: usize| i64::from_le_bytes(std::array::from_fn(|index| fixed[at + index]));
    let mut path = vec![0; four(0) as usize];
    source.read_exact(&mut path).map_err(fs::errno).context("read a scratch file")?;
    Ok(Some(Meta { path, mode: four(4), modified: (eight(8), eight(16)) }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;

    #[test]
    fn records_come_back_in_order_from_file_and_memory() {
        let name = format!("rocker-deferred-{}", std::process::id());
        let parent = Dir::open(std::env::temp_dir()).unwrap();
        parent.mkdir(&name, 0o700).unwrap();
        let mut deferred = Deferred::new(parent.dir(&name).unwrap());
        let meta = |index: u32| Meta {
            path: vec![b'a'; 1000],
            mode: index,
            modified: (-i64::from(index), 999),
        };
        (0..1500).for_each(|index| deferred.add(&meta(index)).unwrap());
        assert!(deferred.file.is_some() && !deferred.buffer.is_empty());
        let mut seen = 0;
        deferred
            .replay(&mut |found| {
                assert_eq!(*found, meta(seen));
                seen += 1;
                Ok(())
            })
            .unwrap();
        super::super::remove::remove_tree(&parent, OsStr::new(&name)).unwrap();
        assert_eq!(seen, 1500);
    }
}
