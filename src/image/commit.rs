//! From a container's changes to an image, and from layers to one plain tree.
//!
//! The digest of a committed layer is SHA-256 over its entries, depth first, names in order,
//! each directory behind what is in it: path, type, mode, owner, device, time, target,
//! attributes; for a file its size and the digest of its blocks that are not zero; for a
//! further name of a file only the path and the first name. `Digest::field` keeps fields apart.
//! That of a layer that is packed, where the store can hold no trees, is the archive's.

use super::copy::{Copier, Marks};
use super::digest::Digest;
use super::pack::pack;
use super::record::{Contents, Image, ImageConfig, LayerInfo};
use super::reference::Reference;
use super::shift::Shift;
use super::stage::Stage;
use super::store::Store;
use crate::error::{Context, Result};
use crate::sys::fs::Dir;
use crate::sys::xattr::{self, Target};
use crate::sys::{Errno, statfs};
use std::os::fd::AsFd;

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
    /// Where the changes belong to other users than the image's files.
    pub shift: Option<Shift>,
}

impl Store {
    /// Makes an image of `layers` and a copy of `upper`, the writable layer of a container.
    ///
    /// What was called like that before is replaced. The container should not write meanwhile.
    /// `check` is asked, before anything is published, whether all of `upper` was there to be copied.
    pub fn commit(
        &self,
        layers: &[LayerInfo],
        upper: &Dir,
        change: Commit,
        check: &dyn Fn() -> Result<()>,
    ) -> Result<Image> {
        let Commit { reference, config, comment, author, flatten, shift } = change;
        self.sweep()?;
        let stage = Stage::new(&self.root, "commit")?;
        let flat = match flatten || self.holds_marks() || !stage.holds_trees()? {
            true => None,
            false => Some(self.flatten(&stage, layers, upper, shift)?),
        };
        let shift = if flat.is_some() { None } else { shift };
        let (upper, flatten) = (flat.as_ref().unwrap_or(upper), flatten || flat.is_some());
        let (digest, size) = stage_layer(&stage, upper, shift)?;
        check()?;
        let _hold = self.hold()?;
        // A layer can be in a stack once: what it holds shows from its highest place anyway.
        let below = layers.iter().filter(|layer| !flatten && layer.digest != digest);
        let mut layers: Vec<_> = below.cloned().collect();
        layers.push(LayerInfo { digest, size });
        let image = Image::new(&reference, Contents { layers, config, comment, author });
        self.publish(&stage, &image, Some(LAYER))?;
        Ok(image)
    }

    /// Whether overlayfs's marks of what was removed can be stored here: not on an overlay, and
    /// not without extended attributes.
    fn holds_marks(&self) -> bool {
        // OVERLAYFS_SUPER_MAGIC, include/uapi/linux/magic.h.
        statfs::kind_of(self.root.as_fd()) != 0x794c_7630
            && xattr::get(Target::Open(self.root.as_fd()), b"trusted.overlay.opaque")
                != Err(Errno::EOPNOTSUPP)
    }

    /// The layers and the changes as one plain tree, in the stage.
    fn flatten(
        &self,
        stage: &Stage,
        layers: &[LayerInfo],
        upper: &Dir,
        shift: Option<Shift>,
    ) -> Result<Dir> {
        let flat = stage.dir.mkdir("flat", 0o755).and_then(|()| stage.dir.dir("flat"));
        let flat = flat.context("make a layer")?;
        let digests: Vec<_> = layers.iter().map(|layer| layer.digest.clone()).collect();
        self.materialize(&digests, &flat, None)?;
        let mut copier = Copier::new(&flat, Marks::Obey, None);
        copier.shift = shift;
        copier.copy(upper)?;
        Ok(flat)
    }

    /// Copies the layers, the lowest first, over each other into a directory: what overlayfs
    /// would show, for hosts that have none.
    pub fn materialize(&self, layers: &[String], into: &Dir, shift: Option<Shift>) -> Result<()> {
        for digest in layers {
            let layer = self.layer(digest)?;
            let mut copier = Copier::new(into, Marks::Obey, None);
            copier.shift = shift;
            copier.copy(&layer).context(format_args!("copy layer {digest}"))?;
        }
        Ok(())
    }
}

/// Puts a layer with these files into the stage, as a tree or, where that cannot be, packed. Gives its
/// digest and its size.
fn stage_layer(stage: &Stage, files: &Dir, shift: Option<Shift>) -> Result<(String, u64)> {
    if !stage.holds_trees()? {
        let archive = stage.dir.create(LAYER, 0o600).context("make a layer")?;
        return pack(files, &archive, shift);
    }
    stage.dir.mkdir(LAYER, 0o755).context("make a layer")?;
    let target = stage.dir.dir(LAYER).context("open a layer")?;
    let mut digest = Digest::new();
    digest.field(b"rocker layer 1");
    let mut copier = Copier::new(&target, Marks::Keep, Some(digest));
    copier.shift = shift;
    copier.copy(files)?;
    Ok((copier.digest.take().map(Digest::finish).unwrap_or_default(), copier.size))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::remove_tree;
    use crate::sys::file;
    use crate::sys::fs::Kind;
    use crate::sys::xattr::{self, Target};
    use std::ffi::OsStr;
    use std::fs;
    use std::os::fd::AsFd;
    use std::os::unix::fs::MetadataExt;
    use std::path::{Path, PathBuf};

    /// A store in a directory of its own, and a tree to commit; both go with it.
    struct Scene {
        base: PathBuf,
        store: Store,
        tree: PathBuf,
    }

    impl Scene {
        /// None without root: owners, devices and overlayfs's attributes need it.
        fn new(name: &str) -> Option<Self> {
            if file::effective_ids().0 != 0 {
                return None;
            }
            let base =
                std::env::temp_dir().join(format!("rocker-commit-{name}-{}", std::process::id()));
            let tree = base.join("tree");
            fs::create_dir_all(&tree).unwrap();
            Some(Self { store: Store::open(&base.join("root")).unwrap(), base, tree })
        }

        fn write(&self, path: &str, content: &str) {
            let path = self.tree.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }

        fn commit(&self, below: &[LayerInfo], name: &str) -> Image {
            let change = Commit {
                reference: Reference::parse(name).unwrap(),
                config: Default::default(),
                comment: String::new(),
                author: String::new(),
                flatten: false,
                shift: None,
            };
            let tree = Dir::open(&self.tree).unwrap();
            self.store.commit(below, &tree, change, &|| Ok(())).unwrap()
        }

        /// An empty tree, for the next layer.
        fn clear(&self) {
            fs::remove_dir_all(&self.tree).unwrap();
            fs::create_dir(&self.tree).unwrap();
        }

        fn merged(&self, image: &Image) -> PathBuf {
            let into = self.base.join("merged");
            fs::create_dir(&into).unwrap();
            let digests: Vec<_> = image.layers.iter().map(|layer| layer.digest.clone()).collect();
            self.store.materialize(&digests, &Dir::open(&into).unwrap(), None).unwrap();
            into
        }
    }

    impl Drop for Scene {
        fn drop(&mut self) {
            let parent = Dir::open(self.base.parent().unwrap()).unwrap();
            remove_tree(&parent, self.base.file_name().unwrap()).unwrap();
        }
    }

    fn whiteout(path: &Path) {
        let dir = Dir::open(path.parent().unwrap()).unwrap();
        dir.mknod(path.file_name().unwrap(), Kind::CharDevice, 0, (0, 0)).unwrap();
    }

    #[test]
    fn layers_over_each_other_show_what_overlayfs_would() {
        let Some(scene) = Scene::new("merge") else { return };
        scene.write("etc/kept", "kept");
        scene.write("etc/removed", "removed");
        scene.write("etc/changed", "old");
        scene.write("hidden/below", "below");
        scene.write("dir/file", "file");
        fs::hard_link(scene.tree.join("etc/kept"), scene.tree.join("etc/second")).unwrap();
        let lower = scene.commit(&[], "lower");
        scene.clear();
        scene.write("etc/changed", "new");
        whiteout(&scene.tree.join("etc/removed"));
        scene.write("hidden/above", "above");
        let hidden = Dir::open(scene.tree.join("hidden")).unwrap();
        xattr::set(Target::Open(hidden.as_fd()), b"trusted.overlay.opaque", b"y").unwrap();
        scene.write("dir", "now a file");
        let image = scene.commit(&lower.layers, "upper");
        assert_eq!((image.layers.len(), image.size), (2, lower.size + 3 + 5 + 10));
        let merged = scene.merged(&image);
        let read = |path: &str| fs::read_to_string(merged.join(path)).ok();
        assert_eq!(read("etc/kept").as_deref(), Some("kept"));
        assert_eq!(read("etc/changed").as_deref(), Some("new"));
        assert_eq!(read("dir").as_deref(), Some("now a file"));
        assert_eq!((read("hidden/above").as_deref(), read("hidden/below")), (Some("above"), None));
        assert!(fs::symlink_metadata(merged.join("etc/removed")).is_err());
        assert_eq!(fs::metadata(merged.join("etc/second")).unwrap().nlink(), 2);
        let opened = Dir::open(merged.join("hidden")).unwrap();
        assert!(xattr::names(Target::Open(opened.as_fd())).unwrap().is_empty());
    }

    #[test]
    fn the_same_changes_have_the_same_id_and_any_other_another() {
        let Some(scene) = Scene::new("digest") else { return };
        scene.write("a", "content");
        let file = fs::File::open(scene.tree.join("a")).unwrap();
        file::set_modified(file.as_fd(), (5, 7)).unwrap();
        let root = Dir::open(&scene.tree).unwrap();
        let id = |name: &str| {
            file::set_modified(root.as_fd(), (9, 0)).unwrap();
            scene.commit(&[], name).id
        };
        let first = id("one");
        assert_eq!(first, id("two"));
        file::set_modified(file.as_fd(), (5, 8)).unwrap();
        let changed_time = id("three");
        assert_ne!(first, changed_time);
        root.set_mode("a", 0o600).unwrap();
        let changed_mode = id("four");
        assert_ne!(changed_time, changed_mode);
        xattr::set(Target::Entry(&root, OsStr::new("a")), b"trusted.note", b"x").unwrap();
        assert_ne!(changed_mode, id("five"));
    }

    #[test]
    fn holes_stay_holes_and_do_not_change_the_id() {
        let Some(scene) = Scene::new("holes") else { return };
        let make = |write_zeros: bool| {
            scene.clear();
            let mut content = vec![0; 3 << 20];
            content[1 << 20..(1 << 20) + 10].copy_from_slice(b"0123456789");
            let path = scene.tree.join("sparse");
            let file = fs::File::create(&path).unwrap();
            match write_zeros {
                true => fs::write(&path, &content).unwrap(),
                false => {
                    use std::os::unix::fs::FileExt;
                    file.write_all_at(b"0123456789", 1 << 20).unwrap();
                    file.set_len(3 << 20).unwrap();
                }
            }
            file::set_modified(file.as_fd(), (5, 0)).unwrap();
            let root = Dir::open(&scene.tree).unwrap();
            file::set_modified(root.as_fd(), (9, 0)).unwrap();
            let image = scene.commit(&[], "x");
            let copy = scene.base.join("root/layers").join(&image.layers[0].digest).join("sparse");
            assert_eq!(fs::read(&copy).unwrap(), content);
            (image.id, fs::metadata(copy).unwrap().blocks())
        };
        let (sparse, blocks) = make(false);
        assert!(blocks < 128, "{blocks} blocks");
        assert_eq!(sparse, make(true).0);
    }

    #[test]
    fn a_layer_stands_once_in_a_stack() {
        let Some(scene) = Scene::new("twice") else { return };
        scene.write("a", "content");
        let first = scene.commit(&[], "one");
        let again = scene.commit(&first.layers, "two");
        assert_eq!(first.layers, again.layers);
    }
}
