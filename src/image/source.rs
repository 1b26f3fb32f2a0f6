//! Where an archive comes from: a file or standard input, plain, gzip or bzip2, with its digest
//! taken beside the extraction.
//!
//! The bytes lie in memory that the processes share: a child fills it, and hashes what it reads of a
//! plain archive; of a compressed one another child hashes what is there.

use super::bzip2::is_bzip2;
use super::compressed;
use super::digest::{Digest, hex};
use super::inflate::{self, pass_on};
use super::progress::Meter;
use crate::error::{Cause, Context, Error, Result, warn};
use crate::sys::child::{self, Child, Ended};
use crate::sys::fs::{self, Kind};
use crate::sys::ring::{Filler, Memory, Reader, ToReader};
use crate::sys::{Errno, file, io};
use std::fs::File;
use std::io::{BufRead, Read, Write};
use std::os::fd::AsFd;
use std::rc::Rc;

/// Room in the pipes between the processes: they carry small messages only.
const PIPE: u32 = 4096;

/// The formats that are recognised only to be named: how they begin, and what undoes them.
const OTHERS: [(&[u8], &str, &str); 6] = [
    (b"\xfd7zXZ\0", "xz", "xz -dc"),
    (b"\x28\xb5\x2f\xfd", "zstd", "zstd -dc"),
    (b"\x1f\x9d", "compress", "gzip -dc"),
    (b"LZIP", "lzip", "lzip -dc"),
    (b"\x04\x22\x4d\x18", "lz4", "lz4 -dc"),
    (b"\x5d\0\0", "lzma", "xz -dc"),
];

/// An open archive and the processes that work on it.
pub struct Source {
    archive: File,
    /// The first bytes, as they are stored.
    first: Vec<u8>,
    ring: Reader<File>,
    /// Bytes that were taken of the slot at hand.
    taken: usize,
    /// What the bytes are written to as they are taken, where they are to be kept as they are.
    keep: Option<File>,
    /// The error of that.
    failed: Option<Errno>,
    inflater: Option<Child>,
    hash: Child,
    digest: File,
    progress: Progress,
    meter: Meter,
}

/// How far the reading is, as far as it can be known.
#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    /// Size of the file; none for a pipe.
    total: Option<u64>,
    done: u64,
}

/// Opens the archive and starts the processes.
///
/// With `progress` a line on the terminal tells how far the reading is.
pub fn open(path: &str, progress: bool) -> Result<Source> {
    let archive = match path {
        "-" => File::from(child::standard_input().context("standard input")?),
        path => File::open(path).map_err(fs::errno)?,
    };
    start(archive, progress)
}

/// Starts the processes for an open archive.
pub fn start(archive: File, progress: bool) -> Result<Source> {
    let meter = Meter::new(progress);
    let stat = fs::stat(archive.as_fd())?;
    match stat.kind {
        Kind::Directory => return Err(Error::new("is a directory")),
        Kind::CharDevice if std::io::IsTerminal::is_terminal(&archive) => {
            return Err(Error::new("is a terminal").hint("redirect an archive to it"));
        }
        _ => {}
    }
    let is_file = stat.kind == Kind::File;
    let first = match is_file {
        true => first_of_file(&archive)?,
        false => first_of_stream(&archive)?,
    };
    if first.is_empty() {
        return Err(Error::new("the archive is empty"));
    }
    let progress = Progress { total: is_file.then_some(stat.size), done: 0 };
    // The bytes of a file are read again from its position, which did not move.
    let prefix: &[u8] = if is_file { &[] } else { &first };
    let memory = Memory::new().context("share memory")?;
    let Workers { inflater, hash, digest, ring } = match is_compressed(&first) {
        true => start_inflater(&archive, prefix, memory)?,
        false => start_reader(&archive, prefix, memory)?,
    };
    let (taken, keep, failed) = (0, None, None);
    Ok(Source {
        archive,
        first,
        ring,
        taken,
        keep,
        failed,
        inflater,
        hash,
        digest,
        progress,
        meter,
    })
}

fn is_compressed(first: &[u8]) -> bool {
    first.starts_with(inflate::GZIP) || is_bzip2(first)
}

const FIRST: usize = 512;

/// Looks at the first bytes from the present position on, without moving it.
fn first_of_file(archive: &File) -> Result<Vec<u8>> {
    let mut first = vec![0; FIRST];
    let start = file::position(archive.as_fd())?;
    let length = file::read_at(archive.as_fd(), &mut first, start)?;
    first.truncate(length);
    Ok(first)
}

fn first_of_stream(mut archive: &File) -> Result<Vec<u8>> {
    let mut first = Vec::with_capacity(FIRST);
    (&mut archive).take(FIRST as u64).read_to_end(&mut first).map_err(fs::errno)?;
    Ok(first)
}

fn pipe() -> Result<(File, File)> {
    file::pipe(PIPE).context("make a pipe")
}

/// The processes that work on an archive, and this one's ends.
struct Workers {
    inflater: Option<Child>,
    hash: Child,
    digest: File,
    ring: Reader<File>,
}

/// Starts the process that reads a plain archive and hashes it: this one unpacks, which takes longest.
/// `prefix` is what was read of the archive and is not there to be read again.
fn start_reader(archive: &File, prefix: &[u8], memory: Rc<Memory>) -> Result<Workers> {
    let ((from, passed), (returned, to), (digest, answer)) = (pipe()?, pipe()?, pipe()?);
    let keep = [archive, &passed, &returned, &answer].map(|file| file.as_fd());
    let work = || {
        let ring = Filler::new(Rc::clone(&memory), vec![ToReader::new(&passed, &returned)]);
        let read = read_on(prefix, archive, ring).and_then(|digest| tell(digest, &answer));
        read.map_or_else(child::failed, |()| compressed::DONE)
    };
    let hash = Child::spawn(&keep, work).context("start the reader")?;
    Ok(Workers { inflater: None, hash, digest, ring: Reader::new(memory, from, to) })
}

fn read_on(
    mut prefix: &[u8],
    archive: &File,
    mut ring: Filler<&File>,
) -> std::result::Result<Digest, Errno> {
    let mut digest = Digest::new();
    loop {
        let space = ring.space()?;
        let length = match prefix.is_empty() {
            true => io::read(archive.as_fd(), space)?,
            false => prefix.read(space).map_err(fs::errno)?,
        };
        if length == 0 {
            return Ok(digest);
        }
        // Who unpacks is waited for.
        ring.pass(length)?;
        digest.add(ring.passed());
    }
}

fn tell(digest: Digest, mut answer: &File) -> std::result::Result<(), Errno> {
    answer.write_all(&digest.bytes()).map_err(fs::errno)
}

/// Gives the child, how to pass bytes on to it, and where its digest comes from.
fn start_hash(memory: &Rc<Memory>) -> Result<(Child, ToReader<File>, File)> {
    let ((from, passed), (returned, to), (digest, answer)) = (pipe()?, pipe()?, pipe()?);
    let keep = [from.as_fd(), to.as_fd(), answer.as_fd()];
    let hash = || {
        let hashed = hash(Reader::new(Rc::clone(memory), &from, &to));
        let told = hashed.and_then(|digest| tell(digest, &answer));
        told.map_or_else(child::failed, |()| compressed::DONE)
    };
    let child = Child::spawn(&keep, hash).context("start the hash")?;
    Ok((child, ToReader::new(passed, returned), digest))
}

fn hash(mut ring: Reader<&File>) -> std::result::Result<Digest, Errno> {
    let mut digest = Digest::new();
    while ring.advance()? {
        digest.add(ring.bytes());
    }
    Ok(digest)
}

/// Starts the process that inflates a compressed archive, and the one that hashes what comes of it.
/// `prefix` as in `start_reader`.
fn start_inflater(archive: &File, prefix: &[u8], memory: Rc<Memory>) -> Result<Workers> {
    let (hash, to_hash, digest) = start_hash(&memory)?;
    let ((from, passed), (returned, to)) = (pipe()?, pipe()?);
    let ends = [&passed, &returned, &to_hash.passed, &to_hash.returned];
    let keep = [archive, ends[0], ends[1], ends[2], ends[3]].map(|file| file.as_fd());
    let work = || {
        // First to the one who unpacks, and is waited for.
        let readers = vec![ToReader::new(ends[0], ends[1]), ToReader::new(ends[2], ends[3])];
        pass_on(prefix, archive, Filler::new(Rc::clone(&memory), readers))
    };
    let inflater = Some(Child::spawn(&keep, work).context("start the inflater")?);
    Ok(Workers { inflater, hash, digest, ring: Reader::new(memory, from, to) })
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.fill_buf()?.read(buffer)?;
        self.consume(length);
        Ok(length)
    }
}

impl BufRead for Source {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        self.failed.map_or(Ok(()), Err)?;
        if self.taken == self.ring.bytes().len() {
            self.advance()?;
        }
        Ok(&self.ring.bytes()[self.taken..])
    }

    fn consume(&mut self, bytes: usize) {
        if let Some(file) = &mut self.keep {
            let now = &self.ring.bytes()[self.taken..self.taken + bytes];
            self.failed = self.failed.or(file.write_all(now).map_err(fs::errno).err());
        }
        self.taken += bytes;
    }
}

impl Source {
    /// Has all bytes written to a file as they are taken.
    pub fn keep(&mut self, file: File) {
        self.keep = Some(file);
    }

    fn kept(&self) -> Result<()> {
        self.failed.map_or(Ok(()), |errno| Err(errno).context("keep the archive"))
    }

    /// Goes on to the next slot, which is empty at the end of the archive.
    fn advance(&mut self) -> std::result::Result<(), Errno> {
        self.taken = 0;
        self.ring.advance()?;
        self.progress.done += self.ring.bytes().len() as u64;
        let (Progress { done, total }, archive) = (self.progress, &self.archive);
        self.meter.tick(|| match total {
            // What moves is the position, also of a compressed file.
            Some(_) => (file::position(archive.as_fd()).unwrap_or(done), total),
            None => (done, None),
        });
        Ok(())
    }

    /// The digest of the whole uncompressed archive, once everything is read.
    pub fn finish(self) -> Result<String> {
        self.kept()?;
        let Self { ring, inflater, hash, mut digest, .. } = self;
        // For the hash that is the end.
        drop(ring);
        let mut bytes = [0; 32];
        let received = digest.read_exact(&mut bytes);
        inflater.map_or(Ok(()), |child| verdict(child, INFLATER))?;
        verdict(hash, HASH)?;
        received.map_err(fs::errno).context("read the digest")?;
        Ok(hex(&bytes))
    }

    /// The reason why the archive could not be read: what a child found, else `error`.
    pub fn explain(self, error: Error, name: &str) -> Error {
        if let Err(error) = self.kept() {
            return error;
        }
        let Self { ring, inflater, hash, first, .. } = self;
        if error.cause == Cause::Foreign && inflater.is_none() {
            return not_a_tar(&first, name);
        }
        // Children that still pass something on end with that.
        drop(ring);
        let children = inflater.map(|child| (child, INFLATER)).into_iter().chain([(hash, HASH)]);
        for (child, what) in children {
            match verdict(child, what) {
                Err(cause) if cause.errno != Some(Errno::EPIPE) => return cause,
                _ => {}
            }
        }
        error
    }
}

const INFLATER: &str = "the process that inflates the archive";
const HASH: &str = "the process that hashes the archive";

/// What a child says of the archive; `what` it is.
fn verdict(child: Child, what: &str) -> Result<()> {
    match child.wait().context(format_args!("wait for {what}"))? {
        Ended::Exited(compressed::DONE) => Ok(()),
        Ended::Exited(compressed::GARBAGE) => {
            warn("what stands behind the end of the compressed data is left out");
            Ok(())
        }
        Ended::Exited(compressed::DAMAGED) => Err(Error::new("the compressed data is damaged")),
        Ended::Exited(compressed::CUT_SHORT) => Err(Error::new("the compressed data is cut short")),
        Ended::Exited(code) if let Some(errno) = child::errno(code) => Err(errno).context("read"),
        ended => Err(Error::new(format!("{what} failed: {ended:?}"))),
    }
}

/// An error that says what the bytes are instead of a tar archive, where that is known.
pub fn not_a_tar(first: &[u8], name: &str) -> Error {
    let error = super::tar::not_tar();
    if let Some((_, format, command)) = OTHERS.iter().find(|(magic, ..)| first.starts_with(magic)) {
        let source = if name == "-" { "FILE" } else { name };
        return Error::new(format!("{format} compression is not supported"))
            .hint(format!("{command} {source} | rocker import - NAME"));
    }
    match first {
        [b'P', b'K', 3, 4, ..] => error.hint("it is a zip file"),
        [0x7f, b'E', b'L', b'F', ..] => error.hint("it is a program"),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_tar_is_named_with_its_remedy() {
        let error = not_a_tar(b"\xfd7zXZ\0abc", "x.tar.xz");
        assert_eq!(error.to_string(), "xz compression is not supported");
        assert_eq!(error.hint.as_deref(), Some("xz -dc x.tar.xz | rocker import - NAME"));
        assert_eq!(not_a_tar(b"PK\x03\x04", "x").to_string(), "not a tar archive");
    }
}
