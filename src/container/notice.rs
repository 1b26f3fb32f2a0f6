//! The files that `--cidfile` and `--pidfile` name: a container's id or process is written there.

use super::options::Options;
use crate::error::{Context, Result};
use crate::sys::fs;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

/// One of them, taken before anything is made; gone again if there is no container.
pub struct Notice(Option<Open>);

struct Open {
    file: File,
    path: String,
    /// It was not there before.
    made: bool,
}

impl Notice {
    /// An old file may name another container: that is an error.
    pub fn of_id(options: &Options) -> Result<Self> {
        let Some(path) = &options.cidfile else { return Ok(Self(None)) };
        let file = make(path, options.mask).map_err(fs::errno);
        let file = file.context(format_args!("make the cidfile {path}"))?;
        Ok(Self(Some(Open { file, path: path.clone(), made: true })))
    }

    /// An old file tells of a process that may be long gone: it is overwritten, but not before there is
    /// another. It may be no file at all.
    pub fn of_process(options: &Options) -> Result<Self> {
        let Some(path) = &options.pidfile else { return Ok(Self(None)) };
        let (file, made) = match make(path, options.mask) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                // Also where a link leads to nothing yet.
                let mut open = File::options();
                (open.write(true).create(true).mode(0o644 & !options.mask).open(path), false)
            }
            made => (made, true),
        };
        let file = file.map_err(fs::errno).context(format_args!("make the pidfile {path}"))?;
        Ok(Self(Some(Open { file, path: path.clone(), made })))
    }

    /// Writes the text in place of what the file held; it stays from then on. Nothing where none was
    /// asked for.
    pub fn write(mut self, text: &str) -> Result<()> {
        let Some(Open { mut file, path, .. }) = self.0.take() else { return Ok(()) };
        let mut write = || {
            if file.metadata()?.is_file() {
                file.set_len(0)?;
            }
            file.write_all(text.as_bytes())
        };
        write().map_err(fs::errno).context(format_args!("write {path}"))
    }
}

/// Makes a file with the mode that docker gives it, less what the caller's mask takes away.
fn make(path: &str, mask: u32) -> std::io::Result<File> {
    File::options().write(true).create_new(true).mode(0o644 & !mask).open(path)
}

impl Drop for Notice {
    fn drop(&mut self) {
        if let Some(Open { path, made: true, .. }) = &self.0 {
            // It is ours and empty.
            let _ = std::fs::remove_file(path);
        }
    }
}
