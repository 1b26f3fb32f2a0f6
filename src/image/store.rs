//! The store of images and layers: finding, listing, and making a record take its place.
//!
//! `images/NAME/TAG` is a link to `images/.ids/ID-RANDOM`, which holds image.json; where the file
//! system has no links it is that file itself. Whoever takes both locks takes the one of `layers`
//! before the one of `images`.

use super::record::{Image, is_digest};
use super::reference::{Reference, is_hex};
use super::stage::{self, Stage, random_name, subdirectory};
use crate::error::{Cause, Context, Error, Result, escape};
use crate::sys::Errno;
use crate::sys::file;
use crate::sys::fs::{self, Dir, Kind, Lock};
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

const IMAGES: &str = "images";
pub const LAYERS: &str = "layers";
/// The tree below all layers.
pub const PLACES: &str = "places";
const IDS: &str = ".ids";
const RECORD: &str = "image.json";
/// What takes the place of a name, in the stage.
const LINK: &str = "link";
/// The largest image.json.
const RECORD_LIMIT: u64 = 4 << 20;
/// The shortest beginning of an id that names an image.
const SHORTEST_ID: usize = 4;

/// The images below one root directory.
#[derive(Debug)]
pub struct Store {
    pub(super) root: Dir,
}

/// While it is there no layer is removed.
#[derive(Debug)]
pub struct Hold {
    layers: Dir,
}

impl AsFd for Hold {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.layers.as_fd()
    }
}

/// One link of the store, and the record behind it.
pub(super) struct Named {
    pub reference: Reference,
    /// Name of the record's directory below `.ids`.
    pub target: String,
    pub image: Result<Image>,
}

impl Named {
    /// The id of the image, where it is known.
    pub fn id(&self) -> Option<&str> {
        self.image.as_ref().ok().map(|image| image.id.as_str())
    }

    /// Whether that is known, and begins so.
    pub fn has_id(&self, prefix: &str) -> bool {
        self.id().is_some_and(|id| id.starts_with(prefix))
    }
}

/// The ids of these images, each once.
pub(super) fn ids<'a>(named: &mut dyn Iterator<Item = &'a Named>) -> Vec<&'a str> {
    let mut ids: Vec<_> = named.filter_map(Named::id).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// The error for the beginning of several ids.
pub(super) fn several(prefix: &str, count: usize) -> Error {
    Error::new(format!("{prefix} is the beginning of {count} image ids"))
}

impl Store {
    /// Opens the store at `root`, /var/lib/rocker as a rule; makes the directory where it is
    /// missing.
    pub fn open(root: &Path) -> Result<Self> {
        let dir = match Dir::open(root) {
            Err(Errno::ENOENT) => make_root(root)?,
            other => other.context(format_args!("open {}", root.display()))?,
        };
        let stat = fs::stat(dir.as_fd()).context(format_args!("look at {}", root.display()))?;
        let (user, _) = file::effective_ids();
        if stat.uid != user || stat.mode & 0o022 != 0 {
            let what = format!("{}: others may write to it", root.display());
            let hint = format!("chown {user} {0}; chmod 700 {0}", root.display());
            return Err(Error::new(what).hint(hint));
        }
        Ok(Self { root: dir })
    }

    /// The directory that everything of rocker's lies in.
    pub fn directory(&self) -> &Dir {
        &self.root
    }

    /// Keeps all layers until the result is dropped: held from finding an image until what uses
    /// it is recorded.
    pub fn hold(&self) -> Result<Hold> {
        let layers = self.layers()?;
        fs::lock(layers.as_fd(), Lock::Shared).context("lock the layers")?;
        Ok(Hold { layers })
    }

    /// The image with this name, or with the one id that begins so.
    pub fn find(&self, name: &str) -> Result<Image> {
        let reference = Reference::parse(name);
        if let Ok(reference) = &reference {
            match self.read(reference) {
                Err(error) if error.errno == Some(Errno::ENOENT) => {}
                other => return other,
            }
        }
        if let Some(prefix) = id_prefix(name) {
            let mut all = self.names()?;
            all.retain(|named| named.has_id(prefix));
            match (ids(&mut all.iter()).len(), all.into_iter().next()) {
                (1, Some(named)) => return named.image,
                (0, _) => {}
                (count, _) => return Err(several(prefix, count)),
            }
        } else {
            reference?;
        }
        Err(no_such_image(name))
    }

    /// All images, the newest first; damaged ones are left out.
    pub fn list(&self) -> Result<Vec<Image>> {
        self.list_all(&mut |_| {})
    }

    /// All images, the newest first; `damaged` is told of each that cannot be read.
    pub fn list_all(&self, damaged: &mut dyn FnMut(Error)) -> Result<Vec<Image>> {
        let mut images = Vec::new();
        for named in self.names()? {
            match named.image {
                Ok(image) => images.push(image),
                Err(error) => damaged(error),
            }
        }
        images.sort_unstable_by(|a, b| {
            (&b.created_time, &a.name, &a.tag).cmp(&(&a.created_time, &b.name, &b.tag))
        });
        Ok(images)
    }

    /// Makes what is missing of the directories that an image is published in.
    pub(super) fn directories(&self) -> Result<()> {
        self.ids()?;
        self.layers()?;
        Ok(())
    }

    pub(super) fn images(&self) -> Result<Dir> {
        subdirectory(&self.root, IMAGES)
    }

    pub(super) fn ids(&self) -> Result<Dir> {
        subdirectory(&self.images()?, IDS)
    }

    /// The directory of the layers. Where it is made, the places are made first.
    pub(super) fn layers(&self) -> Result<Dir> {
        match self.root.dir(LAYERS) {
            Err(Errno::ENOENT) => {
                make_places(&self.root).context(format_args!("make {PLACES} of the store"))?;
                subdirectory(&self.root, LAYERS)
            }
            other => other.context(format_args!("open {LAYERS} of the store")),
        }
    }

    /// The tree of a layer.
    pub(super) fn layer(&self, digest: &str) -> Result<Dir> {
        if !is_digest(digest) {
            return Err(Error::new(format!("layer {}: bad digest", escape(digest))));
        }
        self.root.dir(format!("{LAYERS}/{digest}")).context(format_args!("open layer {digest}"))
    }

    /// The archive of a layer, where that is what the store holds of it.
    pub(super) fn archive(&self, digest: &str) -> Result<Option<File>> {
        match self.is_packed(digest) {
            false => Ok(None),
            true => self.root.open_file(format!("{LAYERS}/{digest}")).map(Some).context("open"),
        }
    }

    /// Whether a layer is an archive, and no tree: it was made where there are no links.
    pub fn is_packed(&self, digest: &str) -> bool {
        let stat = self.root.stat(format!("{LAYERS}/{digest}"));
        stat.is_ok_and(|stat| stat.kind == Kind::File)
    }

    /// Reads the record of an exact name: one small file.
    fn read(&self, reference: &Reference) -> Result<Image> {
        let (names, tag) = (format!("{IMAGES}/{}", reference.directory()), &reference.tag);
        let text = match self.root.read(format!("{names}/{tag}/{RECORD}"), RECORD_LIMIT) {
            Err(Errno::ENOTDIR) => {
                self.root.dir(names).and_then(|names| match is_listed(&names, tag)? {
                    true => names.read(tag, RECORD_LIMIT),
                    false => Err(Errno::ENOENT),
                })
            }
            other => other,
        };
        let text = text.context(format_args!("image {reference}: read {RECORD}"))?;
        let image = Image::from_json(&text).context(format_args!("image {reference}"))?;
        // The link says what it is called, whatever was moved by hand.
        Ok(Image { name: reference.name.clone(), tag: reference.tag.clone(), ..image })
    }

    /// Every name of the store, in the order of their directories.
    pub(super) fn names(&self) -> Result<Vec<Named>> {
        let images = match self.root.dir(IMAGES) {
            Err(Errno::ENOENT) => return Ok(Vec::new()),
            other => other.context("open the images")?,
        };
        let mut found = Vec::new();
        let names = images.sorted_names().context("list the images")?;
        for name in names.iter().filter(|name| !name.starts_with('.')) {
            // A name that cannot be read now is not one that is not there: its layers are in use.
            let dir = match images.dir(name) {
                Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => continue,
                other => other.context(format_args!("open the tags of {name}"))?,
            };
            for tag in dir.sorted_names().context(format_args!("list the tags of {name}"))? {
                let Ok(reference) = Reference::from_directory(name, &tag) else { continue };
                let target = match dir.readlink(&tag) {
                    Err(Errno::ENOENT) => continue,
                    // The record itself; or a directory where the link should be: damaged, but a
                    // name.
                    Err(Errno::EINVAL) => Default::default(),
                    other => other.context(format_args!("read the name {name}:{tag}"))?,
                };
                let target = Path::new(&target).file_name().and_then(OsStr::to_str);
                let target = target.unwrap_or_default().to_owned();
                let image = self.read(&reference);
                found.push(Named { reference, target, image });
            }
        }
        Ok(found)
    }

    /// Makes an image take its place under its name, and its top layer with it where that was
    /// staged. What had the name before is replaced; a layer with the same content stays.
    ///
    /// The caller holds the layers. All content is on the disk before anything gets a name, and
    /// every name before the next one leads to it.
    pub(super) fn publish(&self, stage: &Stage, image: &Image, staged: Option<&str>) -> Result<()> {
        let reference = image.reference();
        self.settle(stage, image, staged).context(format_args!("record image {reference}"))
    }

    fn settle(&self, stage: &Stage, image: &Image, staged: Option<&str>) -> Result<()> {
        let top = image.layers.last().map(|layer| layer.digest.as_str()).unwrap_or_default();
        let layers = self.layers()?;
        let trees = stage.holds_trees()?;
        // A packed layer is replaced where layers are packed: the new one is known to be whole.
        let stays = |kind| kind == Kind::Directory || kind == Kind::File && trees;
        let staged = staged.filter(|_| !layers.stat(top).is_ok_and(|stat| stays(stat.kind)));
        let record = match trees {
            true => Some(format!("{}-{}", image.id, random_name()?)),
            false => None,
        };
        match &record {
            Some(record) => write_record(stage, image, record, top, staged.is_none())?,
            None => stage.dir.replace(LINK, image.to_json().as_bytes(), staged.is_none())?,
        }
        if staged.is_some() {
            stage.dir.sync_filesystem().context("bring the layer to the disk")?;
        }
        let images = self.images()?;
        fs::lock(images.as_fd(), Lock::Exclusive).context("lock the images")?;
        let ids = self.ids()?;
        if let Some(record) = &record {
            stage.dir.rename_new(record, &ids, record)?;
        }
        if let Some(staged) = staged {
            let named = match trees {
                true => stage.dir.rename_new(staged, &layers, top),
                false => stage.dir.rename(staged, &layers, top),
            };
            match named {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(errno) => return Err(errno).context(format_args!("name the layer {top}")),
            }
            layers.sync().context("bring the layers to the disk")?;
        }
        ids.sync()?;
        self.set_link(stage, &images, &ids, &image.reference(), record.as_deref())
    }

    /// Makes the link of a name lead to a record; the record that it led to before goes. Without a
    /// record to lead to, what is staged for the name is the record.
    fn set_link(
        &self,
        stage: &Stage,
        images: &Dir,
        ids: &Dir,
        reference: &Reference,
        record: Option<&str>,
    ) -> Result<()> {
        let names = subdirectory(images, &reference.directory())?;
        let old = names.readlink(&reference.tag).unwrap_or_default();
        match record {
            Some(record) => stage.dir.symlink(format!("../{IDS}/{record}"), LINK)?,
            None => refuse_another(&names, &reference.tag)?,
        }
        match stage.dir.rename(LINK, &names, &reference.tag) {
            // A directory that somebody made by hand.
            Err(Errno::EISDIR | Errno::ENOTEMPTY | Errno::EEXIST) => {
                names.rename(&reference.tag, &stage.dir, "in-the-way")?;
                stage.dir.rename(LINK, &names, &reference.tag)?;
            }
            other => other?,
        }
        match record {
            Some(_) => names.sync()?,
            // There a directory does not say all of where a file is.
            None => names.sync_filesystem()?,
        }
        if let Some(old) = Path::new(&old).file_name() {
            // It goes with the stage.
            let _ = ids.rename(old, &stage.dir, "old");
        }
        Ok(())
    }

    /// Removes what processes that are gone have staged.
    pub fn sweep(&self) -> Result<()> {
        if !stage::sweep(&self.root)? {
            return Ok(());
        }
        // It may have died between the last tag of a name and the directory of that name.
        let images = self.images()?;
        fs::lock(images.as_fd(), Lock::Exclusive).context("lock the images")?;
        for name in images.names().context("list the images")? {
            if name != IDS {
                // One that holds a tag stays.
                let _ = images.rmdir(&name);
            }
        }
        Ok(())
    }
}

/// Makes the tree that lies under all layers: what a container has mounts on, empty, so that an image
/// that lacks some of it need not be changed in every container's own layer.
pub(super) fn make_places(root: &Dir) -> crate::sys::Result<()> {
    let there = |made| match made {
        Err(Errno::EEXIST) => Ok(()),
        other => other,
    };
    there(root.mkdir(PLACES, 0o755))?;
    let places = root.dir(PLACES)?;
    for name in ["dev", "etc", "proc", "sys"] {
        there(places.mkdir(name, 0o755))?;
    }
    for name in ["etc/hosts", "etc/hostname", "etc/resolv.conf"] {
        there(places.create(name, 0o644).map(drop))?;
    }
    Ok(())
}

/// Whether a name is the one that stands in the directory, and no other that the file system takes it
/// for: one that knows no case finds both.
fn is_listed(names: &Dir, tag: &str) -> crate::sys::Result<bool> {
    Ok(names.names()?.iter().any(|name| name == tag))
}

/// Refuses a name that the file system takes for another one: it knows no case, and leaves dots at the
/// end away.
fn refuse_another(names: &Dir, tag: &str) -> Result<()> {
    match tag.ends_with('.') || names.stat(tag).is_ok() && !is_listed(names, tag)? {
        true => Err(Error::new("the file system of the state directory takes it for another name")),
        false => Ok(()),
    }
}

fn write_record(stage: &Stage, image: &Image, name: &str, top: &str, durable: bool) -> Result<()> {
    stage.dir.mkdir(name, 0o700)?;
    let dir = stage.dir.dir(name)?;
    dir.replace(RECORD, image.to_json().as_bytes(), durable)?;
    dir.symlink(format!("../../../{LAYERS}/{top}"), "rootfs")?;
    if durable {
        dir.sync()?;
    }
    Ok(())
}

/// The error for a name that no image has.
pub(super) fn no_such_image(name: &str) -> Error {
    Error::new(format!("No such image: {}", escape(name)))
        .cause(Cause::NotFound)
        .hint("rocker images lists the images; rocker import ARCHIVE NAME makes one")
}

/// The beginning of an id, where the name can be one.
pub(super) fn id_prefix(name: &str) -> Option<&str> {
    let id = name.strip_prefix("sha256:").unwrap_or(name);
    ((SHORTEST_ID..=64).contains(&id.len()) && id.bytes().all(is_hex)).then_some(id)
}

fn make_root(root: &Path) -> Result<Dir> {
    let what = || format!("make {}", root.display());
    file::make_path(root, 0o700).context(what())?;
    if let Some(parent) = root.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Dir::open(parent).and_then(|parent| parent.sync()).context(what())?;
    }
    Dir::open(root).context(what())
}
