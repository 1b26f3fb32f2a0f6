//! From an archive to an image: staged, hashed beside, synced, renamed. Where the store can hold no
//! trees the archive itself is what is staged, while it is unpacked into memory.

use super::extract::{Extracted, Extractor};
use super::record::{Contents, Image, ImageConfig, LayerInfo};
use super::reference::Reference;
use super::source::{self, Source};
use super::stage::Stage;
use super::store::Store;
use super::tar::Reader;
use super::writeback::Writeback;
use crate::error::{Context, Error, Result, escape, warn};
use crate::sys::fs::{Dir, Kind};
use crate::sys::{Errno, mount};

/// The staged tree, and its mode where the archive does not tell one.
const LAYER: &str = "layer";
const LAYER_MODE: u32 = 0o755;

impl Store {
    /// Makes an image of one layer from the archive at a path, or from standard input for `-`.
    ///
    /// What was called `reference` before is replaced. Layers that this leaves without an image
    /// stay until the next `collect`.
    pub fn import(
        &self,
        source: &str,
        reference: &Reference,
        config: ImageConfig,
        comment: &str,
        progress: bool,
    ) -> Result<Image> {
        let import = || -> Result<Image> {
            self.sweep()?;
            let archive = source::open(source, progress)?;
            let stage = Stage::new(&self.root, "import")?;
            // Made and synced before there is anything else to bring to the disk.
            self.directories()?;
            let Unpacked { extracted, digest, writeback } = stage_layer(archive, &stage, source)?;
            let layer = LayerInfo { digest, size: extracted.size };
            let _hold = self.hold()?;
            let contents = Contents {
                layers: vec![layer],
                config,
                comment: comment.to_owned(),
                author: String::new(),
            };
            let image = Image::new(reference, contents);
            self.publish(&stage, &image, Some(LAYER))?;
            drop(writeback);
            Ok(image)
        };
        import().context(format_args!("import {}", escape(source)))
    }
}

/// What an archive became.
pub struct Unpacked {
    pub extracted: Extracted,
    pub digest: String,
    /// The writing to the disk goes on until this is dropped.
    writeback: Writeback,
}

/// Unpacks the archive into the stage; into memory, and keeps it in the stage, where that can hold no
/// tree. So an archive is refused that no container could be started from.
fn stage_layer(mut archive: Source, stage: &Stage, name: &str) -> Result<Unpacked> {
    let packed = !stage.holds_trees()?;
    let layer = match packed {
        true => {
            archive.keep(stage.dir.create(LAYER, 0o600).context("make a layer")?);
            // At most half of the memory, which is the kernel's own bound.
            mount::detached(c"tmpfs").and_then(|tmpfs| tmpfs.dir("."))
        }
        false => stage.dir.mkdir(LAYER, LAYER_MODE).and_then(|()| stage.dir.dir(LAYER)),
    };
    let layer = layer.context("make a layer")?;
    let unpacked = unpack(archive, Extractor::new(&layer, &stage.dir)?, name);
    match unpacked {
        Err(error) if packed && error.errno == Some(Errno::ENOSPC) => {
            Err(error).context("unpack into memory")
        }
        other => other.inspect(|_| warn_of_saved_image(&layer)),
    }
}

/// Unpacks an archive of this name to its end.
pub fn unpack(archive: Source, extractor: Extractor, name: &str) -> Result<Unpacked> {
    let mut reader = Reader::new(archive);
    match extract(&mut reader, extractor) {
        Ok((extracted, writeback)) => {
            let digest = reader.into_source().finish()?;
            Ok(Unpacked { extracted, digest, writeback })
        }
        Err(error) => Err(reader.into_source().explain(error, name)),
    }
}

/// Warns of what `docker save` writes: a tree like any other, but its layers are archives of their
/// own, and nothing in it runs.
fn warn_of_saved_image(layer: &Dir) {
    let is_file = |name: &str| layer.stat(name).is_ok_and(|stat| stat.kind == Kind::File);
    let is_there = |name: &str| layer.stat(name).is_ok();
    if ["manifest.json", "oci-layout"].into_iter().any(is_file)
        && !["bin", "etc", "sbin", "usr"].into_iter().any(is_there)
    {
        warn(
            "it looks like an image with its layers, as docker save writes it, and no root file \
             system: docker export CONTAINER | rocker import - NAME",
        );
    }
}

fn extract(
    reader: &mut Reader<Source>,
    mut extractor: Extractor,
) -> Result<(Extracted, Writeback)> {
    while let Some(entry) = reader.next_entry()? {
        extractor.take(&entry, reader)?;
    }
    let done = extractor.finish()?;
    if done.0.entries == 0 {
        return Err(Error::new("the archive is empty"));
    }
    // The digest is that of the whole archive.
    reader.drain()?;
    Ok(done)
}
