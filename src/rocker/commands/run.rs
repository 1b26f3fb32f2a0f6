//! `run` and `create`: a new container. What the options mean together is decided by the engine.

use super::{Globals, security};
use crate::container::options::{Options, Ran};
use crate::container::{self, size, userns};
use crate::error::{ENGINE, Error, Result};
use crate::rocker::command::{Command, Flag, Rules};
use crate::rocker::{print, units};
use crate::sys::signal;

pub static RUN: Command<Options> = Command {
    name: "run",
    aliases: "container run",
    words: "[IMAGE] [COMMAND] [ARG...]",
    about: "Make a container and run a command in it.",
    more: "\
The image is --image, or else the first word. Options end at the first word:
whatever follows belongs to the command.

Examples:
  rocker run --tty --image busybox /bin/sh
  rocker run --rm -it busybox sh
  rocker run -d --name web -m 256m --cpushare 512 busybox httpd -f
  rocker run --rm -v /srv/data:/data:ro busybox ls -l /data

Exit codes:
  the command's own; 128 and the number of the signal that ended it;
  125 rocker failed before the command; 126 it cannot be executed; 127 it was not found
",
    rules: Rules::Program,
    flags: FLAGS,
    word,
    run,
};

pub static CREATE: Command<Options> = Command {
    name: "create",
    aliases: "container create",
    words: "[IMAGE] [COMMAND] [ARG...]",
    about: "Make a container without starting it.",
    more: "\
Examples:
  rocker create --name web -t busybox sh
  rocker start -ai web
",
    rules: Rules::Program,
    flags: FLAGS.split_at(ONLY_RUN).1,
    word,
    run: create,
};

/// That many options at the start of the table are about attaching: `run` has them alone.
const ONLY_RUN: usize = 3;

const FLAGS: &[Flag<Options>] = &[
    Flag {
        spec: "-d, --detach",
        about: "Run in the background and print the id",
        set: |o, value| value.set(&mut o.detach),
    },
    Flag {
        spec: "--detach-keys KEYS",
        about: "Keys that leave the container running (default ctrl-p,ctrl-q)",
        set: |o, value| value.set(&mut o.detach_keys),
    },
    Flag {
        spec: "--sig-proxy",
        about: "Forward signals to the command (default true)",
        set: |o, value| {
            let mut proxy = true;
            value.set(&mut proxy)?;
            o.no_signal_proxy = !proxy;
            Ok(())
        },
    },
    Flag {
        spec: "--image NAME[:TAG]",
        about: "Image to run",
        set: |o, value| value.set(&mut o.image),
    },
    Flag { spec: "-t, --tty", about: "Give it a terminal", set: |o, value| value.set(&mut o.tty) },
    Flag {
        spec: "-i, --interactive",
        about: "Connect stdin even where it is no terminal",
        set: |o, value| value.set(&mut o.interactive),
    },
    Flag {
        spec: "--rm",
        about: "Remove the container when it ends",
        set: |o, value| value.set(&mut o.rm),
    },
    Flag {
        spec: "--restart POLICY",
        about: "Start it again when it ends: no, on-failure[:N], always, unless-stopped",
        set: |o, value| {
            let text = value.text();
            container::restart::parse(&text)?;
            o.restart = Some(text);
            Ok(())
        },
    },
    Flag {
        spec: "--name NAME",
        about: "Name of the container (default its id)",
        set: |o, value| value.set(&mut o.name),
    },
    Flag {
        spec: "-h, --hostname NAME",
        about: "Host name inside (default the id)",
        set: |o, value| value.set(&mut o.hostname),
    },
    Flag {
        spec: "-e, --env KEY[=VALUE]",
        about: "Set a variable; without a value take the caller's",
        set: |o, value| value.set(&mut o.env),
    },
    Flag {
        spec: "--env-file FILE",
        about: "Set the variables that a file lists",
        set: |o, value| value.set(&mut o.env_files),
    },
    Flag {
        spec: "-w, --workdir DIR",
        about: "Working directory inside",
        set: |o, value| value.set(&mut o.workdir),
    },
    Flag {
        spec: "-u, --user USER[:GROUP]",
        about: "User and group by name or number",
        set: |o, value| value.set(&mut o.user),
    },
    Flag {
        spec: "--entrypoint COMMAND",
        about: "Replace the image's entry point",
        set: |o, value| value.set(&mut o.entrypoint),
    },
    Flag {
        spec: "-v, --volume SOURCE:CTR[:ro]",
        about: "Mount a file or directory of the host, or a volume by name",
        set: |o, value| value.set(&mut o.volumes),
    },
    Flag {
        spec: "--mount OPTIONS",
        about: "Mount by type=bind|volume|tmpfs,source=...,target=...,readonly",
        set: |o, value| value.set(&mut o.mounts),
    },
    Flag {
        spec: "--tmpfs DIR[:OPTIONS]",
        about: "Mount an empty tmpfs inside",
        set: |o, value| value.set(&mut o.tmpfs),
    },
    Flag {
        spec: "--read-only",
        about: "Make the root file system read-only",
        set: |o, value| value.set(&mut o.read_only),
    },
    Flag {
        spec: "--layer MODE",
        about: "Where it writes: overlay, tmpfs or copy (default what this host can)",
        set: |o, value| {
            o.layer = Some(container::layer::parse(value.text())?);
            Ok(())
        },
    },
    Flag {
        spec: "--label-file FILE",
        about: "Attach the labels that a file lists",
        set: |o, value| value.set(&mut o.label_files),
    },
    Flag {
        spec: "-l, --label KEY[=VALUE]",
        about: "Attach a label",
        set: |o, value| value.set(&mut o.labels),
    },
    Flag {
        spec: "-m, --memory LIMIT",
        about: "Memory limit (100m, 1g; at least 6m)",
        set: |o, value| {
            o.limits.memory = Some(units::parse_memory(&value.text())?);
            Ok(())
        },
    },
    Flag {
        spec: "--memory-swap LIMIT",
        about: "Limit of memory and swap together; -1 is unlimited",
        set: |o, value| {
            o.limits.memory_swap = Some(units::parse_swap(&value.text())?);
            Ok(())
        },
    },
    Flag {
        spec: "-c, --cpushare, --cpu-shares SHARES",
        about: "Weight for processor time (2 to 262144; 1024 is usual)",
        set: |o, value| {
            o.limits.cpu_shares = Some(units::parse_shares(&value.text())?);
            Ok(())
        },
    },
    Flag {
        spec: "--cpuset, --cpuset-cpus CORES",
        about: "Processors to run on (0-1, 0,2)",
        set: |o, value| {
            o.limits.cpuset = Some(units::parse_cpuset(&value.text())?);
            Ok(())
        },
    },
    Flag {
        spec: "--cpus NUMBER",
        about: "Limit of processor time (1.5 is one and a half)",
        set: |o, value| {
            o.limits.milli_cpus = Some(units::parse_cpus(&value.text())?);
            Ok(())
        },
    },
    Flag {
        spec: "--pids-limit NUMBER",
        about: "Limit of processes and threads (default 2048; -1 is unlimited)",
        set: |o, value| {
            o.limits.pids = Some(match units::whole(&value.text())? {
                number if number > 0 => number,
                0 | -1 => -1,
                _ => return Err(Error::new("neither -1 nor a number of processes")),
            });
            Ok(())
        },
    },
    Flag {
        spec: "--stop-signal SIGNAL",
        about: "Signal that asks it to stop (default the image's, or TERM)",
        set: |o, value| {
            let text = value.text();
            if signal::parse(&text).is_none() {
                return Err(Error::new("no such signal"));
            }
            o.stop_signal = Some(text);
            Ok(())
        },
    },
    Flag {
        spec: "--stop-timeout SECONDS",
        about: "Wait this long for it to stop before KILL (default 10; -1 for ever)",
        set: |o, value| value.set(&mut o.stop_timeout),
    },
    Flag {
        spec: "--init",
        about: "Run a first process that reaps and forwards signals",
        set: |o, value| value.set(&mut o.init),
    },
    Flag {
        spec: "--net, --network NETWORK",
        about: "Network to join (repeatable), or none, host, container:NAME (default rocker0)",
        set: |o, value| value.set(&mut o.net.networks),
    },
    Flag {
        spec: "-p, --publish [IP:][HOST]:CTR[/udp]",
        about: "Publish a port of the container, or a range of them",
        set: |o, value| value.set(&mut o.net.publish),
    },
    Flag {
        spec: "--expose PORT[/udp]",
        about: "Expose a port, or a range of them, as the image may do",
        set: |o, value| value.set(&mut o.net.expose),
    },
    Flag {
        spec: "-P, --publish-all",
        about: "Publish all ports that are exposed",
        set: |o, value| value.set(&mut o.net.publish_all),
    },
    Flag {
        spec: "--publish-mode MODE",
        about: "Publish by the kernel or by a proxy (nft, proxy; default what works)",
        set: |o, value| {
            value.set(&mut o.net.publish_mode)?;
            match o.net.publish_mode.as_deref() {
                Some("nft" | "proxy") => Ok(()),
                _ => Err(Error::new("neither nft nor proxy")),
            }
        },
    },
    Flag {
        spec: "--ip, --ip6 ADDRESS",
        about: "Address in the first network",
        set: |o, value| value.set(&mut o.net.ip),
    },
    Flag {
        spec: "--mac-address MAC",
        about: "Hardware address of the first interface",
        set: |o, value| value.set(&mut o.net.mac),
    },
    Flag {
        spec: "--network-alias, --net-alias NAME",
        about: "Another name by which members of its networks find it",
        set: |o, value| value.set(&mut o.net.aliases),
    },
    Flag {
        spec: "--add-host NAME:ADDRESS",
        about: "Add a line to /etc/hosts (ADDRESS may be host-gateway)",
        set: |o, value| value.set(&mut o.net.add_host),
    },
    Flag {
        spec: "--dns ADDRESS",
        about: "Name server to ask instead of the host's",
        set: |o, value| value.set(&mut o.net.dns),
    },
    Flag {
        spec: "--dns-search DOMAIN",
        about: "Domain to look in instead of the host's",
        set: |o, value| value.set(&mut o.net.dns_search),
    },
    Flag {
        spec: "--dns-option, --dns-opt OPTION",
        about: "Option of the resolver instead of the host's",
        set: |o, value| value.set(&mut o.net.dns_options),
    },
    Flag {
        spec: "--cap-add NAME",
        about: "Add a capability (NET_ADMIN, or ALL)",
        set: |o, value| security::capability_names(&mut o.security.cap_add, &value.text()),
    },
    Flag {
        spec: "--cap-drop NAME",
        about: "Take a capability away (CHOWN, or ALL)",
        set: |o, value| security::capability_names(&mut o.security.cap_drop, &value.text()),
    },
    Flag {
        spec: "--security-opt OPTION",
        about: "no-new-privileges[=false], seccomp=unconfined, or seccomp=FILE",
        set: |o, value| security::security_option(&mut o.security, &value.text()),
    },
    Flag {
        spec: "--privileged",
        about: "Give it all rights and all devices: it can do anything to this host",
        set: |o, value| value.set(&mut o.security.privileged),
    },
    Flag {
        spec: "--device DEVICE[:CTR[:rwm]]",
        about: "Show a device of the host, or a directory of them, inside",
        set: |o, value| {
            o.security.devices.push(security::device(&value.text())?);
            Ok(())
        },
    },
    Flag {
        spec: "--ulimit NAME=SOFT[:HARD]",
        about: "Limit a resource of each process (nofile=1024:2048)",
        set: |o, value| {
            o.security.ulimits.push(security::ulimit(&value.text())?);
            Ok(())
        },
    },
    Flag {
        spec: "--sysctl KEY=VALUE",
        about: "Set a kernel value of the container's own (net.ipv4.ip_forward=1)",
        set: |o, value| value.set(&mut o.security.sysctls),
    },
    Flag {
        spec: "--userns MODE",
        about: "Users of its own: auto or UID:GID:SIZE of the host's, or host (default)",
        set: |o, value| {
            o.userns = userns::parse(&value.text())?;
            Ok(())
        },
    },
    Flag {
        spec: "--shm-size SIZE",
        about: "Size of /dev/shm (default 64m)",
        set: |o, value| {
            // Nothing is as nothing said, for docker too: for the kernel it is without a bound.
            o.security.shm_size = Some(size::parse(&value.text())?).filter(|size| *size > 0);
            Ok(())
        },
    },
    Flag {
        spec: "--oom-score-adj NUMBER",
        about: "Whom the kernel ends first when memory is short (-1000 to 1000)",
        set: |o, value| {
            o.security.oom_score_adj = Some(security::oom_score(&value.text())?);
            Ok(())
        },
    },
    Flag {
        spec: "--cidfile FILE",
        about: "Write the id to a new file",
        set: |o, value| value.set(&mut o.cidfile),
    },
    Flag {
        spec: "--pidfile FILE",
        about: "Write the process id to a file",
        set: |o, value| value.set(&mut o.pidfile),
    },
];

fn word(options: &mut Options, word: String) -> Result<()> {
    options.words.push(word);
    Ok(())
}

/// Refuses what is wrong whatever the host and the image are.
fn check(options: &Options) -> Result<()> {
    let wrong = |why: &str| Err(Error::new(why).code(ENGINE));
    if options.image.is_none() && options.words.is_empty() {
        let error = Error::new("run: no image is named").code(ENGINE);
        return Err(error.hint("rocker run --image NAME COMMAND"));
    }
    if options.rm && options.restart.as_deref().is_some_and(|policy| policy != "no") {
        return wrong("conflicting options: cannot specify both --restart and --rm");
    }
    match (options.limits.memory, options.limits.memory_swap) {
        (None, Some(swap)) if swap > 0 => wrong("--memory-swap needs --memory"),
        (Some(memory), Some(swap)) if swap > 0 && (swap as u64) < memory => {
            wrong("--memory-swap is memory and swap together: it cannot be less than --memory")
        }
        _ => Ok(()),
    }
}

fn run(globals: &Globals, options: Options) -> Result<u8> {
    check(&options)?;
    let detach = options.detach;
    match container::run(&globals.engine()?, options)? {
        Ran::Ended(code) => Ok(code),
        Ran::Detached(id) => {
            // Without -d the detach keys were pressed: nobody asked for the id.
            if detach {
                print::line(&id)?;
            }
            Ok(0)
        }
    }
}

fn create(globals: &Globals, options: Options) -> Result<u8> {
    check(&options)?;
    let id = container::create(&globals.engine()?, options)?;
    print::line(&id)?;
    Ok(0)
}
