//! Carries what arrives at the sockets of published ports: all of it where the kernel has no
//! nf_tables, and otherwise what only a socket gets, such as connections to ::1.
//!
//! TCP moves by splice, UDP by a table of sessions. Nothing here ever waits.

mod way;

use self::way::{Pipes, TURNS, Way};
use super::Address;
use crate::sys::inet::{self, Peer, Watch};
use crate::sys::{Errno, Result, io};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// Datagrams that are taken from a socket before the others have their turn.
const DATAGRAMS: usize = 64;
/// Senders of datagrams that are remembered, and for how long.
const SESSIONS: usize = 1024;
const IDLE: Duration = Duration::from_secs(90);
/// The largest datagram.
const LARGEST: usize = 64 << 10;
/// The files of one connection: its sockets.
const FILES: usize = 2;
/// Of three files that may be open one is for pipes.
const SHARES: usize = 3;

/// A socket on a published port.
#[derive(Debug)]
pub struct Socket {
    pub file: OwnedFd,
    pub udp: bool,
    /// The family of its own address.
    pub v6: bool,
    /// Where in the container it leads.
    pub to: Peer,
}

/// All that is being carried.
#[derive(Debug)]
pub struct Proxy {
    watch: Watch,
    entries: Vec<Entry>,
    free: Vec<usize>,
    pipes: Pipes,
    /// Datagrams pass through here; made when the first arrives.
    buffer: Vec<u8>,
    /// The entries that are sessions.
    sessions: Vec<usize>,
    /// How many entries are connections.
    connections: usize,
    /// How many sockets all this may have open.
    most: usize,
    /// Connections wait that could not be taken.
    starved: bool,
}

/// What is watched under one number; the lowest bit of it tells the side of a connection.
#[derive(Debug)]
enum Entry {
    Free,
    Socket(Socket),
    Connection(Box<Connection>),
    Session(Session),
}

/// Two sockets, the one outside first, and what is under way from each to the other.
#[derive(Debug)]
struct Connection {
    sides: [OwnedFd; 2],
    ways: [Way; 2],
}

/// One who sends datagrams: where the answers go.
#[derive(Debug)]
struct Session {
    socket: OwnedFd,
    /// The entry of the published port, and the sender.
    port: usize,
    peer: Peer,
    /// The address of the host that the sender knows.
    local: Option<u128>,
    used: Instant,
}

impl Proxy {
    /// Carries what arrives at these sockets, with at most so many other files open; a connection
    /// has room in any case.
    pub fn new(sockets: Vec<Socket>, most: usize) -> Result<Self> {
        let watch = Watch::new()?;
        for (index, socket) in sockets.iter().enumerate() {
            // Connections that cannot be taken stay where they are, and must not wake anybody.
            watch.add(socket.file.as_fd(), (index as u64) << 1, !socket.udp)?;
        }
        Ok(Self {
            watch,
            entries: sockets.into_iter().map(Entry::Socket).collect(),
            free: Vec::new(),
            pipes: Pipes::new(most / SHARES / 2),
            buffer: Vec::new(),
            sessions: Vec::new(),
            connections: 0,
            most: (most - most / SHARES).max(FILES),
            starved: false,
        })
    }

    /// Readable when there is something to do.
    pub fn watch(&self) -> std::os::fd::BorrowedFd<'_> {
        self.watch.as_fd()
    }

    /// Has the sockets of IPv4 lead to the first address, those of IPv6 to the second. Where that is
    /// another one, all that is under way ends: who had the old address may be a stranger now.
    pub fn lead(&mut self, to: [Address; 2]) {
        let (mut moved, mut sockets) = (false, 0);
        while let Some(Entry::Socket(socket)) = self.entries.get_mut(sockets) {
            sockets += 1;
            let Address { v6, number } = to[usize::from(socket.v6)];
            let to = Peer { v6, number, ..socket.to };
            moved |= socket.to != to;
            socket.to = to;
        }
        if moved {
            // The sockets are the first entries, and stay.
            self.entries.truncate(sockets);
            self.free.clear();
            self.sessions.clear();
            self.connections = 0;
            self.pipes.forget_used();
            self.take_starved();
        }
    }

    /// Does what there is to do, for a while.
    pub fn serve(&mut self) {
        let mut events = inet::no_events::<64>();
        let Ok(ready) = self.watch.ready(&mut events) else { return };
        for event in ready {
            let index = (event.u64 >> 1) as usize;
            match self.entries.get(index) {
                Some(Entry::Socket(socket)) if socket.udp => self.take_datagrams(index),
                Some(Entry::Socket(_)) => self.take_connections(index),
                Some(Entry::Connection(_)) => self.carry(index),
                Some(Entry::Session(_)) => self.answer(index),
                Some(Entry::Free) | None => {}
            }
        }
    }

    fn place(&mut self) -> usize {
        self.free.pop().unwrap_or_else(|| {
            self.entries.push(Entry::Free);
            self.entries.len() - 1
        })
    }

    fn drop_entry(&mut self, index: usize) {
        let gone = std::mem::replace(&mut self.entries[index], Entry::Free);
        if let Entry::Connection(connection) = gone {
            self.connections -= 1;
            connection.ways.into_iter().for_each(|way| way.end(&mut self.pipes));
        }
        self.free.push(index);
        self.take_starved();
    }

    /// Whether so many more files may be open.
    fn has_room(&self, files: usize) -> bool {
        self.connections * FILES + self.sessions.len() + files <= self.most
    }

    /// Looks again for connections that could not be taken.
    fn take_starved(&mut self) {
        if !std::mem::take(&mut self.starved) {
            return;
        }
        for (index, entry) in self.entries.iter().enumerate() {
            match entry {
                Entry::Socket(socket) if !socket.udp => self.look_again(socket, index),
                Entry::Socket(_) => {}
                _ => break,
            }
        }
    }

    /// Has a socket told once more what waits at it.
    fn look_again(&self, socket: &Socket, index: usize) {
        let _ = self.watch.renew(socket.file.as_fd(), (index as u64) << 1);
    }

    /// Takes new connections; one that cannot be carried is closed. Where there is no room for more,
    /// the others wait, as they do at a server that is busy.
    fn take_connections(&mut self, index: usize) {
        for _ in 0..TURNS {
            let Some(Entry::Socket(Socket { file, to, .. })) = self.entries.get(index) else {
                return;
            };
            let to = *to;
            if !self.has_room(FILES) {
                self.starved = true;
                return;
            }
            let outer = match inet::accept(file.as_fd()) {
                Ok(outer) => outer,
                Err(Errno::EAGAIN) => return,
                // One that was given up by who made it.
                Err(Errno::ECONNABORTED) => continue,
                Err(_) => {
                    self.starved = true;
                    return;
                }
            };
            let Ok(inner) = inet::connect(to, false) else { continue };
            let place = self.place();
            let number = (place as u64) << 1;
            let watched = self
                .watch
                .add(outer.as_fd(), number, true)
                .and_then(|()| self.watch.add(inner.as_fd(), number | 1, true));
            let connection = Connection { sides: [outer, inner], ways: Default::default() };
            self.entries[place] = Entry::Connection(Box::new(connection));
            self.connections += 1;
            if watched.is_err() {
                self.drop_entry(place);
            }
        }
        if let Some(Entry::Socket(socket)) = self.entries.get(index) {
            self.look_again(socket, index);
        }
    }

    /// Moves what can be moved between the two sides of a connection.
    fn carry(&mut self, index: usize) {
        let Self { entries, pipes, watch, buffer, .. } = self;
        let Some(Entry::Connection(connection)) = entries.get_mut(index) else { return };
        let Connection { sides, ways } = &mut **connection;
        let (mut again, mut broken) = (false, false);
        for (way, [from, to]) in ways.iter_mut().zip([[0, 1], [1, 0]]) {
            match way.carry(&sides[from], &sides[to], pipes, buffer) {
                Ok(more) => again |= more,
                Err(_) => broken = true,
            }
        }
        if broken || ways.iter().all(Way::is_done) {
            self.drop_entry(index);
        } else if again {
            let number = (index as u64) << 1;
            // Told once for each change: asking anew tells what is there still.
            for (side, file) in (0..).zip(sides.iter()) {
                let _ = watch.renew(file.as_fd(), number | side);
            }
        }
    }

    fn take_datagrams(&mut self, index: usize) {
        if self.buffer.is_empty() {
            self.buffer.resize(LARGEST, 0);
        }
        for _ in 0..DATAGRAMS {
            let Some(Entry::Socket(Socket { file, to, .. })) = self.entries.get(index) else {
                return;
            };
            let to = *to;
            let Ok((length, peer, local)) = inet::receive(file.as_fd(), &mut self.buffer) else {
                return;
            };
            let Some(session) = self.session(index, peer, to, local) else { continue };
            if let Entry::Session(session) = &mut self.entries[session] {
                session.used = Instant::now();
                // As on any way of a datagram, it may be lost.
                let _ = io::write(session.socket.as_fd(), &self.buffer[..length]);
            }
        }
    }

    /// The session of a sender; a new one where it has none.
    fn session(&mut self, port: usize, peer: Peer, to: Peer, local: Option<u128>) -> Option<usize> {
        let is_it = |index: &&usize| {
            matches!(&self.entries[**index], Entry::Session(one)
                if one.port == port && one.peer == peer && one.local == local)
        };
        if let Some(session) = self.sessions.iter().find(is_it) {
            return Some(*session);
        }
        self.forget_idle();
        if !self.has_room(1) {
            return None;
        }
        let socket = inet::connect(to, true).ok()?;
        let place = self.place();
        if self.watch.add(socket.as_fd(), (place as u64) << 1, false).is_err() {
            self.free.push(place);
            return None;
        }
        let used = Instant::now();
        self.entries[place] = Entry::Session(Session { socket, port, peer, local, used });
        self.sessions.push(place);
        Some(place)
    }

    /// Forgets the sessions that nobody used for long, and the eldest where they are too many.
    fn forget_idle(&mut self) {
        let now = Instant::now();
        let used = |index: usize| match &self.entries[index] {
            Entry::Session(session) => session.used,
            _ => now,
        };
        let mut gone: Vec<usize> = self.sessions.clone();
        gone.retain(|index| now.duration_since(used(*index)) > IDLE);
        if gone.is_empty() && (self.sessions.len() >= SESSIONS || !self.has_room(1)) {
            gone.extend(self.sessions.iter().copied().min_by_key(|index| used(*index)));
        }
        self.sessions.retain(|index| !gone.contains(index));
        for index in gone {
            self.drop_entry(index);
        }
    }

    /// Passes answers on to the sender.
    fn answer(&mut self, index: usize) {
        for _ in 0..DATAGRAMS {
            let Some(Entry::Session(session)) = self.entries.get(index) else { return };
            // An error such as ECONNREFUSED is reported once and then gone.
            let Ok(length) = io::read(session.socket.as_fd(), &mut self.buffer) else { return };
            if let Some(Entry::Socket(port)) = self.entries.get(session.port) {
                let bytes = &self.buffer[..length];
                let _ = inet::answer(port.file.as_fd(), bytes, session.peer, session.local);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream, UdpSocket};

    const LOOPBACK: Peer = Peer { v6: false, number: 0x7f00_0001, port: 0 };

    /// Serves a port that leads to `to`, until the test ends.
    fn carry(udp: bool, to: u16) -> u16 {
        carry_with(udp, to, 1000)
    }

    /// The same with so many files.
    fn carry_with(udp: bool, to: u16, most: usize) -> u16 {
        let file = inet::listen(LOOPBACK, udp).unwrap();
        let port = inet::local_port(file.as_fd()).unwrap();
        let to = Peer { port: to, ..LOOPBACK };
        let mut proxy = Proxy::new(vec![Socket { file, udp, v6: false, to }], most).unwrap();
        std::thread::spawn(move || {
            loop {
                let mut list = [io::Poll::readable(proxy.watch())];
                io::poll(&mut list, 1000).unwrap();
                proxy.serve();
            }
        });
        port
    }

    #[test]
    fn a_connection_is_carried_both_ways_and_its_ends_are_told() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = carry(false, server.local_addr().unwrap().port());
        let echo = std::thread::spawn(move || {
            let (mut stream, _) = server.accept().unwrap();
            let mut all = Vec::new();
            stream.read_to_end(&mut all).unwrap();
            stream.write_all(&all).unwrap();
        });
        let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let sent: Vec<u8> = (0..3_000_000_u32).map(|number| number as u8).collect();
        client.write_all(&sent).unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let mut got = Vec::new();
        client.read_to_end(&mut got).unwrap();
        assert!(got == sent, "{} of {} bytes", got.len(), sent.len());
        echo.join().unwrap();
    }

    #[test]
    fn more_connections_than_pipes_are_carried_side_by_side() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        // Two pipes for eight ways.
        let port = carry_with(false, server.local_addr().unwrap().port(), 12);
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = server.accept() {
                std::thread::spawn(move || {
                    std::io::copy(&mut stream.try_clone().unwrap(), &mut stream)
                });
            }
        });
        let talk = move |number: u8| {
            let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
            let mut reader = client.try_clone().unwrap();
            let sent: Vec<u8> = (0..3_000_000_u32).map(|at| number ^ at as u8).collect();
            let all = sent.clone();
            let writer = std::thread::spawn(move || {
                client.write_all(&all).unwrap();
                client.shutdown(std::net::Shutdown::Write).unwrap();
            });
            let mut got = Vec::new();
            reader.read_to_end(&mut got).unwrap();
            writer.join().unwrap();
            assert!(got == sent, "{} of {} bytes", got.len(), sent.len());
        };
        let clients: Vec<_> =
            (0..4).map(|number| std::thread::spawn(move || talk(number))).collect();
        clients.into_iter().for_each(|client| client.join().unwrap());
    }

    #[test]
    fn a_server_that_is_not_there_ends_the_connection() {
        let port = carry(false, 1);
        let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let mut got = Vec::new();
        // Reset or closed: in any case it ends.
        let _ = client.read_to_end(&mut got);
        assert!(got.is_empty());
    }

    #[test]
    fn connections_for_which_there_is_no_room_wait_and_wake_nobody() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = Peer { port: server.local_addr().unwrap().port(), ..LOOPBACK };
        let file = inet::listen(LOOPBACK, false).unwrap();
        let port = inet::local_port(file.as_fd()).unwrap();
        let socket = Socket { file, udp: false, v6: false, to };
        let mut proxy = Proxy::new(vec![socket], 6).unwrap();
        let mut settle = |milliseconds| {
            while io::poll(&mut [io::Poll::readable(proxy.watch())], milliseconds) == Ok(1) {
                proxy.serve();
            }
            proxy.connections
        };
        let mut clients: Vec<TcpStream> =
            (0..5).map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
        assert_eq!(settle(200), 2);
        for left in [2, 1] {
            // Both ends have to be gone.
            clients.drain(..2);
            for _ in 0..2 {
                drop(server.accept().unwrap());
            }
            assert_eq!(settle(200), left);
        }
    }

    #[test]
    fn a_port_that_leads_elsewhere_carries_nothing_to_where_it_led() {
        let old = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = old.local_addr().unwrap().port();
        let new = TcpListener::bind(("127.0.0.2", port)).unwrap();
        let file = inet::listen(LOOPBACK, false).unwrap();
        let outside = inet::local_port(file.as_fd()).unwrap();
        let to = Peer { port, ..LOOPBACK };
        let mut proxy = Proxy::new(vec![Socket { file, udp: false, v6: false, to }], 1000).unwrap();
        let serve = |proxy: &mut Proxy| {
            let client = TcpStream::connect(("127.0.0.1", outside)).unwrap();
            io::poll(&mut [io::Poll::readable(proxy.watch())], 1000).unwrap();
            proxy.serve();
            client
        };
        let mut first = serve(&mut proxy);
        drop(old.accept().unwrap());
        proxy.lead([Address { v6: false, number: 0x7f00_0002 }; 2]);
        first.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut got = Vec::new();
        // Reset or closed: in any case it ends, and not by the time.
        let ended = first.read_to_end(&mut got).map_err(|error| error.kind());
        assert!(matches!(ended, Ok(0) | Err(std::io::ErrorKind::ConnectionReset)), "{ended:?}");
        let mut second = serve(&mut proxy);
        second.write_all(b"for the new one").unwrap();
        // Who is asked, and only who is asked, has a connection waiting.
        [&old, &new].iter().for_each(|listener| listener.set_nonblocking(true).unwrap());
        assert!(new.accept().is_ok());
        assert_eq!(old.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    }

    #[test]
    fn datagrams_find_their_senders() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = carry(true, server.local_addr().unwrap().port());
        std::thread::spawn(move || {
            let mut buffer = [0; 64];
            while let Ok((length, peer)) = server.recv_from(&mut buffer) {
                server.send_to(&buffer[..length], peer).unwrap();
            }
        });
        let clients: Vec<UdpSocket> =
            (0..3).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
        for (number, client) in clients.iter().enumerate() {
            client.send_to(&[number as u8; 5], ("127.0.0.1", port)).unwrap();
        }
        for (number, client) in clients.iter().enumerate() {
            client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            let mut buffer = [0; 64];
            let (length, _) = client.recv_from(&mut buffer).unwrap();
            assert_eq!(buffer[..length], [number as u8; 5]);
        }
    }
}
