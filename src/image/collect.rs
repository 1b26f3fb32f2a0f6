//! Names and layers come and go: tagging, removing, and collecting what nobody uses.

use super::copies::is_needed;
use super::record::{Contents, Image};
use super::reference::Reference;
use super::remove::remove_tree;
use super::stage::{Stage, random_name};
use super::store::{Named, Store, id_prefix, ids, no_such_image, several};
use crate::error::{Context, Error, Result};
use crate::sys::Errno;
use crate::sys::fs::{self, Lock};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::fd::AsFd;

/// What `remove` did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removed {
    /// Names that are gone, as `NAME:TAG`.
    pub untagged: Vec<String>,
    /// Ids of images and layers that are gone, as `sha256:DIGITS`.
    pub deleted: Vec<String>,
}

impl Store {
    /// Gives an image one more name; what had it before loses it.
    pub fn tag(&self, image: &Image, reference: &Reference) -> Result<()> {
        if image.reference() == *reference {
            return Ok(());
        }
        let stage = Stage::new(&self.root, "import")?;
        let _hold = self.hold()?;
        // It may have been removed since it was found, and another be called so.
        let found = self.find(&image.reference().to_string())?;
        if found.id != image.id {
            return Err(Error::new(format!("image {} was replaced meanwhile", image.reference())));
        }
        let contents = Contents {
            layers: image.layers.clone(),
            config: image.config.clone(),
            comment: image.comment.clone(),
            author: image.author.clone(),
        };
        let tagged = Image {
            created: image.created,
            created_time: image.created_time.clone(),
            boot_id: image.boot_id.clone(),
            created_uptime: image.created_uptime,
            ..Image::new(reference, contents)
        };
        self.publish(&stage, &tagged, None)
    }

    /// Removes names; for an id, all names of that image. The layers are left to `collect`.
    ///
    /// `users` are the ids of the images that containers were made from, with the containers' names.
    /// With `force` an image goes that has several names or is used by containers; these keep its
    /// layers. Gives what became of each name.
    pub fn remove(
        &self,
        names: &[String],
        users: &[(String, String)],
        force: bool,
    ) -> Result<Vec<Result<Removed>>> {
        self.sweep()?;
        let images = self.images()?;
        fs::lock(images.as_fd(), Lock::Exclusive).context("lock the images")?;
        let mut all = self.names()?;
        let stage = Stage::new(&self.root, "rm")?;
        Ok(names.iter().map(|name| self.remove_one(name, &mut all, users, force, &stage)).collect())
    }

    fn remove_one(
        &self,
        name: &str,
        all: &mut Vec<Named>,
        users: &[(String, String)],
        force: bool,
        stage: &Stage,
    ) -> Result<Removed> {
        let chosen = choose(all, name)?;
        let ids = ids(&mut chosen.iter().copied());
        let is_chosen = |named: &Named| chosen.iter().any(|c| c.reference == named.reference);
        let stays = |id: &str| all.iter().any(|n| !is_chosen(n) && n.id() == Some(id));
        let last = ids.iter().any(|id| !stays(id));
        if !force {
            let user = users.iter().find(|(id, _)| ids.contains(&&**id));
            refuse(name, &chosen, user.map(|(_, user)| &**user), last)?;
        }
        let mut removed = Removed::default();
        for named in &chosen {
            self.unlink(named, stage).context(format_args!("remove {}", named.reference))?;
            removed.untagged.push(named.reference.to_string());
        }
        for id in ids.iter().filter(|id| !stays(id)) {
            removed.deleted.push(format!("sha256:{id}"));
        }
        all.retain(|named| !removed.untagged.contains(&named.reference.to_string()));
        Ok(removed)
    }

    /// Removes the link of a name, then its record, then the directory if that was the last tag.
    fn unlink(&self, named: &Named, stage: &Stage) -> Result<()> {
        let images = self.images()?;
        let directory = named.reference.directory();
        let names = images.dir(&directory)?;
        // A directory where the link should be goes as well.
        let aside = |what: &str| Ok::<_, Error>(format!("{what}-{}", random_name()?));
        names.rename(&named.reference.tag, &stage.dir, aside("link")?)?;
        names.sync()?;
        if !named.target.is_empty() {
            match self.ids()?.rename(&named.target, &stage.dir, aside("record")?) {
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        match images.rmdir(&directory) {
            Ok(()) | Err(Errno::ENOTEMPTY | Errno::EEXIST) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Removes the layers that neither an image nor a container uses, and gives their digests.
    /// `in_use` tells those of the containers; it is asked when no new one can come any more.
    pub fn collect(&self, in_use: &dyn Fn() -> Result<BTreeSet<String>>) -> Result<Vec<String>> {
        let layers = self.layers()?;
        fs::lock(layers.as_fd(), Lock::Exclusive).context("lock the layers")?;
        let images = self.images()?;
        fs::lock(images.as_fd(), Lock::Exclusive).context("lock the images")?;
        let named = self.names()?;
        let stage = Stage::new(&self.root, "rm")?;
        self.collect_records(&named, &stage)?;
        let mut used = in_use()?;
        for named in &named {
            match &named.image {
                Ok(image) => used.extend(image.layers.iter().map(|layer| layer.digest.clone())),
                // Nobody knows which layers a damaged record names: all stay until it goes.
                Err(_) => return Ok(Vec::new()),
            }
        }
        let mut collected = Vec::new();
        let names = layers.names().context("list the layers")?;
        let names: Vec<String> = names.into_iter().filter_map(|n| n.into_string().ok()).collect();
        for name in &names {
            if is_needed(name, &names, &|layer| used.contains(layer)) {
                continue;
            }
            let moved = layers.rename(name, &stage.dir, name);
            moved.context(format_args!("remove layer {name}"))?;
            collected.push(name.clone());
        }
        if !collected.is_empty() {
            layers.sync().context("bring the layers to the disk")?;
        }
        // The trees go without the locks.
        drop((layers, images));
        for digest in &collected {
            remove_tree(&stage.dir, OsStr::new(digest))?;
        }
        // Of copies nobody knows.
        collected.retain(|name| !name.contains('-'));
        Ok(collected)
    }

    /// Removes records that no link names: an import died between the two.
    fn collect_records(&self, named: &[Named], stage: &Stage) -> Result<()> {
        let ids = self.ids()?;
        for name in ids.names().context("list the records")? {
            if !named.iter().any(|named| named.target.as_str() == name) {
                ids.rename(&name, &stage.dir, &name).context("remove a record")?;
            }
        }
        Ok(())
    }
}

/// The names that are meant: one, or all of an image that is given by its id.
fn choose<'a>(all: &'a [Named], name: &str) -> Result<Vec<&'a Named>> {
    let reference = Reference::parse(name);
    if let Ok(reference) = &reference
        && let Some(named) = all.iter().find(|named| named.reference == *reference)
    {
        return Ok(vec![named]);
    }
    let Some(prefix) = id_prefix(name) else {
        return Err(reference.err().unwrap_or_else(|| no_such_image(name)));
    };
    let chosen: Vec<_> = all.iter().filter(|named| named.has_id(prefix)).collect();
    match ids(&mut chosen.iter().copied()).len() {
        0 => Err(no_such_image(name)),
        1 => Ok(chosen),
        count => Err(several(name, count)),
    }
}

/// Refuses what needs force.
fn refuse(name: &str, chosen: &[&Named], user: Option<&str>, last: bool) -> Result<()> {
    let by_force =
        |why: String| Error::new(format!("remove image {name}: {why}")).hint("rmi -f removes it");
    if chosen.len() > 1 {
        return Err(by_force(format!("it has {} names", chosen.len())));
    }
    match user {
        Some(user) if last => Err(by_force(format!("it is used by container {user}"))),
        _ => Ok(()),
    }
}
