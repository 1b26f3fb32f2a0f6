//! Sparse files: the extents that the archive holds of a file with holes.

use super::header::decimal;
use super::header::number;
use super::input::{BLOCK, Input};
use crate::error::{Error, Result};
use std::io::BufRead;

/// A piece of a file that is stored; what lies between is a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    pub offset: u64,
    pub length: u64,
}

/// The most extents of a file: 2 MiB of them.
const LIMIT: usize = 128 << 10;

fn malformed(what: &str) -> Error {
    Error::new(format!("malformed sparse file: {what}"))
}

/// Adds an extent, while there are not too many.
pub fn push(map: &mut Vec<Extent>, extent: Extent) -> Result<()> {
    if map.len() >= LIMIT {
        return Err(malformed("too many extents"));
    }
    map.push(extent);
    Ok(())
}

/// Checks that the extents rise, do not overlap, end within the file, and are what is stored.
pub fn check(map: &[Extent], real_size: u64, stored: u64) -> Result<()> {
    let (mut end, mut sum) = (0_u64, 0_u64);
    for extent in map {
        if extent.offset < end {
            return Err(malformed("extents overlap"));
        }
        end = extent.offset.checked_add(extent.length).ok_or_else(|| malformed("an overflow"))?;
        sum += extent.length;
    }
    if end > real_size {
        return Err(malformed("an extent beyond the end of the file"));
    }
    if sum != stored {
        return Err(malformed("the extents are not what is stored"));
    }
    Ok(())
}

fn field(bytes: &[u8]) -> Result<u64> {
    let number = number(bytes).and_then(|number| u64::try_from(number).ok());
    number.ok_or_else(|| malformed("a bad number"))
}

/// Takes descriptors of 24 bytes each up to an unused one. False where the list has ended.
fn take(map: &mut Vec<Extent>, descriptors: &[u8]) -> Result<bool> {
    for descriptor in descriptors.chunks_exact(24) {
        let (offset, length) = descriptor.split_at(12);
        if length[0] == 0 {
            return Ok(false);
        }
        push(map, Extent { offset: field(offset)?, length: field(length)? })?;
    }
    Ok(true)
}

/// The map of GNU's old format: four extents in the header, more in blocks behind it.
/// Gives the size of the whole file with it.
pub fn old_gnu<R: BufRead>(
    header: &[u8; BLOCK],
    input: &mut Input<R>,
) -> Result<(Vec<Extent>, u64)> {
    let mut map = Vec::new();
    let real_size = field(&header[483..495])?;
    let mut open = take(&mut map, &header[386..482])?;
    let mut more = header[482] != 0;
    while more {
        let block = input.block()?.ok_or_else(|| input.cut_short())?;
        open = open && take(&mut map, &block[..504])?;
        more = block[504] != 0;
    }
    Ok((map, real_size))
}

/// The map of format 1.0: decimal lines in whole blocks before the data. Gives the bytes that
/// it took of the `stored` ones.
pub fn version_1<R: BufRead>(input: &mut Input<R>, stored: u64) -> Result<(Vec<Extent>, u64)> {
    let mut lines = Lines { input, block: [0; BLOCK], next: BLOCK, taken: 0, stored };
    let count = lines.number()?;
    if count > LIMIT as u64 {
        return Err(malformed("too many extents"));
    }
    let mut map = Vec::new();
    for _ in 0..count {
        let offset = lines.number()?;
        push(&mut map, Extent { offset, length: lines.number()? })?;
    }
    let taken = lines.taken;
    Ok((map, taken))
}

struct Lines<'a, R> {
    input: &'a mut Input<R>,
    block: [u8; BLOCK],
    next: usize,
    taken: u64,
    stored: u64,
}

impl<R: BufRead> Lines<'_, R> {
    fn number(&mut self) -> Result<u64> {
        let mut digits = Vec::new();
        loop {
            match self.byte()? {
                b'\n' => break,
                digit if digit.is_ascii_digit() && digits.len() < 20 => digits.push(digit),
                _ => return Err(malformed("a map that holds no number")),
            }
        }
        let number = decimal(&digits).filter(|number| *number <= super::SIZE_LIMIT);
        number.ok_or_else(|| malformed("a map that holds no number"))
    }

    fn byte(&mut self) -> Result<u8> {
        if self.next == BLOCK {
            if self.stored - self.taken < BLOCK as u64 {
                return Err(malformed("a map beyond the data"));
            }
            self.block = self.input.block()?.ok_or_else(|| self.input.cut_short())?;
            self.taken += BLOCK as u64;
            self.next = 0;
        }
        self.next += 1;
        Ok(self.block[self.next - 1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(offset: u64, length: u64) -> Extent {
        Extent { offset, length }
    }

    #[test]
    fn a_map_must_rise_and_stay_inside() {
        assert!(check(&[extent(0, 4), extent(8, 2), extent(10, 0)], 10, 6).is_ok());
        assert!(check(&[extent(0, 4), extent(3, 2)], 10, 6).is_err());
        assert!(check(&[extent(8, 4)], 10, 4).is_err());
        assert!(check(&[extent(u64::MAX, 4)], 10, 4).is_err());
        assert!(check(&[extent(0, 4)], 10, 5).is_err());
    }

    #[test]
    fn the_map_of_1_0_is_read_over_the_edge_of_a_block() {
        let mut text = String::from("50\n");
        for index in 0..50_u64 {
            text += &format!("{}\n{}\n", index * 1_000_000, 500);
        }
        assert!(text.len() > BLOCK && text.len() < 2 * BLOCK);
        let mut bytes = text.into_bytes();
        bytes.resize(2 * BLOCK, 0);
        let (map, taken) = version_1(&mut Input::new(&bytes[..]), 5000).unwrap();
        assert_eq!((map.len(), map[49], taken), (50, extent(49_000_000, 500), 1024));
    }

    #[test]
    fn a_map_of_1_0_that_is_no_number_or_has_no_end_is_refused() {
        let refused = |text: &str| {
            let mut bytes = text.as_bytes().to_vec();
            bytes.resize(BLOCK, 0);
            version_1(&mut Input::new(&bytes[..]), 512).is_err()
        };
        assert!(refused("x\n"));
        assert!(refused("1\n2"));
        assert!(refused("999999999\n"));
        assert!(!refused("1\n2\n3\n"));
    }
}
