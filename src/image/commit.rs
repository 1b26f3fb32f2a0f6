//! From a container's changes to an image, and from layers to one plain tree.
//!
//! The digest of a committed layer is SHA-256 over its entries, depth first, names in order,
//! each directory behind what is in it: path, type, mode, owner, device, time, target,
//! attributes; for a file its size and the digest of its blocks that are not zero; for a
//! further name of a file only the path and the first name. `Digest::field` keeps fields apart.

use super::copy::{Copier, Marks};
use super::digest::Digest;
use super::record::{Contents, Image, ImageConfig, LayerInfo};
use super::reference::Reference;
use super::stage::Stage;
use super::store::Store;
use crate::error::{Context, Result};
use crate::sys::fs::Dir;

const LAYER: &str = "layer";

/// What a commit makes of a container's changes.
#[derive(Debug, Clone)]
pub struct Commit {
    pub reference: Reference,
    pub config: ImageConfig,
    pub comment: String,
    pub author: String,
    /// The changes are a whole tree, made without overlayfs: it becomes the only layer.
    pub flatten: bool,
}

impl Store {
    /// Makes an image of `layers` and a copy of `upper`, the writable layer of a container.
    ///
    /// What was called like that before is replaced. The container should not write meanwhile.
    pub fn commit(&self, layers: &[LayerInfo], upper: &Dir, change: Commit) -> Result<Image> {
        let Commit { reference, config, comment, author, flatten } = change;
        self.sweep()?;
        let stage = Stage::new(&self.root, "commit")?;
        stage.dir.mkdir(LAYER, 0o755).context("make a layer")?;
        let target = stage.dir.dir(LAYER).context("open a layer")?;
        let mut digest = Digest::new();
        digest.field(b"rocker layer 1");
        let mut copier = Copier::new(&target, Marks::Keep, Some(digest));
        copier.copy(upper)?;
        let size = copier.size;
        let digest = copier.digest.take().map(Digest::finish).unwrap_or_default();
        let _hold = self.hold()?;
        self.place_layer(&stage, LAYER, &digest)?;
        // A layer can be in a stack once: what it holds shows from its highest place anyway.
        let below = layers.iter().filter(|layer| !flatten && layer.digest != digest);
        let mut layers: Vec<_> = below.cloned().collect();
        layers.push(LayerInfo { digest, size });
        let image = Image::new(&reference, Contents { layers, config, comment, author });
        self.publish(&stage, &image)?;
        Ok(image)
    }

    /// Copies the layers, the lowest first, over each other into a directory: what overlayfs
    /// would show, for hosts that have none.
    pub fn materialize(&self, layers: &[String], into: &Dir) -> Result<()> {
        for digest in layers {
            let layer = self.layer(digest)?;
            let mut copier = Copier::new(into, Marks::Obey, None);
            copier.copy(&layer).context(format_args!("copy layer {digest}"))?;
        }
        Ok(())
    }
}
