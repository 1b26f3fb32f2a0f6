//! Clients that have not read all when their container has ended: a process that holds nothing but
//! their sockets waits for them, and the keeper goes on.

use crate::container::streams::Client;
use crate::sys::{io, process};
use std::os::fd::AsFd;

/// Sees to it that each client gets what is still its own. None of them is left here.
pub fn leave(clients: &mut Vec<Client>) {
    clients.retain(Client::is_behind);
    // A signal of such a client reaches nobody any more, and it hears that.
    clients.iter().for_each(|client| io::refuse_more(client.socket.as_fd()));
    // No child of the keeper, which may go on for days and would have to wait for it.
    if !clients.is_empty() && process::clone_sibling(&mut *clients, main).is_err() {
        empty(clients);
    }
    clients.clear();
}

fn main(clients: &mut Vec<Client>) -> ! {
    // The keeper's locks must not outlive it, nor the place of its container be held.
    let kept: Vec<_> = clients.iter().map(|client| client.socket.as_fd()).collect();
    let alone = process::close_all_but(&kept);
    if alone.and_then(|()| io::block_signals(io::SignalSet(0))).is_ok() {
        empty(clients);
    }
    process::exit_now(0)
}

/// Sends what waits, for as long as there is somebody to take it.
fn empty(clients: &mut Vec<Client>) {
    while !clients.is_empty() {
        let mut list: Vec<_> =
            clients.iter().map(|client| io::Poll::writable(client.socket.as_fd())).collect();
        if io::poll(&mut list, -1).is_err() {
            return;
        }
        drop(list);
        clients.iter_mut().for_each(Client::flush);
        clients.retain(Client::is_behind);
    }
}
