//! Images as import, tag and rmi make and unmake them: content, names, hostile archives.

use crate::harness::{Rocker, one_line, wait_until};
use std::fs;
use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// One entry of an archive made here.
struct Entry<'a> {
    name: &'a str,
    kind: u8,
    link: &'a str,
    mode: u32,
    data: &'a [u8],
}

fn file<'a>(name: &'a str, data: &'a [u8]) -> Entry<'a> {
    Entry { name, kind: b'0', link: "", mode: 0o644, data }
}

fn directory(name: &str) -> Entry<'_> {
    Entry { name, kind: b'5', link: "", mode: 0o755, data: b"" }
}

fn symlink<'a>(name: &'a str, link: &'a str) -> Entry<'a> {
    Entry { name, kind: b'2', link, mode: 0o777, data: b"" }
}

fn hard_link<'a>(name: &'a str, link: &'a str) -> Entry<'a> {
    Entry { name, kind: b'1', link, mode: 0o644, data: b"" }
}

/// The header block of an entry.
fn header(entry: &Entry<'_>) -> [u8; 512] {
    let mut block = [0; 512];
    let mut put =
        |at: usize, text: &str| block[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, entry.name);
    put(100, &format!("{:07o}", entry.mode));
    put(108, "0000000");
    put(116, "0000000");
    put(124, &format!("{:011o}", entry.data.len()));
    put(136, "00000000144");
    put(148, "        ");
    put(157, entry.link);
    put(257, "ustar");
    put(263, "00");
    block[156] = entry.kind;
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block
}

fn archive(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in entries {
        bytes.extend_from_slice(&header(entry));
        bytes.extend_from_slice(entry.data);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

/// Imports an archive from a pipe; gives what rocker said.
fn import(rocker: &Rocker, entries: &[Entry<'_>], name: &str) -> crate::harness::Output {
    rocker.run_with_input(&["import", "-", name], &archive(entries))
}

fn imported(rocker: &Rocker, entries: &[Entry<'_>], name: &str) -> PathBuf {
    let output = import(rocker, entries, name);
    assert_eq!(output.code, 0, "{output:?}");
    rootfs(rocker, name)
}

/// The tree of an image that has one layer.
fn rootfs(rocker: &Rocker, name: &str) -> PathBuf {
    rocker.root().join(format!("images/{name}/latest/rootfs/")).canonicalize().unwrap()
}

fn layers(rocker: &Rocker) -> usize {
    fs::read_dir(rocker.root().join("layers")).map_or(0, Iterator::count)
}

fn staged(rocker: &Rocker) -> usize {
    fs::read_dir(rocker.root().join("tmp")).map_or(0, Iterator::count)
}

#[test]
fn a_store_below_a_directory_that_hands_down_its_group_keeps_the_owners_of_the_archive() {
    let Some(rocker) = Rocker::as_root() else { return };
    let root = rocker.root();
    let above = root.parent().unwrap();
    std::os::unix::fs::chown(above, None, Some(50)).unwrap();
    fs::set_permissions(above, fs::Permissions::from_mode(0o2755)).unwrap();
    rocker.busybox();
    let root = rocker.root().join("images/busybox/latest/rootfs");
    for path in ["", "bin", "bin/busybox"] {
        let found = fs::metadata(root.join(path)).unwrap();
        assert_eq!((found.gid(), found.mode() & 0o2000), (0, 0), "{path}: {found:?}");
    }
    let look = "touch /new; stat -c '%g %a' / /new";
    let said = rocker.ok(&["run", "--rm", "--net", "none", "busybox", "sh", "-c", look]);
    assert_eq!(said, "0 755\n0 644\n");
}

#[test]
fn the_same_archive_has_the_same_id_however_it_comes() {
    let Some(rocker) = Rocker::as_root() else { return };
    let bytes = archive(&[directory("etc/"), file("etc/a", b"content")]);
    let plain = rocker.files().join("plain.tar");
    fs::write(&plain, &bytes).unwrap();
    let compressed = rocker.files().join("compressed");
    let output = Command::new("gzip").args(["-c"]).arg(&plain).output().unwrap();
    fs::write(&compressed, [&output.stdout[..], &[0; 100]].concat()).unwrap();
    let mut said = vec![rocker.run_with_input(&["import", "-", "x"], &bytes).stdout];
    said.push(rocker.ok(&["import", plain.to_str().unwrap(), "x"]));
    said.push(rocker.ok(&["import", compressed.to_str().unwrap(), "x"]));
    said.push(rocker.run_with_input(&["import", "-", "x"], &output.stdout).stdout);
    assert!(said[0].starts_with("Imported x:latest (ID: "), "{said:?}");
    assert!(said.iter().all(|line| *line == said[0]), "{said:?}");
    assert_eq!((layers(&rocker), staged(&rocker)), (1, 0));
}

#[test]
fn a_size_counts_each_file_once() {
    let Some(rocker) = Rocker::as_root() else { return };
    let data = [7; 1000];
    let entries = [file("a", &data), hard_link("b", "a"), hard_link("c", "b"), file("d", b"12345")];
    let output = import(&rocker, &entries, "x");
    assert!(
        output.stdout.contains("Size: 1.00kB") || output.stdout.contains("Size: 1.01kB"),
        "{output:?}"
    );
    let record = fs::read_to_string(rocker.root().join("images/x/latest/image.json")).unwrap();
    assert!(record.contains("\"size\":1005"), "{record}");
    assert_eq!(fs::metadata(rootfs(&rocker, "x").join("a")).unwrap().nlink(), 3);
}

#[test]
fn a_later_entry_replaces_an_earlier_one_whatever_it_was() {
    let Some(rocker) = Rocker::as_root() else { return };
    let entries = [
        file("a", b"old"),
        file("a", b"new one"),
        directory("d/"),
        file("d/inside", b"lost"),
        file("d", b"now a file"),
        symlink("l", "a"),
        directory("l/"),
        file("l/inside", b"kept"),
        file("self", b"self"),
        hard_link("self", "self"),
    ];
    let root = imported(&rocker, &entries, "x");
    assert_eq!(fs::read(root.join("a")).unwrap(), b"new one");
    assert_eq!(fs::read(root.join("d")).unwrap(), b"now a file");
    assert_eq!(fs::read(root.join("l/inside")).unwrap(), b"kept");
    assert_eq!(fs::read(root.join("self")).unwrap(), b"self");
    let record = fs::read_to_string(rocker.root().join("images/x/latest/image.json")).unwrap();
    assert!(record.contains("\"size\":25"), "{record}");
}

#[test]
fn modes_and_times_of_directories_hold_although_files_came_later() {
    let Some(rocker) = Rocker::as_root() else { return };
    let closed = Entry { mode: 0o555, ..directory("closed/") };
    let sticky = Entry { mode: 0o1777, ..directory("tmp/") };
    let set_id = Entry { mode: 0o6755, ..file("closed/su", b"x") };
    let root = imported(&rocker, &[closed, set_id, sticky, file("tmp/a", b"")], "x");
    let mode = |name: &str| fs::metadata(root.join(name)).unwrap().mode() & 0o7777;
    assert_eq!((mode("closed"), mode("tmp"), mode("closed/su")), (0o555, 0o1777, 0o6755));
    for name in ["closed", "tmp", "closed/su", "tmp/a"] {
        assert_eq!(fs::metadata(root.join(name)).unwrap().mtime(), 100, "{name}");
    }
}

#[test]
fn devices_and_fifos_are_made_and_never_opened() {
    let Some(rocker) = Rocker::as_root() else { return };
    let mut null = header(&Entry { kind: b'3', ..file("null", b"") });
    null[329..336].copy_from_slice(b"0000001");
    null[337..344].copy_from_slice(b"0000003");
    null[148..156].fill(b' ');
    let sum: u32 = null.iter().map(|byte| u32::from(*byte)).sum();
    null[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    let fifo = Entry { kind: b'6', ..file("fifo", b"") };
    let bytes = [&null[..], &archive(&[fifo, file("fifo", b"in its place")])].concat();
    assert_eq!(rocker.run_with_input(&["import", "-", "x"], &bytes).code, 0);
    let null = fs::symlink_metadata(rootfs(&rocker, "x").join("null")).unwrap();
    assert!(null.file_type().is_char_device());
    assert_eq!(null.rdev(), 0x103);
    assert_eq!(fs::read(rootfs(&rocker, "x").join("fifo")).unwrap(), b"in its place");
}

#[test]
fn nothing_is_written_outside_the_layer() {
    let Some(rocker) = Rocker::as_root() else { return };
    let outside = rocker.files().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("canary"), b"untouched").unwrap();
    let canary = outside.join("canary");
    let (outside_name, canary_name) = (outside.to_str().unwrap(), canary.to_str().unwrap());
    let up = "../".repeat(20) + &canary_name[1..];
    let attacks: [&[Entry<'_>]; 9] = [
        &[file(&up, b"x")],
        &[file(canary_name, b"x")],
        &[symlink("l", outside_name), file("l/canary", b"x")],
        &[symlink("l", canary_name), file("l", b"x")],
        &[
            symlink("a", "."),
            symlink("a/b", ".."),
            symlink("a/b/c", outside_name),
            file("a/b/c/canary", b"x"),
        ],
        &[hard_link("h", canary_name), file("h", b"x")],
        &[hard_link("h", &up), file("h", b"x")],
        &[symlink("l", outside_name), hard_link("h", "l/canary"), file("h", b"x")],
        &[symlink("l", outside_name), directory("l/new/"), directory("l/")],
    ];
    for entries in attacks {
        let output = import(&rocker, entries, "x");
        let names: Vec<&str> = entries.iter().map(|entry| entry.name).collect();
        assert!(output.code == 0 || output.code == 1, "{names:?}: {output:?}");
        assert_eq!(fs::read(&canary).unwrap(), b"untouched", "{names:?}");
        assert_eq!(fs::metadata(&canary).unwrap().nlink(), 1, "{names:?}");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1, "{names:?}");
    }
}

#[test]
fn an_attribute_that_overlayfs_would_obey_is_left_out() {
    let Some(rocker) = Rocker::as_root() else { return };
    let record = b"41 SCHILY.xattr.trusted.overlay.opaque=y\n";
    let extended = Entry { kind: b'x', ..file("x", record) };
    let root = imported(&rocker, &[extended, directory("d/")], "x");
    let directory = c_path(&root.join("d"));
    let mut names = [0; 256];
    // SAFETY: path and buffer are borrowed for the call, the buffer with its size.
    #[allow(unsafe_code)]
    let length = unsafe { libc::listxattr(directory.as_ptr(), names.as_mut_ptr(), names.len()) };
    let names = names.map(|byte| byte as u8);
    assert_eq!(&names[..usize::try_from(length).unwrap()], b"");
}

#[test]
fn a_tree_of_twenty_thousand_levels_is_removed() {
    let Some(rocker) = Rocker::as_root() else { return };
    let root = imported(&rocker, &[directory("d/")], "x");
    // Longer than any path, so each level is made in the one above.
    let mut above = fs::File::open(root.join("d")).unwrap();
    for _ in 0..20_000 {
        // SAFETY: the names are constants, and the number that open gives belongs to nobody yet.
        #[allow(unsafe_code)]
        unsafe {
            assert_eq!(libc::mkdirat(above.as_raw_fd(), c"d".as_ptr(), 0o755), 0);
            let opened = libc::openat(above.as_raw_fd(), c"d".as_ptr(), libc::O_RDONLY);
            assert!(opened >= 0, "{}", std::io::Error::last_os_error());
            above = fs::File::from_raw_fd(opened);
        }
    }
    drop(above);
    rocker.ok(&["rmi", "x"]);
    assert_eq!((layers(&rocker), staged(&rocker)), (0, 0));
}

fn c_path(path: &Path) -> std::ffi::CString {
    std::ffi::CString::new(path.as_os_str().as_encoded_bytes()).unwrap()
}

#[test]
fn an_import_that_is_killed_leaves_no_image_and_the_next_one_clears_up() {
    let Some(rocker) = Rocker::as_root() else { return };
    let data = vec![1; 4 << 20];
    let bytes = archive(&[file("a", &data), file("b", &data)]);
    let mut command = rocker.command(&["import", "-", "x"]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    pipe.write_all(&bytes[..5 << 20]).unwrap();
    let patience = Duration::from_secs(10);
    assert!(wait_until(patience, || staged(&rocker) == 1), "nothing is staged");
    child.kill().unwrap();
    child.wait().unwrap();
    drop(pipe);
    assert_eq!(rocker.refused(&["rmi", "x"], 1), "rocker: No such image: x");
    assert_eq!(layers(&rocker), 0);
    imported(&rocker, &[file("a", b"small")], "x");
    assert_eq!((layers(&rocker), staged(&rocker)), (1, 0));
}

/// What an import says whose helper number `index` is killed after the first 5 of 8 MiB.
fn refusal_without_helper(rocker: &Rocker, archive: &[u8], index: usize) -> String {
    let mut command = rocker.command(&["import", "-", "x"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    pipe.write_all(&archive[..5 << 20]).unwrap();
    let path = format!("/proc/{0}/task/{0}/children", child.id());
    let text = fs::read_to_string(path).unwrap();
    let helper = text.split(' ').nth(index).unwrap();
    assert!(Command::new("kill").args(["-9", helper]).status().unwrap().success());
    // Nobody may be left to read it.
    let _ = pipe.write_all(&archive[5 << 20..]);
    drop(pipe);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn an_import_whose_helper_is_killed_names_it_and_leaves_nothing() {
    let Some(rocker) = Rocker::as_root() else { return };
    let mut state = 1_u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    let data: Vec<u8> = (0..8 << 20).map(|_| random()).collect();
    let plain = archive(&[file("a", &data)]);
    let path = rocker.files().join("a.tar");
    fs::write(&path, &plain).unwrap();
    let compressed = Command::new("gzip").arg("-1c").arg(&path).output().unwrap().stdout;
    for (archive, index, what) in
        [(&plain, 0, "hashes"), (&compressed, 0, "hashes"), (&compressed, 1, "inflates")]
    {
        let said = refusal_without_helper(&rocker, archive, index);
        let reason = format!("the process that {what} the archive failed: Killed(9)");
        assert_eq!(said, format!("rocker: import -: {reason}\n"));
        assert_eq!((layers(&rocker), staged(&rocker)), (0, 0));
    }
}

#[test]
fn an_import_under_a_taken_name_replaces_the_image_and_rmi_takes_the_layers() {
    let Some(rocker) = Rocker::as_root() else { return };
    imported(&rocker, &[file("a", b"one")], "x");
    let root = imported(&rocker, &[file("a", b"two")], "x");
    assert_eq!(fs::read(root.join("a")).unwrap(), b"two");
    assert_eq!(rocker.ok(&["images", "-q"]).lines().count(), 1);
    rocker.ok(&["rmi", "x"]);
    assert_eq!(layers(&rocker), 0);
    assert_eq!(rocker.ok(&["images", "-q"]), "");
}

#[test]
fn an_image_with_two_names_goes_with_the_last() {
    let Some(rocker) = Rocker::as_root() else { return };
    imported(&rocker, &[file("a", b"one")], "x");
    rocker.ok(&["tag", "x", "host:5000/team/y:v1"]);
    let table = rocker.ok(&["images"]);
    assert_eq!(table.lines().count(), 3, "{table}");
    let listed = rocker.ok(&["images", "-q", "--no-trunc"]);
    let id = listed.lines().next().unwrap().trim_start_matches("sha256:").to_string();
    assert!(rocker.refused(&["rmi", &id[..8]], 1).contains("names"));
    let said = rocker.ok(&["rmi", "x"]);
    assert_eq!(said, "Untagged: x:latest\n");
    assert_eq!(layers(&rocker), 1);
    let said = rocker.ok(&["rmi", &id[..8]]);
    assert!(said.starts_with("Untagged: host:5000/team/y:v1\nDeleted: sha256:"), "{said}");
    assert_eq!(layers(&rocker), 0);
}

#[test]
fn images_of_one_second_are_told_apart_by_their_time() {
    let Some(rocker) = Rocker::as_root() else { return };
    for (name, data) in [("c", b"1"), ("a", b"2"), ("d", b"3"), ("b", b"4")] {
        imported(&rocker, &[file("a", data)], name);
    }
    let listed = |options: &[&str]| {
        rocker.ok(&[&["images", "--format", "{{.Repository}}"], options].concat())
    };
    assert_eq!(listed(&[]), "b\nd\na\nc\n");
    assert_eq!(listed(&["--filter", "since=a"]), "b\nd\n");
    assert_eq!(listed(&["--filter", "before=d"]), "a\nc\n");
}

#[test]
fn the_age_of_an_image_is_right_in_its_boot_though_the_clock_was_set_and_else_goes_by_the_clock() {
    let Some(rocker) = Rocker::as_root() else { return };
    imported(&rocker, &[file("a", b"one")], "x");
    rocker.ok(&["tag", "x", "second"]);
    let age = |name: &str| rocker.ok(&["images", "--format", "{{.CreatedSince}}", name]);
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    for name in ["x", "second"] {
        let path = rocker.root().join(format!("images/{name}/latest/image.json"));
        let record = fs::read_to_string(&path).unwrap();
        let made = record.split("\"created\":").nth(1).unwrap().split(',').next().unwrap();
        // As if somebody had set the clock four years ahead since.
        let before = made.parse::<u64>().unwrap() - 4 * 365 * 86_400;
        let record =
            record.replace(&format!("\"created\":{made}"), &format!("\"created\":{before}"));
        fs::write(&path, &record).unwrap();
        assert!(age(name).contains("second"), "{name}: {}", age(name));
        fs::write(&path, record.replace(boot.trim(), "another")).unwrap();
        assert_eq!(age(name), "4 years ago\n", "{name}");
        fs::write(
            &path,
            record.replace("\"boot_id\"", "\"old\"").replace("\"created_uptime\"", "\"older\""),
        )
        .unwrap();
        assert_eq!(age(name), "4 years ago\n", "{name}");
    }
}

#[test]
fn a_damaged_record_hides_no_other_image_and_can_be_removed() {
    let Some(rocker) = Rocker::as_root() else { return };
    imported(&rocker, &[file("a", b"one")], "good");
    imported(&rocker, &[file("a", b"two")], "bad");
    let record = rocker.root().join("images/bad/latest/image.json");
    fs::write(&record, b"{\"name\":\"bad\"").unwrap();
    let output = rocker.run(&["images"]);
    assert_eq!(output.code, 0);
    assert!(output.stdout.contains("good") && !output.stdout.contains("bad"), "{output:?}");
    rocker.ok(&["rmi", "bad"]);
    rocker.ok(&["rmi", "good"]);
    assert_eq!(layers(&rocker), 0);
}

#[test]
fn many_names_are_removed_at_once_and_each_that_cannot_be_is_named() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    for name in ["one", "two", "three"] {
        rocker.ok(&["tag", "busybox", name]);
    }
    rocker.ok(&["create", "--name", "user", "busybox", "true"]);
    let output = rocker.run(&["rmi", "one", "nosuch", "two", "one", "three", "busybox"]);
    let said = "Untagged: one:latest\nUntagged: two:latest\nUntagged: three:latest\n";
    assert_eq!((output.code, &*output.stdout), (1, said), "{output:?}");
    let lines: Vec<&str> = output.stderr.lines().filter(|line| !line.starts_with("hint")).collect();
    assert!(lines[0].contains("nosuch") && lines[1].contains("one"), "{lines:?}");
    assert!(lines[2].contains("used by container user") && lines.len() == 3, "{lines:?}");
    rocker.ok(&["rm", "user"]);
    let said = rocker.ok(&["rmi", "busybox"]);
    assert_eq!((said.lines().count(), layers(&rocker)), (3, 0), "{said}");
}

#[test]
fn an_archive_in_another_compression_is_named_with_what_undoes_it() {
    let Some(rocker) = Rocker::as_root() else { return };
    for (magic, name) in [(&b"\xfd7zXZ\0"[..], "xz"), (b"\x28\xb5\x2f\xfd", "zstd")] {
        // A small image is less than a block of a tar archive.
        for length in [200, 2000] {
            let mut bytes = magic.to_vec();
            bytes.resize(length, 1);
            let output = rocker.run_with_input(&["import", "-", "x"], &bytes);
            assert_eq!(output.code, 1, "{output:?}");
            assert!(
                one_line(&output.stderr).contains(&format!("{name} compression")),
                "{output:?}"
            );
            assert!(
                output.stderr.contains("hint: ") && output.stderr.contains("| rocker import -")
            );
        }
    }
    let output = rocker.run_with_input(&["import", "-", "x"], &[b'x'; 300]);
    assert!(one_line(&output.stderr).contains("not a tar archive"), "{output:?}");
}

#[test]
fn what_docker_save_writes_is_imported_with_a_warning() {
    let Some(rocker) = Rocker::as_root() else { return };
    let saved =
        [directory("0123abc"), file("0123abc/layer.tar", b"x"), file("manifest.json", b"[]")];
    let said = import(&rocker, &saved, "saved");
    assert!(said.code == 0 && one_line(&said.stderr).contains("docker save"), "{said:?}");
    // A root file system may have such a file too.
    let said = import(&rocker, &[directory("etc"), file("manifest.json", b"[]")], "root");
    assert_eq!((said.code, said.stderr.as_str()), (0, ""));
}

#[test]
fn a_container_whose_files_come_and_go_can_be_committed() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    // Files, links and directories take turns under the same names.
    let script = "for d in 1 2 3 4; do mkdir /w$d; (cd /w$d; while :; do \
                  for i in 1 2 3 4 5 6 7 8 9; do mkdir e$i; : > e$i/f; ln -s x f$i; done; rm -rf *; \
                  for i in 1 2 3 4 5 6 7 8 9; do mkdir f$i; : > e$i; done; rm -rf *; done) & done; wait";
    let words = ["--name", "web", "--net", "none", "busybox", "sh", "-c", script];
    rocker.ok(&[&["run", "-d"], &words[..]].concat());
    for _ in 0..30 {
        rocker.ok(&["commit", "web", "mine"]);
    }
}
