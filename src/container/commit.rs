//! Makes an image of what a container changed, and removes images that containers may still use.

use super::record::Record;
use super::store::{Engine, RECORD};
use super::userns;
use crate::error::{Cause, Error, Result};
use crate::image::{self, Commit, Image, ImageConfig, LayerInfo, Reference};
use crate::sys::{Errno, signal};
use std::collections::BTreeSet;

/// What goes into the new image besides the files.
#[derive(Debug, Clone, Default)]
pub struct CommitChanges {
    pub config: ImageConfig,
    pub message: String,
    pub author: String,
}

/// What the programs of an image made from this container start with, unless it is changed.
pub fn image_config(engine: &Engine, name: &str) -> Result<ImageConfig> {
    let record = engine.resolve(name)?.record()?;
    let is_original = |image: &Image| image.id == record.image_id;
    let original = engine.images.find(&record.image_id).ok().filter(is_original);
    // Where that is gone, what replaced it is as good, if it was made from it.
    let is_descendant = |image: &Image| {
        image.layers.iter().map(|layer| &layer.digest).zip(&record.layers).all(|(a, b)| a == b)
    };
    let original =
        original.or_else(|| engine.images.find(&record.image).ok().filter(is_descendant));
    let config = original.map(|image| image.config).unwrap_or_default();
    let (entrypoint, cmd) = record.entrypoint_and_command();
    let unless = |is_default: bool, text: String| if is_default { String::new() } else { text };
    Ok(ImageConfig {
        entrypoint: entrypoint.to_vec(),
        cmd: cmd.to_vec(),
        working_dir: unless(config.working_dir.is_empty() && record.workdir == "/", record.workdir),
        stop_signal: unless(
            config.stop_signal.is_empty() && record.stop_signal == libc::SIGTERM as u32,
            signal::name(record.stop_signal),
        ),
        env: record.env,
        user: record.user,
        labels: record.labels,
        ..config
    })
}

/// Makes an image of a container's image and its changes. The cost is that of the changes.
pub fn commit(
    engine: &Engine,
    name: &str,
    reference: &Reference,
    changes: CommitChanges,
) -> Result<Image> {
    engine.images.sweep()?;
    let container = engine.resolve(name)?;
    let _hold = engine.images.hold()?;
    let record = container.record()?;
    let state = container.stored_state()?;
    let (tree, flatten) = super::layer::changes(engine, &container, &record, &state)?;
    let change = Commit {
        reference: reference.clone(),
        config: changes.config,
        comment: changes.message,
        author: changes.author,
        flatten,
        shift: record.userns.map(userns::unshift),
    };
    let check = || {
        // The record of a container that is removed goes before its files.
        if let Err(Errno::ENOENT) = container.dir.stat(RECORD) {
            let what = format!("container {} was removed while it was committed", container.id);
            return Err(Error::new(what).cause(Cause::NotFound));
        }
        Ok(())
    };
    engine.images.commit(&layers(&record), &tree, change, &check)
}

fn layers(record: &Record) -> Vec<LayerInfo> {
    let sizes = record.layer_sizes.iter().copied().chain(std::iter::repeat(0));
    let pairs = record.layers.iter().zip(sizes);
    pairs.map(|(digest, size)| LayerInfo { digest: digest.clone(), size }).collect()
}

/// Removes the layers that neither an image nor a container uses. Gives their digests.
pub fn collect(engine: &Engine) -> Result<Vec<String>> {
    engine.images.collect(&|| {
        let mut layers = BTreeSet::new();
        engine.each_record(&mut |record| layers.extend(record.layers))?;
        Ok(layers)
    })
}

/// Removes names of images, or by their ids the images, and gives what became of each. Their layers
/// stay until they are collected.
pub fn remove_images(
    engine: &Engine,
    names: &[String],
    force: bool,
) -> Result<Vec<Result<image::Removed>>> {
    super::state::sweep(engine)?;
    let mut users = Vec::new();
    engine.each_record(&mut |record| users.push((record.image_id, record.name)))?;
    engine.images.remove(names, &users, force)
}
