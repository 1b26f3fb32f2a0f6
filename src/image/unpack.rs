//! Layers that the store holds as archives, because its file system can hold no trees: each is kept as
//! it came, or as a commit packed it, and unpacked into memory at each start.

use super::copy::{Copier, Marks};
use super::extract::Extractor;
use super::import;
use super::remove::remove_tree;
use super::source;
use super::stage::subdirectory;
use super::store::{LAYERS, Store, make_places};
use crate::error::{Context, Error, Result};
use crate::sys::fs::Dir;
use std::ffi::OsStr;

/// The directory that holds the tree of all layers, where there is no overlayfs to show them as one.
pub const WHOLE: &str = "rootfs";

impl Store {
    /// Unpacks layers, the lowest first, into a directory where they lie as in a store; or, without
    /// an overlay, all into one tree there, `WHOLE`.
    pub fn unpack(&self, layers: &[String], into: &Dir, overlay: bool) -> Result<()> {
        make_places(into).context("make a layer in memory")?;
        let place = subdirectory(into, LAYERS)?;
        for (index, digest) in layers.iter().enumerate() {
            let unpacked =
                self.unpack_one(digest, index > 0, &place, into).and_then(|layer| {
                    match (overlay, index) {
                        (true, _) => Ok(()),
                        (false, 0) => Ok(place.rename(digest, into, WHOLE)?),
                        (false, _) => {
                            Copier::new(&into.dir(WHOLE)?, Marks::Obey, None).copy(&layer)?;
                            remove_tree(&place, OsStr::new(digest))
                        }
                    }
                });
            unpacked.context(format_args!("unpack layer {digest} into memory"))?;
        }
        Ok(())
    }

    /// Unpacks a layer into a directory of its own. The lowest of an image came from wherever; those
    /// above it were packed by commits, and may have overlayfs's `marks`.
    fn unpack_one(&self, digest: &str, marks: bool, place: &Dir, scratch: &Dir) -> Result<Dir> {
        place.mkdir(digest, 0o755)?;
        let layer = place.dir(digest)?;
        match self.archive(digest)? {
            None => Copier::new(&layer, Marks::Keep, None).copy(&self.layer(digest)?)?,
            Some(archive) => {
                let mut extractor = Extractor::new(&layer, scratch)?;
                extractor.marks = marks;
                // The import has warned of it.
                extractor.attributes_missing = true;
                let archive = source::start(archive, false)?;
                if import::unpack(archive, extractor, digest)?.digest != digest {
                    return Err(Error::new("the archive in the store is damaged"));
                }
            }
        }
        Ok(layer)
    }
}
