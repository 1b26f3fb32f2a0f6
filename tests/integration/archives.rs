//! 356 archives of other projects: each must be taken with the tree that GNU tar extracts, be
//! refused without a trace, or at least be contained, as their list says.

use crate::harness::{Output, PATIENCE, Rocker, finish, one_line, package, skip};
use crate::harness_census::is_own;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The most memory that the import of any archive may map, in KiB.
const MEMORY: u32 = 64 << 10;

/// Where the archives are: they are not ours, so they stand beside the project.
fn archives() -> Option<PathBuf> {
    let given = std::env::var_os("ROCKER_ARCHIVES").map(PathBuf::from);
    let path = given.unwrap_or_else(|| package().join("../shared/archives"));
    if path.join("classes.json").exists() {
        return Some(path);
    }
    skip(&format!(
        "the archives are not at {}; ROCKER_ARCHIVES names another place",
        path.display()
    ));
    None
}

/// The archives of one class, from the list's lines `"path": "class"`.
fn of_class(archives: &Path, class: &str) -> Vec<PathBuf> {
    let list = fs::read_to_string(archives.join("classes.json")).unwrap();
    let mut found = Vec::new();
    for pair in list.split(',') {
        let words: Vec<&str> = pair.split('"').collect();
        if let [_, path, _, word, ..] = words[..]
            && word == class
        {
            found.push(archives.join(path));
        }
    }
    assert!(found.len() > 10, "{class}: only {} archives", found.len());
    found
}

/// Imports an archive as `x` with all memory of each process bounded.
fn import(rocker: &Rocker, archive: &Path) -> Output {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -v {MEMORY}; exec \"$0\" import \"$1\" x")]);
    command.arg(rocker.binary()).arg(archive);
    rocker.prepare(&mut command);
    finish(command, b"", PATIENCE)
}

/// What rocker left in its root, but for its own empty directories.
fn left(rocker: &Rocker) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![rocker.root()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let path = entry.path();
            if entry.file_type().unwrap().is_dir() {
                open.push(path.clone());
            }
            let name = path.strip_prefix(rocker.root()).unwrap().to_path_buf();
            if !is_own(&name) {
                found.push(name);
            }
        }
    }
    found
}

/// What must be equal of one entry: type, mode, owner, links, content or target or device.
fn describe(path: &Path) -> String {
    let about = fs::symlink_metadata(path).unwrap();
    let kind = about.file_type();
    let (mode, uid, gid) = (about.mode() & 0o7777, about.uid(), about.gid());
    let owner = format!("{uid}:{gid}");
    if kind.is_symlink() {
        return format!("link {owner} to {}", fs::read_link(path).unwrap().display());
    }
    let what = if kind.is_dir() {
        "directory".to_string()
    } else if kind.is_fifo() {
        "fifo".to_string()
    } else if kind.is_char_device() || kind.is_block_device() {
        format!("device {} {}", kind.is_block_device(), about.rdev())
    } else {
        format!(
            "file {} names {} time {} {}",
            about.size(),
            about.nlink(),
            about.mtime(),
            content(path)
        )
    };
    format!("{what} {mode:04o} {owner}")
}

/// A sum over the content; a file of holes is too large to be read.
fn content(path: &Path) -> u64 {
    if fs::metadata(path).unwrap().blocks() > 1 << 20 {
        return 0;
    }
    if fs::metadata(path).unwrap().size() > 1 << 28 {
        return 1;
    }
    // FNV-1a.
    let add = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    fs::read(path).unwrap().iter().fold(0xcbf2_9ce4_8422_2325, add)
}

/// Every entry below a directory by its name.
fn tree(root: &Path) -> BTreeMap<Vec<u8>, String> {
    let mut found = BTreeMap::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if fs::symlink_metadata(&path).unwrap().is_dir() {
                open.push(path.clone());
            }
            let name = path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec();
            found.insert(name, describe(&path));
        }
    }
    found
}

/// The tree that GNU tar makes of the archive, with the owners' numbers.
fn gnu_tree(archive: &Path, into: &Path) -> BTreeMap<Vec<u8>, String> {
    let _ = fs::remove_dir_all(into);
    fs::create_dir_all(into).unwrap();
    let script = "umask 022; exec tar --numeric-owner -xpf \"$0\" -C \"$1\"";
    let mut tar = Command::new("sh");
    tar.args(["-c", script]).arg(archive).arg(into);
    let status = tar.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    assert!(status.success(), "GNU tar refuses {}", archive.display());
    tree(into)
}

/// Removes the image that an import made, and its layer.
fn forget(rocker: &Rocker) {
    rocker.ok(&["rmi", "-f", "x"]);
    let left = left(rocker);
    assert!(left.is_empty(), "rmi leaves {left:?}");
}

#[test]
fn a_good_archive_becomes_the_tree_that_gnu_tar_extracts() {
    let (Some(archives), Some(rocker)) = (archives(), Rocker::as_root()) else { return };
    let mut wrong = Vec::new();
    for archive in of_class(&archives, "accept") {
        let output = import(&rocker, &archive);
        if output.code != 0 {
            wrong.push(format!("{}: refused: {}", archive.display(), output.stderr));
            continue;
        }
        let ours = tree(&rocker.root().join("images/x/latest/rootfs/").canonicalize().unwrap());
        let theirs = gnu_tree(&archive, &rocker.files().join("gnu"));
        for name in ours.keys().chain(theirs.keys()) {
            let (ours, theirs) = (ours.get(name), theirs.get(name));
            if ours != theirs {
                let name = String::from_utf8_lossy(name);
                wrong.push(format!("{}: {name}: {ours:?}, not {theirs:?}", archive.display()));
            }
        }
        forget(&rocker);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_bad_archive_is_refused_in_one_line_and_leaves_nothing() {
    let (Some(archives), Some(rocker)) = (archives(), Rocker::as_root()) else { return };
    for archive in of_class(&archives, "reject") {
        let output = import(&rocker, &archive);
        assert_eq!(output.code, 1, "{}: {output:?}", archive.display());
        one_line(&output.stderr);
        let left = left(&rocker);
        assert!(left.is_empty(), "{} leaves {left:?}", archive.display());
    }
}

#[test]
fn a_doubtful_archive_is_taken_or_refused_but_never_more() {
    let (Some(archives), Some(rocker)) = (archives(), Rocker::as_root()) else { return };
    for archive in of_class(&archives, "contained") {
        let output = import(&rocker, &archive);
        match output.code {
            0 => forget(&rocker),
            1 => {
                one_line(&output.stderr);
                let left = left(&rocker);
                assert!(left.is_empty(), "{} leaves {left:?}", archive.display());
            }
            _ => panic!("{}: {output:?}", archive.display()),
        }
    }
}
