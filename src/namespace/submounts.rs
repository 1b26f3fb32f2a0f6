//! The restrictions of a volume before Linux 5.12: set with one call for each mount in it.

use crate::error::{Context, Error, Result};
use crate::sys::fs::Dir;
use crate::sys::mount::{self, Attr};
use crate::sys::proc::unescape;
use crate::sys::{Errno, control};
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// How often mounts are looked for at places that others may rename meanwhile.
const ATTEMPTS: u32 = 20;

/// Sets attributes of the mount `tree`, which is in place, and of all mounts below it; each keeps what it has.
///
/// `proc` is a proc file system that nothing can lie over.
pub fn restrict(proc: &Dir, root: &Dir, tree: BorrowedFd<'_>, attr: Attr) -> Result<()> {
    let top = mount_id(proc, tree)?;
    let mut missed = String::new();
    for _ in 0..ATTEMPTS {
        let list = proc.read_special("self/mountinfo", 16 << 20).context("read mountinfo")?;
        let lacking = lacking(&String::from_utf8_lossy(&list), top, attr)?;
        let Some(first) = lacking.first() else { return Ok(()) };
        missed.clone_from(&first.point);
        for Mount { id, point, attr: has, .. } in &lacking {
            let place = match root.open_in_root(point, libc::O_PATH | libc::O_NOFOLLOW, 0) {
                Err(Errno::ENOENT | Errno::ENOTDIR) => continue,
                other => other.context(format_args!("open {point}"))?,
            };
            if mount_id(proc, place.as_fd())? == *id {
                mount::set_attr_at(&descriptor_path(&place), *has | attr)
                    .context(format_args!("restrict {point}"))?;
            }
        }
    }
    Err(Error::new(format!("restrict {missed}: the mount cannot be reached")))
}

/// The path of an open file as this process can name it, for calls that take only paths.
pub fn descriptor_path(file: &OwnedFd) -> CString {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    CString::new(path).unwrap_or_else(|_| CStr::to_owned(c"/"))
}

/// The kernel's number for the mount that an open file lies in.
pub fn mount_id(proc: &Dir, file: BorrowedFd<'_>) -> Result<u64> {
    let about = control::read(proc, format!("self/fdinfo/{}", file.as_raw_fd()));
    let about = about.context("look at an open file")?;
    let id = about.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok());
    id.ok_or_else(|| Error::new("the kernel does not tell the mount of a file"))
}

/// A line of mountinfo: `36 35 98:0 /root /point rw,nodev …`.
#[derive(Debug, Clone)]
struct Mount {
    id: u64,
    parent: u64,
    point: String,
    attr: Attr,
}

fn parse(line: &str) -> Option<Mount> {
    let mut fields = line.split(' ');
    let (id, parent) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    let (point, options) = (unescape(fields.nth(2)?), fields.next()?);
    let bit = |option| match option {
        "ro" => Attr::READ_ONLY,
        "nosuid" => Attr::NO_SUID,
        "nodev" => Attr::NO_DEV,
        "noexec" => Attr::NO_EXEC,
        "nosymfollow" => Attr::NO_SYMLINKS,
        // Access times stay as they are unless one of them is named.
        _ => Attr::default(),
    };
    let attr = options.split(',').map(bit).fold(Attr::default(), |all, one| all | one);
    Some(Mount { id, parent, point, attr })
}

/// The mount `top` and those below it that lack attributes. What lies under another mount is left out:
/// no path leads there.
fn lacking(mountinfo: &str, top: u64, wanted: Attr) -> Result<Vec<Mount>> {
    let mut others: Vec<Mount> = mountinfo.lines().filter_map(parse).collect();
    // In the order of their depth: each comes after its parent.
    let mut tree: Vec<Mount> = others.extract_if(.., |mount| mount.id == top).collect();
    if tree.is_empty() {
        return Err(Error::new("the kernel does not list the mount of a volume"));
    }
    let mut done = 0;
    while let Some(parent) = tree.get(done).map(|mount| mount.id) {
        done += 1;
        tree.extend(others.extract_if(.., |mount| mount.parent == parent));
    }
    let lacks = |mount: &&Mount| {
        let is_covered = || tree.iter().any(|other| lies_over(other, mount, &tree));
        wanted.0 & !mount.attr.0 != 0 && !is_covered()
    };
    Ok(tree.iter().filter(lacks).cloned().collect())
}

/// Whether the way to a mount leads into another one, which it is not in.
fn lies_over(other: &Mount, mount: &Mount, tree: &[Mount]) -> bool {
    let rest = mount.point.strip_prefix(&other.point);
    let on_the_way = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let parent = |mount: &&Mount| tree.iter().find(|parent| parent.id == mount.parent);
    on_the_way && !std::iter::successors(Some(mount), parent).any(|above| above.id == other.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lacks_an_attribute_is_found_below_the_top_unless_another_mount_lies_over_it() {
        let list = "\
40 39 0:2 / / rw - rootfs rootfs rw
41 40 0:20 / /v ro,noexec,relatime - ext4 /dev/vda rw
42 41 0:21 / /v/a\\040b rw - tmpfs tmpfs rw
43 42 0:22 / /v/a\\040b/c rw,nosymfollow - tmpfs tmpfs rw
44 41 0:23 / /v/d rw,nodev,nosuid - tmpfs tmpfs rw
45 44 0:24 / /v/d rw - tmpfs tmpfs rw
46 41 0:25 / /v/e/f rw - tmpfs tmpfs rw
47 41 0:26 / /v/e rw - tmpfs tmpfs rw
48 40 0:27 / /v2 rw - tmpfs tmpfs rw
49 41 0:28 / /v/d2 rw,nosuid,nodev - tmpfs tmpfs rw
";
        let found = lacking(list, 41, Attr::NO_SUID | Attr::NO_DEV).unwrap();
        let found: Vec<_> = found.iter().map(|m| (m.id, &*m.point, m.attr)).collect();
        let none = Attr::default();
        let expected = [
            (41, "/v", Attr::READ_ONLY | Attr::NO_EXEC),
            (42, "/v/a b", none),
            (47, "/v/e", none),
            (43, "/v/a b/c", Attr::NO_SYMLINKS),
            (45, "/v/d", none),
        ];
        assert_eq!(found, expected);
        assert!(lacking(list, 50, none).is_err());
    }
}
