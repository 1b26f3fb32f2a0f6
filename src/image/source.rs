//! Where an archive comes from: a file or standard input, plain, gzip or bzip2, with its digest taken
//! beside the extraction.
//!
//! A plain file is read twice, by this process and by the one that hashes it. Everything else
//! is read once; this process hands what it reads on to the hash.

use super::bzip2::is_bzip2;
use super::digest::{Digest, hex};
use super::inflate::{self, inflate};
use crate::error::{Context, Error, Result, warn};
use crate::sys::child::{self, Child, Ended};
use crate::sys::fs::{self, Kind};
use crate::sys::{Errno, file};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;

/// Room in the pipes between the processes: more than they take at a time.
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

/// An open archive and the processes that work on it.
pub struct Source {
    /// The first bytes.
    first: Vec<u8>,
    /// How many of them were read; all where the input gives them once more.
    read: usize,
    /// Where the uncompressed bytes come from.
    input: File,
    /// Where they go to be hashed; none where the hash reads the file itself.
    copy: Option<File>,
    hash: Child,
    digest: File,
    inflater: Option<Child>,
    /// The archive's own file, for progress.
    archive: Option<File>,
    pub progress: Progress,
}

/// How far the reading is, as far as it can be known.
#[derive(Debug, Clone, Copy, Default)]
pub struct Progress {
    /// Size of the file; none for a pipe.
    pub total: Option<u64>,
    done: u64,
}

/// Opens the archive and starts the processes.
pub fn open(path: &str) -> Result<Source> {
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
    let total = is_file.then_some(stat.size);
    if first.starts_with(b"\x1f\x8b") || is_bzip2(&first) {
        return compressed(archive, first, is_file, total);
    }
    plain(archive, first, is_file, total)
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

fn plain(archive: File, first: Vec<u8>, is_file: bool, total: Option<u64>) -> Result<Source> {
    let (digest, answer) = file::pipe(PIPE).context("make a pipe")?;
    let (hash, copy, read) = if is_file {
        let start = file::position(archive.as_fd())?;
        let hash = Child::spawn(&[archive.as_fd(), answer.as_fd()], || {
            hash_file(&archive, start, &answer)
        });
        (hash, None, first.len())
    } else {
        let (read, copy) = file::pipe(PIPE).context("make a pipe")?;
        let hash = Child::spawn(&[read.as_fd(), answer.as_fd()], || hash_stream(&read, &answer));
        (hash, Some(copy), 0)
    };
    let hash = hash.context("start the hash")?;
    let progress = Progress { total, done: 0 };
    Ok(Source {
        first,
        read,
        input: archive,
        copy,
        hash,
        digest,
        inflater: None,
        archive: None,
        progress,
    })
}

fn compressed(archive: File, first: Vec<u8>, is_file: bool, total: Option<u64>) -> Result<Source> {
    let (input, output) = file::pipe(PIPE).context("make a pipe")?;
    // The child reads the bytes of a file again from its position, which did not move.
    let prefix = if is_file { &[] } else { first.as_slice() };
    let inflater =
        Child::spawn(&[archive.as_fd(), output.as_fd()], || inflate(prefix, &archive, &output))
            .context("start the inflater")?;
    drop(output);
    let (digest, answer) = file::pipe(PIPE).context("make a pipe")?;
    let (read, copy) = file::pipe(PIPE).context("make a pipe")?;
    let hash = Child::spawn(&[read.as_fd(), answer.as_fd()], || hash_stream(&read, &answer))
        .context("start the hash")?;
    Ok(Source {
        read: first.len(),
        first,
        input,
        copy: Some(copy),
        hash,
        digest,
        inflater: Some(inflater),
        archive: Some(archive),
        progress: Progress { total, done: 0 },
    })
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

fn hash_stream(mut stream: &File, mut answer: &File) -> u8 {
    let mut digest = Digest::new();
    let mut buffer = vec![0; BUFFER];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => digest.add(&buffer[..read]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return inflate::code(error),
        }
    }
    answer.write_all(&digest.bytes()).map_or_else(inflate::code, |()| inflate::DONE)
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let ahead = &self.first[self.read..];
        let length = match ahead.len() {
            0 => (&self.input).read(buffer)?,
            length => {
                let length = length.min(buffer.len());
                buffer[..length].copy_from_slice(&ahead[..length]);
                self.read += length;
                length
            }
        };
        if let Some(copy) = &mut self.copy {
            copy.write_all(&buffer[..length])?;
        }
        self.progress.done += length as u64;
        Ok(length)
    }
}

impl Source {
    /// How many bytes of the archive were read, compressed ones where it is compressed.
    pub fn done(&self) -> u64 {
        let position = self.archive.as_ref().map(|file| file::position(file.as_fd()));
        match position {
            Some(Ok(position)) if self.progress.total.is_some() => position,
            _ => self.progress.done,
        }
    }

    /// Whether what is left has to be read, for the hash or for whoever writes the pipe.
    pub fn must_drain(&self) -> bool {
        self.copy.is_some()
    }

    /// The digest of the whole uncompressed archive, once everything is read.
    pub fn finish(self) -> Result<String> {
        let Self { input, copy, hash, mut digest, inflater, .. } = self;
        drop(copy);
        let mut bytes = [0; 32];
        let received = digest.read_exact(&mut bytes);
        if let Some(inflater) = inflater {
            drop(input);
            verdict(inflater)?;
        }
        match hash.wait().context("wait for the hash")? {
            Ended::Exited(inflate::DONE) if received.is_ok() => Ok(hex(&bytes)),
            Ended::Exited(code) if code > inflate::ERRNO => {
                Err(errno_of(code)).context("hash the archive")
            }
            ended => {
                Err(Error::new(format!("the process that hashes the archive failed: {ended:?}")))
            }
        }
    }

    /// The reason why the archive could not be read: what the inflater found, else `error`.
    pub fn explain(self, error: Error, name: &str) -> Error {
        let Self { input, copy, hash, inflater, first, .. } = self;
        drop((input, copy, hash));
        match inflater.map(verdict) {
            Some(Err(cause)) if cause.errno != Some(Errno::EPIPE) => cause,
            None if error.message == "not a tar archive" => not_a_tar(&first, name),
            _ => error,
        }
    }
}

fn errno_of(code: u8) -> Errno {
    Errno::new(i32::from(code - inflate::ERRNO))
}

/// What the inflater says of the compressed data.
fn verdict(inflater: Child) -> Result<()> {
    match inflater.wait().context("wait for the inflater")? {
        Ended::Exited(inflate::DONE) => Ok(()),
        Ended::Exited(inflate::GARBAGE) => {
            warn("what stands behind the end of the compressed data is left out");
            Ok(())
        }
        Ended::Exited(inflate::DAMAGED) => Err(Error::new("the compressed data is damaged")),
        Ended::Exited(inflate::CUT_SHORT) => Err(Error::new("the compressed data is cut short")),
        Ended::Exited(code) if code > inflate::ERRNO => Err(errno_of(code)).context("read"),
        ended => {
            Err(Error::new(format!("the process that inflates the archive failed: {ended:?}")))
        }
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
