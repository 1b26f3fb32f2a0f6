//! The blocks of a tar archive: ustar, and extended headers for what does not fit into it.

use super::input::BLOCK;
use super::padding;

/// The room for a name.
const NAME: usize = 100;

/// What is said of an entry: numbers as in `Entry`.
pub struct Head<'a> {
    pub path: &'a [u8],
    /// Of the type flags that POSIX has, `0` to `6`.
    pub type_flag: u8,
    pub link: &'a [u8],
    /// Mode, user and group.
    pub owner: [u32; 3],
    pub modified: (i64, i64),
    pub size: u64,
    pub device: (u32, u32),
    pub xattrs: &'a [(Vec<u8>, Vec<u8>)],
}

/// Adds what stands before the data of an entry.
pub fn add_head(blocks: &mut Vec<u8>, head: &Head<'_>) {
    let records = records(head);
    if !records.is_empty() {
        add_block(blocks, b"pax", &[0, 0, 0, records.len() as i64, 0], b'x', b"", (0, 0));
        blocks.extend_from_slice(&records);
        pad(blocks, records.len() as u64);
    }
    let path = if head.path.is_empty() { b"./" } else { head.path };
    let [mode, uid, gid] = head.owner.map(i64::from);
    let numbers = [mode, uid, gid, head.size as i64, head.modified.0];
    add_block(blocks, path, &numbers, head.type_flag, head.link, head.device);
}

/// Adds a header. The `numbers` are mode, user, group, size and time.
fn add_block(
    blocks: &mut Vec<u8>,
    name: &[u8],
    numbers: &[i64; 5],
    type_flag: u8,
    link: &[u8],
    device: (u32, u32),
) {
    let start = blocks.len();
    add_text(blocks, name, NAME);
    for (number, width) in numbers.iter().zip([8, 8, 8, 12, 12]) {
        add_number(blocks, *number, width);
    }
    let checksum = blocks.len();
    // The checksum itself counts as blanks.
    blocks.extend_from_slice(b"        ");
    blocks.push(type_flag);
    add_text(blocks, link, NAME);
    // The format, and neither the name of a user nor that of a group.
    add_text(blocks, b"ustar\x0000", 72);
    add_number(blocks, device.0.into(), 8);
    add_number(blocks, device.1.into(), 8);
    blocks.resize(start + BLOCK, 0);
    let sum = blocks[start..].iter().map(|byte| i64::from(*byte)).sum();
    let mut digits = Vec::new();
    add_number(&mut digits, sum, 7);
    blocks[checksum..checksum + 7].copy_from_slice(&digits);
}

/// Adds as much of a text as there is room for.
fn add_text(bytes: &mut Vec<u8>, text: &[u8], width: usize) {
    let end = bytes.len() + width;
    bytes.extend_from_slice(&text[..text.len().min(width)]);
    bytes.resize(end, 0);
}

/// Adds octal digits and a NUL, or the bytes of a number that is too large for that, or negative; their
/// topmost bit marks them.
fn add_number(bytes: &mut Vec<u8>, number: i64, width: usize) {
    let octal = number >> (3 * (width - 1)) == 0;
    for place in (0..width).rev() {
        bytes.push(match (octal, place) {
            (true, 0) => 0,
            (true, _) => b'0' + (number >> (3 * (place - 1)) & 7) as u8,
            (false, _) => {
                let mark = if place == width - 1 { 0x80 } else { 0 };
                (number >> (8 * place).min(63)) as u8 | mark
            }
        });
    }
}

/// Fills the last block of so many bytes of data.
pub fn pad(bytes: &mut Vec<u8>, length: u64) {
    bytes.resize(bytes.len() + padding(length) as usize, 0);
}

/// What stands at the end of an archive.
pub const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// The records of the extended header.
fn records(head: &Head<'_>) -> Vec<u8> {
    let mut records = Vec::new();
    let mut add = |key: &[u8], value: &[u8]| {
        let rest = key.len() + value.len() + " =\n".len();
        let mut length = rest;
        // Its own digits count.
        while length != rest + length.to_string().len() {
            length = rest + length.to_string().len();
        }
        records.extend_from_slice(length.to_string().as_bytes());
        for part in [b" ", key, b"=", value, b"\n"] {
            records.extend_from_slice(part);
        }
    };
    if head.path.len() > NAME {
        add(b"path", head.path);
    }
    if head.link.len() > NAME {
        add(b"linkpath", head.link);
    }
    let (seconds, nanoseconds) = head.modified;
    if nanoseconds != 0 {
        // A fraction goes away from zero.
        let (sign, seconds, nanoseconds) = match seconds < 0 {
            true => ("-", -1 - seconds, 1_000_000_000 - nanoseconds),
            false => ("", seconds, nanoseconds),
        };
        add(b"mtime", format!("{sign}{seconds}.{nanoseconds:09}").as_bytes());
    }
    for (name, value) in head.xattrs {
        add(&[b"SCHILY.xattr.", &name[..]].concat(), value);
    }
    records
}

#[cfg(test)]
mod tests {
    use super::super::{Entry, Kind, Reader};
    use super::*;

    fn head(entry: &Entry) -> Vec<u8> {
        let mut blocks = Vec::new();
        let head = Head {
            path: &entry.path,
            type_flag: match entry.kind {
                Kind::File => b'0',
                Kind::HardLink => b'1',
                Kind::Symlink => b'2',
                Kind::CharDevice => b'3',
                Kind::BlockDevice => b'4',
                Kind::Directory => b'5',
                Kind::Fifo => b'6',
            },
            link: &entry.link,
            owner: [entry.mode, entry.uid, entry.gid],
            modified: entry.modified,
            size: entry.size,
            device: entry.device,
            xattrs: &entry.xattrs,
        };
        add_head(&mut blocks, &head);
        blocks
    }

    fn entry(path: &[u8], kind: Kind) -> Entry {
        Entry {
            path: path.to_vec(),
            kind,
            link: Vec::new(),
            mode: 0o4755,
            uid: 1000,
            gid: 0,
            modified: (1_700_000_000, 0),
            size: 0,
            device: (0, 0),
            xattrs: Vec::new(),
            extents: None,
        }
    }

    #[track_caller]
    fn comes_back(entry: &Entry, blocks: usize) {
        let mut archive = head(entry);
        assert_eq!(archive.len(), blocks * BLOCK, "{entry:?}");
        archive.extend_from_slice(&END);
        let mut reader = Reader::new(&archive[..]);
        let mut found = reader.next_entry().unwrap().unwrap();
        if found.path == b"./" {
            found.path.clear();
        }
        assert_eq!(format!("{found:?}"), format!("{entry:?}"));
        assert!(reader.next_entry().unwrap().is_none());
    }

    #[test]
    fn what_fits_is_one_block() {
        comes_back(&entry(b"", Kind::Directory), 1);
        comes_back(&entry(&[b'a'; 100], Kind::File), 1);
        let link = [b'l'; 100].to_vec();
        comes_back(&Entry { link, ..entry(b"a/b", Kind::Symlink) }, 1);
        comes_back(&Entry { link: b"a".to_vec(), ..entry(b"b", Kind::HardLink) }, 1);
        comes_back(&Entry { device: (4095, 1_048_575), ..entry(b"d", Kind::BlockDevice) }, 1);
        comes_back(&Entry { mode: 0, ..entry(b"whiteout", Kind::CharDevice) }, 1);
        for uid in [0o7_777_777, 0o10_000_000, u32::MAX] {
            comes_back(&Entry { uid, ..entry(b"p", Kind::Fifo) }, 1);
        }
        for modified in [(-1, 0), (0o77_777_777_777, 0), (1 << 40, 0), (-5_000_000_000, 0)] {
            comes_back(&Entry { modified, ..entry(b"a", Kind::Directory) }, 1);
        }
    }

    #[test]
    fn what_does_not_fit_goes_into_an_extended_header() {
        comes_back(&entry(&[b'a'; 101], Kind::Directory), 3);
        comes_back(&entry(&[b'\n'; 4095], Kind::CharDevice), 11);
        comes_back(&Entry { link: vec![b'l'; 101], ..entry(b"a", Kind::Symlink) }, 3);
        let xattrs = [(b"trusted.overlay.opaque".to_vec(), b"y".to_vec()), (vec![b'a'], vec![])];
        comes_back(&Entry { xattrs: xattrs.to_vec(), ..entry(b"a", Kind::Directory) }, 3);
        for modified in [(5, 1), (-1, 500_000_000), (-5, 1), (1 << 40, 3), (0, 999_999_999)] {
            comes_back(&Entry { modified, ..entry(b"a", Kind::Directory) }, 3);
        }
    }

    #[test]
    fn the_size_of_a_large_file_comes_back() {
        for size in [0o77_777_777_777, 0o100_000_000_000, 1 << 50] {
            let mut archive = head(&Entry { size, ..entry(b"a", Kind::File) });
            assert_eq!(archive.len(), BLOCK);
            archive.extend_from_slice(&END);
            assert_eq!(Reader::new(&archive[..]).next_entry().unwrap().unwrap().size, size);
        }
    }
}
