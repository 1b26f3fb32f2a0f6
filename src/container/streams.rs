//! The keeper's ends of a program's standard streams, and the clients that watch them.

use super::protocol::{CHUNK, FromClient, FromKeeper, WINDOW};
use crate::runtime::Stdio;
use crate::sys::{Errno, Result, io, tty};
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Ctrl-d.
const END_KEY: u8 = 4;

/// What the program writes to and reads from.
#[derive(Debug)]
pub struct Streams {
    /// Reads: stdout or the terminal's master, and stderr. `None` once it has ended.
    pub outputs: [Option<OwnedFd>; 2],
    input: Option<OwnedFd>,
    /// Input that the program has not taken yet; bounded by what each client may send ahead.
    pending: Vec<u8>,
    /// Whether the input so far ends within a line.
    in_line: bool,
    /// The input ends when `pending` has been taken.
    ending: bool,
    pub terminal: bool,
}

impl Streams {
    /// Makes pipes: the program's ends, and ours. Without `input` it reads /dev/null.
    pub fn pipes(input: bool) -> Result<(Stdio, Self)> {
        let (out, stdout) = io::pipe()?;
        let (err, stderr) = io::pipe()?;
        let (stdin, input) = input.then(io::pipe).transpose()?.unzip();
        for end in [input.as_ref(), Some(&out), Some(&err)].into_iter().flatten() {
            io::set_nonblocking(end.as_fd())?;
        }
        let streams = Self {
            outputs: [Some(out), Some(err)],
            input,
            pending: Vec::new(),
            in_line: false,
            ending: false,
            terminal: false,
        };
        Ok((Stdio::Pipes { stdin, stdout, stderr }, streams))
    }

    /// From the master end of a terminal.
    pub fn terminal(master: OwnedFd) -> Result<Self> {
        io::set_nonblocking(master.as_fd())?;
        let input = Some(master.as_fd().try_clone_to_owned().map_err(crate::sys::fs::errno)?);
        Ok(Self {
            outputs: [Some(master), None],
            input,
            pending: Vec::new(),
            in_line: false,
            ending: false,
            terminal: true,
        })
    }

    /// Reads a chunk of one output: `Some(0)` at its end, `None` when nothing is there now.
    pub fn read(&mut self, index: usize, buffer: &mut [u8; CHUNK]) -> Option<usize> {
        let file = self.outputs[index].as_ref()?;
        match io::read(file.as_fd(), buffer) {
            Err(Errno::EAGAIN) => None,
            // A terminal whose last program has gone gives EIO.
            Ok(0) | Err(_) => {
                self.outputs[index] = None;
                Some(0)
            }
            Ok(length) => Some(length),
        }
    }

    /// Takes input for the program; it is written as far as the program takes it.
    pub fn give(&mut self, bytes: &[u8]) {
        if self.input.is_some() {
            self.in_line = !matches!(bytes.last(), None | Some(b'\n' | b'\r' | &END_KEY));
            self.pending.extend_from_slice(bytes);
            self.write_input();
        }
    }

    /// Ends the program's input, after what is still to be written.
    pub fn end_input(&mut self) {
        // A terminal has no end: the key for it has the same effect on a program that reads lines.
        // Within a line the first only sends what was typed so far. Source: termios(3), VEOF.
        match self.terminal {
            true if self.in_line => self.give(&[END_KEY, END_KEY]),
            true => self.give(&[END_KEY]),
            false => {
                self.ending = true;
                self.write_input();
            }
        }
    }

    /// Whether no more input is wanted just now.
    pub fn is_full(&self) -> bool {
        !self.pending.is_empty()
    }

    /// What to wait for: room in the input.
    pub fn watch_input(&self) -> Option<BorrowedFd<'_>> {
        self.input.as_ref().filter(|_| self.is_full()).map(AsFd::as_fd)
    }

    /// Writes what is pending, as much as fits.
    pub fn write_input(&mut self) {
        let Some(input) = &self.input else { return };
        match io::write(input.as_fd(), &self.pending) {
            Ok(written) => drop(self.pending.drain(..written)),
            Err(Errno::EAGAIN) => return,
            // The program reads no more.
            Err(_) => {
                self.pending.clear();
                self.ending = true;
            }
        }
        if self.ending && self.pending.is_empty() {
            self.input = None;
        }
    }

    /// Passes on the size of the client's terminal.
    pub fn resize(&self, size: tty::Size) {
        if let (true, Some(master)) = (self.terminal, &self.outputs[0]) {
            // It may have been closed just now.
            let _ = tty::set_size(master.as_fd(), size);
        }
    }
}

/// A connected client.
#[derive(Debug)]
pub struct Client {
    pub socket: OwnedFd,
    /// Whether it gets what the program writes: said when it was made, or by `Hello`.
    pub output: bool,
    /// When this one goes, the program's input ends: it is the one that started the container.
    pub owns_input: bool,
    /// It is our parent: it waits for our end and takes the container's exit code from that.
    pub is_parent: bool,
    /// Packets that do not fit into the socket now; no output is read while there are any.
    waiting: VecDeque<Vec<u8>>,
    /// Packets of input that it was not told of that they are taken.
    given: u8,
    /// It is to be forgotten: it has closed its socket, broken the protocol, or ended its input where
    /// that is not the program's.
    pub gone: bool,
}

impl Client {
    pub fn new(socket: OwnedFd, output: bool, owns_input: bool) -> Self {
        let waiting = VecDeque::new();
        Self { socket, output, owns_input, is_parent: false, waiting, given: 0, gone: false }
    }

    /// Sends a message, or keeps it until there is room.
    pub fn send(&mut self, message: &FromKeeper<'_>) {
        self.waiting.push_back(message.encode());
        self.flush();
    }

    /// Gives what holds the mounts of a container that has ended to a client that is listening: to let
    /// go of them takes as long as to remove the rest, and another processor may have nothing to do.
    pub fn give_mounts(&mut self, mounts: OwnedFd) {
        // With one that does not listen they would stay.
        if io::is_received(self.socket.as_fd()) {
            let _ =
                io::send(self.socket.as_fd(), &FromKeeper::Mounts.encode(), Some(mounts.as_fd()));
        }
    }

    /// Sends what waits, as much as fits.
    pub fn flush(&mut self) {
        while let Some(packet) = self.waiting.front() {
            match io::send_now(self.socket.as_fd(), packet) {
                Ok(()) => drop(self.waiting.pop_front()),
                Err(Errno::EAGAIN) => return,
                Err(_) => {
                    self.gone = true;
                    self.waiting.clear();
                }
            }
        }
    }

    /// Whether packets wait for room.
    pub fn is_behind(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether it may be read: one that sends more input than it may has to wait.
    pub fn may_send(&self) -> bool {
        self.given <= WINDOW
    }

    /// Tells it that all of its input has been taken.
    pub fn tell_taken(&mut self) {
        if self.given > 0 {
            let given = std::mem::take(&mut self.given);
            self.send(&FromKeeper::Taken(given));
        }
    }

    /// Receives one message and hands it on; notices when the client has gone.
    pub fn receive(&mut self, buffer: &mut [u8; CHUNK + 1], take: &mut dyn FnMut(FromClient<'_>)) {
        // It may be ready to be written to only.
        match io::receive_now(self.socket.as_fd(), buffer) {
            Ok((0, _)) => self.gone = true,
            Ok((length, _)) => match FromClient::decode(&buffer[..length]) {
                Some(FromClient::Hello { output }) => self.output = output,
                Some(message) => {
                    self.given += u8::from(matches!(message, FromClient::Stdin(_)));
                    take(message);
                }
                None => self.gone = true,
            },
            Err(Errno::EAGAIN) => {}
            Err(_) => self.gone = true,
        }
    }
}
