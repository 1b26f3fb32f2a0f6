//! Which ids of the host a container has for its own, where it has users of its own.

use super::record::{COPY, Record};
use super::store::Engine;
use crate::error::{Context, Error, Result};
use crate::image::{PLACES, Shift, copy_name};
pub use crate::namespace::userns::IdMap;
use crate::namespace::userns::{Lower, Mapped};
use crate::sys::Errno;
use crate::sys::fs::{self, Dir, Lock};
use std::os::fd::AsFd;

/// What `--userns` asks for, besides the users of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// A range that no other container has.
    Auto,
    Range(IdMap),
}

/// As many ids as a system usually has.
const SIZE: u32 = 65536;
/// The ranges to choose from: what systemd keeps free between those of its containers and 2^31,
/// from where on programs take ids for negative. <https://systemd.io/UIDS-GIDS>
const POOL: std::ops::Range<u32> = 0x7000_0000..0x7ffe_0000;
/// The largest file of ranges for users that is read.
const LIMIT: u64 = 1 << 20;

/// Reads the value of `--userns`; nothing for the users of the host.
pub fn parse(text: &str) -> Result<Option<Asked>> {
    match text {
        "host" => return Ok(None),
        "auto" => return Ok(Some(Asked::Auto)),
        _ => {}
    }
    let parts: Vec<Option<u32>> = text.split(':').map(number).collect();
    let [Some(uid), Some(gid), Some(size)] = parts[..] else {
        return Err(Error::new("neither host, nor auto, nor UID:GID:SIZE")
            .hint("the first user and group of the host, and how many: 100000:100000:65536"));
    };
    // The highest number stands for no id at all.
    let ends = |start: u32| size.checked_add(start).is_none();
    match () {
        () if size == 0 => Err(Error::new("a range of no ids")),
        () if uid == 0 || gid == 0 => {
            Err(Error::new("the range must not begin at 0: that is root of this host"))
        }
        () if ends(uid) || ends(gid) => Err(Error::new("the range goes beyond the highest id")),
        () => Ok(Some(Asked::Range(IdMap { uid, gid, size }))),
    }
}

/// A number in digits alone: no sign.
fn number(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// The ids of a new container. Until the lock goes, which has to be when its record is written, no
/// other container chooses any.
pub fn choose(engine: &Engine, asked: Option<Asked>) -> Result<(Option<IdMap>, Option<Dir>)> {
    match asked {
        None => Ok((None, None)),
        Some(Asked::Range(map)) => Ok((Some(map), None)),
        Some(Asked::Auto) => {
            let turn = engine.containers()?;
            fs::lock(turn.as_fd(), Lock::Exclusive).context("lock the containers")?;
            let mut taken = given_to_users();
            engine.each_record(&mut |record| {
                let range = |map: IdMap| [(map.uid, map.size), (map.gid, map.size)];
                taken.extend(record.userns.into_iter().flat_map(range));
            })?;
            let start = free(&taken).ok_or_else(|| {
                Error::new("userns auto: all ranges of ids are taken")
                    .hint("rocker rm removes containers; or name a range, UID:GID:SIZE")
            })?;
            Ok((Some(IdMap { uid: start, gid: start, size: SIZE }), Some(turn)))
        }
    }
}

/// What users of this host may give to namespaces of their own: start and number of each range.
fn given_to_users() -> Vec<(u32, u32)> {
    let read = |name| {
        let bytes = Dir::open("/etc").and_then(|etc| etc.read(name, LIMIT)).unwrap_or_default();
        ranges(&String::from_utf8_lossy(&bytes))
    };
    [read("subuid"), read("subgid")].concat()
}

/// The ranges in the lines `NAME:START:SIZE` of /etc/subuid.
fn ranges(text: &str) -> Vec<(u32, u32)> {
    let range = |line: &str| {
        let mut fields = line.trim().split(':').skip(1);
        Some((number(fields.next()?)?, number(fields.next()?)?))
    };
    text.lines().filter_map(range).collect()
}

/// The lowest range of the pool that has nothing in common with those.
fn free(taken: &[(u32, u32)]) -> Option<u32> {
    let apart = |start: u32| {
        let (start, size) = (u64::from(start), u64::from(SIZE));
        let meets = |(other, length): &(u32, u32)| {
            u64::from(*other) < start + size && start < u64::from(*other) + u64::from(*length)
        };
        !taken.iter().any(meets)
    };
    POOL.step_by(SIZE as usize).find(|start| apart(*start))
}

/// From the owners in an image to those in a container.
pub fn shift(map: IdMap) -> Shift {
    Shift { from: (0, 0), to: (map.uid, map.gid), size: map.size }
}

/// From the owners in a container to those in an image.
pub fn unshift(map: IdMap) -> Shift {
    Shift { from: (map.uid, map.gid), to: (0, 0), size: map.size }
}

/// What the copies of layers for these ids are marked with.
fn mark(map: IdMap) -> String {
    format!("{:x}-{:x}-{:x}", map.uid, map.gid, map.size)
}

/// How a container is shown its image where its layer is of this kind.
pub fn mapped(engine: &Engine, record: &Record, layer: &str) -> Option<Mapped> {
    let ids = record.userns?;
    if layer == COPY {
        return Some(Mapped { ids, lowers: Vec::new() });
    }
    let mark = mark(ids);
    let has_copies = engine.images.has_copies(&record.layers, &mark);
    let lower = |place: String, name: &str| Lower {
        copy: has_copies.then(|| copy_name(name, &mark)),
        place,
    };
    let places = lower(format!("../{PLACES}"), PLACES);
    let layers = record.layers.iter().map(|layer| lower(layer.clone(), layer));
    Some(Mapped { ids, lowers: layers.chain([places]).collect() })
}

/// Makes copies of the layers of a container whose owners are its own, where they are missing and
/// a start has failed with this error. False where they would not help.
pub fn make_copies(engine: &Engine, record: &Record, error: &Error) -> Result<bool> {
    let Some(map) = record.userns else { return Ok(false) };
    // A kernel or a file system that shows no files with other owners, or not in an overlay.
    let helps = [Errno::EINVAL, Errno::ENOSYS, Errno::EPERM, Errno::EOPNOTSUPP];
    let mark = mark(map);
    if !error.errno.is_some_and(|errno| helps.contains(&errno))
        || engine.images.has_copies(&record.layers, &mark)
    {
        return Ok(false);
    }
    engine.images.make_copies(&record.layers, &mark, shift(map))?;
    Ok(true)
}

/// The options of a tmpfs with the users that they name as the host has them.
pub fn tmpfs_options(map: IdMap, options: &str) -> Result<String> {
    let outside = |option: &str| {
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        if key != "uid" && key != "gid" {
            return Ok(option.to_owned());
        }
        let id = number(value).and_then(|id| map.outside(id, key == "gid"));
        match id {
            Some(id) => Ok(format!("{key}={id}")),
            None => Err(Error::new(format!("tmpfs option {option}: the container has no such id"))),
        }
    };
    let options: Result<Vec<String>> =
        options.split(',').filter(|option| !option.is_empty()).map(outside).collect();
    Ok(options?.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_three_numbers_of_which_none_is_0_and_that_ends_in_time() {
        let range = IdMap { uid: 100_000, gid: 200_000, size: 65536 };
        assert_eq!(parse("100000:200000:65536"), Ok(Some(Asked::Range(range))));
        assert_eq!((parse("host"), parse("auto")), (Ok(None), Ok(Some(Asked::Auto))));
        assert!(parse("1:1:4294967294").is_ok());
        for bad in [
            "",
            "banana",
            "1:2",
            "1:2:3:4",
            "0:0:0",
            "1:1:0",
            "0:1:1",
            "1:0:1",
            "-1:1:1",
            "+1:1:1",
            "1:1:4294967295",
            "4294967295:1:1",
            "4294967296:1:1",
            "1:4294900000:99999",
            "a:b:c",
            "::",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_lowest_range_is_taken_that_meets_no_other() {
        let first = POOL.start;
        assert_eq!(free(&[]), Some(first));
        assert_eq!(free(&[(first, SIZE)]), Some(first + SIZE));
        assert_eq!(free(&[(first + SIZE - 1, 2), (1, 4)]), Some(first + 2 * SIZE));
        assert_eq!(free(&[(first, u32::MAX)]), None);
        let text = "# x\nme:100000:65536\nbad\nyou:1:x\n7:1879048192:1";
        assert_eq!(ranges(text), [(100_000, 65536), (first, 1)]);
    }

    #[test]
    fn a_tmpfs_belongs_to_whom_the_container_calls_so() {
        let map = IdMap { uid: 1000, gid: 2000, size: 10 };
        assert_eq!(
            tmpfs_options(map, "uid=1,mode=700,gid=2").unwrap(),
            "uid=1001,mode=700,gid=2002"
        );
        assert!(tmpfs_options(map, "uid=10").is_err());
    }
}
