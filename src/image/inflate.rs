//! What is compressed becomes the bytes of an archive: the work of a forked, confined process.

use super::bzip2;
use super::compressed::{CUT_SHORT, Compressed, DAMAGED, DONE, GARBAGE, Sink};
use crate::sys::ring::Filler;
use std::fs::File;
use zlib_rs::{Inflate, InflateFlush, Status};

/// How gzip begins.
pub const GZIP: &[u8] = b"\x1f\x8b";
/// Bytes that tell the formats apart.
const FIRST: usize = 10;
/// What makes the inflater expect a gzip header and check its trailer, with the largest window.
const GZIP_WINDOW_BITS: u8 = 16 + 15;

/// Inflates `prefix` and then what `file` gives into `ring`. Gives the exit code.
pub fn pass_on(prefix: &[u8], file: &File, ring: Filler<&File>) -> u8 {
    let mut sink = Sink::new(ring);
    match inflate(prefix, file, &mut sink) {
        Ok(done) => sink.flush().map_or_else(|failed| failed, |()| done),
        Err(failed) => failed,
    }
}

fn inflate(prefix: &[u8], file: &File, sink: &mut Sink<'_>) -> Result<u8, u8> {
    let mut input = Compressed::new(prefix, file);
    input.need(FIRST)?;
    match bzip2::is_bzip2(input.rest()) {
        true => bzip2::streams(&mut input, sink),
        false => members(&mut input, sink),
    }
}

/// All members, one behind the other, as gzip(1) takes them: zeros behind the last are padding,
/// anything else is garbage.
fn members(input: &mut Compressed<'_>, sink: &mut Sink<'_>) -> Result<u8, u8> {
    loop {
        member(input, sink)?;
        while input.need(1)? && input.rest().first() == Some(&0) {
            input.took(1);
        }
        if !input.need(2)? {
            return Ok(if input.rest().is_empty() { DONE } else { GARBAGE });
        }
        if !input.rest().starts_with(GZIP) {
            return Ok(GARBAGE);
        }
    }
}

fn member(input: &mut Compressed<'_>, sink: &mut Sink<'_>) -> Result<(), u8> {
    let mut inflater = Inflate::new(true, GZIP_WINDOW_BITS);
    loop {
        if !input.need(1)? {
            return Err(CUT_SHORT);
        }
        let (before_in, before_out) = (inflater.total_in(), inflater.total_out());
        let status = inflater
            .decompress(input.rest(), sink.space()?, InflateFlush::NoFlush)
            .map_err(|_| DAMAGED)?;
        input.took((inflater.total_in() - before_in) as usize);
        sink.took((inflater.total_out() - before_out) as usize)?;
        if status == Status::StreamEnd {
            return Ok(());
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::sys::file::pipe;
    use crate::sys::ring::{Memory, Reader, ToReader};
    use std::io::Write;
    use std::rc::Rc;

    /// `printf 'hello\n' | gzip -n`
    const HELLO: &[u8] = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xcb\x48\xcd\xc9\xc9\xe7\x02\x00\x20\x30\x3a\x36\x06\x00\x00\x00";

    pub fn inflated(bytes: &[u8]) -> (u8, String) {
        let (compressed, write) = pipe(1 << 16).unwrap();
        (&write).write_all(bytes.get(2..).unwrap_or_default()).unwrap();
        drop(write);
        let memory = Memory::new().unwrap();
        let ((from, passed), (returned, to)) = (pipe(4096).unwrap(), pipe(4096).unwrap());
        let ring = Filler::new(Rc::clone(&memory), vec![ToReader::new(&passed, &returned)]);
        let code = pass_on(&bytes[..bytes.len().min(2)], &compressed, ring);
        drop(passed);
        let (mut reader, mut text) = (Reader::new(memory, from, to), String::new());
        while reader.advance().unwrap() {
            text += std::str::from_utf8(reader.bytes()).unwrap();
        }
        (code, text)
    }

    #[test]
    fn members_behind_each_other_are_one_text() {
        assert_eq!(inflated(HELLO), (DONE, "hello\n".into()));
        assert_eq!(inflated(&[HELLO, HELLO].concat()), (DONE, "hello\nhello\n".into()));
    }

    #[test]
    fn zeros_behind_the_end_are_padding_and_the_rest_is_garbage() {
        assert_eq!(inflated(&[HELLO, &[0; 700]].concat()), (DONE, "hello\n".into()));
        assert_eq!(inflated(&[HELLO, b"xyz"].concat()).0, GARBAGE);
    }

    #[test]
    fn cut_and_changed_data_are_told_apart() {
        for length in 2..HELLO.len() {
            assert_eq!(inflated(&HELLO[..length]).0, CUT_SHORT, "{length}");
        }
        // The last byte of the deflated data, the eighth before the end, has bits that nobody reads.
        for index in (10..HELLO.len()).filter(|index| *index != HELLO.len() - 9) {
            let mut bytes = HELLO.to_vec();
            bytes[index] ^= 0x10;
            assert_ne!(inflated(&bytes).0, DONE, "{index}");
        }
    }
}
