//! The process that stays beside a container: it starts it, keeps its output, takes part in
//! attaching, records its end and cleans up. It outlives the command that made it.

mod again;
mod slow;
mod start;

use self::start::{Running, bring_up, makes_network, note_failure};
use super::making::{self, Holds};
use super::protocol::{CHUNK, FromClient, FromKeeper};
use super::record::{Record, State, Status};
use super::state::{clean_up, erase, remove_socket};
use super::store::{Container, Engine};
use super::streams::Client;
use super::wiring::{self, Wiring};
use super::{layer, state};
use crate::error::{Context, ENGINE, Result};
use crate::namespace::net;
use crate::runtime::create::forget_caller;
use crate::sys::fs::Dir;
use crate::sys::process::{Child, Exit, Namespaces};
use crate::sys::{Errno, cpu, io, limits, pages, process, time, tty};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// What a keeper is given.
pub struct Order {
    pub root_path: PathBuf,
    pub run_path: PathBuf,
    /// Open and locked; the keeper unlocks it when the container runs.
    pub container: Container,
    pub record: Record,
    pub state: State,
    /// Whether the command that made the keeper shows the output.
    pub attached: bool,
    /// Whether the end of that command's input ends the program's.
    pub owns_input: bool,
    /// Whether that command waits to hear that the program runs.
    pub announce: bool,
    pub size: tty::Size,
    /// A container that is still to be finished: one that cannot be started goes away.
    pub unfinished: Option<Holds>,
}

/// Starts a keeper. The socket is the first client's.
pub fn launch(order: Order) -> Result<(Child, OwnedFd)> {
    let (near, far) = io::socket_pair().context("make a socket pair")?;
    let makes_network = makes_network(&order.record);
    let child = process::clone_into(Namespaces::default(), None, (order, far), main);
    let child = child.context("start the keeper")?;
    if makes_network {
        // Side by side only on two processors; a failure is none but of speed.
        let _ = cpu::leave_to(child.pid);
        // It takes the kernel as long as the keeper takes for all that comes before. Without it the
        // keeper tries where there are networks to join, else the first process: either says why it cannot.
        let network = net::make().ok();
        let network = network.as_ref().map(AsFd::as_fd);
        let _ = io::send(near.as_fd(), &FromClient::Network.encode(), network);
    }
    Ok((child, near))
}

fn main((order, socket): (Order, OwnedFd)) -> ! {
    let mut kept = vec![order.container.dir.as_fd(), socket.as_fd()];
    kept.extend(order.unfinished.iter().flat_map(Holds::files));
    // The caller's stray descriptors must not stay open for days, nor be seen by the container.
    let alone = process::close_all_but(&kept).context("close the caller's files");
    forget_caller();
    let mut client = Client::new(socket, order.attached, order.owns_input);
    client.is_parent = order.attached;
    let announce = order.announce;
    let arriving = client.socket.try_clone().ok();
    let ended = alone.and_then(|()| Keeper::start(order, arriving));
    match ended {
        Ok(mut keeper) => {
            if announce {
                client.send(&FromKeeper::Started);
            }
            keeper.clients.push(client);
            let code = keeper.serve();
            // The client wakes up while this process ends.
            keeper.clients.clear();
            process::exit_now(code)
        }
        Err(error) => {
            client.send(&FromKeeper::Failed(error.before_program()));
            process::exit_now(1)
        }
    }
}

struct Keeper {
    engine: Engine,
    container: Container,
    record: Record,
    state: State,
    running: Running,
    clients: Vec<Client>,
    /// There are too many clients, or no files for another one.
    crowded: bool,
    /// Held for as long as this process lives: others see at once that it does.
    _alive: Option<Dir>,
    signals: OwnedFd,
    /// When SIGKILL follows the stop signal that this keeper was asked for.
    deadline: Option<Instant>,
    /// This keeper was told to end: the container is not started again.
    ending: bool,
    /// How long it waited before it started the container the last time.
    pause: Duration,
}

/// How long nothing happens before a keeper makes itself small.
const QUIET_MILLISECONDS: i32 = 200;
/// How long a client waits before it is tried again to let it in.
const CROWDED_MILLISECONDS: i32 = 1000;

impl Keeper {
    /// Starts the container; on failure nothing of it is left.
    fn start(order: Order, arriving: Option<OwnedFd>) -> Result<Self> {
        let signals = io::SignalSet::FORWARDABLE;
        io::block_signals(signals).context("block the signals")?;
        let signals = io::signal_fd(signals).context("watch the signals")?;
        let engine = Engine::open(&order.root_path, &order.run_path)?;
        let Order { container, mut record, mut state, size, unfinished, .. } = order;
        let is_new = unfinished.is_some();
        if let Some(holds) = unfinished {
            making::finish(&engine, &container, &record, &state, holds)?;
        }
        let (alive, inode) = state::hold_alive(&container).unzip();
        state.keeper_lock = inode.unwrap_or(0);
        let ready = bring_up(&engine, &container, &mut record, &mut state, size, arriving);
        // Not sooner: the program need not wait for it.
        let detached = || process::detach().context("detach the keeper");
        match ready.and_then(|ready| detached().map(|()| ready)) {
            Ok(running) => {
                container.unlock();
                Ok(Self {
                    engine,
                    container,
                    record,
                    state,
                    running,
                    clients: Vec::new(),
                    crowded: false,
                    _alive: alive,
                    signals,
                    deadline: None,
                    ending: false,
                    pause: Duration::ZERO,
                })
            }
            Err(error) => {
                let error = error.before_program();
                // The first error is the one to report; the next sweep repeats what fails here.
                let clean = clean_up(&engine, &container, &state).is_ok();
                layer::release(&engine, &container, &state);
                if is_new && clean {
                    let _ = erase(&engine, &container, &record.name);
                } else {
                    note_failure(&container, state, &error);
                }
                container.unlock();
                Err(error)
            }
        }
    }

    /// Serves clients until the container has ended and everybody knows. Gives its exit code.
    fn serve(&mut self) -> u8 {
        // On the heap: its pages are touched only when there is something to read.
        let mut buffer = vec![0; CHUNK + 1];
        let Ok(buffer) = <&mut [u8; CHUNK + 1]>::try_from(&mut buffer[..]) else { return ENGINE };
        loop {
            while !self.wait(buffer) {}
            let exit = process::wait(self.running.process.child.pidfd.as_fd());
            self.drain(buffer);
            let code = exit.unwrap_or(Exit::Signal(libc::SIGKILL as u8)).code();
            let pause = self.record_end(code);
            self.finish(code, pause.is_none());
            match pause {
                Some(pause) if self.start_again(pause) => {}
                _ => return code,
            }
        }
    }

    /// Waits for something to happen and deals with it. True when the first process has ended.
    fn wait(&mut self, buffer: &mut [u8; CHUNK + 1]) -> bool {
        let timeout = self.timeout();
        let behind = self.clients.iter().any(Client::is_behind);
        // Others wait at the socket until there is room.
        let listener = self.running.listener.as_ref().filter(|_| !self.crowded).map(AsFd::as_fd);
        let outputs = self.running.streams.outputs.each_ref().map(|output| {
            // A client that is behind holds the output back, as a full pipe does.
            let output = output.as_ref().filter(|_| !behind);
            output.map_or(io::Poll::nothing(), |file| io::Poll::readable(file.as_fd()))
        });
        let proxy = self.running.wiring.proxy.as_ref();
        let mut list = vec![
            io::Poll::readable(self.running.process.child.pidfd.as_fd()),
            io::Poll::readable(self.signals.as_fd()),
            listener.map_or(io::Poll::nothing(), io::Poll::readable),
            self.running.streams.watch_input().map_or(io::Poll::nothing(), io::Poll::writable),
            outputs[0],
            outputs[1],
            proxy.map_or(io::Poll::nothing(), |proxy| io::Poll::readable(proxy.watch())),
        ];
        for client in &self.clients {
            let socket = client.socket.as_fd();
            list.push(io::Poll::on(socket, client.may_send(), client.is_behind()));
        }
        match io::poll(&mut list, timeout) {
            Err(_) => return true,
            Ok(0) if self.crowded => self.crowded = false,
            // A container that lasts: what only its start needed goes back to the page cache.
            // Quiet for a while: it may stay so for days.
            Ok(0) if self.deadline.is_none() => {
                let _ = pages::poll_at_rest(&mut list);
            }
            Ok(_) => {}
        }
        let ready: Vec<bool> = list.iter().map(io::Poll::ready).collect();
        drop(list);
        self.answer(&ready, buffer)
    }

    /// Deals with what is ready of the list above. True when the first process has ended.
    fn answer(&mut self, ready: &[bool], buffer: &mut [u8; CHUNK + 1]) -> bool {
        let [ended, signalled, called, takes_input, stdout, stderr, published, clients @ ..] =
            ready
        else {
            return false;
        };
        if *ended {
            self.give_mounts();
        }
        if *published {
            self.running.wiring.carry(&self.container);
        }
        if *signalled {
            self.take_signals();
        }
        if *takes_input {
            self.running.streams.write_input();
        }
        for (index, written) in [stdout, stderr].into_iter().enumerate() {
            if *written {
                self.pass_output(index, buffer);
            }
        }
        for (index, ready) in clients.iter().enumerate() {
            if *ready {
                self.serve_client(index, buffer);
            }
        }
        if *called {
            self.let_in();
        }
        self.settle_clients();
        *ended
    }

    fn let_in(&mut self) {
        let Some(listener) = &self.running.listener else { return };
        if self.clients.len() as u64 >= limits::open_files().unwrap_or(0) / 2 {
            // The rest is for the end of the container and its record, and for the proxy.
            self.crowded = true;
            return;
        }
        match io::accept(listener.as_fd()) {
            Ok(socket) => self.clients.push(Client::new(socket, false, false)),
            Err(Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM) => self.crowded = true,
            // It has gone again.
            Err(_) => {}
        }
    }

    /// Lets the command that started it let go of the mounts, side by side with what is still to do.
    fn give_mounts(&mut self) {
        let parent = self.clients.iter_mut().find(|client| client.is_parent);
        if let (Some(mounts), Some(client)) = (self.running.mounts.take(), parent) {
            client.give_mounts(mounts);
        }
    }

    fn timeout(&mut self) -> i32 {
        let Some(deadline) = self.deadline else {
            return if self.crowded { CROWDED_MILLISECONDS } else { QUIET_MILLISECONDS };
        };
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            self.deadline = None;
            // It may have ended just now.
            let _ = process::send_signal(
                self.running.process.child.pidfd.as_fd(),
                libc::SIGKILL as u32,
            );
            return -1;
        }
        i32::try_from(left.as_millis()).unwrap_or(i32::MAX).saturating_add(1)
    }

    /// A keeper that is told to end, as at the shutdown of the host, stops its container first.
    fn take_signals(&mut self) {
        while let Some(signal) = io::next_signal(self.signals.as_fd()) {
            if signal == libc::SIGTERM as u32 && self.deadline.is_none() {
                self.ending = true;
                let pidfd = self.running.process.child.pidfd.as_fd();
                let _ = process::send_signal(pidfd, self.record.stop_signal);
                let seconds = u64::try_from(self.record.stop_timeout).unwrap_or(10);
                self.deadline = Some(Instant::now() + Duration::from_secs(seconds));
            }
        }
    }

    /// Reads one chunk of output, logs it and hands it to the clients. False when there is none.
    fn pass_output(&mut self, index: usize, buffer: &mut [u8; CHUNK + 1]) -> bool {
        let Some((chunk, _)) = buffer.split_first_chunk_mut::<CHUNK>() else { return false };
        let Some(length @ 1..) = self.running.streams.read(index, chunk) else { return false };
        let bytes = &chunk[..length];
        self.running.log.append(index as u32 + 1, bytes, time::now());
        let message = match index {
            0 => FromKeeper::Stdout(bytes),
            _ => FromKeeper::Stderr(bytes),
        };
        for client in self.clients.iter_mut().filter(|client| client.output) {
            client.send(&message);
        }
        true
    }

    fn serve_client(&mut self, index: usize, buffer: &mut [u8; CHUNK + 1]) {
        let Self { clients, running: Running { streams, process, .. }, record, .. } = self;
        let client = &mut clients[index];
        let mut leaves = false;
        client.flush();
        if !client.may_send() {
            return;
        }
        client.receive(buffer, &mut |message| match message {
            FromClient::Stdin(bytes) => streams.give(bytes),
            FromClient::StdinEnd if record.ends_stdin() => streams.end_input(),
            // All that it gave is on its way.
            FromClient::StdinEnd => leaves = true,
            FromClient::Resize(size) => streams.resize(size),
            FromClient::Signal(signal) => {
                // It may have ended just now.
                let _ = process::send_signal(process.child.pidfd.as_fd(), signal);
            }
            // Too late: the container has another.
            FromClient::Network | FromClient::Hello { .. } => {}
        });
        client.gone |= leaves;
    }

    /// Forgets those that have gone, and tells the others that there is room for more input.
    fn settle_clients(&mut self) {
        if self.clients.iter().any(|client| client.gone && client.owns_input)
            && !self.running.streams.terminal
        {
            self.running.streams.end_input();
        }
        let before = self.clients.len();
        self.clients.retain(|client| !client.gone);
        self.crowded &= self.clients.len() == before;
        if !self.running.streams.is_full() {
            self.clients.iter_mut().for_each(Client::tell_taken);
        }
    }

    /// Takes what the program wrote before it ended. Whatever held the pipes open has been killed
    /// with it, so they end; what is there is bounded by what pipes hold.
    fn drain(&mut self, buffer: &mut [u8; CHUNK + 1]) {
        for index in 0..2 {
            while self.pass_output(index, buffer) {}
        }
    }

    /// Records the end, removes what only a running container needs, and, where that was asked
    /// for, the container. Gives the time until it is started again.
    fn record_end(&mut self, code: u8) -> Option<Duration> {
        let oom_killed = self.record.limits.memory.is_some() && self.running.group.oom_killed();
        let group = std::mem::take(&mut self.running.group);
        // What stays of it is named in what stays of the container, and is removed with that.
        let removed = group.destroy().is_ok();
        remove_socket(&self.engine, &self.container);
        self.running.listener = None;
        if self.container.lock().is_err() {
            return None;
        }
        self.running.wiring = Wiring::default();
        wiring::end(&self.engine, &self.container, &self.state.net);
        if self.record.auto_remove {
            layer::release(&self.engine, &self.container, &self.state);
            if removed {
                let _ = erase(&self.engine, &self.container, &self.record.name);
            }
            return None;
        }
        // `stop` may have left its mark meanwhile.
        let mut stored = self.container.stored_state().unwrap_or_else(|_| self.state.clone());
        let again = self.next_start(&stored, code);
        match again {
            // This keeper stays.
            Some(_) => (stored.status, stored.pid) = (Status::Restarting, 0),
            None => {
                layer::release(&self.engine, &self.container, &self.state);
                stored.end();
            }
        }
        stored.forget_networks();
        if removed {
            stored.cgroups.clear();
        }
        stored.finished = time::now();
        stored.finished_uptime = time::since_boot();
        stored.exit_code = code;
        stored.oom_killed = oom_killed;
        // Where the disk is full the container still is shown as exited, from the kernel's facts.
        let _ = self.container.write_state(&stored, again.is_none());
        self.container.unlock();
        again
    }

    /// Tells the clients. The `last` time there is one that hears it from the end of this process:
    /// it need not be woken twice.
    fn finish(&mut self, code: u8, last: bool) {
        for client in self.clients.iter_mut().filter(|client| !(last && client.is_parent)) {
            client.send(&FromKeeper::Exited(code));
        }
        slow::leave(&mut self.clients);
    }
}
