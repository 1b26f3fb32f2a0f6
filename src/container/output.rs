//! Output of a program on its way to the caller, as far as the caller takes it: a command that waits in
//! a write hears no signal. The caller's files are left as they are, without `O_NONBLOCK`.

use crate::sys::fs::{self, Kind};
use crate::sys::{Errno, Result, io};
use std::io::{Stderr, Stdout};
use std::os::fd::{AsFd, BorrowedFd};

/// What a pipe takes without a wait when it takes anything. Source: pipe(7), fs/pipe.c.
const AT_ONCE: usize = libc::PIPE_BUF;

pub struct Output {
    stdout: Stdout,
    stderr: Stderr,
    /// Where the bytes go that wait: 0 for stdout, 1 for stderr.
    pub index: usize,
    waiting: Vec<u8>,
    written: usize,
}

impl Output {
    pub fn new() -> Self {
        let (stdout, stderr) = (std::io::stdout(), std::io::stderr());
        Self { stdout, stderr, index: 0, waiting: Vec::new(), written: 0 }
    }

    fn file(&self) -> BorrowedFd<'_> {
        if self.index == 0 { self.stdout.as_fd() } else { self.stderr.as_fd() }
    }

    /// Whether the caller has not taken all yet: no more may be given.
    pub fn is_waiting(&self) -> bool {
        self.written < self.waiting.len()
    }

    /// What to wait for: room for what waits.
    pub fn watch(&self) -> io::Poll<'_> {
        if self.is_waiting() { io::Poll::writable(self.file()) } else { io::Poll::nothing() }
    }

    /// Writes bytes to one of the two streams; what it does not take waits.
    /// Errors: `EPIPE` when nobody reads.
    pub fn give(&mut self, index: usize, bytes: &[u8]) -> Result<()> {
        self.index = index;
        let written = write(self.file(), bytes)?;
        self.waiting.clear();
        self.waiting.extend_from_slice(&bytes[written..]);
        self.written = 0;
        Ok(())
    }

    /// Writes what waits, as much as is taken. After an error nothing waits.
    pub fn flush(&mut self) -> Result<()> {
        let written = write(self.file(), &self.waiting[self.written..]);
        self.written = written.map_or(self.waiting.len(), |written| self.written + written);
        written.map(drop)
    }
}

/// Writes as much as is taken without a wait.
fn write(file: BorrowedFd<'_>, bytes: &[u8]) -> Result<usize> {
    let is_file = || fs::stat(file).is_ok_and(|stat| stat.kind == Kind::File);
    let most = if bytes.len() > AT_ONCE && is_file() { bytes.len() } else { AT_ONCE };
    let mut written = 0;
    while written < bytes.len() && io::poll(&mut [io::Poll::writable(file)], 0)? > 0 {
        let part = &bytes[written..];
        match io::write(file, &part[..part.len().min(most)]) {
            Ok(more) => written += more,
            Err(Errno::EAGAIN) => break,
            Err(errno) => return Err(errno),
        }
    }
    Ok(written)
}
