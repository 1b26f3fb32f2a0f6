//! Bringing a layer to the disk while it is still being extracted, in a child of its own, so
//! that the sync at the end finds little left to do.

use crate::sys::child::Child;
use crate::sys::fs::Dir;
use crate::sys::{Errno, Result, file, io, statfs};
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;

/// How much is extracted between two orders; those that come during a sync are one.
const STEP: u64 = 32 << 20;
/// How much before the first: the second processor has little to do then.
const FIRST: u64 = 8 << 20;
const PIPE: u32 = 4096;

/// The syncs of one extraction. Dropped, it waits for the one that is going on.
pub struct Writeback {
    pending: u64,
    worker: Option<(Child, File)>,
    failed: bool,
}

impl Writeback {
    /// What is written into memory needs none.
    pub fn new(dir: &Dir) -> Self {
        Self { pending: STEP - FIRST, worker: None, failed: statfs::is_in_memory(dir.as_fd()) }
    }

    /// Says that bytes were written to the file system of `dir`.
    ///
    /// Nothing that goes wrong here is an error: the sync at the end does the whole work then.
    pub fn wrote(&mut self, dir: &Dir, bytes: u64) {
        self.pending += bytes;
        if self.pending < STEP || self.failed {
            return;
        }
        self.order(dir);
    }

    /// Lets what is left go to the disk while the caller does something else.
    pub fn flush(&mut self, dir: &Dir) {
        if self.worker.is_some() && !self.failed {
            self.order(dir);
        }
    }

    fn order(&mut self, dir: &Dir) {
        self.pending = 0;
        if self.worker.is_none() {
            self.worker = start(dir).ok();
        }
        self.failed = match &self.worker {
            // A full pipe means that it has enough to do.
            Some((_, orders)) => {
                !matches!(io::write(orders.as_fd(), b"s"), Ok(_) | Err(Errno::EAGAIN))
            }
            None => true,
        };
    }
}

fn start(dir: &Dir) -> Result<(Child, File)> {
    let (orders, trigger) = file::pipe(PIPE)?;
    io::set_nonblocking(trigger.as_fd())?;
    let child = Child::spawn_syncer(&[orders.as_fd(), dir.as_fd()], || work(dir, &orders))?;
    Ok((child, trigger))
}

fn work(dir: &Dir, mut orders: &File) -> u8 {
    let mut several = [0; 64];
    // Orders that came during a sync are one.
    while orders.read(&mut several).is_ok_and(|read| read > 0) {
        if dir.sync_filesystem().is_err() {
            return 1;
        }
    }
    0
}
