//! What a container has changed as an archive, for a store that can hold no trees: unpacked, it is
//! the same layer again. Sockets are left out, which no archive can hold.

use super::copy::{Marks, attributes, last_first};
use super::digest::Digest;
use super::extract::shown;
use super::shift::Shift;
use super::tar::write;
use crate::error::{Context, Error, Result};
use crate::sys::fs::{self, Dir, Kind, Stat};
use crate::sys::xattr::Target;
use crate::sys::{Errno, file};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

/// So much is gathered before it is written.
const BUFFER: usize = 256 << 10;
/// The type flag of a regular file.
const FILE: u8 = b'0';

struct Packer<'a> {
    archive: &'a File,
    digest: Digest,
    buffer: Vec<u8>,
    shift: Option<Shift>,
    /// Bytes of regular files, each inode once.
    size: u64,
    /// The first names of files that have more than one.
    links: BTreeMap<(u64, u64), Vec<u8>>,
    path: Vec<u8>,
}

/// Writes everything below `source`, and the directory itself, names in order, into the archive.
/// Gives the digest of the archive and the bytes of the files in it.
pub fn pack(source: &Dir, archive: &File, shift: Option<Shift>) -> Result<(String, u64)> {
    let mut packer = Packer {
        archive,
        digest: Digest::new(),
        buffer: Vec::with_capacity(BUFFER),
        shift,
        size: 0,
        links: BTreeMap::new(),
        path: Vec::new(),
    };
    packer.directory(source).context(format_args!("pack /{}", shown(&packer.path)))?;
    packer.buffer.extend_from_slice(&write::END);
    packer.flush()?;
    Ok((packer.digest.finish(), packer.size))
}

impl Packer<'_> {
    /// Packs a directory: its entry stands before those of what is in it. The names that an archive
    /// can hold bound the depth.
    fn directory(&mut self, dir: &Dir) -> Result<()> {
        let stat = fs::stat(dir.as_fd())?;
        self.head(&stat, b'5', b"", Some(Target::Open(dir.as_fd())))?;
        let length = self.path.len();
        let mut rest = last_first(dir)?;
        while let Some(entry) = rest.pop() {
            if length > 0 {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(entry.name.as_bytes());
            self.entry(dir, &entry.name)?;
            self.path.truncate(length);
        }
        Ok(())
    }

    fn entry(&mut self, dir: &Dir, name: &OsStr) -> Result<()> {
        let stat = match dir.stat(name) {
            // A container that runs may have removed it since the directory was read.
            Err(Errno::ENOENT) => return Ok(()),
            other => other?,
        };
        let type_flag = match stat.kind {
            Kind::Directory => return self.directory(&dir.dir(name)?),
            Kind::Socket => return Ok(()),
            Kind::File => FILE,
            Kind::Symlink => b'2',
            Kind::CharDevice => b'3',
            Kind::BlockDevice => b'4',
            Kind::Fifo => b'6',
        };
        if stat.links > 1 {
            let identity = (stat.device, stat.inode);
            if let Some(first) = self.links.get(&identity).cloned() {
                return self.head(&stat, b'1', &first, None);
            }
            self.links.insert(identity, self.path.clone());
        }
        if type_flag == FILE {
            return self.file(&dir.open_file(name)?);
        }
        let link = match stat.kind {
            Kind::Symlink => dir.readlink(name)?,
            _ => Default::default(),
        };
        self.head(&stat, type_flag, link.as_bytes(), Some(Target::Entry(dir, name)))
    }

    /// Packs as many bytes of a file as it has now, whatever the container does to it meanwhile.
    fn file(&mut self, source: &File) -> Result<()> {
        let stat = fs::stat(source.as_fd())?;
        self.head(&stat, FILE, b"", Some(Target::Open(source.as_fd())))?;
        self.size = self.size.saturating_add(stat.size);
        let mut offset = 0;
        while offset < stat.size {
            let start = self.buffer.len();
            let length = (stat.size - offset).min(BUFFER as u64);
            self.buffer.resize(start + length as usize, 0);
            match file::read_at(source.as_fd(), &mut self.buffer[start..], offset)
                .context("read")?
            {
                // Of one that was cut short meanwhile, zeros.
                0 => offset += length,
                read => {
                    self.buffer.truncate(start + read);
                    offset += read as u64;
                }
            }
            self.flush_full()?;
        }
        write::pad(&mut self.buffer, stat.size);
        Ok(())
    }

    /// Adds the head of the entry at the present path, with the attributes of `target`.
    fn head(
        &mut self,
        stat: &Stat,
        type_flag: u8,
        link: &[u8],
        target: Option<Target<'_>>,
    ) -> Result<()> {
        let xattrs =
            target.map(|target| attributes(target, Marks::Keep, self.shift)).transpose()?;
        let stat = self.shift.map_or(*stat, |shift| shift.apply(*stat));
        if self.path.len() > super::tar::NAME_LIMIT {
            return Err(Errno::ENAMETOOLONG.into());
        }
        // It would come back as another name.
        let has_sign = |(name, _): &(Vec<u8>, Vec<u8>)| name.contains(&b'=');
        if xattrs.iter().flatten().any(has_sign) {
            return Err(Error::new("an attribute whose name has an equals sign cannot be packed"));
        }
        let head = write::Head {
            path: &self.path,
            type_flag,
            link,
            owner: [stat.mode, stat.uid, stat.gid],
            modified: stat.modified,
            size: if type_flag == FILE { stat.size } else { 0 },
            device: fs::device_parts(stat.rdev),
            xattrs: &xattrs.unwrap_or_default(),
        };
        write::add_head(&mut self.buffer, &head);
        self.flush_full()
    }

    fn flush_full(&mut self) -> Result<()> {
        if self.buffer.len() < BUFFER { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> Result<()> {
        self.digest.add(&self.buffer);
        self.archive.write_all(&self.buffer).map_err(fs::errno).context("write the layer")?;
        self.buffer.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::xattr;

    #[test]
    fn an_attribute_that_would_come_back_as_another_is_refused() {
        let path = std::env::temp_dir().join(format!("rocker-pack-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        let dir = Dir::open(&path).unwrap();
        let archive = File::create(path.with_extension("tar")).unwrap();
        let pack = |name: &[u8]| {
            // Not every file system has such attributes.
            let set = xattr::set(Target::Open(dir.as_fd()), name, b"v");
            (set != Err(Errno::EOPNOTSUPP)).then(|| pack(&dir, &archive, None))
        };
        let packed = [b"user.a".as_slice(), b"user.a=b"].map(pack);
        std::fs::remove_dir_all(&path).unwrap();
        std::fs::remove_file(path.with_extension("tar")).unwrap();
        if let [Some(plain), Some(with_sign)] = packed {
            assert!(plain.is_ok(), "{plain:?}");
            let why = with_sign.unwrap_err().to_string();
            assert!(why.contains("equals sign"), "{why}");
        }
    }
}
