//! The networks of the tests: no packet of theirs, and no rule, reaches the machine's own.
//!
//! The test program leaves the machine's network namespace before its first thread starts. Each
//! rocker then gets a namespace of its own that plays the host.

#![allow(unsafe_code)]

use crate::harness::{Output, PATIENCE, Rocker, Running, finish, has_program, wait_until};
use std::cell::RefCell;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// Runs before `main`, while there is one thread: all later ones are in the new namespace too.
#[used]
#[unsafe(link_section = ".init_array")]
static LEAVE: extern "C" fn() = leave_the_machine;

extern "C" fn leave_the_machine() {
    // SAFETY: no memory is passed. Without root it fails, and then no test touches a network.
    unsafe { libc::unshare(libc::CLONE_NEWNET) };
}

/// Has a command run in the machine's own network, which the parent of the tests is in: for what a
/// test needs from a mirror, and for nothing that it tests.
pub fn on_the_machine(command: &mut Command) {
    let parent = std::os::unix::process::parent_id();
    let Ok(network) = File::open(format!("/proc/{parent}/ns/net")) else { return };
    // SAFETY: only a system call between fork and exec, on a file that the closure owns.
    unsafe {
        command.pre_exec(move || match libc::setns(network.as_raw_fd(), libc::CLONE_NEWNET) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
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

/// Another host, on a wire to the one that a rocker runs on. It ends with this value.
pub struct Outside<'a> {
    rocker: &'a Rocker,
    host: Host,
    /// Its own address.
    pub address: &'static str,
    /// The address of the rocker's host on that wire.
    pub near: &'static str,
    running: RefCell<Vec<Running>>,
}

impl<'a> Outside<'a> {
    pub fn new(rocker: &'a Rocker) -> Self {
        let host = Host::new();
        let running = RefCell::default();
        let (address, near) = ("203.0.113.2", "203.0.113.1");
        let outside = Self { rocker, host, address, near, running };
        let mut sleep = Command::new("sleep");
        sleep.arg("1000");
        outside.start(sleep);
        let pid = outside.running.borrow()[0].0.id().to_string();
        let near_side = format!(
            "link add wire type veth peer name eth0 netns {pid}
             addr add 203.0.113.1/24 dev wire
             addr add 2001:db8::1/64 dev wire nodad
             link set wire up
             route add default via 203.0.113.2
             route add default via 2001:db8::2"
        );
        let far_side = "addr add 203.0.113.2/24 dev eth0
             addr add 2001:db8::2/64 dev eth0 nodad
             link set eth0 up
             link set lo up";
        // The far end must be up before routes lead there.
        let near_lines: Vec<&str> = near_side.lines().map(str::trim).collect();
        for line in &near_lines[..4] {
            rocker.on_host(&[&["ip"], &line.split(' ').collect::<Vec<_>>()[..]].concat());
        }
        for line in far_side.lines().map(str::trim) {
            outside.run(&[&["ip"], &line.split(' ').collect::<Vec<_>>()[..]].concat());
        }
        for line in &near_lines[4..] {
            rocker.on_host(&[&["ip"], &line.split(' ').collect::<Vec<_>>()[..]].concat());
        }
        outside
    }

    fn start(&self, mut command: Command) {
        self.host.enter(&mut command);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.running.borrow_mut().push(Running(command.spawn().unwrap()));
    }

    /// Runs a command there, whatever it gives.
    #[track_caller]
    pub fn run(&self, words: &[&str]) -> Output {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        self.host.enter(&mut command);
        finish(command, b"", PATIENCE)
    }

    /// Serves this text by HTTP on port 80.
    pub fn serve_http(&self, text: &str) {
        let directory = self.rocker.files().join("outside");
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("index.html"), text).unwrap();
        let mut server = Command::new("busybox");
        server.args(["httpd", "-f", "-p", "80", "-h"]).arg(&directory);
        self.start(server);
        let answers = || self.get("http://127.0.0.1/").code == 0;
        assert!(wait_until(PATIENCE, answers), "the server outside does not answer");
    }

    /// Fetches an address from there.
    #[track_caller]
    pub fn get(&self, url: &str) -> Output {
        self.run(&fetcher(url))
    }

    /// Leads what is for this range to the rocker's host.
    #[track_caller]
    pub fn route_to(&self, range: &str) {
        let output = self.run(&["ip", "route", "add", range, "via", self.near]);
        assert_eq!(output.code, 0, "{output:?}");
    }
}

/// The command that fetches an address: curl, or busybox where there is none.
pub fn fetcher(url: &str) -> Vec<&str> {
    match has_program("curl") {
        true => vec!["curl", "-s", "-g", "-m", "3", url],
        // Its own -T ends the wget of Debian's busybox by SIGSEGV.
        false => vec!["timeout", "3", "busybox", "wget", "-q", "-O", "-", url],
    }
}

/// Has a command run as on a kernel without a part of its networking: such a socket cannot be
/// made (`EPROTONOSUPPORT`), neither by it nor by its children.
pub fn without_netlink(command: &mut Command, protocol: i32) {
    // struct sock_filter: code, jt, jf, k; struct seccomp_data: nr, arch, ip, six arguments.
    let load = |at: u32| (0x20_u16, 0_u8, 0_u8, at);
    let equal = |value: u32, otherwise: u8| (0x15_u16, 0_u8, otherwise, value);
    let give = |value: u32| (0x06_u16, 0_u8, 0_u8, value);
    let filter = [
        load(0),
        equal(libc::SYS_socket as u32, 5),
        load(16),
        equal(libc::AF_NETLINK as u32, 3),
        load(32),
        equal(protocol as u32, 1),
        give(libc::SECCOMP_RET_ERRNO | libc::EPROTONOSUPPORT as u32),
        give(libc::SECCOMP_RET_ALLOW),
    ];
    let filter: Vec<libc::sock_filter> =
        filter.map(|(code, jt, jf, k)| libc::sock_filter { code, jt, jf, k }).to_vec();
    // SAFETY: only system calls between fork and exec, on memory that the closure owns.
    unsafe {
        command.pre_exec(move || {
            let program =
                libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
            let installed = libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program);
            if installed == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
        });
    }
}

/// Takes the right to change networks from a command and all that it starts.
pub fn without_net_admin(command: &mut Command) {
    const CAP_NET_ADMIN: libc::c_ulong = 12;
    // SAFETY: only a system call between fork and exec.
    unsafe {
        command.pre_exec(|| match libc::prctl(libc::PR_CAPBSET_DROP, CAP_NET_ADMIN, 0, 0, 0) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
}
