//! `import`: an image from a root file system.

use super::Globals;
use crate::error::Result;
use crate::image::{ImageConfig, Reference};
use crate::rocker::command::{Command, Rules, flag};
use crate::rocker::{change, print, units};
use std::io::IsTerminal;

#[derive(Default)]
pub struct Options {
    words: Vec<String>,
    changes: Vec<String>,
    message: String,
    quiet: bool,
}

pub static COMMAND: Command<Options> = Command {
    name: "import",
    aliases: "image import",
    words: "FILE IMAGE",
    about: "Make an image of a root file system in a tar archive, plain, gzip or bzip2.",
    more: "\
FILE may be - for stdin. IMAGE is NAME[:TAG], the tag is latest when it is left out.

Examples:
  rocker import base-image/busybox.tar busybox
  rocker import alpine.tar.gz alpine:3.18 -c 'CMD [\"/bin/sh\"]'
",
    rules: Rules::Usual,
    flags: &[
        flag(
            "-c, --change INSTRUCTION",
            "Set CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME or WORKDIR",
            |o, value| value.set(&mut o.changes),
        ),
        flag("-m, --message TEXT", "Keep a remark with the image", |o, value| {
            value.set(&mut o.message)
        }),
        flag("-q, --quiet", "Show no progress", |o, value| value.set(&mut o.quiet)),
    ],
    word: |o, word| {
        o.words.push(word);
        Ok(())
    },
    run,
};

fn run(globals: &Globals, options: Options) -> Result<u8> {
    let [source, name] = &*options.words else { return Ok(1) };
    let reference = Reference::parse(name)?;
    let mut config = ImageConfig::default();
    change::apply(&mut config, &options.changes)?;
    let progress = !options.quiet && std::io::stderr().is_terminal();
    let engine = globals.engine()?;
    let image = engine.images.import(source, &reference, config, &options.message, progress)?;
    let (id, size) = (image.id.get(..8).unwrap_or(&image.id), units::size(image.size));
    print::line(&format!("Imported {reference} (ID: {id}, Size: {size})"))?;
    Ok(0)
}
