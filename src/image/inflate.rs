//! What is read from a pipe or is compressed becomes the bytes of an archive: the work of a
//! forked, confined process. It also takes their digest, while they are in the cache.

use super::bzip2;
use super::digest::Digest;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use zlib_rs::{Inflate, InflateFlush, Status};

/// What the child says by its exit code. Everything from `ERRNO` on is an errno above it.
pub const DONE: u8 = 0;
pub const DAMAGED: u8 = 10;
pub const CUT_SHORT: u8 = 11;
/// The data was good, and something else came behind it, which was left out.
pub const GARBAGE: u8 = 12;
pub const ERRNO: u8 = 100;

/// How gzip begins.
pub const GZIP: &[u8] = b"\x1f\x8b";
/// Bytes that tell the formats apart.
const FIRST: usize = 10;
/// How many bytes can be given back.
const UNREAD: usize = 8;
const INPUT: usize = 64 << 10;
const OUTPUT: usize = 256 << 10;
/// What makes the inflater expect a gzip header and check its trailer, with the largest window.
const GZIP_WINDOW_BITS: u8 = 16 + 15;

/// The bytes as they come: first those that were read to recognise them.
pub struct Compressed<'a> {
    file: &'a File,
    buffer: Vec<u8>,
    start: usize,
    ended: bool,
}

/// The exit code for an error of reading or writing.
pub fn code(error: std::io::Error) -> u8 {
    let errno = error.raw_os_error().and_then(|errno| u8::try_from(errno).ok());
    errno.map_or(u8::MAX, |errno| ERRNO.saturating_add(errno))
}

impl Compressed<'_> {
    /// What was read and not yet taken.
    pub fn rest(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// Makes sure that `count` bytes are there, unless the end comes first.
    pub fn need(&mut self, count: usize) -> Result<bool, u8> {
        while self.rest().len() < count && !self.ended {
            let keep = self.start.min(UNREAD);
            self.buffer.drain(..self.start - keep);
            self.start = keep;
            let filled = self.buffer.len();
            self.buffer.resize(filled + INPUT, 0);
            let read = loop {
                match self.file.read(&mut self.buffer[filled..]) {
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    other => break other,
                }
            };
            let read = read.map_err(code)?;
            self.buffer.truncate(filled + read);
            self.ended = read == 0;
        }
        Ok(self.rest().len() >= count)
    }

    /// Gives back at most `UNREAD` bytes that were taken.
    pub fn unread(&mut self, count: usize) {
        self.start = self.start.saturating_sub(count.min(UNREAD));
    }

    /// Takes the next byte; none at the end.
    pub fn next(&mut self) -> Result<Option<u8>, u8> {
        if self.start == self.buffer.len() && !self.need(1)? {
            return Ok(None);
        }
        let byte = self.buffer.get(self.start).copied();
        self.start += 1;
        Ok(byte)
    }
}

/// Where the bytes go: to who unpacks them, and into the digest.
pub struct Sink<'a> {
    file: &'a File,
    digest: Digest,
}

impl Sink<'_> {
    pub fn take(&mut self, bytes: &[u8]) -> Result<(), u8> {
        // First to the one who waits for it.
        self.file.write_all(bytes).map_err(code)?;
        self.digest.add(bytes);
        Ok(())
    }
}

/// Passes `prefix` and then what `file` gives on to `output`, inflated where it is compressed;
/// writes the digest of it to `answer`. Gives the exit code.
pub fn pass_on(prefix: &[u8], file: &File, output: &File, mut answer: &File) -> u8 {
    let mut sink = Sink { file: output, digest: Digest::new() };
    match inflate(prefix, file, &mut sink) {
        Ok(done) => answer.write_all(&sink.digest.bytes()).map_or_else(code, |()| done),
        Err(failed) => failed,
    }
}

fn inflate(prefix: &[u8], file: &File, sink: &mut Sink<'_>) -> Result<u8, u8> {
    let mut buffer = Vec::with_capacity(prefix.len() + INPUT);
    buffer.extend_from_slice(prefix);
    let mut input = Compressed { file, buffer, start: 0, ended: false };
    input.need(FIRST)?;
    if bzip2::is_bzip2(input.rest()) {
        bzip2::streams(&mut input, sink)
    } else if input.rest().starts_with(GZIP) {
        members(&mut input, sink)
    } else {
        while input.need(1)? {
            sink.take(input.rest())?;
            input.start = input.buffer.len();
        }
        Ok(DONE)
    }
}

/// All members, one behind the other, as gzip(1) takes them: zeros behind the last are padding,
/// anything else is garbage.
fn members(input: &mut Compressed<'_>, sink: &mut Sink<'_>) -> Result<u8, u8> {
    let mut space = vec![0; OUTPUT];
    loop {
        member(input, sink, &mut space)?;
        while input.need(1)? && input.rest().first() == Some(&0) {
            input.start += 1;
        }
        if !input.need(2)? {
            return Ok(if input.rest().is_empty() { DONE } else { GARBAGE });
        }
        if !input.rest().starts_with(GZIP) {
            return Ok(GARBAGE);
        }
    }
}

fn member(input: &mut Compressed<'_>, sink: &mut Sink<'_>, space: &mut [u8]) -> Result<(), u8> {
    let mut inflater = Inflate::new(true, GZIP_WINDOW_BITS);
    let mut filled = 0;
    loop {
        if !input.need(1)? {
            return Err(CUT_SHORT);
        }
        let (before_in, before_out) = (inflater.total_in(), inflater.total_out());
        let status = inflater
            .decompress(input.rest(), &mut space[filled..], InflateFlush::NoFlush)
            .map_err(|_| DAMAGED)?;
        input.start += (inflater.total_in() - before_in) as usize;
        filled += (inflater.total_out() - before_out) as usize;
        let ended = status == Status::StreamEnd;
        if ended || filled == space.len() {
            sink.take(&space[..filled])?;
            filled = 0;
        }
        if ended {
            return Ok(());
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::sys::file::pipe;

    /// `printf 'hello\n' | gzip -n`
    const HELLO: &[u8] = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xcb\x48\xcd\xc9\xc9\xe7\x02\x00\x20\x30\x3a\x36\x06\x00\x00\x00";

    pub fn inflated(bytes: &[u8]) -> (u8, String) {
        let (compressed, write) = pipe(1 << 16).unwrap();
        let (mut read, output) = pipe(1 << 16).unwrap();
        (&write).write_all(bytes.get(2..).unwrap_or_default()).unwrap();
        drop(write);
        let (mut digest, answer) = pipe(1 << 12).unwrap();
        let code = pass_on(&bytes[..bytes.len().min(2)], &compressed, &output, &answer);
        drop((output, answer));
        let mut text = String::new();
        read.read_to_string(&mut text).unwrap();
        if code == DONE || code == GARBAGE {
            let mut expected = Digest::new();
            expected.add(text.as_bytes());
            let mut told = Vec::new();
            digest.read_to_end(&mut told).unwrap();
            assert_eq!(told, expected.bytes());
        }
        (code, text)
    }

    #[test]
    fn members_behind_each_other_are_one_text() {
        assert_eq!(inflated(HELLO), (DONE, "hello\n".into()));
        assert_eq!(inflated(&[HELLO, HELLO].concat()), (DONE, "hello\nhello\n".into()));
    }

    #[test]
    fn what_is_not_compressed_is_passed_on() {
        assert_eq!(inflated(b"hello, world"), (DONE, "hello, world".into()));
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
