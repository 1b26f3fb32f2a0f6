//! Reads the log of a container, back from the end or forward as it grows.

use super::log::{ENTRY_SIZE, Entry, INDEX, LOG, OLD_INDEX, OLD_LOG};
use super::options::LogsOptions;
use super::protocol::CHUNK;
use super::store::{Container, Engine, boot_id};
use crate::error::{Context, Error, Result, warn};
use crate::sys::fs::{self, Dir, errno};
use crate::sys::{Errno, io, time};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::time::Duration;

/// Which of the two outputs of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// Takes a line, or a part of one, with its time; gives false to end the reading.
pub type Sink<'a> = &'a mut dyn FnMut(Stream, Option<i64>, &[u8]) -> bool;

/// How often a log that is followed is looked at where the kernel does not tell of changes.
const PAUSE: Duration = Duration::from_millis(50);
/// How often where it does: of a keeper that was killed nothing tells. Milliseconds.
const LONG_PAUSE: i64 = 1000;
/// Most index entries that are read at once.
const BATCH: usize = 4096;

/// One file of the log with its index.
struct Part {
    log: File,
    index: File,
    /// Where this file begins in all that the container wrote.
    start: u64,
    /// Index bytes that have been read.
    read: u64,
}

impl Part {
    /// `None` where one of the files is missing or still empty.
    fn new(log: Option<File>, index: Option<File>) -> Result<Option<Self>> {
        let (Some(log), Some(index)) = (log, index) else { return Ok(None) };
        let mut first = [0; ENTRY_SIZE];
        match index.read_exact_at(&mut first, 0) {
            Err(_) => Ok(None),
            Ok(()) => match Entry::decode(&first) {
                Some(entry) => Ok(Some(Self { log, index, start: entry.offset, read: 0 })),
                None => Err(Error::new("the index of the log is damaged")),
            },
        }
    }

    /// The next entries; none at the present end.
    fn next(&mut self) -> Result<Vec<Entry>> {
        let mut bytes = vec![0; BATCH * ENTRY_SIZE];
        let length = self.index.read_at(&mut bytes, self.read).map_err(errno);
        let length = length.context("read the index of the log")? / ENTRY_SIZE * ENTRY_SIZE;
        self.read += length as u64;
        let entries: Option<Vec<_>> =
            bytes[..length].chunks(ENTRY_SIZE).map(Entry::decode).collect();
        entries.ok_or_else(|| Error::new("the index of the log is damaged"))
    }

    fn bytes(&self, entry: &Entry) -> Result<Vec<u8>> {
        let mut bytes = vec![0; (entry.length as usize).min(1 << 20)];
        let at = entry.offset.saturating_sub(self.start);
        let length = self.log.read_at(&mut bytes, at).map_err(errno).context("read the log")?;
        bytes.truncate(length);
        Ok(bytes)
    }
}

/// Opens the older and the present file of the log as they were at one moment: the keeper may rename
/// them meanwhile.
fn parts(dir: &Dir) -> Result<[Option<Part>; 2]> {
    let [old_log, old_index, log, index] = files(dir)?;
    let is_renamed = |log: &File| log.metadata().is_ok_and(|data| data.len() > CHUNK as u64);
    let (old_log, log) = match log {
        // The index is first to be renamed, and the keeper that did it may have died over that.
        Some(log) if index.is_none() && is_renamed(&log) => (Some(log), None),
        log => (old_log, log),
    };
    Ok([Part::new(old_log, old_index)?, Part::new(log, index)?])
}

/// The files of the log, the older ones first; none for a name that is not there.
fn files(dir: &Dir) -> Result<[Option<File>; 4]> {
    const NAMES: [&str; 4] = [OLD_LOG, OLD_INDEX, LOG, INDEX];
    loop {
        let mut files = [const { None }; 4];
        for (file, name) in files.iter_mut().zip(NAMES) {
            *file = match dir.open_file(name) {
                Err(Errno::ENOENT) => None,
                other => Some(other.context(format_args!("open {name}"))?),
            };
        }
        // No other file can have the inode of one that is open: where each has its name still, all
        // had them when the last one was opened.
        let has_name = |(file, name): (&Option<File>, &str)| {
            let own = file.as_ref().and_then(|file| fs::stat(file.as_fd()).ok());
            own.map(|stat| stat.inode) == dir.stat(name).ok().map(|stat| stat.inode)
        };
        if files.iter().zip(NAMES).all(has_name) {
            return Ok(files);
        }
    }
}

/// Shows the log of a container. With `follow` until the container has ended.
pub fn logs(engine: &Engine, name: &str, options: &LogsOptions, sink: Sink<'_>) -> Result<()> {
    let container = engine.resolve(name)?;
    let mut lines = Lines::new(options, sink);
    let mut parts = parts(&container.dir)?;
    if let Some(tail) = options.tail {
        lines.skip = count_lines(&mut parts, options)?.saturating_sub(tail);
    }
    let mut last = None;
    for mut part in parts.into_iter().flatten() {
        if !lines.show(&mut part)? {
            return Ok(());
        }
        last = Some(part);
    }
    if options.follow {
        follow(engine, &container, last, &mut lines)?;
    }
    lines.finish();
    Ok(())
}

/// Counts the lines that would be shown, without showing them.
fn count_lines(parts: &mut [Option<Part>], options: &LogsOptions) -> Result<u64> {
    let mut count = 0;
    let options = LogsOptions { follow: false, tail: None, ..options.clone() };
    let mut take = |_: Stream, _: Option<i64>, bytes: &[u8]| {
        count += u64::from(!bytes.is_empty());
        true
    };
    let mut lines = Lines { whole: true, ..Lines::new(&options, &mut take) };
    for part in parts.iter_mut().flatten() {
        lines.show(part)?;
        part.read = 0;
    }
    lines.finish();
    Ok(count)
}

/// Shows what is added until the container has ended, or the time has come that was asked for. A
/// file that was renamed is read to its end first; then the one that goes on where it stopped.
fn follow(
    engine: &Engine,
    container: &Container,
    last: Option<Part>,
    lines: &mut Lines<'_>,
) -> Result<()> {
    let mut part = last;
    // Before the first look, so that no change after it is missed.
    let changes = io::watch_directory(&engine.home(container)).ok();
    loop {
        // Asked before the last look, so that nothing written before the end is missed.
        let ended = !is_running(container) || time::now() > lines.until;
        if let Some(open) = &mut part
            && !lines.show(open)?
        {
            return Ok(());
        }
        let next = match &part {
            None => parts(&container.dir)?.into_iter().flatten().next(),
            Some(open) => successor(&container.dir, open)?,
        };
        match next {
            Some(next) => part = Some(next),
            None if ended => return Ok(()),
            None => wait(changes.as_ref(), lines.until),
        }
    }
}

/// Waits until something may have been added, or the time has come.
fn wait(changes: Option<&OwnedFd>, until: i64) {
    let Some(changes) = changes else { return std::thread::sleep(PAUSE) };
    let left = until.saturating_sub(time::now()) / 1_000_000 + 1;
    // Where it fails there is nothing else to do than to look again.
    let _ = io::wait_and_drain(changes.as_fd(), left.clamp(0, LONG_PAUSE) as i32);
}

fn is_running(container: &Container) -> bool {
    let boot = boot_id().unwrap_or_default();
    container.stored_state().is_ok_and(|state| state.has_processes(&boot))
}

/// The file that follows one that has been renamed meanwhile and read to its end.
fn successor(dir: &Dir, part: &Part) -> Result<Option<Part>> {
    let [old, Some(new)] = parts(dir)? else { return Ok(None) };
    if new.start == part.start {
        return Ok(None);
    }
    // What was added to the old file between our last look and its renaming comes first.
    if part.index.metadata().is_ok_and(|data| data.len() >= part.read + ENTRY_SIZE as u64) {
        return Ok(None);
    }
    let end = part.start + part.log.metadata().map_or(0, |data| data.len());
    if let Some(old) = old
        && old.start == end
    {
        return Ok(Some(old));
    }
    if new.start > end {
        warn(format_args!(
            "{} bytes of the log were dropped before they were read",
            new.start - end
        ));
    }
    Ok(Some(new))
}

/// Cuts what the log holds into lines where that is needed, and leaves out what was not asked for.
struct Lines<'a> {
    sink: Sink<'a>,
    since: i64,
    until: i64,
    /// Lines still to be left out, for `tail`.
    skip: u64,
    /// Whether lines have to be told apart; otherwise chunks pass as they come.
    whole: bool,
    /// The unfinished line of each stream, with the time of its beginning.
    open: [(Option<i64>, Vec<u8>); 2],
}

impl<'a> Lines<'a> {
    fn new(options: &LogsOptions, sink: Sink<'a>) -> Self {
        Self {
            sink,
            since: options.since.unwrap_or(i64::MIN),
            until: options.until.unwrap_or(i64::MAX),
            skip: 0,
            whole: options.timestamps || options.tail.is_some(),
            open: Default::default(),
        }
    }

    /// Shows what a file holds from where it was left. False when the sink wants no more.
    fn show(&mut self, part: &mut Part) -> Result<bool> {
        loop {
            let entries = part.next()?;
            if entries.is_empty() {
                return Ok(true);
            }
            for entry in entries {
                if entry.time < self.since || entry.time > self.until {
                    continue;
                }
                if !self.take(&entry, &part.bytes(&entry)?) {
                    return Ok(false);
                }
            }
        }
    }

    fn take(&mut self, entry: &Entry, bytes: &[u8]) -> bool {
        let index = usize::from(entry.stream == 2);
        let stream = [Stream::Stdout, Stream::Stderr][index];
        if !self.whole {
            return (self.sink)(stream, None, bytes);
        }
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (begun, line) = &mut self.open[index];
            begun.get_or_insert(entry.time);
            line.extend_from_slice(piece);
            // A line without an end is not kept without an end.
            if (piece.ends_with(b"\n") || line.len() >= 1 << 20) && !self.end_line(index, stream) {
                return false;
            }
        }
        true
    }

    fn end_line(&mut self, index: usize, stream: Stream) -> bool {
        let (begun, line) = std::mem::take(&mut self.open[index]);
        if self.skip > 0 {
            self.skip -= 1;
            return true;
        }
        (self.sink)(stream, begun, &line)
    }

    /// Shows the lines that have no end.
    fn finish(&mut self) {
        for (index, stream) in [Stream::Stdout, Stream::Stderr].into_iter().enumerate() {
            if !self.open[index].1.is_empty() {
                self.end_line(index, stream);
            }
        }
    }
}
