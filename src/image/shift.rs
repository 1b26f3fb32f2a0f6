//! Owners of files in a container that has users of its own: layers copied for it, once for all
//! containers with the same users, where the kernel cannot show it the layer itself.

use super::copy::{Copier, Marks};
use super::stage::Stage;
use super::store::{PLACES, Store};
use crate::error::{Context, Result};
use crate::sys::Errno;
use crate::sys::fs::{Dir, Stat};

/// Owners that a copy has others of: as many from `from` on as there are, user and group, become
/// those from `to` on. Whoever is none of them becomes nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shift {
    pub from: (u32, u32),
    pub to: (u32, u32),
    pub size: u32,
}

const NOBODY: u32 = 65534;

impl Shift {
    fn one(self, id: u32, from: u32, to: u32) -> u32 {
        let within = id.checked_sub(from).filter(|offset| *offset < self.size);
        within.and_then(|offset| to.checked_add(offset)).unwrap_or(NOBODY)
    }

    pub(super) fn apply(self, stat: Stat) -> Stat {
        let uid = self.one(stat.uid, self.from.0, self.to.0);
        let gid = self.one(stat.gid, self.from.1, self.to.1);
        Stat { uid, gid, ..stat }
    }

    /// Capabilities of a file that hold for one user namespace alone, where that is the one whose
    /// owners become the usual ones: they hold everywhere then.
    /// Layout: `struct vfs_ns_cap_data`, include/uapi/linux/capability.h.
    pub(super) fn capabilities(self, value: Vec<u8>) -> Vec<u8> {
        const REVISION_2: u8 = 2;
        const REVISION_3: u8 = 3;
        match value[..] {
            [_, _, _, REVISION_3, .., a, b, c, d]
                if value.len() == 24
                    && u32::from_le_bytes([a, b, c, d]) == self.from.0
                    && self.to.0 == 0 =>
            {
                let mut value = value;
                value.truncate(20);
                value[3] = REVISION_2;
                value
            }
            _ => value,
        }
    }
}

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

    const SHIFT: Shift = Shift { from: (1000, 2000), to: (0, 0), size: 10 };

    #[test]
    fn who_is_out_of_the_range_becomes_nobody() {
        let one = |id| SHIFT.one(id, 1000, 0);
        assert_eq!(
            [one(1000), one(1009), one(1010), one(999), one(0)],
            [0, 9, 65534, 65534, 65534]
        );
    }

    #[test]
    fn capabilities_of_a_file_hold_everywhere_when_its_namespace_is_left() {
        let own = [&[1, 0, 0, 3][..], &[7; 16], &1000_u32.to_le_bytes()].concat();
        let general = [&[1, 0, 0, 2][..], &[7; 16]].concat();
        assert_eq!(SHIFT.capabilities(own.clone()), general);
        assert_eq!(SHIFT.capabilities(general.clone()), general);
        let others = [&own[..20], &1001_u32.to_le_bytes()].concat();
        assert_eq!(SHIFT.capabilities(others.clone()), others);
        assert_eq!(SHIFT.capabilities(vec![3]), [3]);
    }

    #[test]
    fn a_copy_stays_as_long_as_its_layer() {
        let all = ["a", "a-1", "b-1", "places-1", "places-2", "b-2"].map(String::from);
        let needed = |name| is_needed(name, &all, &|layer| layer == "a");
        assert!(needed("a") && needed("a-1") && needed("places-1"));
        assert!(!needed("b") && !needed("b-1") && !needed("places-2") && !needed("b-2"));
    }
}
