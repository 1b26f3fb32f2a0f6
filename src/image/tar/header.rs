//! One header block: its checksum, its fields, its numbers. Nothing here knows other blocks.

use super::input::BLOCK;
use std::ops::Range;

/// A header block whose checksum is not yet believed.
#[derive(Debug, Clone, Copy)]
pub struct Header(pub [u8; BLOCK]);

/// Who wrote the header: decides whether a prefix is part of the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// No magic: nothing but the fields that the first tar had.
    V7,
    /// POSIX: the name has a prefix of 155 bytes.
    Ustar,
    /// GNU before POSIX: times and a sparse map stand where ustar has the prefix.
    Gnu,
}

/// What the checksum of a block says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    Good,
    Bad,
    /// All bytes are zero: the end of the archive.
    Zero,
}

const NAME: Range<usize> = 0..100;
const MODE: Range<usize> = 100..108;
const UID: Range<usize> = 108..116;
const GID: Range<usize> = 116..124;
const SIZE: Range<usize> = 124..136;
const MTIME: Range<usize> = 136..148;
const CHECKSUM: Range<usize> = 148..156;
const TYPE: usize = 156;
const LINK: Range<usize> = 157..257;
const MAGIC: Range<usize> = 257..265;
const MAJOR: Range<usize> = 329..337;
const MINOR: Range<usize> = 337..345;
const PREFIX: Range<usize> = 345..500;

/// The bytes before the first NUL.
pub fn text(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// The number in a field: octal digits between blanks, or base 256 where the top bit is set.
///
/// A blank field is 0. None where it holds anything else or a number beyond 63 bits.
pub fn number(field: &[u8]) -> Option<i64> {
    match field.first() {
        Some(first) if first & 0x80 != 0 => base_256(field),
        _ => octal(field),
    }
}

fn base_256(field: &[u8]) -> Option<i64> {
    let (first, rest) = field.split_first()?;
    // Two's complement; the topmost bit only marks the encoding, the one below is the sign.
    let first = i64::from(first & 0x7f);
    let mut value = if first & 0x40 == 0 { first } else { first - 0x80 };
    for byte in rest {
        value = value.checked_mul(256)?.checked_add(i64::from(*byte))?;
    }
    Some(value)
}

fn octal(field: &[u8]) -> Option<i64> {
    let field = text(field).trim_ascii();
    let mut value = 0_i64;
    for digit in field {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 8)?;
        value = value.checked_mul(8)?.checked_add(i64::from(digit))?;
    }
    Some(value)
}

/// A number of decimal digits only.
pub fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn sum(bytes: &[u8]) -> u32 {
    bytes.iter().map(|byte| u32::from(*byte)).sum()
}

impl Header {
    /// Whether the stored checksum is that of the block, by unsigned or by signed bytes.
    pub fn check(&self) -> Check {
        // The checksum itself counts as blanks.
        let own = &self.0[CHECKSUM];
        let blanks = 32 * own.len() as u32;
        let unsigned = sum(&self.0) - sum(own) + blanks;
        // Some old writers summed signed characters: from 128 on each is 256 less.
        let high = |bytes: &[u8]| bytes.iter().filter(|byte| **byte >= 128).count() as i64;
        let unsigned = i64::from(unsigned);
        let stored = octal(&self.0[CHECKSUM]);
        match stored {
            Some(sum) if sum == unsigned => Check::Good,
            Some(sum) if sum == unsigned - 256 * (high(&self.0) - high(own)) => Check::Good,
            _ if self.0.iter().all(|byte| *byte == 0) => Check::Zero,
            _ => Check::Bad,
        }
    }

    /// By the magic alone.
    pub fn format(&self) -> Format {
        match &self.0[MAGIC] {
            b"ustar  \0" => Format::Gnu,
            magic if magic.starts_with(b"ustar\0") => Format::Ustar,
            _ => Format::V7,
        }
    }

    /// What the entry is: `0` or NUL a file, `5` a directory, `x` an extended header, and so on.
    pub fn type_flag(&self) -> u8 {
        self.0[TYPE]
    }

    /// The name, with the prefix where the format has one.
    pub fn path(&self) -> Vec<u8> {
        let name = text(&self.0[NAME]);
        match text(&self.0[PREFIX]) {
            b"" => name.to_vec(),
            prefix if self.format() == Format::Ustar => [prefix, b"/", name].concat(),
            _ => name.to_vec(),
        }
    }

    /// What a link names, up to 100 bytes; empty where there is nothing.
    pub fn link(&self) -> &[u8] {
        text(&self.0[LINK])
    }

    /// The mode, its type of file included where the writer put that there. `None`, here and below,
    /// where the field holds no number (see `number`).
    pub fn mode(&self) -> Option<i64> {
        number(&self.0[MODE])
    }

    /// The owner; `None` as above.
    pub fn uid(&self) -> Option<i64> {
        number(&self.0[UID])
    }

    /// The group; `None` as above.
    pub fn gid(&self) -> Option<i64> {
        number(&self.0[GID])
    }

    /// Bytes of content that follow; `None` as above.
    pub fn size(&self) -> Option<i64> {
        number(&self.0[SIZE])
    }

    /// Seconds since the epoch; `None` as above.
    pub fn modified(&self) -> Option<i64> {
        number(&self.0[MTIME])
    }

    /// Major and minor number of a device; `None` where one of them is no number of 32 bits.
    pub fn device(&self) -> Option<(u32, u32)> {
        let part = |field| u32::try_from(number(field)?).ok();
        Some((part(&self.0[MAJOR])?, part(&self.0[MINOR])?))
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A header with a right checksum.
    pub fn header(name: &str, type_flag: u8, size: u64) -> Header {
        let mut block = [0; BLOCK];
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[MODE].copy_from_slice(b"0000644\0");
        block[UID].copy_from_slice(b"0000000\0");
        block[GID].copy_from_slice(b"0000000\0");
        block[SIZE].copy_from_slice(format!("{size:011o}\0").as_bytes());
        block[MTIME].copy_from_slice(b"00000000012\0");
        block[TYPE] = type_flag;
        block[MAGIC].copy_from_slice(b"ustar\x0000");
        sealed(block)
    }

    /// The block with its checksum filled in.
    pub fn sealed(mut block: [u8; BLOCK]) -> Header {
        block[CHECKSUM].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[CHECKSUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        Header(block)
    }

    #[test]
    fn octal_numbers_may_have_blanks_around_them() {
        assert_eq!(number(b" 0644 \0"), Some(0o644));
        assert_eq!(number(b"0000644"), Some(0o644));
        assert_eq!(number(b"       "), Some(0));
        assert_eq!(number(b"\0\0\0"), Some(0));
    }

    #[test]
    fn what_is_no_number_is_none() {
        assert_eq!(number(b"0649"), None);
        assert_eq!(number(b"-1"), None);
        assert_eq!(number(b"6 4"), None);
        assert_eq!(number(b"7777777777777777777777777"), None);
    }

    #[test]
    fn base_256_has_a_sign_and_an_end() {
        assert_eq!(number(b"\x80\0\0\0\0\0\x01\0"), Some(256));
        assert_eq!(number(b"\xff\xff\xff\xff\xff\xff\xff\xfe"), Some(-2));
        assert_eq!(number(b"\x80\x80\0\0\0\0\0\0\0\0\0\0"), None);
        assert_eq!(number(b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff"), Some(i64::MAX));
    }

    #[test]
    fn a_changed_byte_spoils_the_checksum() {
        let mut good = header("a", b'0', 3);
        assert_eq!(good.check(), Check::Good);
        good.0[0] = b'b';
        assert_eq!(good.check(), Check::Bad);
        assert_eq!(Header([0; BLOCK]).check(), Check::Zero);
    }

    #[test]
    fn the_prefix_belongs_to_the_name_only_in_ustar() {
        let mut block = header("name", b'0', 0).0;
        block[PREFIX.start..PREFIX.start + 3].copy_from_slice(b"dir");
        assert_eq!(Header(block).path(), b"dir/name");
        block[MAGIC].copy_from_slice(b"ustar  \0");
        assert_eq!(Header(block).path(), b"name");
    }
}
