//! Staging: what is being made stands below `tmp/` of the store, locked, until it is renamed
//! into its place. What a dead process left there is swept away by the next one.

use super::digest::hex;
use super::remove::remove_tree;
use crate::error::{Context, Error, Result, warn};
use crate::sys::fs::{self, Dir, Lock};
use crate::sys::{Errno, file};
use std::cell::Cell;
use std::os::fd::AsFd;

const TMP: &str = "tmp";
/// The names that this module makes, each followed by random digits.
const KINDS: [&str; 3] = ["import-", "commit-", "rm-"];

/// A locked directory of this process; dropped, it goes with everything in it.
pub struct Stage {
    tmp: Dir,
    name: String,
    pub dir: Dir,
    /// See `holds_trees`, once it was asked.
    trees: Cell<Option<bool>>,
}

/// Eight random bytes as the end of a name.
pub fn random_name() -> Result<String> {
    let mut bytes = [0; 8];
    file::random(&mut bytes).context("read random bytes")?;
    Ok(hex(&bytes))
}

/// Opens a directory of the store; makes it where it is missing.
pub fn subdirectory(root: &Dir, name: &str) -> Result<Dir> {
    file::subdirectory(root, name).context(format_args!("open {name} of the store"))
}

impl Stage {
    /// Makes `tmp/KIND-RANDOM` below the root of the store.
    pub fn new(root: &Dir, kind: &str) -> Result<Self> {
        let tmp = subdirectory(root, TMP)?;
        for _ in 0..16 {
            let name = format!("{kind}-{}", random_name()?);
            tmp.mkdir(&name, 0o700).context("make a staging directory")?;
            let dir = tmp.dir(&name).context("open the staging directory")?;
            // A sweep that came between has it locked, or has it already removed.
            let locked = fs::lock(dir.as_fd(), Lock::TryExclusive).is_ok();
            if locked && tmp.stat(&name).is_ok() {
                return Ok(Self { tmp, name, dir, trees: Cell::default() });
            }
        }
        Err(Error::new("make a staging directory: it is swept away again and again"))
    }

    /// Whether trees can be staged here. The file system is asked once.
    pub fn holds_trees(&self) -> Result<bool> {
        let trees = match self.trees.get() {
            Some(trees) => trees,
            None => holds_trees(&self.dir)?,
        };
        self.trees.set(Some(trees));
        Ok(trees)
    }
}

/// Whether the file system of a directory, where nobody else works now, can hold trees: one that has
/// no links, such as vfat, has no owners and no modes either.
pub fn holds_trees(dir: &Dir) -> Result<bool> {
    let name = ".link";
    match dir.symlink("x", name) {
        Err(Errno::EPERM | Errno::EOPNOTSUPP) => Ok(false),
        // Whoever died here had made it, or somebody asks at the same time.
        Ok(()) | Err(Errno::EEXIST) => match dir.unlink(name) {
            Ok(()) | Err(Errno::ENOENT) => Ok(true),
            Err(errno) => Err(errno).context("remove a link"),
        },
        Err(errno) => Err(errno).context("make a link"),
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // What cannot be removed now is swept later.
        let _ = remove_tree(&self.tmp, self.name.as_ref());
    }
}

/// Removes what processes that are gone have staged. Tells whether there was any of it.
pub fn sweep(root: &Dir) -> Result<bool> {
    let mut found = false;
    let tmp = match root.dir(TMP) {
        Err(Errno::ENOENT) => return Ok(false),
        other => other.context("open tmp of the store")?,
    };
    for name in tmp.names().context("list tmp of the store")? {
        let Some(text) = name.to_str() else { continue };
        if !KINDS.iter().any(|kind| text.starts_with(kind)) {
            continue;
        }
        let Ok(dir) = tmp.dir(&name) else { continue };
        if fs::lock(dir.as_fd(), Lock::TryExclusive).is_ok() {
            found = true;
            // One that stays must not keep the others.
            if let Err(error) = remove_tree(&tmp, &name) {
                warn(&error);
            }
        }
    }
    Ok(found)
}
