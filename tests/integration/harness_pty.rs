//! A terminal for a test: rocker on one side of a pty, the test on the other.

use crate::harness::{PATIENCE, Rocker, code, wait_until};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};

/// `rocker` with a terminal; killed when this value goes.
pub struct Terminal {
    master: File,
    slave: OwnedFd,
    child: Child,
    screen: Arc<Mutex<Vec<u8>>>,
    /// Its modes before rocker was started.
    pub sane: Vec<u32>,
}

impl Terminal {
    /// Starts `rocker ARGS` on a new terminal of this size.
    pub fn spawn(rocker: &Rocker, args: &[&str], rows: u16, columns: u16) -> Self {
        let (master, slave) = open(rows, columns);
        // Before anybody can change them.
        let sane = modes(&slave);
        let mut command = rocker.command(args);
        command.stdin(Stdio::from(slave.try_clone().unwrap()));
        command.stdout(Stdio::from(slave.try_clone().unwrap()));
        command.stderr(Stdio::from(slave.try_clone().unwrap()));
        command.env("TERM", "xterm");
        // SAFETY: setsid and ioctl are async-signal-safe and take no memory of ours.
        #[allow(unsafe_code)]
        unsafe {
            command.pre_exec(|| {
                libc::setsid();
                match libc::ioctl(0, libc::TIOCSCTTY, 0) {
                    0 => Ok(()),
                    _ => Err(std::io::Error::last_os_error()),
                }
            });
        }
        let child = command.spawn().unwrap();
        let screen = Arc::new(Mutex::new(Vec::new()));
        let (mut reader, sink) = (master.try_clone().unwrap(), screen.clone());
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                sink.lock().unwrap().extend_from_slice(&buffer[..count]);
            }
        });
        Self { master, slave, child, screen, sane }
    }

    /// Types.
    pub fn send(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).unwrap();
    }

    /// Everything that was shown so far.
    pub fn shown(&self) -> String {
        String::from_utf8_lossy(&self.screen.lock().unwrap()).into_owned()
    }

    /// Waits until this was shown.
    #[track_caller]
    pub fn expect(&self, text: &str) {
        let came = wait_until(PATIENCE, || self.shown().contains(text));
        assert!(came, "{text:?} was not shown, but {:?}", self.shown());
    }

    /// Changes the size, as a terminal emulator does: the foreground processes get SIGWINCH.
    pub fn resize(&self, rows: u16, columns: u16) {
        set_size(&self.master, rows, columns);
    }

    /// The modes of the terminal now.
    pub fn modes(&self) -> Vec<u32> {
        modes(&self.slave)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the end of rocker and gives its exit code.
    #[track_caller]
    pub fn finish(&mut self) -> i32 {
        let mut status = None;
        wait_until(PATIENCE, || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        code(status.unwrap_or_else(|| panic!("it did not end, and showed {:?}", self.shown())))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Both fail when it has ended by itself, as it should have.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The modes of a terminal, in numbers that can be compared.
fn modes(terminal: &OwnedFd) -> Vec<u32> {
    // SAFETY: the zeroed structure is borrowed for the call, which fills it.
    #[allow(unsafe_code)]
    let modes = unsafe {
        let mut modes: libc::termios = std::mem::zeroed();
        assert_eq!(libc::tcgetattr(terminal.as_raw_fd(), &raw mut modes), 0);
        modes
    };
    vec![modes.c_iflag, modes.c_oflag, modes.c_cflag, modes.c_lflag]
}

fn open(rows: u16, columns: u16) -> (File, OwnedFd) {
    let (mut master, mut slave) = (-1, -1);
    // SAFETY: both numbers are borrowed for the call; null asks for no name, modes and size.
    #[allow(unsafe_code)]
    let (master, slave) = unsafe {
        let result = libc::openpty(
            &raw mut master,
            &raw mut slave,
            std::ptr::null_mut(),
            std::ptr::null(),
            std::ptr::null(),
        );
        assert_eq!(result, 0, "openpty: {}", std::io::Error::last_os_error());
        // openpty has no flag for it, and a child that held the master would never see it closed.
        for fd in [master, slave] {
            libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC);
        }
        (File::from_raw_fd(master), OwnedFd::from_raw_fd(slave))
    };
    set_size(&master, rows, columns);
    (master, slave)
}

fn set_size(master: &File, rows: u16, columns: u16) {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the structure is borrowed for the call.
    #[allow(unsafe_code)]
    let result = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
    assert_eq!(result, 0, "TIOCSWINSZ: {}", std::io::Error::last_os_error());
}
