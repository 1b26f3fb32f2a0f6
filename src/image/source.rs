//! Where an archive comes from: a file or standard input, plain, gzip or bzip2, with its digest
//! taken beside the extraction.
//!
//! A plain file is read twice, by this process and by the one that hashes it. Everything else
//! comes through a child that inflates and hashes it.

use super::bzip2::is_bzip2;
use super::digest::{Digest, hex};
use super::inflate::{self, pass_on};
use super::progress::Meter;
use crate::error::{Context, Error, Result, warn};
use crate::sys::child::{self, Child, Ended};
use crate::sys::fs::{self, Kind};
use crate::sys::{Errno, file};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;

/// Room in the pipe between the processes: more than they take at a time.
const PIPE: u32 = 1 << 20;
const BUFFER: usize = 256 << 10;

/// The formats that are recognised only to be named: how they begin, and what undoes them.
const OTHERS: [(&[u8], &str, &str); 6] = [
    (b"\xfd7zXZ\0", "xz", "xz -dc"),
    (b"\x28\xb5\x2f\xfd", "zstd", "zstd -dc"),
    (b"\x1f\x9d", "compress", "gzip -dc"),
    (b"LZIP", "lzip", "lzip -dc"),
    (b"\x04\x22\x4d\x18", "lz4", "lz4 -dc"),
    (b"\x5d\0\0", "lzma", "xz -dc"),
];

/// An open archive and the process that works on it.
pub struct Source {
    /// The first bytes, as they are stored.
    first: Vec<u8>,
    /// Where the uncompressed bytes come from: the archive itself or a pipe.
    input: File,
    /// The archive's own file, where `input` is a pipe.
    archive: Option<File>,
    worker: Child,
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
    let meter = Meter::new(progress);
    let archive = match path {
        "-" => File::from(child::standard_input().context("standard input")?),
        path => File::open(path).map_err(fs::errno)?,
    };
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
    let compressed = first.starts_with(inflate::GZIP) || is_bzip2(&first);
    // The bytes of a file are read again from its position, which did not move.
    let prefix: &[u8] = if is_file { &[] } else { &first };
    let (input, archive, worker, digest) = match is_file && !compressed {
        true => direct(archive)?,
        false => through_child(archive, prefix)?,
    };
    Ok(Source { first, input, archive, worker, digest, progress, meter })
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

/// Where the uncompressed bytes come from, the archive where that is another file, the child
/// that works on it, and where its digest comes from.
type Parts = (File, Option<File>, Child, File);

fn direct(archive: File) -> Result<Parts> {
    let (digest, answer) = file::pipe(PIPE).context("make a pipe")?;
    let start = file::position(archive.as_fd())?;
    let keep = [archive.as_fd(), answer.as_fd()];
    let worker = Child::spawn(&keep, || hash_file(&archive, start, &answer));
    let worker = worker.context("start the hash")?;
    Ok((archive, None, worker, digest))
}

/// `prefix` is what was read of the archive and is not there to be read again.
fn through_child(archive: File, prefix: &[u8]) -> Result<Parts> {
    let (input, output) = file::pipe(PIPE).context("make a pipe")?;
    let (digest, answer) = file::pipe(PIPE).context("make a pipe")?;
    let keep = [archive.as_fd(), output.as_fd(), answer.as_fd()];
    let worker = Child::spawn(&keep, || pass_on(prefix, &archive, &output, &answer));
    let worker = worker.context("start the inflater")?;
    Ok((input, Some(archive), worker, digest))
}

fn hash_file(archive: &File, start: u64, mut answer: &File) -> u8 {
    let mut digest = Digest::new();
    let mut buffer = vec![0; BUFFER];
    let mut offset = start;
    loop {
        match file::read_at(archive.as_fd(), &mut buffer, offset) {
            Ok(0) => break,
            Ok(read) => {
                digest.add(&buffer[..read]);
                offset += read as u64;
            }
            Err(errno) => return inflate::ERRNO.saturating_add(errno.into_raw() as u8),
        }
    }
    answer.write_all(&digest.bytes()).map_or_else(inflate::code, |()| inflate::DONE)
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.input.read(buffer)?;
        self.progress.done += length as u64;
        let (progress, archive) = (self.progress, &self.archive);
        self.meter.tick(|| {
            // Of a compressed file the compressed bytes count; the child moves their position.
            let position = archive.as_ref().map(|file| file::position(file.as_fd()));
            match position {
                Some(Ok(position)) if progress.total.is_some() => (position, progress.total),
                _ => (progress.done, progress.total),
            }
        });
        Ok(length)
    }
}

impl Source {
    /// Whether what is left has to be read, for the hash or for whoever writes the pipe.
    pub fn must_drain(&self) -> bool {
        self.archive.is_some()
    }

    /// The digest of the whole uncompressed archive, once everything is read.
    pub fn finish(mut self) -> Result<String> {
        let mut bytes = [0; 32];
        let received = self.digest.read_exact(&mut bytes);
        verdict(self.worker)?;
        received.map_err(fs::errno).context("read the digest")?;
        Ok(hex(&bytes))
    }

    /// The reason why the archive could not be read: what the child found, else `error`.
    pub fn explain(self, error: Error, name: &str) -> Error {
        let Self { input, archive, worker, first, .. } = self;
        let compressed = first.starts_with(inflate::GZIP) || is_bzip2(&first);
        if archive.is_none() || !compressed {
            return match error.message == "not a tar archive" {
                true => not_a_tar(&first, name),
                false => error,
            };
        }
        // A child that still writes ends with that.
        drop(input);
        match verdict(worker) {
            Err(cause) if cause.errno != Some(Errno::EPIPE) => cause,
            _ => error,
        }
    }
}

fn errno_of(code: u8) -> Errno {
    Errno::new(i32::from(code - inflate::ERRNO))
}

/// What the child says of the archive.
fn verdict(worker: Child) -> Result<()> {
    match worker.wait().context("wait for the process that reads the archive")? {
        Ended::Exited(inflate::DONE) => Ok(()),
        Ended::Exited(inflate::GARBAGE) => {
            warn("what stands behind the end of the compressed data is left out");
            Ok(())
        }
        Ended::Exited(inflate::DAMAGED) => Err(Error::new("the compressed data is damaged")),
        Ended::Exited(inflate::CUT_SHORT) => Err(Error::new("the compressed data is cut short")),
        Ended::Exited(code) if code > inflate::ERRNO => Err(errno_of(code)).context("read"),
        ended => Err(Error::new(format!("the process that reads the archive failed: {ended:?}"))),
    }
}

/// An error that says what the bytes are instead of a tar archive, where that is known.
pub fn not_a_tar(first: &[u8], name: &str) -> Error {
    let error = Error::new("not a tar archive");
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
