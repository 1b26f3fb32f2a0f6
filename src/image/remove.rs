//! Removing a whole tree by descriptors: any depth, any modes, two descriptors at a time.

use crate::error::{Context, Error, Result};
use crate::sys::fs::{self, Dir, Kind};
use crate::sys::{Errno, file};
use std::ffi::{OsStr, OsString};
use std::os::fd::AsFd;

/// A directory on the way down.
struct Level {
    /// Its name in the one above.
    name: OsString,
    /// What it is: a walk that comes back up must find the same one.
    identity: (u64, u64),
    /// The directories in it that are still to be removed.
    rest: Vec<OsString>,
}

/// Removes `name` and everything below it. No link is followed. It is no error if it is gone.
pub fn remove_tree(parent: &Dir, name: &OsStr) -> Result<()> {
    remove_counted(parent, name, &mut |_| {})
}

/// The same; `removed` is told the size of every regular file whose last name goes.
pub fn remove_counted(parent: &Dir, name: &OsStr, removed: &mut dyn FnMut(u64)) -> Result<()> {
    walk(parent, name, removed).context(format_args!("remove {}", name.display()))
}

fn walk(parent: &Dir, name: &OsStr, removed: &mut dyn FnMut(u64)) -> Result<()> {
    if !unlink(parent, name, removed)? {
        return Ok(());
    }
    let mut levels: Vec<Level> = Vec::new();
    let Some((mut dir, level)) = enter(parent, name, removed)? else { return Ok(()) };
    levels.push(level);
    while let Some(level) = levels.last_mut() {
        if let Some(child) = level.rest.pop() {
            if let Some((below, level)) = enter(&dir, &child, removed)? {
                levels.push(level);
                dir = below;
            }
            continue;
        }
        let Some(done) = levels.pop() else { break };
        let above = match levels.last() {
            Some(level) => {
                let above = dir.parent()?;
                check(&above, level.identity)?;
                Some(above)
            }
            None => None,
        };
        let holder = above.as_ref().unwrap_or(parent);
        match insist(holder, &done.name, |dir, name| dir.rmdir(name)) {
            Ok(()) | Err(Errno::ENOENT) => {}
            // Something was made in it meanwhile: once more.
            Err(Errno::ENOTEMPTY) => {
                if let Some(level) = levels.last_mut() {
                    level.rest.push(done.name);
                } else {
                    return Err(Errno::ENOTEMPTY.into());
                }
            }
            Err(errno) => return Err(errno.into()),
        }
        if let Some(above) = above {
            dir = above;
        }
    }
    Ok(())
}

fn check(dir: &Dir, identity: (u64, u64)) -> Result<()> {
    let stat = fs::stat(dir.as_fd())?;
    match (stat.device, stat.inode) == identity {
        true => Ok(()),
        false => Err(Error::new("the tree was moved while it was being removed")),
    }
}

/// Removes what is no directory. True for a directory, which stays.
fn unlink(dir: &Dir, name: &OsStr, removed: &mut dyn FnMut(u64)) -> Result<bool> {
    let stat = match dir.stat(name) {
        Err(Errno::ENOENT) => return Ok(false),
        other => other?,
    };
    if stat.kind == Kind::Directory {
        return Ok(true);
    }
    match insist(dir, name, |dir, name| dir.unlink(name)) {
        Ok(()) if stat.kind == Kind::File && stat.links == 1 => removed(stat.size),
        Ok(()) | Err(Errno::ENOENT) => {}
        Err(errno) => return Err(errno.into()),
    }
    Ok(false)
}

/// Removes an entry by that call. Where the file or its directory is marked to stay, as a container
/// with CAP_LINUX_IMMUTABLE may do, the marks are taken away first.
fn insist(
    dir: &Dir,
    name: &OsStr,
    remove: fn(&Dir, &OsStr) -> crate::sys::Result<()>,
) -> crate::sys::Result<()> {
    match remove(dir, name) {
        Err(Errno::EPERM) => {}
        other => return other,
    }
    // What cannot have marks says so by the second try.
    let _ = file::clear_marks(dir.as_fd());
    match dir.stat(name)?.kind {
        Kind::Directory => {
            let _ = dir.dir(name).and_then(|dir| file::clear_marks(dir.as_fd()));
        }
        // To open anything else could do something.
        Kind::File => {
            let _ = dir.open_file(name).map(|file| file::clear_marks(file.as_fd()));
        }
        _ => {}
    }
    remove(dir, name)
}

/// Opens a directory, removes from it everything but directories, and lists these.
/// None where it is gone or could be removed at once.
fn enter(parent: &Dir, name: &OsStr, removed: &mut dyn FnMut(u64)) -> Result<Option<(Dir, Level)>> {
    let opened = match parent.dir(name) {
        // Only without privileges can a mode keep us out.
        Err(Errno::EACCES) => {
            parent.set_mode(name, 0o700)?;
            parent.dir(name)
        }
        other => other,
    };
    let dir = match opened {
        Err(Errno::ENOENT) => return Ok(None),
        other => other?,
    };
    let stat = fs::stat(dir.as_fd())?;
    if stat.mode & 0o700 != 0o700 {
        fs_set_mode(&dir)?;
    }
    let mut rest = Vec::new();
    for entry in dir.entries()? {
        let is_directory = match entry.kind {
            Some(kind) => kind == Kind::Directory,
            None => false,
        };
        if is_directory || unlink(&dir, &entry.name, removed)? {
            rest.push(entry.name);
        }
    }
    let level = Level { name: name.to_owned(), identity: (stat.device, stat.inode), rest };
    Ok(Some((dir, level)))
}

fn fs_set_mode(dir: &Dir) -> Result<()> {
    match file::set_mode(dir.as_fd(), 0o700) {
        // Root needs no permission; a read-only or odd file system tells by the removal.
        Ok(()) | Err(Errno::EPERM | Errno::EROFS) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}
