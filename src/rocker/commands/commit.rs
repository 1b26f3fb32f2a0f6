//! `commit`: an image from what a container has become.

use super::Globals;
use crate::container::{self, CommitChanges};
use crate::error::Result;
use crate::image::Reference;
use crate::rocker::command::{Command, Rules, flag};
use crate::rocker::{change, print};

#[derive(Default)]
pub struct Options {
    words: Vec<String>,
    changes: Vec<String>,
    message: String,
    author: String,
}

pub static COMMAND: Command<Options> = Command {
    name: "commit",
    aliases: "container commit",
    words: "CONTAINER IMAGE",
    about: "Make an image of what a container has become.",
    more: "\
Examples:
  rocker commit web myimage
  rocker commit -m 'with tools' -c 'CMD [\"/bin/sh\"]' web myimage:2
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
        flag("-a, --author NAME", "Keep the author with the image", |o, value| {
            value.set(&mut o.author)
        }),
    ],
    word: |o, word| {
        o.words.push(word);
        Ok(())
    },
    run,
};

fn run(globals: &Globals, options: Options) -> Result<u8> {
    let [name, image] = &*options.words else { return Ok(1) };
    let reference = Reference::parse(image)?;
    let engine = globals.engine()?;
    let mut config = container::image_config(&engine, name)?;
    change::apply(&mut config, &options.changes)?;
    let changes = CommitChanges { message: options.message, author: options.author, config };
    let image = container::commit(&engine, name, &reference, changes)?;
    print::line(&format!("sha256:{}", image.id))?;
    Ok(0)
}
