//! The networks of the tests: no packet of theirs, and no rule, reaches the machine's own.
//!
//! The test program leaves the machine's network namespace before its first thread starts. Each
//! rocker then gets a namespace of its own that plays the host.

#![allow(unsafe_code)]

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Runs before `main`, while there is one thread: all later ones are in the new namespace too.
#[used]
#[unsafe(link_section = ".init_array")]
static LEAVE: extern "C" fn() = leave_the_machine;

extern "C" fn leave_the_machine() {
    // SAFETY: no memory is passed. Without root it fails, and then no test touches a network.
    unsafe { libc::unshare(libc::CLONE_NEWNET) };
}

/// A network namespace that plays the host; it goes with the last process in it.
pub struct Host(File);

impl Host {
    /// A new one that has a loopback and nothing else.
    pub fn new() -> Self {
        let made = std::thread::spawn(|| {
            // SAFETY: no memory is passed; it moves this thread only.
            assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0, "no network namespaces");
            loopback_up();
            File::open("/proc/thread-self/ns/net").unwrap()
        });
        Self(made.join().unwrap())
    }

    /// Has a command run in this namespace.
    pub fn enter(&self, command: &mut Command) {
        let raw = self.0.as_raw_fd();
        // SAFETY: only a system call between fork and exec; the file outlives the spawn, which
        // happens while its owner is borrowed or alive.
        unsafe {
            command.pre_exec(move || match libc::setns(raw, libc::CLONE_NEWNET) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            });
        }
    }
}

fn loopback_up() {
    // SAFETY: the structure is the one that the request takes, and zeroes are valid in it.
    unsafe {
        let socket = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l' as libc::c_char;
        request.ifr_name[1] = b'o' as libc::c_char;
        request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
        assert_eq!(
            libc::ioctl(socket, libc::SIOCSIFFLAGS as libc::Ioctl, &raw const request),
            0,
            "lo stays down"
        );
        libc::close(socket);
    }
}
