//! The log of a container: a plain file that `cat` shows, and beside it an index that tells which
//! bytes came when from which stream. Bounded: at `MAX` bytes, its index counted, the file becomes `.1`.

use super::protocol::CHUNK;
use crate::sys::fs::{self, Dir, errno};
use crate::sys::{Errno, Result, io};
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

pub const LOG: &str = "container.log";
pub const INDEX: &str = "container.log.index";
/// What is kept of the one before.
pub const OLD_LOG: &str = "container.log.1";
pub const OLD_INDEX: &str = "container.log.index.1";

/// Largest size of one file and its index together: the index of a program that writes byte by byte
/// is many times as large as what it writes.
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
}

#[derive(Debug)]
struct Open {
    log: File,
    index: File,
    /// Where the present file begins in all that the container ever wrote.
    start: u64,
    /// Bytes in it.
    size: u64,
    index_bytes: u64,
}

impl Writer {
    /// Goes on where an earlier run of the container ended.
    pub fn new(dir: Dir) -> Self {
        Self { dir, open: None }
    }

    /// Appends what a stream gave, at most `CHUNK` bytes. When the disk is full or broken the bytes
    /// are lost, but neither the container nor its client waits.
    pub fn append(&mut self, stream: u32, bytes: &[u8], time: i64) {
        // Where it fails the files are closed: what it left of them goes when they are opened again.
        self.open = self.appended(stream, bytes, time).ok();
    }

    fn appended(&mut self, stream: u32, bytes: &[u8], time: i64) -> Result<Open> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => Open::new(&self.dir)?,
        };
        let more = (bytes.len() + ENTRY_SIZE) as u64;
        if open.size + open.index_bytes + more > MAX {
            rotate(&self.dir)?;
            open = Open::new(&self.dir)?;
        }
        io::write_all(open.log.as_fd(), bytes)?;
        let length = bytes.len() as u32;
        let entry = Entry { time, offset: open.start.wrapping_add(open.size), length, stream };
        io::write_all(open.index.as_fd(), &entry.encode())?;
        open.size += bytes.len() as u64;
        open.index_bytes += ENTRY_SIZE as u64;
        Ok(open)
    }
}

impl Open {
    /// Opens both files. What a write that was cut short has left is cut off, so that the index
    /// tells of each byte: a full disk does that, and the end of a keeper between two writes.
    fn new(dir: &Dir) -> Result<Self> {
        let before = Range::of(dir, OLD_INDEX).map_or(0, |old| old.end);
        let empty = Range { start: before, end: before, index_bytes: 0 };
        let mut range = Range::of(dir, INDEX).unwrap_or(empty);
        let mut size = range.end.wrapping_sub(range.start);
        let length = dir.stat(LOG).map_or(0, |stat| stat.size);
        if length.wrapping_sub(size) > CHUNK as u64 {
            // No single write did that, but a power cut or a hand: it is kept as it is.
            rotate(dir)?;
            range = Range { start: range.end, index_bytes: 0, ..range };
            size = 0;
        }
        let (log, index) = (dir.append(LOG)?, dir.append(INDEX)?);
        for (file, size) in [(&log, size), (&index, range.index_bytes)] {
            // To say so of one that is right costs a transaction of the file system.
            if fs::stat(file.as_fd())?.size != size {
                file.set_len(size).map_err(errno)?;
            }
        }
        Ok(Self { log, index, start: range.start, size, index_bytes: range.index_bytes })
    }
}

/// Puts the present files into the place of the older ones. Interrupted, it is ended by the next
/// call: an index that is gone already is the one that belongs to the log.
fn rotate(dir: &Dir) -> Result<()> {
    for (new, old) in [(INDEX, OLD_INDEX), (LOG, OLD_LOG)] {
        match dir.rename(new, dir, old) {
            Ok(()) | Err(Errno::ENOENT) => {}
            other => other?,
        }
    }
    Ok(())
}

/// The bytes that an index tells of, counted from the first that the container ever wrote.
struct Range {
    start: u64,
    end: u64,
    /// Of the index itself, without an entry that is cut short.
    index_bytes: u64,
}

impl Range {
    /// `None` where there is no entry, or one that is none.
    fn of(dir: &Dir, name: &str) -> Option<Self> {
        let index = dir.open_file(name).ok()?;
        let size = ENTRY_SIZE as u64;
        let index_bytes = index.metadata().ok()?.len() / size * size;
        let entry = |place: u64| {
            let mut bytes = [0; ENTRY_SIZE];
            index.read_exact_at(&mut bytes, place).ok()?;
            Entry::decode(&bytes)
        };
        let last = entry(index_bytes.checked_sub(size)?)?;
        let end = last.offset.wrapping_add(last.length.into());
        Some(Self { start: entry(0)?.offset, end, index_bytes })
    }
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
    /// A log with these two files, and what is written to it then.
    fn appended(name: &str, log: &[u8], index: &[u8]) -> (Vec<u8>, Vec<Entry>, Vec<u8>) {
        let path = std::env::temp_dir().join(format!("rocker-log-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join(LOG), log).unwrap();
        std::fs::write(path.join(INDEX), index).unwrap();
        let mut writer = Writer::new(Dir::open(&path).unwrap());
        writer.append(1, b"new", 7);
        let read = |name: &str| std::fs::read(path.join(name)).unwrap_or_default();
        let entries = read(INDEX).chunks(ENTRY_SIZE).filter_map(Entry::decode).collect();
        let all = (read(LOG), entries, read(OLD_LOG));
        std::fs::remove_dir_all(&path).unwrap();
        all
    }

    #[test]
    fn what_a_write_left_that_was_cut_short_is_cut_off() {
        let known = Entry { time: 5, offset: 100, length: 4, stream: 2 };
        let new = Entry { time: 7, offset: 104, length: 3, stream: 1 };
        let torn = [&known.encode()[..], &new.encode()[..9]].concat();
        for (name, log, index) in [
            ("whole", "old\n", &known.encode()[..]),
            ("log", "old\npart", &known.encode()[..]),
            ("index", "old\nlost\n", &torn[..]),
        ] {
            let (log, entries, older) = appended(name, log.as_bytes(), index);
            assert_eq!(log, b"old\nnew", "{name}");
            assert_eq!(entries, [known, new], "{name}");
            assert_eq!(older, b"", "{name}");
        }
        let first = Entry { offset: 0, ..new };
        assert_eq!(appended("first", b"part", b""), (b"new".to_vec(), vec![first], vec![]));
    }

    #[test]
    fn a_log_and_its_index_stay_under_the_bound_together() {
        // So many bytes that came one by one, then a last one, which fits or does not.
        let entry = |offset| Entry { time: 5, offset, length: 1, stream: 1 }.encode();
        let most = (MAX - 3) as usize / (1 + ENTRY_SIZE);
        for (name, count) in [("fits", most - 1), ("full", most)] {
            let index = (0..count as u64).map(entry).collect::<Vec<_>>().concat();
            let (log, entries, older) = appended(name, &vec![b'x'; count], &index);
            let is_full = count == most;
            assert_eq!(older.len(), if is_full { count } else { 0 }, "{name}");
            assert_eq!(log.len(), if is_full { 3 } else { count + 3 }, "{name}");
            assert_eq!(entries.last().map(|last| last.offset), Some(count as u64), "{name}");
            assert!(log.len() + entries.len() * ENTRY_SIZE <= MAX as usize, "{name}");
        }
        // What another run of the container has filled is full for this one.
        let first = Entry { time: 5, offset: 0, length: MAX as u32, stream: 1 };
        let (log, _, older) = appended("before", &vec![b'x'; MAX as usize], &first.encode());
        assert_eq!((&log[..], older.len()), (&b"new"[..], MAX as usize));
    }

    #[test]
    fn a_log_that_no_single_write_made_so_is_kept_beside_the_new_one() {
        let known = Entry { time: 5, offset: 100, length: 4, stream: 2 };
        let new = Entry { time: 7, offset: 104, length: 3, stream: 1 };
        for (name, log) in [("short", b"old".to_vec()), ("long", vec![b'x'; CHUNK + 5])] {
            let (present, entries, older) = appended(name, &log, &known.encode());
            assert_eq!((present, entries), (b"new".to_vec(), vec![new]), "{name}");
            assert_eq!(older, log, "{name}");
        }
    }
}
