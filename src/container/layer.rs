//! Where a container writes: over its image on the disk, over its image in memory, or into a copy
//! of its image. Which of them is possible is found out at each start, unless one was asked for.

use super::record::{COPY, OVERLAY, Record, State, TMPFS};
use super::store::{Container, Engine};
use super::userns;
use crate::error::{Context, Error, Result};
use crate::image::{self, WHOLE};
use crate::namespace::scratch;
use crate::runtime::processes::is_running;
use crate::sys::fs::{self, Dir};
use crate::sys::xattr::{self, Target};
use crate::sys::{Errno, mount, proc, statfs};
use std::collections::VecDeque;
use std::ffi::OsStr;
use std::os::fd::AsFd;

/// The copy of the image, in the container's directory.
const ROOTFS: &str = "rootfs";

/// Reads the value of `--layer`.
pub fn parse(text: String) -> Result<String> {
    match text.as_str() {
        OVERLAY | TMPFS | COPY => Ok(text),
        _ => Err(Error::new("neither overlay, nor tmpfs, nor copy")),
    }
}

/// The ways that can be tried for a container, the best one first.
pub struct Ways {
    left: VecDeque<&'static str>,
    /// Whether the image has layers that have to be unpacked first: into memory.
    is_packed: bool,
    /// Why the last one was not possible.
    refused: Option<Error>,
}

impl Ways {
    /// The ways for this container: the one that its record asks for, or those that its image and its
    /// directory allow. Tries none.
    pub fn of(engine: &Engine, container: &Container, record: &Record) -> Self {
        let is_packed = record.layers.iter().any(|layer| engine.images.is_packed(layer));
        let left = match record.layer_mode.as_str() {
            OVERLAY => vec![OVERLAY],
            TMPFS => vec![TMPFS],
            COPY => vec![COPY],
            _ if is_packed => vec![TMPFS],
            _ if holds_layer(&container.dir) => vec![OVERLAY, TMPFS, COPY],
            _ => vec![TMPFS, COPY],
        };
        Self { left: left.into(), is_packed, refused: None }
    }

    /// Makes the next way ready to be used, and gives its name.
    pub fn next(
        &mut self,
        engine: &Engine,
        container: &Container,
        record: &mut Record,
    ) -> Result<&'static str> {
        loop {
            let Some(way) = self.left.pop_front() else {
                let error = self.refused.take();
                return Err(error.unwrap_or_else(|| Error::new("there is no writable layer")));
            };
            let ready = match way {
                OVERLAY | COPY if self.is_packed => {
                    Err(Error::new("its image is packed: it is unpacked into memory"))
                }
                OVERLAY if record.layer_mode == OVERLAY && !holds_layer(&container.dir) => {
                    Err(Error::new("the file system of the container cannot hold an overlay"))
                }
                TMPFS => make_scratch(engine, container, record, self.is_packed),
                COPY => copy_image(engine, container, record),
                _ => Ok(()),
            };
            match ready {
                Ok(()) => return Ok(way),
                Err(error) => self.note(way, error),
            }
        }
    }

    /// Takes note of why a way did not work. The same one comes once more where it was only that
    /// the image cannot be shown with the owners that the container has.
    pub fn refuse(
        &mut self,
        engine: &Engine,
        record: &Record,
        way: &'static str,
        error: Error,
    ) -> Result<()> {
        if userns::make_copies(engine, record, &error)? {
            self.left.push_front(way);
            return Ok(());
        }
        self.note(way, error);
        Ok(())
    }

    fn note(&mut self, way: &'static str, error: Error) {
        if error.errno == Some(Errno::ENODEV) {
            // A kernel without overlayfs has none over a tmpfs either.
            self.left.retain(|way| *way == COPY);
        }
        // The first one tells most.
        self.refused.get_or_insert_with(|| match error.errno {
            // A copy that finds no room says nothing of layers: the state directory is to blame.
            Some(Errno::EROFS | Errno::ENOSPC | Errno::EDQUOT) if way == COPY => error,
            _ if error.hint.is_some() => error,
            _ => error.hint("see rocker check, writable layer"),
        });
    }
}

/// Whether a directory can be the upper layer of an overlay. Where extended attributes are missing
/// the mount works, but a directory of the image cannot be removed.
pub fn holds_layer(dir: &Dir) -> bool {
    // EXT4, XFS and BTRFS_SUPER_MAGIC, include/uapi/linux/magic.h.
    const GOOD: [u64; 3] = [0xef53, 0x5846_5342, 0x9123_683e];
    const RAMFS: u64 = 0x8584_58f6;
    match statfs::kind_of(dir.as_fd()) {
        kind if GOOD.contains(&kind) => true,
        RAMFS => false,
        _ => {
            xattr::get(Target::Open(dir.as_fd()), b"trusted.overlay.opaque")
                != Err(Errno::EOPNOTSUPP)
        }
    }
}

/// The directory in the container's own that a tmpfs covers, seen by its keeper and from inside.
const SCRATCH: &str = "work";

fn make_scratch(
    engine: &Engine,
    container: &Container,
    record: &Record,
    is_packed: bool,
) -> Result<()> {
    let path = engine.home(container).join(SCRATCH);
    if fs::stat_path(path.join("upper")).is_ok() {
        // A restart by the same keeper.
        return Ok(());
    }
    if is_packed && record.userns.is_some() {
        return Err(Error::new("its image is packed: it cannot have users of its own"));
    }
    scratch::mount(&path, record.userns).context("make a writable layer in memory")?;
    if !is_packed {
        return Ok(());
    }
    // A kernel without overlayfs is shown one tree.
    let overlay = mount::knows(c"overlay") != Err(Errno::ENODEV);
    let unpack = || {
        let room = Dir::open(&path).context("open the tmpfs")?;
        engine.images.unpack(&record.layers, &room, overlay)
    };
    unpack().inspect_err(|_| scratch::unmount(&path))
}

/// Lets go of what a keeper holds in memory for its container; the directory can be removed then.
pub fn release(engine: &Engine, container: &Container, state: &State) {
    if state.layer == TMPFS {
        scratch::unmount(&engine.home(container).join(SCRATCH));
    }
}

/// Copies the image for a container that cannot have an overlay; from then on it is that copy.
fn copy_image(engine: &Engine, container: &Container, record: &mut Record) -> Result<()> {
    let dir = &container.dir;
    if dir.stat(ROOTFS).is_err() {
        // Its real name says that it is whole.
        let unfinished = "rootfs.new";
        image::remove_tree(dir, OsStr::new(unfinished))?;
        let new = dir.mkdir(unfinished, 0o755).and_then(|()| dir.dir(unfinished));
        let new = new.context("make a directory for a copy of the image")?;
        let shift = record.userns.map(userns::shift);
        engine.images.materialize(&record.layers, &new, shift).context("copy the image")?;
        if !container.ephemeral {
            new.sync_filesystem().context("sync the copy of the image")?;
        }
        dir.rename(unfinished, dir, ROOTFS).context("name the copy of the image")?;
    }
    if record.layer_mode != COPY {
        record.layer_mode = COPY.to_owned();
        container.write_record(record)?;
    }
    Ok(())
}

/// What a container has changed, and whether that is its whole tree.
pub fn changes(
    engine: &Engine,
    container: &Container,
    record: &Record,
    state: &State,
) -> Result<(Dir, bool)> {
    let what = || format!("open the files of container {}", container.id);
    if record.layer_mode == COPY && container.dir.stat(ROOTFS).is_ok() {
        return Ok((container.dir.dir(ROOTFS).context(what())?, true));
    }
    if state.layer != TMPFS {
        return Ok((container.dir.dir("upper").context(what())?, false));
    }
    let alive = || is_running(state.keeper, state.keeper_start);
    if !alive() {
        let what = "its changes were kept in memory, and went when it ended";
        return Err(Error::new(format!("container {}: {what}", container.id))
            .hint("--layer overlay or --layer copy keeps them"));
    }
    let path = engine.home(container).join(SCRATCH);
    let root = proc::dir(&format!("{}/root", state.keeper)).context(what())?;
    let open = |name| root.open_in_root(path.join(name), libc::O_RDONLY | libc::O_DIRECTORY, 0);
    let (opened, is_whole) = match open(WHOLE) {
        Err(Errno::ENOENT) => (open("upper"), false),
        whole => (whole, true),
    };
    let files = Dir::from(opened.context(what())?);
    // If it is there still, that was it.
    match alive() {
        true => Ok((files, is_whole)),
        false => Err(Error::new(format!("container {} has just ended", container.id))),
    }
}
