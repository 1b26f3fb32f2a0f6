//! Layers copied for containers with users of their own, once for all with the same users, where the
//! kernel cannot show them the layer itself.

use super::copy::{Copier, Marks};
use super::shift::Shift;
use super::stage::Stage;
use super::store::{PLACES, Store};
use crate::error::{Context, Result};
use crate::sys::Errno;
use crate::sys::fs::Dir;

/// The name of the copy of a layer, or of the places, for a mark of the users: below `layers`.
pub fn copy_name(layer: &str, mark: &str) -> String {
    format!("{layer}-{mark}")
}

/// Whether the directory `name` of `layers` is needed, when a layer is that `used` tells so of:
/// copies are as long as what they are copies of.
pub(super) fn is_needed(name: &str, all: &[String], used: &dyn Fn(&str) -> bool) -> bool {
    match name.split_once('-') {
        None => used(name),
        // Of the places, as long as there is one of a layer.
        Some((PLACES, mark)) => all.iter().any(|other| {
            other.split_once('-').is_some_and(|(layer, of)| of == mark && used(layer))
        }),
        Some((layer, _)) => used(layer),
    }
}

impl Store {
    /// Whether there are copies of these layers, and of the places, for a mark of the users.
    pub fn has_copies(&self, layers: &[String], mark: &str) -> bool {
        let there = |name: &str| {
            let path = format!("layers/{}", copy_name(name, mark));
            self.directory().stat(path).is_ok()
        };
        there(PLACES) && layers.iter().all(|layer| there(layer))
    }

    /// Makes what is missing of these copies. The caller knows that the layers stay.
    pub fn make_copies(&self, layers: &[String], mark: &str, shift: Shift) -> Result<()> {
        let target = self.layers()?;
        let places = self.directory().dir(PLACES).context("open the places of the store")?;
        self.copy_once(&places, &target, &copy_name(PLACES, mark), shift)?;
        for layer in layers {
            self.copy_once(&self.layer(layer)?, &target, &copy_name(layer, mark), shift)?;
        }
        target.sync().context("bring the layers to the disk")
    }

    fn copy_once(&self, from: &Dir, target: &Dir, name: &str, shift: Shift) -> Result<()> {
        if target.stat(name).is_ok() {
            return Ok(());
        }
        let what = || format!("make {name} of the store");
        let stage = Stage::new(self.directory(), "commit")?;
        let copy = stage.dir.mkdir("copy", 0o755).and_then(|()| stage.dir.dir("copy"));
        let copy = copy.context(what())?;
        let mut copier = Copier::new(&copy, Marks::Keep, None);
        copier.shift = Some(shift);
        copier.copy(from).context(what())?;
        copy.sync_filesystem().context(what())?;
        match stage.dir.rename_new("copy", target, name) {
            // Another one was quicker.
            Ok(()) | Err(Errno::EEXIST) => Ok(()),
            Err(errno) => Err(errno).context(what()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_stays_as_long_as_its_layer() {
        let all = ["a", "a-1", "b-1", "places-1", "places-2", "b-2"].map(String::from);
        let needed = |name| is_needed(name, &all, &|layer| layer == "a");
        assert!(needed("a") && needed("a-1") && needed("places-1"));
        assert!(!needed("b") && !needed("b-1") && !needed("places-2") && !needed("b-2"));
    }
}
