//! Bzip2 to bytes: blocks of at most 900,000 bytes, each sorted by Burrows and Wheeler's transform,
//! moved to front, and coded by up to six Huffman codes that change every 50 symbols.
//!
//! Runs in the confined child like gzip. Memory is four bytes for each byte of a block.

use super::compressed::{CUT_SHORT, Compressed, DAMAGED, DONE, GARBAGE, Sink};

const BLOCK: u64 = 0x3141_5926_5359;
const END: u64 = 0x1772_4538_5090;
/// The longest Huffman code.
const LONGEST: usize = 20;
/// Symbols that are coded with one code before the next is chosen.
const GROUP: usize = 50;
const OUTPUT: usize = 256 << 10;

/// Whether these bytes begin a bzip2 stream.
pub fn is_bzip2(first: &[u8]) -> bool {
    first.starts_with(b"BZh")
        && first.get(3).is_some_and(|level| (b'1'..=b'9').contains(level))
        && first.get(4..10).is_some_and(|magic| {
            let magic = magic.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
            magic == BLOCK || magic == END
        })
}

/// The input as bits, the highest of each byte first.
struct Bits<'a, 'b> {
    input: &'a mut Compressed<'b>,
    bits: u64,
    count: u32,
}

impl Bits<'_, '_> {
    /// Reads ahead until `count` bits are there, or none come any more.
    fn fill(&mut self, count: u32) -> Result<(), u8> {
        while self.count < count {
            let Some(byte) = self.input.next()? else { break };
            self.bits = self.bits << 8 | u64::from(byte);
            self.count += 8;
        }
        Ok(())
    }

    /// The next at most 32 bits.
    fn take(&mut self, count: u32) -> Result<u32, u8> {
        self.fill(count)?;
        self.count = self.count.checked_sub(count).ok_or(CUT_SHORT)?;
        let mask = (1_u64 << count) - 1;
        Ok((self.bits >> self.count & mask) as u32)
    }

    fn flag(&mut self) -> Result<bool, u8> {
        Ok(self.take(1)? == 1)
    }

    fn magic(&mut self) -> Result<u64, u8> {
        Ok(u64::from(self.take(24)?) << 24 | u64::from(self.take(24)?))
    }

    /// Gives back whole bytes that were read ahead.
    fn align(&mut self) {
        self.input.unread(self.count as usize / 8);
        self.count = 0;
    }
}

/// One Huffman code in canonical form.
struct Code {
    /// For each length what lies behind its last word, the highest bit of `LONGEST` first, and
    /// the base from which places in `symbols` are counted; 0 where no word is that long.
    lengths: [(u32, u32); LONGEST + 1],
    symbols: Vec<u16>,
}

impl Code {
    fn new(lengths: &[u8]) -> Self {
        let mut symbols = Vec::with_capacity(lengths.len());
        let mut table = [(0, 0); LONGEST + 1];
        let mut word = 0_u32;
        for (length, entry) in table.iter_mut().enumerate().skip(1) {
            let first = symbols.len() as u32;
            let of_length = lengths.iter().enumerate().filter(|(_, l)| usize::from(**l) == length);
            symbols.extend(of_length.map(|(symbol, _)| symbol as u16));
            let count = symbols.len() as u32 - first;
            if count > 0 {
                *entry = ((word + count) << (LONGEST - length), word.wrapping_sub(first));
            }
            word = (word + count) << 1;
        }
        Self { lengths: table, symbols }
    }

    fn decode(&self, bits: &mut Bits<'_, '_>) -> Result<u16, u8> {
        const LONGEST_BITS: u32 = LONGEST as u32;
        bits.fill(LONGEST_BITS)?;
        // Near the end of the input zeros stand for what is not there.
        let window = match bits.count.checked_sub(LONGEST_BITS) {
            Some(more) => bits.bits >> more,
            None => bits.bits << (LONGEST_BITS - bits.count),
        };
        let window = (window & ((1 << LONGEST) - 1)) as u32;
        let fits = self.lengths.iter().position(|(end, _)| window < *end).ok_or(DAMAGED)?;
        let word = window >> (LONGEST - fits);
        bits.count = bits.count.checked_sub(fits as u32).ok_or(CUT_SHORT)?;
        let place = word.wrapping_sub(self.lengths[fits].1) as usize;
        self.symbols.get(place).copied().ok_or(DAMAGED)
    }
}

/// The checksum of bzip2: CRC-32, the highest bit first.
struct Crc {
    table: [u32; 256],
}

impl Crc {
    fn new() -> Self {
        let table = std::array::from_fn(|byte| {
            (0..8).fold((byte as u32) << 24, |value, _| match value & 0x8000_0000 {
                0 => value << 1,
                _ => value << 1 ^ 0x04c1_1db7,
            })
        });
        Self { table }
    }

    fn add(&self, crc: u32, byte: u8) -> u32 {
        crc << 8 ^ self.table[usize::from((crc >> 24) as u8 ^ byte)]
    }
}

struct Output<'a, 'b> {
    sink: &'a mut Sink<'b>,
    buffer: Vec<u8>,
    crc: Crc,
}

impl Output<'_, '_> {
    fn flush(&mut self) -> Result<(), u8> {
        self.sink.take(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}

/// Inflates all streams, one behind the other; gives the exit code.
pub fn streams(input: &mut Compressed<'_>, sink: &mut Sink<'_>) -> Result<u8, u8> {
    let mut output = Output { sink, buffer: Vec::with_capacity(OUTPUT), crc: Crc::new() };
    loop {
        stream(input, &mut output)?;
        output.flush()?;
        if !input.need(10)? || !is_bzip2(input.rest()) {
            return Ok(if input.rest().is_empty() { DONE } else { GARBAGE });
        }
    }
}

fn stream(input: &mut Compressed<'_>, output: &mut Output<'_, '_>) -> Result<(), u8> {
    let mut bits = Bits { input, bits: 0, count: 0 };
    bits.take(24)?;
    let level = bits.take(8)?.checked_sub(u32::from(b'0')).ok_or(DAMAGED)?;
    let limit = level.min(9) as usize * 100_000;
    let mut block: Vec<u32> = Vec::with_capacity(limit);
    let mut combined = 0_u32;
    loop {
        match bits.magic()? {
            BLOCK => {
                let expected = bits.take(32)?;
                let start = read_block(&mut bits, &mut block, limit)?;
                if write_block(&mut block, start, output)? != expected {
                    return Err(DAMAGED);
                }
                combined = combined.rotate_left(1) ^ expected;
            }
            // What is left of the last byte is padding.
            END if bits.take(32)? == combined => {
                bits.align();
                return Ok(());
            }
            _ => return Err(DAMAGED),
        }
    }
}

/// Reads a block into the low bytes of `block`; gives where its text starts.
fn read_block(bits: &mut Bits<'_, '_>, block: &mut Vec<u32>, limit: usize) -> Result<usize, u8> {
    // Blocks stirred with random numbers: no writer has made one since 1999.
    if bits.flag()? {
        return Err(DAMAGED);
    }
    let start = bits.take(24)? as usize;
    let mut front = used_bytes(bits)?;
    let symbols = front.len() + 2;
    let codes = bits.take(3)? as usize;
    let count = bits.take(15)? as usize;
    if !(2..=6).contains(&codes) || count == 0 {
        return Err(DAMAGED);
    }
    let selectors = selectors(bits, codes, count)?;
    let codes = (0..codes).map(|_| lengths(bits, symbols).map(|l| Code::new(&l)));
    let codes = codes.collect::<Result<Vec<_>, u8>>()?;
    block.clear();
    let (mut run, mut weight) = (0_usize, 1_usize);
    for selector in selectors {
        for _ in 0..GROUP {
            let symbol = usize::from(codes[selector].decode(bits)?);
            // Runs are written in digits of the values 1 and 2, the lowest first.
            if symbol < 2 {
                run += weight << symbol;
                weight <<= 1;
                if run > limit {
                    return Err(DAMAGED);
                }
                continue;
            }
            if block.len() + run > limit {
                return Err(DAMAGED);
            }
            let byte = front.first().copied().ok_or(DAMAGED)?;
            block.extend(std::iter::repeat_n(u32::from(byte), run));
            (run, weight) = (0, 1);
            if symbol == symbols - 1 {
                return if start < block.len() { Ok(start) } else { Err(DAMAGED) };
            }
            if block.len() == limit {
                return Err(DAMAGED);
            }
            front[..symbol].rotate_right(1);
            block.push(u32::from(front[0]));
        }
    }
    Err(DAMAGED)
}

/// The byte values that the block has, in order.
fn used_bytes(bits: &mut Bits<'_, '_>) -> Result<Vec<u8>, u8> {
    let rows = bits.take(16)?;
    let mut used = Vec::with_capacity(256);
    for row in (0..16_u8).filter(|row| rows >> (15 - row) & 1 == 1) {
        let columns = bits.take(16)?;
        used.extend(
            (0..16).filter(|column| columns >> (15 - column) & 1 == 1).map(|c| row * 16 + c),
        );
    }
    if used.is_empty() { Err(DAMAGED) } else { Ok(used) }
}

/// Which code each group of symbols has: moved to front, in unary.
fn selectors(bits: &mut Bits<'_, '_>, codes: usize, count: usize) -> Result<Vec<usize>, u8> {
    let mut front: Vec<usize> = (0..codes).collect();
    let mut selectors = Vec::with_capacity(count);
    for _ in 0..count {
        let mut place = 0;
        while bits.flag()? {
            place += 1;
            if place == codes {
                return Err(DAMAGED);
            }
        }
        front[..=place].rotate_right(1);
        selectors.push(front[0]);
    }
    Ok(selectors)
}

/// The lengths of a code's words, each told by its difference from the one before.
fn lengths(bits: &mut Bits<'_, '_>, symbols: usize) -> Result<Vec<u8>, u8> {
    let mut length = bits.take(5)?;
    let mut lengths = Vec::with_capacity(symbols);
    for _ in 0..symbols {
        loop {
            if !(1..=LONGEST as u32).contains(&length) {
                return Err(DAMAGED);
            }
            if !bits.flag()? {
                break;
            }
            length = if bits.flag()? { length - 1 } else { length + 1 };
        }
        lengths.push(length as u8);
    }
    Ok(lengths)
}

/// Undoes the sorting and the runs of a block, and writes it. Gives its checksum.
fn write_block(block: &mut [u32], start: usize, output: &mut Output<'_, '_>) -> Result<u32, u8> {
    let mut places = [0_u32; 256];
    for byte in block.iter() {
        places[(byte & 0xff) as usize] += 1;
    }
    let mut sum = 0;
    for place in &mut places {
        (*place, sum) = (sum, sum + *place);
    }
    // Into the high 24 bits of each entry: where the text goes on behind the byte in the low ones.
    for index in 0..block.len() {
        let place = &mut places[(block[index] & 0xff) as usize];
        block[*place as usize] |= (index as u32) << 8;
        *place += 1;
    }
    let mut crc = u32::MAX;
    let mut next = block.get(start).copied().ok_or(DAMAGED)? >> 8;
    let (mut last, mut repeated) = (0, 0_u8);
    for _ in 0..block.len() {
        let entry = block.get(next as usize).copied().ok_or(DAMAGED)?;
        let byte = (entry & 0xff) as u8;
        next = entry >> 8;
        if repeated == 4 {
            // Behind four equal bytes stands how many more there are.
            repeated = 0;
            for _ in 0..byte {
                crc = output.crc.add(crc, last);
                output.buffer.push(last);
            }
        } else {
            repeated = if repeated > 0 && byte == last { repeated + 1 } else { 1 };
            last = byte;
            crc = output.crc.add(crc, byte);
            output.buffer.push(byte);
        }
        if output.buffer.len() >= OUTPUT - 256 {
            output.flush()?;
        }
    }
    Ok(!crc)
}

#[cfg(test)]
mod tests {
    use super::super::inflate::tests::inflated;
    use super::*;

    /// `printf 'aaaaaaaaaabbbbbhello\n' | bzip2`
    const HELLO: &[u8] = b"BZh91AY&SY\x1d\x6d\x2b\x9e\x00\x00\x03\x41\x00\x21\x10\x32\x44\xa0\x00\x22\x34\x32\x64\x20\xc9\x88\x26\x58\x5a\x13\xe7\x2b\xc5\xdc\x91\x4e\x14\x24\x07\x5b\x4a\xe7\x80";

    #[test]
    fn runs_and_streams_come_back() {
        assert_eq!(inflated(HELLO), (DONE, "aaaaaaaaaabbbbbhello\n".into()));
        let twice = "aaaaaaaaaabbbbbhello\naaaaaaaaaabbbbbhello\n";
        assert_eq!(inflated(&[HELLO, HELLO].concat()), (DONE, twice.into()));
    }

    #[test]
    fn every_cut_is_noticed_and_no_changed_bit_changes_the_text() {
        for length in 11..HELLO.len() {
            assert_eq!(inflated(&HELLO[..length]).0, CUT_SHORT, "{length}");
        }
        let expected = inflated(HELLO).1;
        for bit in 80..HELLO.len() * 8 {
            let mut bytes = HELLO.to_vec();
            bytes[bit / 8] ^= 0x80 >> (bit % 8);
            let (code, text) = inflated(&bytes);
            // A bit of a code that is never used, or of the padding, may change.
            assert!(code != DONE || text == expected, "{bit}");
        }
    }
}
