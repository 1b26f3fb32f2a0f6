//! Memory in slots that one process fills and others read where it lies, without a copy.
//!
//! Pipes say whose turn it is: through one the filler tells a reader how much the next slots
//! hold, through the other the reader gives slots back. Their ends tell when a process is gone.
//! Both speak of several slots at a time, since waking another process is dear.

use super::{Errno, Result, io};
use std::os::fd::AsFd;
use std::ptr::NonNull;
use std::rc::Rc;
use syscalls::{Sysno, syscall};

/// Bytes of a slot.
pub const SLOT: usize = 256 << 10;
/// So many that a reader which the scheduler lets wait holds the filler up rarely.
const SLOTS: usize = 10;
/// How many slots are spoken of at a time: so few that, when the filler waits for a slot, the
/// reader that it waits for has one to read.
const BATCH: usize = 2;
/// A message for each slot: how many bytes are in it.
const MESSAGE: usize = size_of::<u32>();

/// The memory itself: what is written to it after a fork is seen by all the processes.
///
/// A slot belongs to the filler until it is passed on, and to the readers until each gave it
/// back. What a process says of that is believed only where nothing but its own bytes depend on it.
#[derive(Debug)]
pub struct Memory {
    start: NonNull<u8>,
}

impl Memory {
    /// Untouched pages of it cost nothing.
    pub fn new() -> Result<Rc<Self>> {
        let (access, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        // SAFETY: new memory at a place that the kernel chooses.
        let start = unsafe { syscall!(Sysno::mmap, 0, SLOT * SLOTS, access, flags, -1_i32, 0) }?;
        let start = NonNull::new(start as *mut u8).ok_or(Errno::ENOMEM)?;
        Ok(Rc::new(Self { start }))
    }

    fn slot(&self, number: u64) -> *mut u8 {
        // SAFETY: the product is less than the size of the mapping.
        unsafe { self.start.as_ptr().add((number % SLOTS as u64) as usize * SLOT) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: nothing refers to the mapping any more: every slice borrows from who has an `Rc`.
        let _ = unsafe { syscall!(Sysno::munmap, self.start.as_ptr(), SLOT * SLOTS) };
    }
}

/// The filler's ends of the two pipes that it shares with one reader.
#[derive(Debug)]
pub struct ToReader<F> {
    pub passed: F,
    pub returned: F,
    /// How many slots the reader gave back.
    count: u64,
}

impl<F> ToReader<F> {
    pub fn new(passed: F, returned: F) -> Self {
        Self { passed, returned, count: 0 }
    }
}

/// The process that fills the slots, one after the other.
#[derive(Debug)]
pub struct Filler<F: AsFd> {
    memory: Rc<Memory>,
    readers: Vec<ToReader<F>>,
    /// Slots that were passed on.
    number: u64,
    /// Bytes of the one that was passed on last.
    length: usize,
    /// Messages that are not yet sent, and how many bytes of them there are.
    messages: [u8; BATCH * MESSAGE],
    waiting: usize,
}

impl<F: AsFd> Filler<F> {
    pub fn new(memory: Rc<Memory>, readers: Vec<ToReader<F>>) -> Self {
        let messages = [0; BATCH * MESSAGE];
        Self { memory, readers, number: 0, length: 0, messages, waiting: 0 }
    }

    /// The next slot, once every reader is done with what was in it. `EPIPE` when one is gone.
    pub fn space(&mut self) -> Result<&mut [u8]> {
        let is_full = |reader: &ToReader<F>, number| reader.count + (SLOTS as u64) <= number;
        if self.readers.iter().any(|reader| is_full(reader, self.number)) {
            self.flush()?;
        }
        for reader in &mut self.readers {
            while is_full(reader, self.number) {
                match io::read(reader.returned.as_fd(), &mut [0; SLOTS])? {
                    0 => return Err(Errno::EPIPE),
                    count => reader.count += count as u64,
                }
            }
        }
        // SAFETY: all readers gave the slot back, or never had it, and `pass` is not called while
        // the result lives, since it borrows from `self`.
        Ok(unsafe { std::slice::from_raw_parts_mut(self.memory.slot(self.number), SLOT) })
    }

    /// Passes the first `length` bytes of the slot on. `EPIPE` when a reader is gone.
    pub fn pass(&mut self, length: usize) -> Result<()> {
        self.length = length.min(SLOT);
        let message = &mut self.messages[self.waiting..][..MESSAGE];
        message.copy_from_slice(&(self.length as u32).to_le_bytes());
        self.waiting += MESSAGE;
        self.number += 1;
        match self.waiting == self.messages.len() {
            true => self.flush(),
            false => Ok(()),
        }
    }

    fn flush(&mut self) -> Result<()> {
        let waiting = std::mem::take(&mut self.waiting);
        for reader in &self.readers {
            // Never split: a write of so few bytes to a pipe is whole.
            io::write_all(reader.passed.as_fd(), &self.messages[..waiting])?;
        }
        Ok(())
    }

    /// What was passed on last, to be read by the filler too.
    pub fn passed(&self) -> &[u8] {
        // SAFETY: everybody only reads this slot until `space` gives it out again, which takes
        // `self` for itself.
        unsafe {
            let slot = self.memory.slot(self.number.wrapping_sub(1));
            std::slice::from_raw_parts(slot, self.length)
        }
    }
}

impl<F: AsFd> Drop for Filler<F> {
    fn drop(&mut self) {
        // A reader that is gone needs no message.
        let _ = self.flush();
    }
}

/// A process that reads the slots, one after the other.
#[derive(Debug)]
pub struct Reader<F> {
    memory: Rc<Memory>,
    passed: F,
    returned: F,
    /// Messages that were read ahead: bytes of them, and how far they are taken.
    messages: [u8; SLOTS * MESSAGE],
    start: usize,
    end: usize,
    number: u64,
    /// Slots that are done and not yet given back.
    done: usize,
    /// Bytes of the slot at hand.
    length: usize,
}

impl<F: AsFd> Reader<F> {
    pub fn new(memory: Rc<Memory>, passed: F, returned: F) -> Self {
        let messages = [0; SLOTS * MESSAGE];
        let (start, end, number, done, length) = (0, 0, 0, 0, 0);
        Self { memory, passed, returned, messages, start, end, number, done, length }
    }

    /// Gives the slot at hand back and waits for the next. False when there is none any more.
    pub fn advance(&mut self) -> Result<bool> {
        if std::mem::take(&mut self.length) > 0 {
            self.number += 1;
            self.done += 1;
        }
        if self.done == BATCH {
            self.done = 0;
            match io::write(self.returned.as_fd(), &[0; BATCH]) {
                // A filler that is done does not wait for slots.
                Ok(_) | Err(Errno::EPIPE) => {}
                Err(errno) => return Err(errno),
            }
        }
        if self.start == self.end {
            self.start = 0;
            self.end = io::read(self.passed.as_fd(), &mut self.messages)?;
        }
        let Some(message) = self.messages[self.start..self.end].first_chunk() else {
            return Ok(false);
        };
        self.start += message.len();
        self.length = (u32::from_le_bytes(*message) as usize).min(SLOT);
        Ok(self.length > 0)
    }

    /// What is in the slot at hand.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the filler does not touch the slot until `advance` gives it back, which takes
        // `self` for itself. Another process that breaks this changes bytes that nobody believes.
        unsafe { std::slice::from_raw_parts(self.memory.slot(self.number), self.length) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::child::{Child, Ended};
    use crate::sys::file::pipe;

    #[test]
    fn a_reader_in_another_process_sees_every_byte_in_order() {
        let memory = Memory::new().unwrap();
        let (from, passed) = pipe(4096).unwrap();
        let (returned, to) = pipe(4096).unwrap();
        let work = || {
            let mut reader = Reader::new(Rc::clone(&memory), &from, &to);
            let mut expected = 0_u64;
            while reader.advance().is_ok_and(|more| more) {
                let right = reader.bytes().iter().all(|byte| *byte == expected as u8);
                if !right || reader.bytes().len() != 1 + expected as usize {
                    return 1;
                }
                expected += 1;
            }
            u8::from(expected != 3 * SLOTS as u64)
        };
        let child = Child::spawn(&[from.as_fd(), to.as_fd()], work).unwrap();
        drop((from, to));
        let mut filler = Filler::new(memory, vec![ToReader::new(passed, returned)]);
        for number in 0..3 * SLOTS {
            filler.space().unwrap()[..=number].fill(number as u8);
            filler.pass(number + 1).unwrap();
            assert_eq!(filler.passed().len(), number + 1);
        }
        drop(filler);
        assert_eq!(child.wait().unwrap(), Ended::Exited(0));
    }

    #[test]
    fn a_filler_whose_reader_is_gone_is_told() {
        let (from, passed) = pipe(4096).unwrap();
        let (returned, to) = pipe(4096).unwrap();
        let mut filler = Filler::new(Memory::new().unwrap(), vec![ToReader::new(passed, returned)]);
        for _ in 0..SLOTS {
            filler.space().unwrap();
            filler.pass(1).unwrap();
        }
        drop(to);
        assert_eq!(filler.space().err(), Some(Errno::EPIPE));
        drop(from);
        let passed = (0..BATCH).find_map(|_| filler.pass(1).err());
        assert_eq!(passed, Some(Errno::EPIPE));
    }
}
