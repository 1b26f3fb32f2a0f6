//! Tests of the reader on archives made byte by byte.

use super::header::tests::{header, sealed};
use super::*;

fn archive(parts: &[(&Header, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (header, data) in parts {
        bytes.extend_from_slice(&header.0);
        bytes.extend_from_slice(data);
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    }
    bytes.resize(bytes.len() + 2 * BLOCK, 0);
    bytes
}

fn data<R: BufRead>(reader: &mut Reader<R>) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        let chunk = reader.chunk().unwrap();
        if chunk.is_empty() {
            return all;
        }
        all.extend_from_slice(chunk);
    }
}

/// Gives one byte at a time, as a slow pipe might.
struct Trickle<'a>(&'a [u8]);

impl std::io::Read for Trickle<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.take(1).read(buffer)
    }
}

impl BufRead for Trickle<'_> {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        Ok(&self.0[..self.0.len().min(1)])
    }

    fn consume(&mut self, bytes: usize) {
        self.0.consume(bytes);
    }
}

fn error(bytes: &[u8]) -> String {
    let mut reader = Reader::new(bytes);
    loop {
        match reader.next_entry() {
            Ok(Some(_)) => {}
            Ok(None) => return String::new(),
            Err(error) => return error.to_string(),
        }
    }
}

#[test]
fn entries_come_with_their_data_however_slowly_it_arrives() {
    let bytes = archive(&[
        (&header("a", b'0', 3), b"abc"),
        (&header("b", b'0', 600), &[7; 600]),
        (&header("d/", b'0', 0), b""),
    ]);
    let mut reader = Reader::new(Trickle(&bytes));
    assert_eq!(reader.next_entry().unwrap().unwrap().path, b"a");
    assert_eq!(data(&mut reader), b"abc");
    assert_eq!(reader.next_entry().unwrap().unwrap().size, 600);
    // The data of b is not asked for, and passed over.
    assert_eq!(reader.next_entry().unwrap().unwrap().kind, Kind::Directory);
    assert!(reader.next_entry().unwrap().is_none());
}

/// Records of an extended header.
fn records(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut text = String::new();
    for (key, value) in pairs {
        // The length counts its own digits: two are enough here.
        text += &format!("{:02} {key}={value}\n", key.len() + value.len() + 5);
    }
    text.into_bytes()
}

#[test]
fn long_names_and_extended_headers_go_before_the_header() {
    let size = records(&[("size", "3")]);
    let bytes = archive(&[
        (&header("././@LongLink", b'L', 5), b"long\0"),
        (&header("x", b'x', size.len() as u64), &size),
        (&header("short", b'0', 1), b"123"),
        (&header("next", b'2', 77), b""),
    ]);
    let mut reader = Reader::new(&bytes[..]);
    let entry = reader.next_entry().unwrap().unwrap();
    assert_eq!((entry.path.as_slice(), entry.size), (&b"long"[..], 3));
    assert_eq!(data(&mut reader), b"123");
    // A link has no data, whatever its size says.
    assert_eq!(reader.next_entry().unwrap().unwrap().path, b"next");
    assert!(reader.next_entry().unwrap().is_none());
}

#[test]
fn a_global_header_holds_for_every_entry_behind_it() {
    let global = records(&[("size", "9"), ("uid", "7"), ("mtime", "99")]);
    let bytes = archive(&[
        (&header("g", b'g', global.len() as u64), &global),
        (&header("a", b'0', 0), b""),
        (&header("b", b'0', 0), b""),
    ]);
    let mut reader = Reader::new(&bytes[..]);
    for name in [b"a", b"b"] {
        let entry = reader.next_entry().unwrap().unwrap();
        assert_eq!((entry.path.as_slice(), entry.uid, entry.modified), (&name[..], 7, (99, 0)));
    }
}

#[test]
fn cut_archives_say_where_they_end() {
    let whole = archive(&[(&header("a", b'0', 600), &[1; 600])]);
    assert_eq!(error(&whole), "");
    assert_eq!(error(&whole[..1536]), "");
    assert_eq!(error(&whole[..1535]), "the archive is cut short at byte 1535");
    assert_eq!(error(&whole[..700]), "the archive is cut short at byte 700");
    let pending = archive(&[(&header("././@LongLink", b'L', 5), b"long\0")]);
    assert_eq!(error(&pending), "the archive is cut short at byte 1024");
}

#[test]
fn what_is_no_archive_and_bad_checksums_are_told_apart() {
    let mut bytes = archive(&[(&header("a", b'0', 0), b""), (&header("b", b'0', 0), b"")]);
    bytes[600] ^= 1;
    assert_eq!(error(&bytes), "bad checksum in the header at byte 512");
    assert_eq!(error(&[b'x'; 2048]), "not a tar archive");
}

#[test]
fn a_negative_and_a_huge_size_are_refused() {
    for size in [
        *b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        *b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff",
    ] {
        let mut block = header("a", b'0', 0).0;
        block[124..136].copy_from_slice(&size);
        let bytes = archive(&[(&sealed(block), b"")]);
        assert_eq!(error(&bytes), "the header at byte 0: a bad size");
    }
}

#[test]
fn an_extended_header_of_more_than_a_mebibyte_is_refused() {
    let bytes = archive(&[(&header("x", b'x', 1 << 30), b"")]);
    assert_eq!(error(&bytes), "the header at byte 0: a special header of more than 1 MiB");
}

#[test]
fn an_old_gnu_sparse_file_tells_its_extents() {
    let mut block = header("s", b'S', 5).0;
    block[257..265].copy_from_slice(b"ustar  \0");
    block[386..410].copy_from_slice(b"00000000000\x0000000000002\0");
    block[410..434].copy_from_slice(b"00000001000\x0000000000003\0");
    block[483..495].copy_from_slice(b"00000010000\0");
    let bytes = archive(&[(&sealed(block), b"abcde"), (&header("b", b'0', 0), b"")]);
    let mut reader = Reader::new(&bytes[..]);
    let entry = reader.next_entry().unwrap().unwrap();
    let expected = vec![Extent { offset: 0, length: 2 }, Extent { offset: 512, length: 3 }];
    assert_eq!((entry.size, entry.extents), (4096, Some(expected)));
    assert_eq!(data(&mut reader), b"abcde");
    assert_eq!(reader.next_entry().unwrap().unwrap().path, b"b");
}

/// Reads everything that can be read; gives the number of entries.
fn read_all(bytes: &[u8]) -> u64 {
    let mut reader = Reader::new(bytes);
    let mut entries = 0;
    while let Ok(Some(entry)) = reader.next_entry() {
        entries += 1;
        let mut stored = 0;
        while let Ok(chunk) = reader.chunk() {
            if chunk.is_empty() {
                break;
            }
            stored += chunk.len() as u64;
        }
        let extents = entry.extents.as_deref().unwrap_or_default();
        let mapped: u64 = extents.iter().map(|extent| extent.length).sum();
        assert!(entry.extents.is_none() || stored <= mapped, "more data than the map has places");
    }
    entries
}

#[test]
fn no_changed_byte_makes_the_reader_panic() {
    let extended = records(&[("path", "p/q"), ("mtime", "1.5"), ("SCHILY.xattr.user.a", "b")]);
    let map = records(&[
        ("GNU.sparse.major", "1"),
        ("GNU.sparse.name", "s"),
        ("GNU.sparse.realsize", "9000"),
    ]);
    let mut old = header("s", b'S', 5).0;
    old[386..410].copy_from_slice(b"00000000000\x0000000000005\0");
    old[483..495].copy_from_slice(b"00000010000\0");
    let mut data = b"2\n0\n3\n4096\n2\n".to_vec();
    data.resize(512, 0);
    data.extend_from_slice(b"abcde");
    let whole = archive(&[
        (&header("././@LongLink", b'L', 5), b"long\0"),
        (&header("a", b'0', 700), &[9; 700]),
        (&header("x", b'x', extended.len() as u64), &extended),
        (&header("b", b'1', 0), b""),
        (&sealed(old), b"abcde"),
        (&header("x", b'x', map.len() as u64), &map),
        (&header("c", b'0', 517), &data),
        (&header("d", b'3', 0), b""),
    ]);
    assert_eq!(read_all(&whole), 5);
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % below as u64) as usize
    };
    for _ in 0..20_000 {
        let mut bytes = whole.clone();
        for _ in 0..=next(3) {
            let block = next(bytes.len() / BLOCK) * BLOCK;
            let at = block + next(BLOCK);
            bytes[at] = [0, b'0', b'7', b'9', b' ', b'\n', 0x80, 0xff][next(8)];
            // A right checksum, so that what is behind it is reached.
            if next(4) > 0 {
                let mut header = [0; BLOCK];
                header.copy_from_slice(&bytes[block..block + BLOCK]);
                bytes[block..block + BLOCK].copy_from_slice(&sealed(header).0);
            }
        }
        bytes.truncate(bytes.len() - next(2) * next(bytes.len()));
        read_all(&bytes);
    }
}
