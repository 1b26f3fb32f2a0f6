//! Extended headers: records of `length key=value`, and what rocker takes from them.

use super::header::decimal;
use super::header::text;
use super::sparse::{self, Extent};
use crate::error::{Error, Result};

/// How many extended attributes a file may have. The kernel lists 64 KiB of names at most.
const ATTRIBUTES: usize = 256;

/// What the records before an entry say of it; it goes before the entry's own header.
#[derive(Debug, Clone, Default)]
pub struct Extended {
    pub path: Option<Vec<u8>>,
    pub link: Option<Vec<u8>>,
    pub size: Option<u64>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub modified: Option<(i64, i64)>,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub sparse: Sparse,
}

/// The records of GNU's three sparse formats.
#[derive(Debug, Clone, Default)]
pub struct Sparse {
    pub name: Option<Vec<u8>>,
    pub real_size: Option<u64>,
    /// 1 where the map stands before the data.
    pub major: Option<u64>,
    pub map: Option<Vec<Extent>>,
    /// The offset of a record whose number of bytes is still to come.
    offset: Option<u64>,
}

fn malformed(what: &str) -> Error {
    Error::new(format!("malformed extended header: {what}"))
}

/// Key and value of a record, and what stands behind it.
type Record<'a> = (&'a [u8], &'a [u8], &'a [u8]);

/// Splits the first record off. None at the end, which NUL bytes may fill.
fn record(bytes: &[u8]) -> Result<Option<Record<'_>>> {
    let trimmed = bytes.trim_ascii_start();
    if trimmed.first().is_none_or(|byte| *byte == 0) {
        return Ok(None);
    }
    let lead = bytes.len() - trimmed.len();
    let digits = trimmed.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let length = decimal(&trimmed[..digits]).ok_or_else(|| malformed("no length"))?;
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let record = trimmed.get(..length).ok_or_else(|| malformed("a length out of range"))?;
    let body = record.get(digits..).and_then(|body| body.strip_prefix(b" "));
    let body = body.ok_or_else(|| malformed("no blank after the length"))?;
    let body = body.strip_suffix(b"\n").ok_or_else(|| malformed("no end of line"))?;
    let equals = body.iter().position(|byte| *byte == b'=');
    let equals = equals.ok_or_else(|| malformed("no equals sign"))?;
    Ok(Some((&body[..equals], &body[equals + 1..], &bytes[lead + length..])))
}

/// Seconds and nanoseconds of a decimal number with a fraction, rounded down. What no longer
/// belongs to the number is left out: a time is not worth refusing an archive.
fn time(value: &[u8]) -> Option<(i64, i64)> {
    let (negative, value) = match value.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, value),
    };
    let whole = value.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let seconds = i64::try_from(decimal(&value[..whole])?).ok()?;
    let fraction = value[whole..].strip_prefix(b".").unwrap_or_default();
    let digits = fraction.iter().copied().take_while(u8::is_ascii_digit);
    let digits = digits.chain(std::iter::repeat(b'0')).take(9);
    let nanoseconds = digits.fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'));
    match (negative, nanoseconds) {
        (false, _) => Some((seconds, nanoseconds)),
        (true, 0) => Some((-seconds, 0)),
        (true, _) => Some((-seconds - 1, 1_000_000_000 - nanoseconds)),
    }
}

/// A name or target: it ends at a NUL byte, as it would for the kernel.
fn name(value: &[u8]) -> Vec<u8> {
    text(value).to_vec()
}

fn identity(key: &str, value: &[u8]) -> Result<u32> {
    let number = decimal(value).and_then(|number| u32::try_from(number).ok());
    number.ok_or_else(|| malformed(&format!("{key} is no number of 32 bits")))
}

fn size(key: &str, value: &[u8]) -> Result<u64> {
    let number = decimal(value).filter(|number| *number <= super::SIZE_LIMIT);
    number.ok_or_else(|| malformed(&format!("{key} is no number of 63 bits")))
}

impl Extended {
    /// Adds the records of one extended header; later ones win.
    pub fn add(&mut self, mut bytes: &[u8]) -> Result<()> {
        while let Some((key, value, rest)) = record(bytes)? {
            self.set(key, value)?;
            bytes = rest;
        }
        Ok(())
    }

    /// What of a global header holds for every entry behind it: no sizes, maps or attributes.
    pub fn defaults(self) -> Self {
        let Self { path, link, uid, gid, modified, .. } = self;
        Self { path, link, uid, gid, modified, ..Self::default() }
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        // Empty takes back an earlier value.
        let present = !value.is_empty();
        match key {
            b"path" => self.path = present.then(|| name(value)),
            b"linkpath" => self.link = present.then(|| name(value)),
            b"size" => self.size = present.then(|| size("size", value)).transpose()?,
            b"uid" => self.uid = present.then(|| identity("uid", value)).transpose()?,
            b"gid" => self.gid = present.then(|| identity("gid", value)).transpose()?,
            b"mtime" => {
                self.modified = time(value);
            }
            _ => {
                if let Some(key) = key.strip_prefix(b"GNU.sparse.") {
                    self.sparse.set(key, value)?;
                } else if let Some(key) = key.strip_prefix(b"SCHILY.xattr.") {
                    self.attribute(key.to_vec(), value.to_vec())?;
                } else if let Some(key) = key.strip_prefix(b"LIBARCHIVE.xattr.")
                    && let (Some(key), Some(value)) = (percent(key), base64(value))
                {
                    self.attribute(key, value)?;
                }
            }
        }
        Ok(())
    }

    fn attribute(&mut self, key: Vec<u8>, value: Vec<u8>) -> Result<()> {
        if key.is_empty() || key.contains(&0) {
            return Err(malformed("a bad name of an extended attribute"));
        }
        self.xattrs.retain(|(name, _)| *name != key);
        if self.xattrs.len() == ATTRIBUTES {
            return Err(malformed("too many extended attributes"));
        }
        self.xattrs.push((key, value));
        Ok(())
    }
}

impl Sparse {
    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        match key {
            b"name" => self.name = Some(name(value)),
            b"size" | b"realsize" => self.real_size = Some(size("GNU.sparse.size", value)?),
            b"major" => self.major = Some(size("GNU.sparse.major", value)?),
            b"minor" | b"numblocks" => {
                size("GNU.sparse", value)?;
            }
            b"map" => self.map = Some(map(value)?),
            b"offset" => self.offset = Some(size("GNU.sparse.offset", value)?),
            b"numbytes" => {
                let length = size("GNU.sparse.numbytes", value)?;
                let offset = self.offset.take();
                let offset = offset.ok_or_else(|| malformed("numbytes without an offset"))?;
                sparse::push(self.map.get_or_insert_default(), Extent { offset, length })?;
            }
            _ => {}
        }
        Ok(())
    }
}

/// The map of format 0.1: `offset,length,offset,length…`.
fn map(value: &[u8]) -> Result<Vec<Extent>> {
    let mut extents = Vec::new();
    if value.is_empty() {
        return Ok(extents);
    }
    let mut numbers = value.split(|byte| *byte == b',');
    while let Some(offset) = numbers.next() {
        let length = numbers.next().ok_or_else(|| malformed("an odd sparse map"))?;
        let offset = size("GNU.sparse.map", offset)?;
        sparse::push(&mut extents, Extent { offset, length: size("GNU.sparse.map", length)? })?;
    }
    Ok(extents)
}

/// Undoes the `%XX` of a name.
fn percent(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let digits = [*rest.next()?, *rest.next()?];
                let digits = std::str::from_utf8(&digits).ok()?;
                bytes.push(u8::from_str_radix(digits, 16).ok()?);
            }
            byte => bytes.push(*byte),
        }
    }
    Some(bytes)
}

/// Undoes base 64, with or without the padding at its end.
fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 3);
    let (mut bits, mut count) = (0_u32, 0);
    for byte in text.iter().filter(|byte| **byte != b'=') {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xff) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &[u8]) -> Result<Extended> {
        let mut extended = Extended::default();
        extended.add(text).map(|()| extended)
    }

    #[test]
    fn records_set_and_later_ones_win() {
        let extended = parsed(b"10 path=a\n10 path=b\n12 uid=1000\n\0\0").unwrap();
        assert_eq!((extended.path.as_deref(), extended.uid), (Some(&b"b"[..]), Some(1000)));
    }

    #[test]
    fn an_empty_value_takes_an_earlier_one_back() {
        assert_eq!(parsed(b"10 path=a\n8 path=\n").unwrap().path, None);
    }

    #[test]
    fn malformed_records_are_refused() {
        let bad: [&[u8]; 7] = [
            b"x path=a\n",
            b"99 path=a\n",
            b"10 path=ab",
            b"11 path=a\n\0",
            b"7 path\n",
            b"2 \n",
            b"13 uid=-1000\n",
        ];
        for text in bad {
            assert!(parsed(text).is_err(), "{}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn a_value_may_hold_an_end_of_line_and_equals_signs() {
        let extended = parsed(b"14 path=a\nb=c\n").unwrap();
        assert_eq!(extended.path.as_deref(), Some(&b"a\nb=c"[..]));
    }

    #[test]
    fn times_have_fractions_and_signs() {
        assert_eq!(time(b"1.5"), Some((1, 500_000_000)));
        assert_eq!(time(b"-1.25"), Some((-2, 750_000_000)));
        assert_eq!(time(b"-3"), Some((-3, 0)));
        assert_eq!(time(b"7."), Some((7, 0)));
        assert_eq!(time(b"1.0000000019"), Some((1, 1)));
        assert_eq!(time(b"12xx9.5"), Some((12, 0)));
        assert_eq!(time(b"12.5xx"), Some((12, 500_000_000)));
        assert_eq!(time(b"x"), None);
    }

    #[test]
    fn attributes_of_both_writers_are_taken() {
        let extended =
            parsed(b"26 SCHILY.xattr.user.a=\0b\n38 LIBARCHIVE.xattr.user.%62=AAEC/w==\n").unwrap();
        let expected =
            vec![(b"user.a".to_vec(), b"\0b".to_vec()), (b"user.b".to_vec(), vec![0, 1, 2, 255])];
        assert_eq!(extended.xattrs, expected);
    }

    #[test]
    fn attributes_are_bounded_and_a_later_one_of_a_name_counts() {
        let many = |count: usize| -> String {
            (0..count).map(|number| format!("25 SCHILY.xattr.u.{number:05}=\n")).collect()
        };
        assert_eq!(parsed(many(ATTRIBUTES).as_bytes()).unwrap().xattrs.len(), ATTRIBUTES);
        assert!(parsed(many(ATTRIBUTES + 1).as_bytes()).is_err());
        let again = many(ATTRIBUTES) + "26 SCHILY.xattr.u.00007=b\n";
        let extended = parsed(again.as_bytes()).unwrap();
        assert_eq!(extended.xattrs.last(), Some(&(b"u.00007".to_vec(), b"b".to_vec())));
    }

    #[test]
    fn sparse_maps_of_0_0_and_0_1_are_the_same() {
        let old = parsed(
            b"23 GNU.sparse.offset=4\n25 GNU.sparse.numbytes=8\n24 GNU.sparse.offset=20\n25 GNU.sparse.numbytes=1\n",
        );
        let new = parsed(b"27 GNU.sparse.map=4,8,20,1\n").unwrap();
        assert_eq!(old.unwrap().sparse.map, new.sparse.map);
        assert!(parsed(b"22 GNU.sparse.map=4,8\n").is_ok());
        assert!(parsed(b"20 GNU.sparse.map=4\n").is_err());
    }
}
