//! Copying a tree: a container's changes into a layer, or layers over each other into one tree.
//!
//! The walk is by descriptors and names in order, needs two descriptors for each tree however
//! deep it is, and keeps hard links, holes, owners, modes, times and extended attributes.

use super::digest::Digest;
use super::extract::{is_overlay, shown};
use super::remove::remove_tree;
use super::shift::Shift;
use crate::error::{Context, Error, Result, warn};
use crate::sys::Errno;
use crate::sys::file::{self, Entry};
use crate::sys::fs::{self, Dir, Kind, Stat};
use crate::sys::xattr::{self, Target};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;

/// What is done with overlayfs's own marks: whiteouts (devices 0:0) and opaque directories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marks {
    /// They are copied: the result is a layer again.
    Keep,
    /// They are obeyed: the result is the merged tree.
    Obey,
}

pub type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

const OPAQUE: &[u8] = b"overlay.opaque";
const METACOPY: &[u8] = b"overlay.metacopy";
const REDIRECT: &[u8] = b"overlay.redirect";

/// The unit in which content is hashed; blocks of zeros are passed over, so that holes count as
/// the zeros that they read as.
const BLOCK: usize = 4096;
const BUFFER: usize = 256 << 10;

/// A directory on the way down, in both trees.
struct Level {
    name: OsString,
    stat: Stat,
    target: (u64, u64),
    /// What is still to be copied, the next one last.
    rest: Vec<Entry>,
    /// Length of the path of the directory above.
    above: usize,
}

/// The state of one copy.
pub struct Copier<'a> {
    root: &'a Dir,
    marks: Marks,
    /// What names the content of the copy, where that is wanted.
    pub digest: Option<Digest>,
    /// Who owns the copies, where not the same as before.
    pub shift: Option<Shift>,
    /// Bytes of regular files, each inode once.
    pub size: u64,
    /// The first names of files that have more than one.
    links: BTreeMap<(u64, u64), Vec<u8>>,
    path: Vec<u8>,
    buffer: Vec<u8>,
    attributes_missing: bool,
}

/// What an entry is copied from, besides its metadata.
enum Source {
    Directory(Dir),
    File(File),
    /// Where a link leads; empty for others.
    Other(OsString),
}

/// Looks at an entry and opens it. `None` where a container that runs has removed it since the directory
/// was read.
fn open_entry(from: &Dir, name: &OsStr) -> Result<Option<(Stat, Source)>> {
    let open = || {
        let stat = from.stat(name)?;
        let source = match stat.kind {
            Kind::Directory => Source::Directory(from.dir(name)?),
            Kind::File => Source::File(from.open_file(name)?),
            Kind::Symlink => Source::Other(from.readlink(name)?),
            _ => Source::Other(OsString::new()),
        };
        Ok((stat, source))
    };
    let opened = match open() {
        // Something else has come to its place since it was looked at.
        Err(Errno::ENOTDIR | Errno::ELOOP | Errno::EINVAL | Errno::ENXIO) => open(),
        other => other,
    };
    match opened {
        Err(Errno::ENOENT) => Ok(None),
        other => Ok(Some(other?)),
    }
}

/// Copies everything below a directory, and its own mode, owner and time, into another one.
pub fn copy_tree(from: &Dir, into: &Dir) -> Result<()> {
    Copier::new(into, Marks::Obey, None).copy(from)
}

impl<'a> Copier<'a> {
    pub fn new(root: &'a Dir, marks: Marks, digest: Option<Digest>) -> Self {
        Self {
            root,
            marks,
            digest,
            shift: None,
            size: 0,
            links: BTreeMap::new(),
            path: Vec::new(),
            buffer: vec![0; BUFFER],
            attributes_missing: false,
        }
    }

    /// Copies everything below `source`, and the directory's own mode, owner and time.
    pub fn copy(&mut self, source: &Dir) -> Result<()> {
        self.walk(source).context(format_args!("copy /{}", shown(&self.path)))
    }

    fn walk(&mut self, source: &Dir) -> Result<()> {
        let mut from = source.duplicate()?;
        let mut to = self.root.duplicate()?;
        let mut levels = vec![self.enter(&from, &to, OsString::new())?];
        while let Some(level) = levels.last_mut() {
            let Some(entry) = level.rest.pop() else {
                let Some(done) = levels.pop() else { break };
                self.leave(&from, &to, &done)?;
                self.path.truncate(done.above);
                if let Some(level) = levels.last() {
                    from = above(&from, (level.stat.device, level.stat.inode))?;
                    to = above(&to, level.target)?;
                }
                continue;
            };
            let length = self.path.len();
            if length > 0 {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(entry.name.as_bytes());
            match self.entry(&from, &to, &entry.name)? {
                Some((from_below, to_below)) => {
                    let mut below = self.enter(&from_below, &to_below, entry.name)?;
                    below.above = length;
                    levels.push(below);
                    (from, to) = (from_below, to_below);
                }
                None => self.path.truncate(length),
            }
        }
        Ok(())
    }

    fn shifted(&self, stat: Stat) -> Stat {
        self.shift.map_or(stat, |shift| shift.apply(stat))
    }

    /// Begins a directory that stands in both trees.
    fn enter(&mut self, from: &Dir, to: &Dir, name: OsString) -> Result<Level> {
        let stat = self.shifted(fs::stat(from.as_fd())?);
        let target = fs::stat(to.as_fd())?;
        let rest = match last_first(from) {
            // It has been removed.
            Err(error) if error.errno == Some(Errno::ENOENT) => Vec::new(),
            other => other?,
        };
        let target = (target.device, target.inode);
        Ok(Level { name, stat, target, rest, above: 0 })
    }

    /// Ends a directory: what is in it no longer changes its time.
    fn leave(&mut self, from: &Dir, to: &Dir, level: &Level) -> Result<()> {
        let xattrs = self.attributes(Target::Open(from.as_fd()))?;
        self.dress(to.as_fd(), &level.stat, &xattrs)?;
        self.describe(&level.stat, &xattrs, level.name.as_bytes());
        Ok(())
    }

    /// Gives a copy the owner, the attributes, the mode and the time of the original, in an order in
    /// which none undoes another.
    fn dress(&mut self, to: BorrowedFd<'_>, stat: &Stat, xattrs: &Xattrs) -> Result<()> {
        file::set_owner(to, stat.uid, stat.gid).context("chown")?;
        self.set_attributes(Target::Open(to), xattrs)?;
        file::set_mode(to, stat.mode).context("chmod")?;
        file::set_modified(to, stat.modified).context("set the time")
    }

    /// Copies one entry. Gives both directories where it is one.
    fn entry(&mut self, from: &Dir, to: &Dir, name: &OsStr) -> Result<Option<(Dir, Dir)>> {
        let Some((stat, source)) = open_entry(from, name)? else { return Ok(None) };
        let stat = self.shifted(stat);
        if self.marks == Marks::Obey {
            let whiteout = stat.kind == Kind::CharDevice && stat.rdev == 0;
            if whiteout || stat.kind != Kind::Directory {
                remove_tree(to, name)?;
            }
            if whiteout {
                return Ok(None);
            }
        }
        match source {
            Source::Directory(from) => return self.directory(from, to, name).map(Some),
            Source::File(source) => self.file(&source, to, name, &stat)?,
            Source::Other(content) => self.special(from, to, name, &stat, &content)?,
        }
        Ok(None)
    }

    fn directory(&mut self, from: Dir, to: &Dir, name: &OsStr) -> Result<(Dir, Dir)> {
        if self.marks == Marks::Obey {
            let there = match to.stat(name) {
                Err(Errno::ENOENT) => None,
                other => Some(other?.kind),
            };
            if there.is_some() && (there != Some(Kind::Directory) || is_opaque(&from)?) {
                remove_tree(to, name)?;
            }
        }
        match to.mkdir(name, 0o700) {
            Err(Errno::EEXIST) if self.marks == Marks::Obey => {}
            other => other?,
        }
        Ok((from, to.dir(name)?))
    }

    /// Makes another name of a file that was copied before. False where this is the first.
    fn link(&mut self, to: &Dir, name: &OsStr, stat: &Stat) -> Result<bool> {
        if stat.links < 2 {
            return Ok(false);
        }
        let identity = (stat.device, stat.inode);
        let Some(first) = self.links.get(&identity) else {
            self.links.insert(identity, self.path.clone());
            return Ok(false);
        };
        let slash = first.iter().rposition(|byte| *byte == b'/');
        let (directory, first_name) = match slash {
            Some(slash) => (&first[..slash], &first[slash + 1..]),
            None => (&b"."[..], first.as_slice()),
        };
        let flags = libc::O_PATH | libc::O_DIRECTORY;
        let dir = match self.root.open_in_root(OsStr::from_bytes(directory), flags, 0) {
            // Too deep to be named: a file of its own.
            Err(Errno::ENAMETOOLONG) => return Ok(false),
            other => Dir::from(other?),
        };
        match dir.link(OsStr::from_bytes(first_name), to, name) {
            // A layer above the first name has removed or replaced it, or it has too many.
            Err(Errno::ENOENT | Errno::EMLINK | Errno::EPERM) => return Ok(false),
            other => other.context("link")?,
        }
        if let Some(digest) = &mut self.digest {
            digest.field(&self.path);
            digest.field(b"link");
            digest.field(first);
        }
        Ok(true)
    }

    fn file(&mut self, source: &File, to: &Dir, name: &OsStr, stat: &Stat) -> Result<()> {
        if self.link(to, name, stat)? {
            return Ok(());
        }
        let xattrs = self.attributes(Target::Open(source.as_fd()))?;
        let target = to.create(name, 0o600)?;
        let (size, content) = self.content(source, &target)?;
        self.size = self.size.saturating_add(size);
        self.dress(target.as_fd(), stat, &xattrs)?;
        self.describe(stat, &xattrs, &[]);
        if let (Some(digest), Some(content)) = (&mut self.digest, content) {
            digest.number(size);
            digest.add(&content.bytes());
        }
        Ok(())
    }

    /// Copies what is in a file, its holes left out. Gives the size and the digest of it.
    fn content(&mut self, source: &File, target: &File) -> Result<(u64, Option<Digest>)> {
        let mut digest = self.digest.as_ref().map(|_| Digest::new());
        let shared = file::share_blocks(source.as_fd(), target.as_fd()).is_ok();
        if shared && digest.is_none() {
            return Ok((fs::stat(source.as_fd())?.size, None));
        }
        // Looked for once for each piece: the kernel goes through all of a piece to find its end.
        let (mut offset, mut piece_end) = (0, 0);
        loop {
            if offset == piece_end {
                match data_behind(source, offset).context("look for data")? {
                    Some(piece) => (offset, piece_end) = piece,
                    None => break,
                }
            }
            let read = self.read_at(source, offset, piece_end - offset)?;
            if read == 0 {
                break;
            }
            let bytes = &self.buffer[..read];
            if !shared {
                target.write_all_at(bytes, offset).map_err(fs::errno).context("write")?;
            }
            if let Some(digest) = &mut digest {
                add_blocks(digest, bytes, offset);
            }
            offset += read as u64;
        }
        let size = fs::stat(source.as_fd())?.size.max(offset);
        if !shared {
            file::set_length(target.as_fd(), size).context("set the length")?;
        }
        Ok((size, digest))
    }

    /// Reads at most `limit` bytes from the offset on, as far as buffer and file go.
    fn read_at(&mut self, source: &File, offset: u64, limit: u64) -> Result<usize> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX).min(self.buffer.len());
        let mut filled = 0;
        while filled < limit {
            let rest = &mut self.buffer[filled..limit];
            match file::read_at(source.as_fd(), rest, offset + filled as u64).context("read")? {
                0 => break,
                read => filled += read,
            }
        }
        Ok(filled)
    }

    /// Copies a link, which leads to `content`, a device, a FIFO or a socket.
    fn special(
        &mut self,
        from: &Dir,
        to: &Dir,
        name: &OsStr,
        stat: &Stat,
        content: &OsStr,
    ) -> Result<()> {
        if self.link(to, name, stat)? {
            return Ok(());
        }
        let xattrs = self.attributes(Target::Entry(from, name))?;
        if stat.kind == Kind::Symlink {
            to.symlink(content, name)?;
        } else {
            let device = (libc::major(stat.rdev), libc::minor(stat.rdev));
            to.mknod(name, stat.kind, stat.mode, device).context("make the node")?;
        }
        to.set_owner(name, stat.uid, stat.gid).context("chown")?;
        self.set_attributes(Target::Entry(to, name), &xattrs)?;
        if stat.kind != Kind::Symlink {
            to.set_mode(name, stat.mode).context("chmod")?;
        }
        to.set_modified(name, stat.modified).context("set the time")?;
        self.describe(stat, &xattrs, content.as_bytes());
        Ok(())
    }

    /// Adds an entry to the digest: path, type, mode, owner, time, device, target, attributes.
    fn describe(&mut self, stat: &Stat, xattrs: &Xattrs, target: &[u8]) {
        let Some(digest) = &mut self.digest else { return };
        digest.field(&self.path);
        digest.field(match stat.kind {
            Kind::File => b"file",
            Kind::Directory => b"dir",
            Kind::Symlink => b"symlink",
            Kind::CharDevice => b"char",
            Kind::BlockDevice => b"block",
            Kind::Fifo => b"fifo",
            Kind::Socket => b"socket",
        });
        let (seconds, nanoseconds) = stat.modified;
        let numbers = [stat.mode.into(), stat.uid.into(), stat.gid.into(), stat.rdev];
        numbers.into_iter().for_each(|number| digest.number(number));
        digest.number(seconds.cast_unsigned());
        digest.number(nanoseconds.cast_unsigned());
        digest.field(if stat.kind == Kind::Symlink { target } else { b"" });
        for (name, value) in xattrs {
            digest.field(name);
            digest.field(value);
        }
        digest.end_of_list();
    }

    fn attributes(&self, target: Target<'_>) -> Result<Xattrs> {
        attributes(target, self.marks, self.shift)
    }

    fn set_attributes(&mut self, target: Target<'_>, xattrs: &Xattrs) -> Result<()> {
        for (name, value) in xattrs {
            match xattr::set(target, name, value) {
                Ok(()) => {}
                // Without its mark a directory would show what the container removed.
                Err(Errno::EOPNOTSUPP | Errno::EPERM) if !is_overlay(name) => {
                    if !std::mem::replace(&mut self.attributes_missing, true) {
                        let (path, name) = (shown(&self.path), shown(name));
                        warn(format_args!(
                            "/{path}: the file system does not take the attribute {name}"
                        ));
                    }
                }
                Err(errno) => return Err(errno).context(format_args!("set {}", shown(name))),
            }
        }
        Ok(())
    }
}

/// The attributes that go along: all but overlayfs's notes on where things came from. Of an entry
/// that cannot be opened there are none where nobody can ask for them, without /proc.
pub fn attributes(target: Target<'_>, marks: Marks, shift: Option<Shift>) -> Result<Xattrs> {
    let mut found = Xattrs::new();
    let names = match (xattr::names(target), target) {
        (Err(Errno::ENOENT), Target::Entry(..)) => return Ok(found),
        (names, _) => names.context("list the attributes")?,
    };
    for name in names {
        if is_overlay(&name) {
            let own = name.splitn(2, |byte| *byte == b'.').nth(1).unwrap_or_default();
            if own == METACOPY {
                return Err(Error::new("it holds no content, only what changed of its metadata"));
            }
            if marks == Marks::Obey || !(own == OPAQUE || own == REDIRECT) {
                continue;
            }
        }
        match xattr::get(target, &name) {
            Ok(value) => {
                let value = match shift {
                    Some(shift) if name == b"security.capability" => shift.capabilities(value),
                    _ => value,
                };
                found.push((name, value));
            }
            Err(Errno::ENODATA) => {}
            Err(errno) => return Err(errno).context("read an attribute"),
        }
    }
    Ok(found)
}

/// The next piece of a file that is no hole, in whole blocks, so that the digest does not depend
/// on where a hole ends.
fn data_behind(source: &File, offset: u64) -> std::result::Result<Option<(u64, u64)>, Errno> {
    let block = BLOCK as u64;
    let start = match file::seek_next(source.as_fd(), offset, false) {
        Ok(start) => start - start % block,
        Err(Errno::ENXIO) => return Ok(None),
        // A file system that knows no holes.
        Err(Errno::EINVAL | Errno::EOPNOTSUPP) => return Ok(Some((offset, u64::MAX))),
        Err(errno) => return Err(errno),
    };
    let end = file::seek_next(source.as_fd(), start.max(offset), true);
    let end = end.unwrap_or(u64::MAX).checked_next_multiple_of(block).unwrap_or(u64::MAX);
    Ok(Some((start.max(offset), end)))
}

/// Adds the blocks of a file that are not all zero, each behind its offset.
fn add_blocks(digest: &mut Digest, bytes: &[u8], offset: u64) {
    for (index, block) in bytes.chunks(BLOCK).enumerate() {
        if block.iter().any(|byte| *byte != 0) {
            digest.number(offset + (index * BLOCK) as u64);
            digest.field(block);
        }
    }
}

/// The entries of a directory, their names in order, the last one first.
pub fn last_first(dir: &Dir) -> Result<Vec<Entry>> {
    let mut entries = dir.entries()?;
    entries.sort_unstable_by(|a, b| b.name.cmp(&a.name));
    Ok(entries)
}

/// Goes up to a directory that must be the one that was left.
fn above(dir: &Dir, identity: (u64, u64)) -> Result<Dir> {
    let above = dir.parent()?;
    let stat = fs::stat(above.as_fd())?;
    match (stat.device, stat.inode) == identity {
        true => Ok(above),
        false => Err(Error::new("a directory was moved while it was being copied")),
    }
}

/// Whether the directory hides what the layers below have at its place.
fn is_opaque(dir: &Dir) -> Result<bool> {
    for name in [&b"trusted.overlay.opaque"[..], b"user.overlay.opaque"] {
        match xattr::get(Target::Open(dir.as_fd()), name) {
            Ok(value) if value == b"y" => return Ok(true),
            Ok(_) | Err(Errno::ENODATA | Errno::EOPNOTSUPP) => {}
            Err(errno) => return Err(errno).context("read an attribute"),
        }
    }
    Ok(false)
}
