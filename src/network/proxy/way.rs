//! One direction of a connection: bytes from one socket to another, by a pipe where one is free.

use crate::sys::inet;
use crate::sys::{Errno, Result, io};
use std::os::fd::{AsFd, OwnedFd};

/// How much a pipe between two sockets holds.
const PIPE: usize = 256 << 10;
/// So often one connection moves bytes before the others have their turn.
pub const TURNS: usize = 16;
/// Pipes that are kept for the next connection.
const SPARE: usize = 16;
/// How much is copied at once where no pipe is free.
const COPIED: usize = 64 << 10;

/// Pipes between two sockets, of which there are not more than that.
#[derive(Debug)]
pub struct Pipes {
    spare: Vec<Pipe>,
    open: usize,
    most: usize,
}

type Pipe = (OwnedFd, OwnedFd);

impl Pipes {
    /// So many, and two in any case.
    pub fn new(most: usize) -> Self {
        Self { spare: Vec::new(), open: 0, most: most.max(2) }
    }

    /// All that were in use have been closed.
    pub fn forget_used(&mut self) {
        self.open = self.spare.len();
    }

    /// `None` where all are in use.
    fn take(&mut self) -> Result<Option<Pipe>> {
        if let Some(pipe) = self.spare.pop() {
            return Ok(Some(pipe));
        }
        if self.open >= self.most {
            return Ok(None);
        }
        let pipe = new_pipe()?;
        self.open += 1;
        Ok(Some(pipe))
    }

    /// Takes an empty pipe back.
    fn give(&mut self, pipe: Pipe) {
        match self.spare.len() < SPARE {
            true => self.spare.push(pipe),
            false => self.open -= 1,
        }
    }
}

/// What is under way from one socket to the other.
#[derive(Debug, Default)]
pub struct Way {
    pipe: Option<Pipe>,
    /// Bytes in the pipe.
    held: usize,
    /// Nothing more comes.
    ended: bool,
    /// The receiver has been told so.
    told: bool,
}

impl Way {
    /// Whether nothing more will be carried.
    pub fn is_done(&self) -> bool {
        self.told
    }

    /// Closes the pipe, with what is still in it.
    pub fn end(self, pipes: &mut Pipes) {
        pipes.open -= usize::from(self.pipe.is_some());
    }

    /// Moves bytes until one side has to wait. True when its turn was over before.
    pub fn carry(
        &mut self,
        from: &OwnedFd,
        to: &OwnedFd,
        pipes: &mut Pipes,
        buffer: &mut Vec<u8>,
    ) -> Result<bool> {
        for _ in 0..TURNS {
            let pipe = match self.pipe.take() {
                Some(pipe) => Some(pipe),
                None if self.told => return Ok(false),
                None => pipes.take()?,
            };
            let moved = match pipe {
                Some(pipe) => self.turn(from, to, pipe, pipes)?,
                None => self.turn_without(from, to, buffer)?,
            };
            if !moved {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// One turn where all pipes are in use. It holds nothing, so that who waits for a pipe never waits
    /// for who waits for him: what the receiver does not take stays with the sender.
    fn turn_without(&mut self, from: &OwnedFd, to: &OwnedFd, buffer: &mut Vec<u8>) -> Result<bool> {
        buffer.resize(COPIED, 0);
        match inet::peek(from.as_fd(), buffer) {
            Ok(0) => {
                self.told = true;
                inet::end_output(to.as_fd())?;
                Ok(false)
            }
            Ok(length) => match io::write(to.as_fd(), &buffer[..length]) {
                Ok(taken) => inet::skip(from.as_fd(), taken).map(|()| true),
                Err(Errno::EAGAIN) => Ok(false),
                Err(errno) => Err(errno),
            },
            Err(Errno::EAGAIN) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    /// One turn; false when nothing moved.
    fn turn(
        &mut self,
        from: &OwnedFd,
        to: &OwnedFd,
        pipe: Pipe,
        pipes: &mut Pipes,
    ) -> Result<bool> {
        let pipe = self.pipe.insert(pipe);
        let mut moved = false;
        if !self.ended && self.held < PIPE {
            match inet::splice(from.as_fd(), pipe.1.as_fd(), PIPE) {
                Ok(0) => self.ended = true,
                Ok(count) => {
                    self.held += count;
                    moved = true;
                }
                Err(Errno::EAGAIN) => {}
                Err(errno) => return Err(errno),
            }
        }
        if self.held > 0 {
            match inet::splice(pipe.0.as_fd(), to.as_fd(), self.held) {
                Ok(count) => {
                    self.held -= count;
                    moved |= count > 0;
                }
                Err(Errno::EAGAIN) => {}
                Err(errno) => return Err(errno),
            }
        }
        if self.held == 0 {
            // An idle connection needs none.
            if let Some(pipe) = self.pipe.take() {
                pipes.give(pipe);
            }
            if self.ended {
                self.told = true;
                inet::end_output(to.as_fd())?;
            }
        }
        Ok(moved)
    }
}

fn new_pipe() -> Result<Pipe> {
    let pipe = io::pipe()?;
    // A small one does too.
    let _ = inet::widen_pipe(pipe.1.as_fd(), PIPE);
    Ok(pipe)
}
