//! A reader of tar archives: v7, ustar, pax, GNU, from anything that can be read.
//!
//! It makes no system call and believes nothing: sizes are checked, special headers and maps
//! bounded. What is done with the entries, and where, is the extractor's matter.

mod header;
mod input;
mod pax;
mod sparse;
pub mod write;

use crate::error::{Cause, Error, Result};
use header::{Check, Header};
use input::{BLOCK, Input};
use pax::Extended;
pub use sparse::Extent;
use std::io::BufRead;

/// The largest size of a file: room for the padding below the largest signed number.
const SIZE_LIMIT: u64 = i64::MAX as u64 - 511;
/// The largest special header: long names, extended headers.
const SPECIAL_LIMIT: u64 = 1 << 20;
/// The longest name, the kernel's limit, without the NUL at its end.
pub const NAME_LIMIT: usize = 4095;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    File,
    /// Another name of an earlier entry; `link` is that entry's path.
    HardLink,
    Symlink,
    CharDevice,
    BlockDevice,
    Directory,
    Fifo,
}

/// One entry, with everything that extended headers said of it.
#[derive(Debug)]
pub struct Entry {
    /// As stored: it may be absolute, or hold `..`, `.` and empty components.
    pub path: Vec<u8>,
    pub kind: Kind,
    pub link: Vec<u8>,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Seconds and nanoseconds.
    pub modified: (i64, i64),
    /// Size of the file, holes included.
    pub size: u64,
    pub device: (u32, u32),
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where the stored data belongs, for a file with holes.
    pub extents: Option<Vec<Extent>>,
}

/// The archive, read from front to back.
#[derive(Debug)]
pub struct Reader<R> {
    input: Input<R>,
    /// Bytes of the present entry's data that are not yet taken, and of its padding.
    data: u64,
    padding: u64,
    /// How much of what `chunk` gave out last is still in the buffer.
    shown: usize,
    defaults: Extended,
    ended: bool,
}

/// What was read ahead of an entry.
#[derive(Default)]
struct Before {
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    extended: Option<Extended>,
}

impl<R: BufRead> Reader<R> {
    pub fn new(source: R) -> Self {
        let input = Input::new(source);
        Self { input, data: 0, padding: 0, shown: 0, defaults: Extended::default(), ended: false }
    }

    /// Ends the reading.
    pub fn into_source(self) -> R {
        self.input.into_source()
    }

    /// Reads what is left of the source behind the archive.
    pub fn drain(&mut self) -> Result<()> {
        self.ended = true;
        self.input.drain()
    }

    /// The next entry; what is left of the present one's data is passed over.
    pub fn next_entry(&mut self) -> Result<Option<Entry>> {
        if self.ended {
            return Ok(None);
        }
        self.leave_entry()?;
        let mut before = Before::default();
        loop {
            let position = self.input.position();
            let Some(block) = self.input.block()? else {
                return match (position, self.input.position()) {
                    // Less than a block in all.
                    (0, 1..) => Err(not_tar()),
                    _ => self.end(&before, position),
                };
            };
            let header = Header(block);
            match header.check() {
                Check::Zero => return self.end(&before, position),
                Check::Bad if position == 0 => return Err(not_tar()),
                Check::Bad => {
                    let what = format!("bad checksum in the header at byte {position}");
                    return Err(Error::new(what));
                }
                Check::Good => {}
            }
            let entry = self.read_header(&header, &mut before);
            if let Some(entry) = entry.map_err(|error| at(error, position))? {
                return Ok(Some(entry));
            }
        }
    }

    /// The end of the archive: nothing may be pending.
    fn end(&mut self, before: &Before, position: u64) -> Result<Option<Entry>> {
        self.ended = true;
        let pending =
            before.extended.is_some() || before.long_name.is_some() || before.long_link.is_some();
        match pending {
            true => Err(input::cut_short_at(position)),
            false => Ok(None),
        }
    }

    /// The next piece of the entry's data, as stored; empty at its end.
    pub fn chunk(&mut self) -> Result<&[u8]> {
        self.input.consume(self.shown);
        self.data -= self.shown as u64;
        self.shown = 0;
        if self.data == 0 {
            return Ok(&[]);
        }
        let chunk = self.input.bytes(self.data)?;
        self.shown = chunk.len();
        Ok(chunk)
    }

    fn leave_entry(&mut self) -> Result<()> {
        self.input.consume(self.shown);
        self.data -= self.shown as u64;
        self.shown = 0;
        self.input.skip(self.data)?;
        self.input.skip(self.padding)?;
        (self.data, self.padding) = (0, 0);
        Ok(())
    }

    /// Reads the content of a special header.
    fn special(&mut self, size: u64) -> Result<Vec<u8>> {
        if size > SPECIAL_LIMIT {
            return Err(Error::new("a special header of more than 1 MiB"));
        }
        let mut content = Vec::new();
        while (content.len() as u64) < size {
            let bytes = self.input.bytes(size - content.len() as u64)?;
            content.extend_from_slice(bytes);
            let length = bytes.len();
            self.input.consume(length);
        }
        self.input.skip(padding(size))?;
        Ok(content)
    }

    /// Takes a header. None where it only tells of the entry behind it.
    fn read_header(&mut self, header: &Header, before: &mut Before) -> Result<Option<Entry>> {
        let stored = header.size().and_then(|size| u64::try_from(size).ok());
        let stored = stored.filter(|size| *size <= SIZE_LIMIT);
        let size = || stored.ok_or_else(|| Error::new("a bad size"));
        match header.type_flag() {
            b'L' => before.long_name = Some(header::text(&self.special(size()?)?).to_vec()),
            b'K' => before.long_link = Some(header::text(&self.special(size()?)?).to_vec()),
            b'x' | b'X' => {
                let content = self.special(size()?)?;
                // One behind another replaces it, as for other readers.
                before.extended.insert(Extended::default()).add(&content)?;
            }
            b'g' => {
                let content = self.special(size()?)?;
                let mut defaults = std::mem::take(&mut self.defaults);
                defaults.add(&content)?;
                self.defaults = defaults.defaults();
            }
            // A volume's label tells nothing of a file.
            b'V' => {
                self.data = size()?;
                self.padding = padding(self.data);
                self.leave_entry()?;
            }
            b'M' => return Err(Error::new("a file that begins in another volume")),
            _ => {
                let before = std::mem::take(before);
                return self.entry(header, stored, before).map(Some);
            }
        }
        Ok(None)
    }

    fn entry(&mut self, header: &Header, stored: Option<u64>, before: Before) -> Result<Entry> {
        let extended = before.extended.unwrap_or_default();
        let stored = extended.size.or(stored);
        let defaults = &self.defaults;
        let path = extended.path.clone().or_else(|| defaults.path.clone());
        let path = path.or(before.long_name).unwrap_or_else(|| header.path());
        let path = extended.sparse.name.clone().unwrap_or(path);
        let link = extended.link.clone().or_else(|| defaults.link.clone());
        let link = link.or(before.long_link).unwrap_or_else(|| header.link().to_vec());
        let kind = kind(header.type_flag(), &path);
        let number = |what: &str, value: Option<i64>| {
            let value = value.and_then(|value| u32::try_from(value).ok());
            value.ok_or_else(|| Error::new(format!("a bad {what}")))
        };
        let owner =
            |what: &str, own: Option<u32>, default: Option<u32>, value| match own.or(default) {
                Some(id) => Ok(id),
                None => number(what, value),
            };
        let modified = match extended.modified.or(self.defaults.modified) {
            Some(time) => time,
            None => (header.modified().ok_or_else(|| Error::new("a bad time"))?, 0),
        };
        let device = match kind {
            Kind::CharDevice | Kind::BlockDevice => {
                header.device().ok_or_else(|| Error::new("a bad device number"))?
            }
            _ => (0, 0),
        };
        if path.len() > NAME_LIMIT || link.len() > NAME_LIMIT {
            return Err(Error::new("a name of more than 4095 bytes"));
        }
        let mut entry = Entry {
            mode: number("mode", header.mode().map(|mode| mode & 0o7777))?,
            uid: owner("uid", extended.uid, self.defaults.uid, header.uid())?,
            gid: owner("gid", extended.gid, self.defaults.gid, header.gid())?,
            path,
            kind,
            link,
            modified,
            size: 0,
            device,
            xattrs: extended.xattrs,
            extents: None,
        };
        if kind == Kind::File || header.type_flag() == b'D' {
            let stored = stored.ok_or_else(|| Error::new("a bad size"))?;
            self.set_data(header, &mut entry, &extended.sparse, stored)?;
        }
        Ok(entry)
    }

    /// Prepares for the data of a file; reads its map where it has holes.
    fn set_data(
        &mut self,
        header: &Header,
        entry: &mut Entry,
        sparse: &pax::Sparse,
        stored: u64,
    ) -> Result<()> {
        (self.data, self.padding) = (stored, padding(stored));
        entry.size = stored;
        let (map, real_size) = if header.type_flag() == b'S' {
            sparse::old_gnu(&header.0, &mut self.input)?
        } else if sparse.major == Some(1) {
            let (map, taken) = sparse::version_1(&mut self.input, stored)?;
            self.data -= taken;
            (map, sparse.real_size.ok_or_else(|| Error::new("a sparse file without a size"))?)
        } else if let Some(map) = &sparse.map {
            let real_size =
                sparse.real_size.ok_or_else(|| Error::new("a sparse file without a size"));
            (map.clone(), real_size?)
        } else {
            return Ok(());
        };
        sparse::check(&map, real_size, self.data)?;
        entry.size = real_size;
        entry.extents = Some(map);
        Ok(())
    }
}

/// The error for a source that does not begin as an archive does.
pub fn not_tar() -> Error {
    Error::new("not a tar archive").cause(Cause::Foreign)
}

/// Adds where it happened to an error of an entry, unless it says so already.
fn at(error: Error, position: u64) -> Error {
    match error.cause == Cause::CutShort || error.errno.is_some() {
        true => error,
        false => error.during(&format_args!("the header at byte {position}")),
    }
}

fn padding(size: u64) -> u64 {
    size.next_multiple_of(BLOCK as u64) - size
}

/// What a type flag stands for. A file whose name ends in a slash is a directory of old writers;
/// what no one knows is a file.
fn kind(type_flag: u8, path: &[u8]) -> Kind {
    match type_flag {
        b'1' => Kind::HardLink,
        b'2' => Kind::Symlink,
        b'3' => Kind::CharDevice,
        b'4' => Kind::BlockDevice,
        b'5' | b'D' => Kind::Directory,
        b'6' => Kind::Fifo,
        0 | b'0' | b'7' if path.ends_with(b"/") => Kind::Directory,
        _ => Kind::File,
    }
}

#[cfg(test)]
mod tests;
