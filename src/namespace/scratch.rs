//! Room in memory for the writable layer of a container, in a mount namespace of its keeper's.

use super::root::cut_off;
use super::userns::IdMap;
use crate::error::{Context, Result};
use crate::sys::Errno;
use crate::sys::fs::Dir;
use crate::sys::mount::{self, Attr, Propagation};
use crate::sys::process::{self, Namespaces};
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What the mount is allowed: half of the memory, which is the kernel's own bound for a tmpfs.
const OPTIONS: &std::ffi::CStr = c"mode=0700,size=50%";

/// Moves this process into a mount namespace of its own and covers the directory at `path` there
/// with a tmpfs that has the two directories of an overlay, `upper` and `work`.
///
/// They belong to the `owner`, where the container has users of its own.
///
/// What the host unmounts later is unmounted here too, so that nothing of it stays in use.
pub fn mount(path: &Path, owner: Option<IdMap>) -> Result<()> {
    process::unshare(Namespaces::MOUNT).context("make a mount namespace")?;
    cut_off(Propagation::Slave)?;
    mount::create(c"tmpfs", &c_path(path)?, Attr::default(), OPTIONS).context("mount tmpfs")?;
    let dir = Dir::open(path).context("open the tmpfs")?;
    dir.mkdir("upper", 0o755).context("make the upper layer")?;
    dir.mkdir("work", 0o700).context("make the work directory")?;
    let Some(map) = owner else { return Ok(()) };
    ["upper", "work"]
        .iter()
        .try_for_each(|name| dir.set_owner(name, map.uid, map.gid))
        .context("give the upper layer to the container")
}

/// Takes the tmpfs away again. What still uses it keeps it.
pub fn unmount(path: &Path) {
    // It may not have been mounted.
    let _ = c_path(path).map(|path| mount::detach(&path));
}

fn c_path(path: &Path) -> Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)?)
}
