//! `port`: where the published ports of a container are.

use super::Globals;
use crate::container;
use crate::container::record::Port;
use crate::error::{Error, Result};
use crate::rocker::command::{Command, Rules, flag};
use crate::rocker::print;

#[derive(Default)]
pub struct Options {
    words: Vec<String>,
    mode: bool,
}

pub static COMMAND: Command<Options> = Command {
    name: "port",
    aliases: "container port",
    words: "CONTAINER [PORT]",
    about: "Show the published ports of a container.",
    more: "\
Examples:
  rocker port web
  rocker port web 80/tcp
",
    rules: Rules::Usual,
    flags: &[flag("-m, --mode", "Show by what they are published: nft or proxy", |o, value| {
        value.set(&mut o.mode)
    })],
    word: |o, word| {
        o.words.push(word);
        Ok(())
    },
    run,
};

fn run(globals: &Globals, options: Options) -> Result<u8> {
    let name = options.words.first().map_or("", String::as_str);
    let (_, state) = container::find(&globals.engine()?, name)?;
    let ports = state.net.ports.iter();
    let inner = |port: &Port| format!("{}/{}", port.inner, port.protocol());
    let host = |port: &Port| format!("{}:{}", port.shown_at(), port.host);
    let mode = match options.mode {
        true => format!(" {}", state.net.publish_mode),
        false => String::new(),
    };
    let Some(wanted) = options.words.get(1) else {
        let lines: Vec<String> =
            ports.map(|port| format!("{} -> {}{mode}\n", inner(port), host(port))).collect();
        print::out(&lines.concat())?;
        return Ok(0);
    };
    let wanted = wanted.to_ascii_lowercase();
    let wanted = if wanted.contains('/') { wanted } else { format!("{wanted}/tcp") };
    let found: Vec<String> = ports
        .filter(|port| inner(port) == wanted)
        .map(|port| format!("{}{mode}\n", host(port)))
        .collect();
    if found.is_empty() {
        return Err(Error::new(format!("container {name} has no published port {wanted}")));
    }
    print::out(&found.concat())?;
    Ok(0)
}
