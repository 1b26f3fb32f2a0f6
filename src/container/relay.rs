//! The client's side of a running container: its terminal, its input, its signals.

use super::output::Output;
use super::protocol::{CHUNK, FromClient, FromKeeper, WINDOW};
use crate::error::{Context, ENGINE, Error, Result};
use crate::sys::process::{self, Exit};
use crate::sys::{Errno, io, tty};
use std::borrow::Cow;
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Keys that leave a container without ending it: docker's Ctrl-p Ctrl-q.
pub const DETACH_KEYS: &str = "ctrl-p,ctrl-q";
/// How long a first detach key waits for the second before the program gets it.
const KEY_MILLISECONDS: i32 = 500;
/// Exit code of a client whose reader has gone, as a shell shows SIGPIPE.
pub const NO_READER: u8 = 128 + libc::SIGPIPE as u8;

/// How a client is connected.
pub struct Relay {
    pub socket: OwnedFd,
    /// Whether this client's input goes to the program.
    pub stdin: bool,
    /// Whether the program's input ends with it; else the keeper lets this client go then.
    pub ends_stdin: bool,
    /// Whether the program has a terminal.
    pub terminal: bool,
    pub detach_keys: Vec<u8>,
    /// Whether signals to this client go to the program; with a terminal the keys do.
    pub signals: bool,
}

/// How it ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Left {
    Exited(u8),
    /// The keeper has closed the socket without a last word: it ends as the program did, or it died.
    Closed,
    /// Nobody reads the output any more: the program runs on.
    Unread,
    /// By the keys, or by the end of input that is not the program's: that runs on.
    Detached,
    /// The container could not be started.
    Failed(Error),
}

/// A terminal in raw mode; it gets its own settings back when this goes.
pub struct RawMode {
    settings: Option<tty::Settings>,
}

impl RawMode {
    /// Puts the terminal of standard input into raw mode; does nothing without one.
    pub fn enter() -> Self {
        let stdin = std::io::stdin();
        let settings = tty::settings(stdin.as_fd()).ok();
        let raw = settings.filter(|s| tty::set_settings(stdin.as_fd(), &s.raw()).is_ok());
        Self { settings: raw }
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        if let Some(settings) = &self.settings {
            // A terminal that is gone needs no settings.
            let _ = tty::set_settings(std::io::stdin().as_fd(), settings);
        }
    }
}

/// The size of the caller's terminal, whichever of its descriptors is one.
pub fn terminal_size() -> tty::Size {
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let files = [stdout.as_fd(), stdin.as_fd(), stderr.as_fd()];
    files.into_iter().find_map(|file| tty::size(file).ok()).unwrap_or_default()
}

/// Whether standard input is a terminal.
pub fn stdin_is_terminal() -> bool {
    tty::is_terminal(std::io::stdin().as_fd())
}

/// The signals that a client takes: those that end or change it, but not those that suspend it.
pub fn caught(forward: bool) -> io::SignalSet {
    let list: &[i32] = match forward {
        true => {
            let job = [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU, libc::SIGCONT, libc::SIGCHLD];
            return io::SignalSet::FORWARDABLE.without(&job);
        }
        // Only to put the terminal right before they are obeyed.
        false => &[libc::SIGWINCH, libc::SIGTERM, libc::SIGHUP, libc::SIGINT, libc::SIGQUIT],
    };
    io::SignalSet::of(list)
}

/// Reads keys such as `ctrl-p,ctrl-q` or `a,b`. An empty text switches detaching off.
pub fn parse_keys(text: &str) -> Result<Vec<u8>> {
    let wrong =
        || Error::new(format!("detach keys {text:?}: a letter or ctrl-LETTER, with commas"));
    let key = |key: &str| match (key.strip_prefix("ctrl-"), key.as_bytes()) {
        (Some(letter), _) => match letter.as_bytes() {
            [letter @ (b'a'..=b'z' | b'@' | b'[' | b'\\' | b']' | b'^' | b'_')] => {
                Ok(letter & 0x1f)
            }
            _ => Err(wrong()),
        },
        (None, [letter]) if letter.is_ascii_graphic() => Ok(*letter),
        _ => Err(wrong()),
    };
    match text {
        "" => Ok(Vec::new()),
        _ => text.split(',').map(key).collect(),
    }
}

/// Watches input for the detach keys.
pub struct Keys {
    keys: Vec<u8>,
    /// How many of them have been seen, and are held back.
    seen: usize,
}

impl Keys {
    pub fn new(keys: Vec<u8>) -> Self {
        Self { keys, seen: 0 }
    }

    /// Takes input and gives what goes on to the program; `None` when the keys are complete.
    pub fn pass<'a>(&mut self, input: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        if self.seen == 0 && self.keys.first().is_none_or(|first| !input.contains(first)) {
            // Nearly always, and input can be long.
            return Some(Cow::Borrowed(input));
        }
        let mut out = Vec::with_capacity(input.len());
        for byte in input {
            if self.keys.get(self.seen) == Some(byte) {
                self.seen += 1;
                if self.seen == self.keys.len() {
                    return None;
                }
                continue;
            }
            out.extend(self.release());
            if self.keys.first() == Some(byte) {
                self.seen = 1;
            } else {
                out.push(*byte);
            }
        }
        Some(Cow::Owned(out))
    }

    /// Whether a key is held back.
    pub fn is_waiting(&self) -> bool {
        self.seen > 0
    }

    /// Gives up the keys that were held back.
    pub fn release(&mut self) -> Vec<u8> {
        let held = self.keys[..self.seen].to_vec();
        self.seen = 0;
        held
    }
}

struct Loop {
    relay: Relay,
    keys: Keys,
    /// Packets that did not fit into the socket; neither input nor signals are read while there are any.
    unsent: VecDeque<Vec<u8>>,
    input_open: bool,
    /// How many packets of input may be sent before the keeper says that one was taken.
    window: u8,
    output: Output,
}

/// Waits until the keeper says that the container runs.
pub fn wait_started(socket: BorrowedFd<'_>) -> Result<()> {
    // Its first word is short, and an error is at most one page.
    let mut buffer = [0; 8192];
    let (length, _) = io::receive(socket, &mut buffer).context("wait for the keeper")?;
    match FromKeeper::decode(&buffer[..length]) {
        Some(FromKeeper::Started) => Ok(()),
        Some(FromKeeper::Failed(error)) => Err(error),
        _ => Err(keeper_gone()),
    }
}

/// The error for a keeper that ended without saying why.
pub fn keeper_gone() -> Error {
    Error::new("the keeper of the container has gone").code(ENGINE)
}

/// Relays between the caller and the keeper until the program ends or the keys are typed.
///
/// The keeper need not have said yet that the container runs: it may say here that it could not be
/// started. The signals of `caught` are taken from here on.
pub fn run(relay: Relay) -> Result<Left> {
    let set = caught(relay.signals);
    io::block_signals(set).context("block the signals")?;
    let signals = io::signal_fd(set).context("watch the signals")?;
    let _raw = (relay.terminal && relay.stdin).then(RawMode::enter);
    let keys = if relay.terminal { relay.detach_keys.clone() } else { Vec::new() };
    let mut state = Loop {
        input_open: relay.stdin,
        relay,
        keys: Keys::new(keys),
        unsent: VecDeque::new(),
        window: WINDOW,
        output: Output::new(),
    };
    if state.relay.terminal {
        state.send(&FromClient::Resize(terminal_size()))?;
    }
    let mut buffer = vec![0; CHUNK + 1];
    loop {
        if let Some(left) = state.step(&signals, &mut buffer)? {
            return Ok(left);
        }
    }
}

impl Loop {
    fn step(&mut self, signals: &OwnedFd, buffer: &mut [u8]) -> Result<Option<Left>> {
        let stdin = std::io::stdin();
        let (clear, may_send) = (self.unsent.is_empty(), self.window > 0);
        let reading = self.input_open && clear && may_send;
        let held_back = self.keys.is_waiting() && may_send;
        let mut list = [
            // What the caller does not take is not read.
            io::Poll::on(self.relay.socket.as_fd(), !self.output.is_waiting(), !clear),
            io::Poll::on(signals.as_fd(), clear, false),
            io::Poll::on(stdin.as_fd(), reading, false),
            self.output.watch(),
        ];
        let timeout = if held_back { KEY_MILLISECONDS } else { -1 };
        let count = io::poll(&mut list, timeout).context("wait for the container")?;
        let [keeper, signalled, typed, caller] = &list;
        let (heard, takes_more) = (keeper.can_read(), keeper.can_write());
        let (signalled, typed) = (signalled.can_read(), typed.can_read());
        let takes_output = caller.can_write();
        if count == 0 && held_back {
            let held = self.keys.release();
            self.send_input(&held)?;
        }
        if takes_more {
            self.send_waiting()?;
        }
        if signalled {
            self.take_signals(signals)?;
        }
        if reading && typed && self.read_input(&stdin, buffer)? {
            return Ok(Some(Left::Detached));
        }
        if takes_output {
            let flushed = self.output.flush();
            return written(flushed);
        }
        match heard {
            true => self.read_keeper(buffer),
            false => Ok(None),
        }
    }

    /// Sends a message, after those that wait. False when there is nobody any more to hear it.
    fn send(&mut self, message: &FromClient<'_>) -> Result<bool> {
        self.unsent.push_back(message.encode());
        self.send_waiting()
    }

    fn send_input(&mut self, bytes: &[u8]) -> Result<()> {
        self.window = self.window.saturating_sub(1);
        self.send(&FromClient::Stdin(bytes)).map(drop)
    }

    fn send_waiting(&mut self) -> Result<bool> {
        while let Some(packet) = self.unsent.front() {
            match io::send_now(self.relay.socket.as_fd(), packet) {
                Ok(()) => drop(self.unsent.pop_front()),
                // The keeper will be heard to have gone, or to have said why, on the next read.
                Err(Errno::EPIPE | Errno::ECONNRESET) => {
                    self.unsent.clear();
                    return Ok(false);
                }
                Err(Errno::EAGAIN) => break,
                Err(errno) => return Err(errno).context("send to the keeper"),
            }
        }
        Ok(true)
    }

    fn take_signals(&mut self, signals: &OwnedFd) -> Result<()> {
        while self.unsent.is_empty()
            && let Some(signal) = io::next_signal(signals.as_fd())
        {
            if signal == libc::SIGWINCH as u32 {
                if self.relay.terminal {
                    self.send(&FromClient::Resize(terminal_size()))?;
                }
            } else if self.relay.signals {
                if !self.send(&FromClient::Signal(signal))? && self.output.is_waiting() {
                    end_by(signal)?;
                }
            } else {
                return Err(ended_by(signal, "the container runs on"));
            }
        }
        Ok(())
    }

    /// Reads input and sends it on. True when the detach keys are complete.
    fn read_input(&mut self, stdin: &std::io::Stdin, buffer: &mut [u8]) -> Result<bool> {
        match io::read(stdin.as_fd(), &mut buffer[..CHUNK]) {
            Ok(0) | Err(Errno::EIO) => {
                self.input_open = false;
                self.send(&FromClient::StdinEnd)?;
            }
            Ok(length) => match self.keys.pass(&buffer[..length]) {
                None => return Ok(true),
                Some(bytes) if bytes.is_empty() => {}
                Some(bytes) => self.send_input(&bytes)?,
            },
            Err(Errno::EAGAIN) => {}
            Err(errno) => return Err(errno).context("read standard input"),
        }
        Ok(false)
    }

    fn read_keeper(&mut self, buffer: &mut [u8]) -> Result<Option<Left>> {
        let length = match io::receive(self.relay.socket.as_fd(), buffer) {
            Ok((0, _)) | Err(Errno::ECONNRESET) => {
                let let_go = self.relay.stdin && !self.input_open && !self.relay.ends_stdin;
                return Ok(Some(if let_go { Left::Detached } else { Left::Closed }));
            }
            other => other.context("hear the keeper")?.0,
        };
        match FromKeeper::decode(&buffer[..length]) {
            Some(FromKeeper::Stdout(bytes)) => written(self.output.give(0, bytes)),
            Some(FromKeeper::Stderr(bytes)) => written(self.output.give(1, bytes)),
            Some(FromKeeper::Taken(count)) => {
                self.window = self.window.saturating_add(count);
                Ok(None)
            }
            // What came with it is closed already.
            Some(FromKeeper::Started | FromKeeper::Mounts) => Ok(None),
            Some(FromKeeper::Exited(code)) => Ok(Some(Left::Exited(code))),
            Some(FromKeeper::Failed(error)) => Ok(Some(Left::Failed(error))),
            None => Err(keeper_gone()),
        }
    }
}

/// What becomes of a client after it has written output.
fn written(result: crate::sys::Result<()>) -> Result<Option<Left>> {
    match result {
        Ok(()) => Ok(None),
        Err(Errno::EPIPE) => Ok(Some(Left::Unread)),
        Err(errno) => Err(errno).context("write the output"),
    }
}

fn ended_by(signal: u32, rest: &str) -> Error {
    Error::new(format!("ended by a signal; {rest}")).code(128_u8.wrapping_add(signal as u8))
}

/// Ends a command whose program has ended and whose output nobody takes, by the signals that are
/// meant for that.
pub fn end_by(signal: u32) -> Result<()> {
    let ends = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT];
    match ends.contains(&(signal as i32)) {
        true => Err(ended_by(signal, "not all of the output was taken")),
        false => Ok(()),
    }
}

/// Waits for the end of a keeper that is our child, and gives the exit code of its container.
pub fn code_of_keeper(pidfd: BorrowedFd<'_>) -> Result<u8> {
    match process::wait(pidfd).context("wait for the keeper")? {
        Exit::Code(code) => Ok(code),
        Exit::Signal(_) => Err(keeper_gone()),
    }
}

/// Waits for a keeper that has said its last word, so that nothing is left when we return.
pub fn bury_keeper(pidfd: BorrowedFd<'_>) {
    // Its status says nothing that its last message did not.
    let _ = process::wait(pidfd);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_docker_writes_them() {
        assert_eq!(parse_keys(DETACH_KEYS), Ok(vec![16, 17]));
        assert_eq!(parse_keys("a,ctrl-["), Ok(vec![b'a', 27]));
        assert_eq!(parse_keys(""), Ok(vec![]));
        for bad in ["ctrl-", "ctrl-1", "ab", ",", "ctrl-p,"] {
            assert!(parse_keys(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_the_whole_sequence_detaches_and_nothing_is_lost() {
        let mut keys = Keys::new(vec![16, 17]);
        let mut pass = |input: &[u8]| keys.pass(input).map(Cow::into_owned);
        assert_eq!(pass(&[1, 16]), Some(vec![1]));
        assert_eq!(pass(&[16, 2]), Some(vec![16, 16, 2]));
        assert_eq!(pass(&[16]), Some(vec![]));
        assert!(keys.is_waiting());
        assert_eq!(keys.release(), [16]);
        assert_eq!(keys.pass(&[1, 17]).as_deref(), Some(&[1, 17][..]));
        assert_eq!(keys.pass(&[3, 16, 17, 4]), None);
    }

    #[test]
    fn without_keys_everything_passes() {
        let mut keys = Keys::new(Vec::new());
        // As it is: a copy byte by byte made of a gigabyte half a minute.
        assert!(matches!(keys.pass(&[16, 17]), Some(Cow::Borrowed([16, 17]))));
    }
}
