//! `rmi`: removes images.

use super::{Globals, code_of_removal};
use crate::container;
use crate::error::Result;
use crate::rocker::command::{Command, Rules, flag};
use crate::rocker::{print, report};

#[derive(Default)]
pub struct Options {
    images: Vec<String>,
    force: bool,
}

pub static COMMAND: Command<Options> = Command {
    name: "rmi",
    aliases: "image rm, image remove",
    words: "IMAGE...",
    about: "Remove names of images, and images that have no name left.",
    more: "\
Examples:
  rocker rmi busybox:old
",
    rules: Rules::Usual,
    flags: &[
        flag(
            "-f, --force",
            "Remove it with all its names, and while containers use it; a missing one is no failure",
            |o, value| value.set(&mut o.force),
        ),
        flag(
            "--no-prune",
            "Changes nothing: what images are made of are no images here",
            |_, value| value.set(&mut false),
        ),
    ],
    word: |o, word| {
        o.images.push(word);
        Ok(())
    },
    run,
};

fn run(globals: &Globals, options: Options) -> Result<u8> {
    let engine = globals.engine()?;
    let mut code = 0;
    for removed in container::remove_images(&engine, &options.images, options.force)? {
        match removed {
            Ok(removed) => {
                for name in &removed.untagged {
                    print::line(&format!("Untagged: {name}"))?;
                }
                for id in &removed.deleted {
                    print::line(&format!("Deleted: {id}"))?;
                }
            }
            Err(error) => {
                report(&error);
                code = code.max(code_of_removal(&error, options.force));
            }
        }
    }
    // Also what a removal that was killed half way left without a name.
    for digest in container::collect(&engine)? {
        print::line(&format!("Deleted: sha256:{digest}"))?;
    }
    Ok(code)
}
