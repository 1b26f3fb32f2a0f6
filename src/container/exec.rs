//! Runs a further program in a container that runs, and shows its output until it ends.

use super::options::{ExecOptions, Ran};
use super::output::Output;
use super::protocol::CHUNK;
use super::record::State;
use super::relay::{self, RawMode};
use super::security;
use super::spec::{add_variable, add_variables};
use super::state::settle;
use super::store::{Container, Engine, no_such_container, not_running};
use super::streams::Streams;
use super::{runtime_spec, wiring};
use crate::cgroups;
use crate::error::{Context, ENGINE, Error, Result, warn};
use crate::runtime::create::{Setup, forget_caller};
use crate::runtime::{self, Process, Program, Stdio, Target};
use crate::sys::process::Namespaces;
use crate::sys::{Errno, io, process};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Runs a program in a container. It ends with this command, unless it was asked to be detached.
pub fn exec(engine: &Engine, name: &str, options: ExecOptions) -> Result<Ran> {
    // A container that is being started is locked until its program runs: before that its first
    // process may still have the host's root, and so would whoever joined it.
    let container = engine.resolve_locked(name)?;
    let state = settle(engine, &container);
    container.unlock();
    let state = state?.ok_or_else(|| no_such_container(name))?;
    let pidfd = state.running()?.ok_or_else(|| not_running(name))?;
    let relay = begin(&container, &state, pidfd.as_fd(), &options).map_err(|error| {
        // It may have ended since it was looked at. As with docker, only what goes wrong in a running
        // container counts as the engine's.
        match error.errno == Some(Errno::ESRCH) || io::is_ready(pidfd.as_fd()) {
            true => not_running(name),
            false => error.before_program(),
        }
    })?;
    match relay {
        Some(relay) => relay.run().map_err(Error::before_program),
        None => Ok(Ran::Detached(container.id)),
    }
}

/// Starts the program. `None` for one whose output nobody wants.
fn begin(
    container: &Container,
    state: &State,
    pidfd: BorrowedFd<'_>,
    options: &ExecOptions,
) -> Result<Option<Relay>> {
    let record = container.record()?;
    let mut program = runtime_spec::program(&record);
    let env = &mut program.env;
    if options.tty {
        let term = std::env::var("TERM").unwrap_or("xterm".into());
        add_variable(env, &format!("TERM={term}"))?;
    }
    add_variables(env, &options.env_files, &options.env)?;
    let program = Program {
        args: options.words.clone(),
        user: options.user.clone().unwrap_or_else(|| record.user.clone()),
        workdir: options
            .workdir
            .clone()
            .filter(|workdir| !workdir.is_empty())
            .unwrap_or_else(|| record.workdir.clone()),
        rights: match options.privileged {
            true => security::all_rights(&record),
            false => security::rights(&record),
        },
        ..program
    };
    if !program.workdir.starts_with('/') {
        let what = format!("working directory {:?}: is not an absolute path", program.workdir);
        return Err(Error::new(what).code(ENGINE));
    }
    let group = cgroups::open(&state.cgroups)?;
    let mut namespaces = runtime_spec::namespaces(&record).and(Namespaces::CGROUP);
    if wiring::shared(&record).is_some() {
        namespaces = namespaces.and(Namespaces::NET);
    }
    if options.tty && !relay::stdin_is_terminal() && !options.detach {
        warn("standard input is no terminal: the program has one, but its keys are not yours");
    }
    let (stdio, streams) = stdio(options)?;
    if record.userns.is_some() {
        namespaces = namespaces.and(Namespaces::USER);
    }
    let can_trace = security::can_trace(&record);
    let target = Target { pidfd, pid: state.pid, group: &group, namespaces, can_trace };
    forget_caller();
    let process = runtime::exec(&target, &program, stdio)?;
    let terminal = match process.executed()? {
        Setup::Running(terminal) => terminal,
        Setup::NoOverlay(error) => return Err(error),
    };
    let streams = match (streams, terminal) {
        (_, Some(master)) => Streams::terminal(master).context("prepare the terminal")?,
        (Some(streams), None) => streams,
        (None, None) => return Ok(None),
    };
    let input = options.interactive || options.tty;
    let output = Output::new();
    Ok(Some(Relay { process, streams, output, input, terminal: options.tty }))
}

/// Pipes or a terminal for the program, and our ends of the pipes.
fn stdio(options: &ExecOptions) -> Result<(Stdio, Option<Streams>)> {
    if options.detach {
        return Ok((Stdio::Null, None));
    }
    if options.tty {
        return Ok((Stdio::Terminal(relay::terminal_size()), None));
    }
    let (stdio, streams) = Streams::pipes(options.interactive).context("make the pipes")?;
    Ok((stdio, Some(streams)))
}

/// Relays between the caller and the program, without a keeper in between.
struct Relay {
    process: Process,
    streams: Streams,
    output: Output,
    /// Whether the caller's input is still to be read.
    input: bool,
    terminal: bool,
}

impl Relay {
    fn run(mut self) -> Result<Ran> {
        let set = relay::caught(true);
        io::block_signals(set).context("block the signals")?;
        let signals = io::signal_fd(set).context("watch the signals")?;
        let _raw = (self.terminal && self.input).then(RawMode::enter);
        // Its pages are touched only when there is something to read.
        let mut buffer = vec![0; CHUNK];
        let Ok(buffer) = <&mut [u8; CHUNK]>::try_from(&mut buffer[..]) else {
            return Err(Error::new("no buffer of that size"));
        };
        while !self.step(&signals, buffer)? {}
        let exit =
            process::wait(self.process.child.pidfd.as_fd()).context("wait for the program")?;
        while self.drain(&signals, buffer)? {}
        Ok(Ran::Ended(exit.code()))
    }

    /// Waits for something to happen and deals with it. True when the program has ended.
    fn step(&mut self, signals: &OwnedFd, buffer: &mut [u8; CHUNK]) -> Result<bool> {
        let stdin = std::io::stdin();
        let reading = self.input && !self.streams.is_full();
        let blocked = self.output.is_waiting();
        let outputs = self.streams.outputs.each_ref();
        let outputs = outputs.map(|output| {
            let output = output.as_ref().filter(|_| !blocked);
            output.map_or(io::Poll::nothing(), |file| io::Poll::readable(file.as_fd()))
        });
        let mut list = [
            io::Poll::readable(self.process.child.pidfd.as_fd()),
            io::Poll::readable(signals.as_fd()),
            io::Poll::on(stdin.as_fd(), reading, false),
            self.streams.watch_input().map_or(io::Poll::nothing(), io::Poll::writable),
            outputs[0],
            outputs[1],
            self.output.watch(),
        ];
        io::poll(&mut list, -1).context("wait for the program")?;
        let [ended, signalled, typed, takes_input, stdout, stderr, takes_output] =
            list.map(|entry| entry.ready());
        if signalled {
            self.take_signals(signals, false)?;
        }
        if takes_output {
            let flushed = self.output.flush();
            self.written(flushed)?;
        }
        if takes_input {
            self.streams.write_input();
        }
        if typed {
            self.read_input(&stdin, buffer)?;
        }
        for (index, written) in [stdout, stderr].into_iter().enumerate() {
            if written && !self.output.is_waiting() {
                self.pass_output(index, buffer)?;
            }
        }
        Ok(ended)
    }

    /// Takes what the program wrote before it ended. False when there is no more.
    fn drain(&mut self, signals: &OwnedFd, buffer: &mut [u8; CHUNK]) -> Result<bool> {
        if !self.output.is_waiting() {
            return Ok(self.pass_output(0, buffer)? || self.pass_output(1, buffer)?);
        }
        let mut list = [io::Poll::readable(signals.as_fd()), self.output.watch()];
        io::poll(&mut list, -1).context("wait for the caller")?;
        if list[0].ready() {
            self.take_signals(signals, true)?;
        }
        let flushed = self.output.flush();
        self.written(flushed)?;
        Ok(true)
    }

    fn take_signals(&mut self, signals: &OwnedFd, ended: bool) -> Result<()> {
        while let Some(signal) = io::next_signal(signals.as_fd()) {
            match signal == libc::SIGWINCH as u32 {
                true => self.streams.resize(relay::terminal_size()),
                false if ended => relay::end_by(signal)?,
                // It may have ended just now.
                false => drop(process::send_signal(self.process.child.pidfd.as_fd(), signal)),
            }
        }
        Ok(())
    }

    fn read_input(&mut self, stdin: &std::io::Stdin, buffer: &mut [u8; CHUNK]) -> Result<()> {
        match io::read(stdin.as_fd(), buffer) {
            Ok(0) | Err(Errno::EIO) => {
                self.input = false;
                self.streams.end_input();
            }
            Ok(length) => self.streams.give(&buffer[..length]),
            Err(Errno::EAGAIN) => {}
            Err(errno) => return Err(errno).context("read standard input"),
        }
        Ok(())
    }

    /// Passes one chunk on; false when there is none.
    fn pass_output(&mut self, index: usize, buffer: &mut [u8; CHUNK]) -> Result<bool> {
        let Some(length @ 1..) = self.streams.read(index, buffer) else { return Ok(false) };
        let given = self.output.give(index, &buffer[..length]);
        self.written(given)?;
        Ok(true)
    }

    fn written(&mut self, result: crate::sys::Result<()>) -> Result<()> {
        match result {
            Ok(()) => Ok(()),
            // Nobody reads: the program is told in its turn.
            Err(Errno::EPIPE) => {
                self.streams.outputs[self.output.index] = None;
                Ok(())
            }
            Err(errno) => Err(errno).context("write the output"),
        }
    }
}
