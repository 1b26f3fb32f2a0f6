//! `tag`: another name for an image.

use crate::image::Reference;
use crate::rocker::command::{Command, Rules};

#[derive(Default)]
pub struct Options {
    words: Vec<String>,
}

pub static COMMAND: Command<Options> = Command {
    name: "tag",
    aliases: "image tag",
    words: "IMAGE TARGET",
    about: "Give an image another name.",
    more: "\
Examples:
  rocker tag busybox busybox:stable
",
    rules: Rules::Usual,
    flags: &[],
    word: |o, word| {
        o.words.push(word);
        Ok(())
    },
    run: |globals, options| {
        let [source, target] = &*options.words else { return Ok(1) };
        let target = Reference::parse(target)?;
        let engine = globals.engine()?;
        let image = engine.images.find(source)?;
        engine.images.tag(&image, &target)?;
        Ok(0)
    },
};
