//! What an execve is going to run, looked at beforehand.
//!
//! `/proc/self/exe` in the container leads to the file that this process runs from: the host's.
//! An image whose program, or the interpreter of its program, is a link to there would have it
//! executed inside, and a process of the container could then open it for writing (CVE-2019-5736).

use crate::sys::fs::{self, Dir};
use crate::sys::{Errno, io};
use std::os::fd::AsFd;

/// How much of a file the kernel reads to find out what it is, and we for the headers of a program.
const HEAD: usize = 4096;
/// How much of it the first line of a script may take. Source: `BINPRM_BUF_SIZE`.
const LINE: usize = 256;
/// How many scripts may be each other's interpreters; the kernel allows five.
const DEPTH: u32 = 5;

/// What runs a file.
#[derive(Debug, PartialEq, Eq)]
enum Runner {
    /// The kernel alone.
    Kernel,
    /// The program that the first line of a script names.
    Script(String),
    /// The loader that a program names.
    Loader(String),
    /// Something that we cannot tell.
    Unknown,
}

/// Whether executing `path`, which is absolute, certainly involves no file that a link of /proc
/// leads to. True where there is nothing to execute.
///
/// The answer holds for as long as nothing that runs can change the file system below `root`.
pub fn is_certain(root: &Dir, path: &str) -> bool {
    certain(root, path, DEPTH)
}

fn certain(root: &Dir, path: &str, depth: u32) -> bool {
    let file = match root.open_in_root(path, libc::O_RDONLY | libc::O_NONBLOCK, 0) {
        Err(Errno::ENOENT | Errno::ENOTDIR) => return true,
        // ELOOP: there is such a link on the way.
        Err(_) => return false,
        Ok(file) => file,
    };
    let mut head = vec![0; HEAD];
    let Ok(length) = io::read(file.as_fd(), &mut head) else { return false };
    match runner(&head[..length]) {
        Runner::Kernel => true,
        Runner::Script(interpreter) => depth > 0 && certain(root, &interpreter, depth - 1),
        // What it names itself is not looked at: the kernel loads it and asks no more.
        Runner::Loader(loader) => match root.open_in_root(&loader, libc::O_PATH, 0) {
            Err(errno) => matches!(errno, Errno::ENOENT | Errno::ENOTDIR),
            Ok(loader) => fs::stat(loader.as_fd()).is_ok(),
        },
        Runner::Unknown => false,
    }
}

/// Reads the head of a file as the kernel does. What is not plainly a script or a program for
/// this machine may be anybody's: binfmt_misc can have been told of it.
fn runner(head: &[u8]) -> Runner {
    match head {
        [b'#', b'!', ..] => script(&head[2..head.len().min(LINE)]),
        // 64 bits, least byte first.
        [0x7f, b'E', b'L', b'F', 2, 1, ..] => program(head).unwrap_or(Runner::Unknown),
        _ => Runner::Unknown,
    }
}

fn script(line: &[u8]) -> Runner {
    let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let words = line.split(|byte| matches!(byte, b' ' | b'\t' | 0));
    let interpreter = words.into_iter().find(|word| !word.is_empty());
    absolute(interpreter.unwrap_or_default()).map_or(Runner::Unknown, Runner::Script)
}

/// Source: include/uapi/linux/elf.h, `elf64_hdr` and `elf64_phdr`.
fn program(head: &[u8]) -> Option<Runner> {
    const X86_64: u16 = 62;
    const INTERPRETER: u32 = 3;
    const ENTRY: usize = 56;
    let word = |at: usize| head.get(at..at + 2)?.try_into().ok().map(u16::from_le_bytes);
    let long = |at: usize| head.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
    let quad = |at: usize| -> Option<usize> {
        let value = u64::from_le_bytes(head.get(at..at + 8)?.try_into().ok()?);
        usize::try_from(value).ok().filter(|value| *value <= HEAD)
    };
    if word(18)? != X86_64 || usize::from(word(54)?) != ENTRY {
        return None;
    }
    let (first, count) = (quad(32)?, usize::from(word(56)?));
    for index in 0..count {
        let at = first + index * ENTRY;
        head.get(at..at + ENTRY)?;
        if long(at)? == INTERPRETER {
            let (offset, length) = (quad(at + 8)?, quad(at + 32)?);
            let name = head.get(offset..offset + length)?.split(|byte| *byte == 0).next()?;
            // The kernel takes the first one only.
            return absolute(name).map(Runner::Loader);
        }
    }
    Some(Runner::Kernel)
}

fn absolute(path: &[u8]) -> Option<String> {
    std::str::from_utf8(path).ok().filter(|path| path.starts_with('/')).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program for this machine with one header, of that type, about the bytes behind it.
    fn elf(kind: u32, content: &[u8]) -> Vec<u8> {
        let mut head = vec![0; 120];
        head[..6].copy_from_slice(b"\x7fELF\x02\x01");
        head[18] = 62;
        head[32] = 64;
        (head[54], head[56]) = (56, 1);
        head[64..68].copy_from_slice(&kind.to_le_bytes());
        head[72] = 120;
        head[96..104].copy_from_slice(&(content.len() as u64).to_le_bytes());
        head.extend(content);
        head
    }

    #[test]
    fn programs_name_a_loader_or_none() {
        assert_eq!(runner(&elf(1, b"")), Runner::Kernel);
        assert_eq!(runner(&elf(3, b"/lib/ld.so\0")), Runner::Loader("/lib/ld.so".to_owned()));
    }

    #[test]
    fn scripts_name_what_runs_them() {
        for (text, name) in [
            ("#!/bin/sh", "/bin/sh"),
            ("#! /bin/sh -e\n", "/bin/sh"),
            ("#!\t/a\tb", "/a"),
            ("#!/proc/self/exe\n/bin/sh", "/proc/self/exe"),
        ] {
            assert_eq!(runner(text.as_bytes()), Runner::Script(name.to_owned()), "{text}");
        }
    }

    #[test]
    fn a_link_of_proc_is_found_as_program_as_interpreter_and_as_loader() {
        let root = Dir::open("/").unwrap();
        let file = std::env::temp_dir().join(format!("rocker-executable-{}", std::process::id()));
        let look = |content: &[u8]| {
            std::fs::write(&file, content).unwrap();
            is_certain(&root, file.to_str().unwrap())
        };
        let seen = [
            look(b"#!/proc/self/exe\n"),
            look(&elf(3, b"/proc/self/exe\0")),
            look(b"no program"),
            look(&elf(1, b"")),
            look(&elf(3, b"/no/such/loader\0")),
            look(b"#!/no/such/interpreter\n"),
        ];
        let by_link = is_certain(&root, "/proc/self/exe");
        std::fs::remove_file(&file).unwrap();
        assert_eq!((seen, by_link), ([false, false, false, true, true, true], false));
    }

    #[test]
    fn what_is_cut_relative_or_of_another_kind_is_unknown() {
        let mut foreign = elf(1, b"");
        foreign[18] = 183;
        let mut far = elf(3, b"/lib/ld.so\0");
        far[74] = 1;
        let mut many = elf(1, b"");
        many[57] = 255;
        let long = format!("#!{}/bin/sh", " ".repeat(LINE));
        for bytes in [
            &b""[..],
            b"#!",
            b"#!\n/bin/sh",
            b"#!sh",
            b"echo",
            b"\x7fELF\x01\x01",
            &elf(3, b"ld.so\0"),
            &elf(1, b"")[..100],
            &foreign,
            &far,
            &many,
            long.as_bytes(),
        ] {
            assert_eq!(runner(bytes), Runner::Unknown, "{bytes:?}");
        }
    }
}
