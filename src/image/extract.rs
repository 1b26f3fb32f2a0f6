//! Entries of an archive become files below an open directory, whatever the archive says.
//!
//! Every parent is resolved by the kernel inside the root, no last component is followed, and
//! what is in the way is removed before anything is made. Modes and times of directories come
//! last, since making files in them needs the one and changes the other.

use super::deferred::{Deferred, Meta};
use super::remove::remove_counted;
use super::tar::{Entry, Extent, Kind, Reader};
use super::writeback::Writeback;
use crate::error::{Context, Error, Result, escape, warn};
use crate::sys::fs::{self, Dir};
use crate::sys::xattr::{self, Target};
use crate::sys::{Errno, file};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::rc::Rc;

/// What came out of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extracted {
    pub entries: u64,
    /// Bytes of regular files, each inode once.
    pub size: u64,
}

/// A directory that was resolved lately, so that its files in a row need no walk.
#[derive(Default)]
struct Resolved(Option<(Vec<u8>, Rc<Dir>)>);

/// The state of one extraction.
pub struct Extractor {
    root: Rc<Dir>,
    parent: Resolved,
    link_parent: Resolved,
    directories: Deferred,
    extracted: Extracted,
    /// Who owns what this process makes.
    own: (u32, u32),
    /// Whether an attribute that the file system does not take is known to be missing.
    pub attributes_missing: bool,
    /// Whether overlayfs's own attributes are set: in a layer that a commit has packed.
    pub marks: bool,
    writeback: Writeback,
}

impl Extractor {
    /// Extracts into `root`; `scratch` is a directory outside of it for a temporary file.
    pub fn new(root: &Dir, scratch: &Dir) -> Result<Self> {
        let root = root.duplicate().context("open the root of the layer")?;
        let writeback = Writeback::new(&root);
        let scratch = scratch.duplicate().context("open the staging directory")?;
        Ok(Self {
            root: Rc::new(root),
            parent: Resolved::default(),
            link_parent: Resolved::default(),
            directories: Deferred::new(scratch),
            extracted: Extracted { entries: 0, size: 0 },
            own: file::effective_ids(),
            attributes_missing: false,
            marks: false,
            writeback,
        })
    }

    /// Makes what the entry tells; takes the data of a file from the reader.
    pub fn take<R: BufRead>(&mut self, entry: &Entry, reader: &mut Reader<R>) -> Result<()> {
        let path = clean(&entry.path);
        self.extracted.entries += 1;
        self.place(entry, &path, reader).context(format_args!("extract {}", shown(&entry.path)))
    }

    fn place<R: BufRead>(
        &mut self,
        entry: &Entry,
        path: &[u8],
        reader: &mut Reader<R>,
    ) -> Result<()> {
        let (directory, name) = split(path);
        if name.is_empty() {
            return match entry.kind {
                Kind::Directory => self.set_root(entry),
                _ => Err(Error::new("an entry without a name")),
            };
        }
        let parent = resolve(&self.root, &mut self.parent, directory)?;
        let name = OsStr::from_bytes(name);
        match entry.kind {
            Kind::File => self.file(entry, &parent, name, reader),
            Kind::Directory => self.directory(entry, &parent, name, path),
            Kind::HardLink => self.hard_link(entry, &parent, name),
            Kind::Symlink => {
                let target = OsStr::from_bytes(&entry.link);
                self.make(&parent, name, |dir| dir.symlink(target, name))?;
                self.set_entry(entry, &parent, name, false)
            }
            Kind::CharDevice => self.node(entry, &parent, name, fs::Kind::CharDevice),
            Kind::BlockDevice => self.node(entry, &parent, name, fs::Kind::BlockDevice),
            Kind::Fifo => self.node(entry, &parent, name, fs::Kind::Fifo),
        }
    }

    /// Brings modes and times of the directories up, and tells what was extracted.
    ///
    /// The writing to the disk goes on until the second result is dropped.
    pub fn finish(mut self) -> Result<(Extracted, Writeback)> {
        self.writeback.flush(&self.root);
        let (root, parent) = (&self.root, &mut self.parent);
        self.directories.replay(&mut |meta| {
            let done = set_directory(root, parent, meta);
            done.context(format_args!("set the mode and time of {}", shown(&meta.path)))
        })?;
        self.writeback.flush(&self.root);
        Ok((self.extracted, self.writeback))
    }

    /// Makes something; what is in its way is removed first.
    fn make<T>(
        &mut self,
        parent: &Dir,
        name: &OsStr,
        make: impl Fn(&Dir) -> std::result::Result<T, Errno>,
    ) -> Result<T> {
        match make(parent) {
            Err(Errno::EEXIST) => {
                self.displace(parent, name)?;
                Ok(make(parent)?)
            }
            other => Ok(other?),
        }
    }

    /// Removes what stands at a name.
    fn displace(&mut self, parent: &Dir, name: &OsStr) -> Result<()> {
        let stat = parent.stat(name)?;
        if matches!(stat.kind, fs::Kind::Directory | fs::Kind::Symlink) {
            // A path that was resolved may have led through it.
            self.parent = Resolved::default();
            self.link_parent = Resolved::default();
        }
        let size = &mut self.extracted.size;
        remove_counted(parent, name, &mut |bytes| *size = size.saturating_sub(bytes))
    }

    fn file<R: BufRead>(
        &mut self,
        entry: &Entry,
        parent: &Dir,
        name: &OsStr,
        reader: &mut Reader<R>,
    ) -> Result<()> {
        let file = self.make(parent, name, |dir| dir.create(name, entry.mode))?;
        match &entry.extents {
            None => loop {
                let chunk = reader.chunk()?;
                if chunk.is_empty() {
                    break;
                }
                (&file).write_all(chunk).map_err(fs::errno).context("write")?;
            },
            Some(extents) => write_extents(&file, entry.size, extents, reader)?,
        }
        self.extracted.size = self.extracted.size.saturating_add(entry.size);
        self.writeback.wrote(&self.root, entry.size);
        let owned = self.is_foreign(entry);
        if owned {
            file::set_owner(file.as_fd(), entry.uid, entry.gid).context("chown")?;
        }
        self.set_attributes(entry, Target::Open(file.as_fd()))?;
        // The change of the owner took set-id bits away, an access list may have changed others.
        if (owned && entry.mode & 0o6000 != 0) || !entry.xattrs.is_empty() {
            file::set_mode(file.as_fd(), entry.mode).context("chmod")?;
        }
        file::set_modified(file.as_fd(), entry.modified).context("set the time")
    }

    fn directory(&mut self, entry: &Entry, parent: &Dir, name: &OsStr, path: &[u8]) -> Result<()> {
        // Set-id bits come last: what is made in the directory would take its group.
        let mode = entry.mode & 0o777;
        let made = match parent.mkdir(name, mode) {
            Err(Errno::EEXIST) if parent.stat(name)?.kind == fs::Kind::Directory => false,
            Err(Errno::EEXIST) => {
                self.displace(parent, name)?;
                parent.mkdir(name, mode)?;
                true
            }
            other => other.map(|()| true)?,
        };
        // An earlier entry may have given one that was there to somebody else.
        if !made || self.is_foreign(entry) {
            parent.set_owner(name, entry.uid, entry.gid).context("chown")?;
        }
        self.set_attributes(entry, Target::Entry(parent, name))?;
        self.defer(entry, path)
    }

    fn set_root(&mut self, entry: &Entry) -> Result<()> {
        let root = Rc::clone(&self.root);
        file::set_owner(root.as_fd(), entry.uid, entry.gid).context("chown")?;
        self.set_attributes(entry, Target::Open(root.as_fd()))?;
        self.defer(entry, b"")
    }

    fn defer(&mut self, entry: &Entry, path: &[u8]) -> Result<()> {
        self.directories.add(&Meta {
            path: path.to_vec(),
            mode: entry.mode,
            modified: entry.modified,
        })
    }

    fn hard_link(&mut self, entry: &Entry, parent: &Dir, name: &OsStr) -> Result<()> {
        let target = clean(&entry.link);
        let (directory, target_name) = split(&target);
        let what = || format!("link to {}", shown(&entry.link));
        let absent = || Error::from(Errno::ENOENT);
        if target_name.is_empty() {
            return Err(absent()).context(what());
        }
        let source = existing(&self.root, &mut self.link_parent, directory).context(what())?;
        let target_name = OsStr::from_bytes(target_name);
        match source.link(target_name, parent, name) {
            Err(Errno::EEXIST) => {
                let (old, new) = (source.stat(target_name).context(what())?, parent.stat(name)?);
                if (old.device, old.inode) == (new.device, new.inode) {
                    return Ok(());
                }
                self.displace(parent, name)?;
                source.link(target_name, parent, name).context(what())
            }
            other => other.context(what()),
        }
    }

    fn node(&mut self, entry: &Entry, parent: &Dir, name: &OsStr, kind: fs::Kind) -> Result<()> {
        let (mode, device) = (entry.mode, entry.device);
        let made = self.make(parent, name, |dir| dir.mknod(name, kind, mode, device));
        made.context("make the node")?;
        self.set_entry(entry, parent, name, true)
    }

    /// Owner, attributes, mode and time of something that must not be opened.
    fn set_entry(&mut self, entry: &Entry, parent: &Dir, name: &OsStr, mode: bool) -> Result<()> {
        let owned = self.is_foreign(entry);
        if owned {
            parent.set_owner(name, entry.uid, entry.gid).context("chown")?;
        }
        self.set_attributes(entry, Target::Entry(parent, name))?;
        if mode && owned && entry.mode & 0o6000 != 0 {
            parent.set_mode(name, entry.mode).context("chmod")?;
        }
        parent.set_modified(name, entry.modified).context("set the time")
    }

    fn is_foreign(&self, entry: &Entry) -> bool {
        (entry.uid, entry.gid) != self.own
    }

    /// Sets the extended attributes that a layer may have and the file system can hold.
    fn set_attributes(&mut self, entry: &Entry, target: Target<'_>) -> Result<()> {
        for (name, value) in &entry.xattrs {
            // These would tell overlayfs what to show of the layers below.
            if is_overlay(name) && !self.marks {
                continue;
            }
            match xattr::set(target, name, value) {
                Ok(()) => {}
                Err(Errno::EOPNOTSUPP | Errno::EPERM | Errno::EINVAL) if !is_overlay(name) => {
                    if !std::mem::replace(&mut self.attributes_missing, true) {
                        let name = shown(name);
                        warn(format_args!(
                            "{}: the file system does not take the attribute {name}; such ones are left out",
                            shown(&entry.path)
                        ));
                    }
                }
                Err(errno) => {
                    return Err(errno).context(format_args!("set the attribute {}", shown(name)));
                }
            }
        }
        Ok(())
    }
}

/// Whether an attribute is overlayfs's own.
pub fn is_overlay(name: &[u8]) -> bool {
    name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.")
}

/// Bytes of a name as they may be shown; the work is done only where they are.
pub fn shown(bytes: &[u8]) -> Shown<'_> {
    Shown(bytes)
}

pub struct Shown<'a>(&'a [u8]);

impl std::fmt::Display for Shown<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&escape(&String::from_utf8_lossy(self.0)))
    }
}

fn set_directory(root: &Rc<Dir>, cache: &mut Resolved, meta: &Meta) -> Result<()> {
    let (directory, name) = split(&meta.path);
    if name.is_empty() {
        file::set_mode(root.as_fd(), meta.mode)?;
        return Ok(file::set_modified(root.as_fd(), meta.modified)?);
    }
    let name = OsStr::from_bytes(name);
    let Ok(parent) = existing(root, cache, directory) else { return Ok(()) };
    // A later entry may have put something else in its place.
    match parent.stat(name) {
        Ok(stat) if stat.kind == fs::Kind::Directory => {
            if stat.mode != meta.mode {
                parent.set_mode(name, meta.mode)?;
            }
            Ok(parent.set_modified(name, meta.modified)?)
        }
        _ => Ok(()),
    }
}

/// Writes the stored pieces where they belong; what lies between stays a hole.
fn write_extents<R: BufRead>(
    file: &File,
    size: u64,
    extents: &[Extent],
    reader: &mut Reader<R>,
) -> Result<()> {
    file::set_length(file.as_fd(), size).context("set the length")?;
    let mut chunk: &[u8] = &[];
    for extent in extents {
        let (mut offset, mut left) = (extent.offset, extent.length);
        while left > 0 {
            if chunk.is_empty() {
                chunk = reader.chunk()?;
            }
            let length = chunk.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            if length == 0 {
                return Err(Error::new("the data ends before the map"));
            }
            let (now, later) = chunk.split_at(length);
            file.write_all_at(now, offset).map_err(fs::errno).context("write")?;
            chunk = later;
            offset += length as u64;
            left -= length as u64;
        }
    }
    Ok(())
}

/// The path inside the root: no empty, `.` or `..` components, no slash at either end.
fn clean(path: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join(&b'/')
}

/// The directory and the last component of a clean path.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

fn open_in(root: &Dir, path: &[u8]) -> std::result::Result<Dir, Errno> {
    let flags = libc::O_PATH | libc::O_DIRECTORY;
    root.open_in_root(OsStr::from_bytes(path), flags, 0).map(Dir::from)
}

/// The directory at a clean path that must be there.
fn existing(root: &Rc<Dir>, cache: &mut Resolved, path: &[u8]) -> Result<Rc<Dir>> {
    if path.is_empty() {
        return Ok(Rc::clone(root));
    }
    if let Some((known, dir)) = &cache.0
        && known == path
    {
        return Ok(Rc::clone(dir));
    }
    let dir = Rc::new(open_in(root, path)?);
    cache.0 = Some((path.to_vec(), Rc::clone(&dir)));
    Ok(dir)
}

/// The directory at a clean path; what is missing of it is made.
fn resolve(root: &Rc<Dir>, cache: &mut Resolved, path: &[u8]) -> Result<Rc<Dir>> {
    match existing(root, cache, path) {
        Err(error) if error.errno == Some(Errno::ENOENT) => make_path(root, path)?,
        other => return other,
    }
    existing(root, cache, path)
}

/// Makes the missing directories of a path, from the last one that is there.
fn make_path(root: &Rc<Dir>, path: &[u8]) -> Result<()> {
    // Backwards, since a path that does not resolve fails at its first missing component.
    let mut end = path.len();
    let mut dir = loop {
        end = path[..end].iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        if end == 0 {
            break root.duplicate()?;
        }
        match open_in(root, &path[..end]) {
            Err(Errno::ENOENT) => {}
            other => break other?,
        }
    };
    for part in path[end..].split(|byte| *byte == b'/').filter(|part| !part.is_empty()) {
        let name = OsStr::from_bytes(part);
        match dir.mkdir(name, 0o755) {
            // A link that leads nowhere.
            Err(Errno::EEXIST) => return Err(Errno::ENOENT).context("a link in the path"),
            other => other?,
        }
        dir = dir.dir(name)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clean_path_stays_inside() {
        let cases: [(&[u8], &[u8]); 8] = [
            (b"./usr//bin/./ls", b"usr/bin/ls"),
            (b"/etc/passwd", b"etc/passwd"),
            (b"../../etc/passwd", b"etc/passwd"),
            (b"a/../../b", b"b"),
            (b"./", b""),
            (b"a/b/", b"a/b"),
            (b"..", b""),
            (b"...", b"..."),
        ];
        for (path, expected) in cases {
            assert_eq!(clean(path), expected, "{}", shown(path));
        }
    }

    #[test]
    fn overlay_attributes_are_known() {
        assert!(is_overlay(b"trusted.overlay.opaque"));
        assert!(!is_overlay(b"trusted.overlayfs"));
        assert!(!is_overlay(b"security.capability"));
    }
}
