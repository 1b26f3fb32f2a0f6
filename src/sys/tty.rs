//! Terminals: pseudo-terminals, sizes, raw mode.

use super::{Result, owned, retry};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use syscalls::{Sysno, syscall};

/// The size of a terminal in characters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Size {
    pub rows: u16,
    pub columns: u16,
}

fn ioctl<T>(file: BorrowedFd<'_>, request: u64, argument: *mut T) -> Result<usize> {
    // SAFETY: every caller in this file passes the structure that the request names, or a
    // number in place of the pointer where the request takes a number.
    retry(|| unsafe { syscall!(Sysno::ioctl, file.as_raw_fd(), request, argument) })
}

/// The size of a terminal. `ENOTTY` for anything else.
pub fn size(file: BorrowedFd<'_>) -> Result<Size> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    ioctl(file, libc::TIOCGWINSZ as u64, &raw mut size)?;
    Ok(Size { rows: size.ws_row, columns: size.ws_col })
}

/// Sets the size of a terminal; the programs in its foreground get SIGWINCH.
pub fn set_size(file: BorrowedFd<'_>, size: Size) -> Result<()> {
    let mut size =
        libc::winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    ioctl(file, libc::TIOCSWINSZ as u64, &raw mut size)?;
    Ok(())
}

/// Whether an open file is a terminal.
pub fn is_terminal(file: BorrowedFd<'_>) -> bool {
    settings(file).is_ok()
}

/// The settings of a terminal: modes, keys, speeds. Opaque; made to be given back.
#[derive(Clone, Copy)]
pub struct Settings(libc::termios);

/// Reads the settings of a terminal. `ENOTTY` for anything else.
pub fn settings(file: BorrowedFd<'_>) -> Result<Settings> {
    // SAFETY: zeroes are a valid termios, and the kernel's structure is a prefix of libc's.
    let mut termios: libc::termios = unsafe { std::mem::zeroed() };
    ioctl(file, libc::TCGETS as u64, &raw mut termios)?;
    Ok(Settings(termios))
}

/// Sets the settings of a terminal, after its output has been written out.
pub fn set_settings(file: BorrowedFd<'_>, settings: &Settings) -> Result<()> {
    let mut termios = settings.0;
    ioctl(file, libc::TCSETSW as u64, &raw mut termios)?;
    Ok(())
}

impl Settings {
    /// The same terminal with every byte passed through as it is, as cfmakeraw(3) does.
    pub fn raw(&self) -> Self {
        let mut termios = self.0;
        termios.c_iflag &= !(libc::IGNBRK
            | libc::BRKINT
            | libc::PARMRK
            | libc::ISTRIP
            | libc::INLCR
            | libc::IGNCR
            | libc::ICRNL
            | libc::IXON);
        termios.c_oflag &= !libc::OPOST;
        termios.c_lflag &= !(libc::ECHO | libc::ECHONL | libc::ICANON | libc::ISIG | libc::IEXTEN);
        termios.c_cflag = termios.c_cflag & !(libc::CSIZE | libc::PARENB) | libc::CS8;
        termios.c_cc[libc::VMIN] = 1;
        termios.c_cc[libc::VTIME] = 0;
        Self(termios)
    }
}

/// Unlocks the pseudo-terminal of `master` and opens its other end, by descriptor only.
/// Since Linux 4.13 (`TIOCGPTPEER`).
pub fn open_peer(master: BorrowedFd<'_>) -> Result<OwnedFd> {
    let mut unlock = 0_i32;
    ioctl(master, libc::TIOCSPTLCK as u64, &raw mut unlock)?;
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    ioctl(master, libc::TIOCGPTPEER as u64, flags as usize as *mut u8).map(owned)
}

/// Makes a terminal the controlling one of this session, which must have none.
pub fn set_controlling(file: BorrowedFd<'_>) -> Result<()> {
    ioctl(file, libc::TIOCSCTTY as u64, std::ptr::null_mut::<u8>())?;
    Ok(())
}
