//! `boot` and `init`: the containers of a machine that starts, and the machine itself.

use crate::container::{self, init};
use crate::error::FAILURE;
use crate::rocker::command::{Command, Rules};
use crate::rocker::{print, report};

#[derive(Default)]
pub struct Options {}

pub static BOOT: Command<Options> = Command {
    name: "boot",
    aliases: "",
    words: "",
    about: "Start the containers marked --restart always or unless-stopped.",
    more: "\
For a script that runs when the machine has started. Containers that run are left alone,
and so is what was stopped since then: a second call does nothing.
",
    rules: Rules::Usual,
    flags: &[],
    word: |_, _| Ok(()),
    run: |globals, _| {
        let engine = globals.engine()?;
        let mut code = 0;
        let started = container::boot(&engine, &mut |error| {
            report(&error);
            code = FAILURE;
        })?;
        started.iter().try_for_each(|name| print::line(name))?;
        Ok(code)
    },
};

pub static INIT: Command<Options> = Command {
    name: "init",
    aliases: "",
    words: "",
    about: "Be process 1 of a machine: mount, start the containers, reap, shut down.",
    more: "\
On the kernel's command line: init=/usr/bin/rocker -- init, or rdinit= in an initramfs;
or as a link called init. Mounted where they are not: /proc, /sys, /dev, /dev/pts, /dev/shm,
/run, cgroup2 on /sys/fs/cgroup, and /tmp where it cannot be written to.

Signals:
  TERM, INT (ctrl-alt-del), RTMIN+5  stop the containers and restart the machine
  USR2, PWR, RTMIN+4                 stop them and switch it off
  USR1, RTMIN+3                      stop them and halt it
A second one does not wait for the containers.
",
    rules: Rules::Usual,
    flags: &[],
    word: |_, _| Ok(()),
    run: |globals, _| {
        init::run(globals.root().as_ref(), globals.run_root().as_ref())?;
        Ok(0)
    },
};
