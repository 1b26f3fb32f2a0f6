//! `run` and `create`: a new container. Options that contradict one another are refused here; what they
//! mean together, on this host and for this image, is decided by the engine.

use super::{Globals, security};
use crate::container::options::{Options, Ran};
use crate::container::{self, size, userns};
use crate::error::{ENGINE, Error, Result};
use crate::rocker::command::{Command, Flag, Rules, flag, joined};
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
    flags: &FLAGS,
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
    flags: FLAGS.split_at(ATTACHING.len()).1,
    word,
    run: create,
};

static FLAGS: [Flag<Options>; ATTACHING.len() + MAKING.len()] = joined(ATTACHING, MAKING);

/// How the caller stays with it: `create` has none of these.
const ATTACHING: &[Flag<Options>] = &[
    flag("-d, --detach", "Run in the background and print the id", |o, value| {
        value.set(&mut o.detach)
    }),
    flag(
        "--detach-keys KEYS",
        "Keys that leave the container running (default ctrl-p,ctrl-q)",
        |o, value| value.set(&mut o.detach_keys),
    ),
    flag("--sig-proxy", "Forward signals to the command (default true)", |o, value| {
        value.set_off(&mut o.no_signal_proxy)
    }),
];

/// What a container is made by.
const MAKING: &[Flag<Options>] = &[
    flag("--image NAME[:TAG]", "Image to run", |o, value| value.set(&mut o.image)),
    flag("-t, --tty", "Give it a terminal", |o, value| value.set(&mut o.tty)),
    flag("-i, --interactive", "Connect stdin even where it is no terminal", |o, value| {
        value.set(&mut o.interactive)
    }),
    flag("--rm", "Remove the container when it ends", |o, value| value.set(&mut o.rm)),
    flag(
        "--restart POLICY",
        "Start it again when it ends: no, on-failure[:N], always, unless-stopped",
        |o, value| {
            let text = value.text();
            container::restart::parse(&text)?;
            o.restart = Some(text);
            Ok(())
        },
    ),
    flag("--name NAME", "Name of the container (default its id)", |o, value| {
        value.set(&mut o.name)
    }),
    flag("-h, --hostname NAME", "Host name inside (default the id)", |o, value| {
        value.set(&mut o.hostname)
    }),
    flag(
        "-e, --env KEY[=VALUE]",
        "Set a variable; without a value take the caller's",
        |o, value| value.set(&mut o.env),
    ),
    flag("--env-file FILE", "Set the variables that a file lists", |o, value| {
        value.set(&mut o.env_files)
    }),
    flag("-w, --workdir DIR", "Working directory inside", |o, value| value.set(&mut o.workdir)),
    flag("-u, --user USER[:GROUP]", "User and group by name or number", |o, value| {
        value.set(&mut o.user)
    }),
    flag("--entrypoint COMMAND", "Replace the image's entry point", |o, value| {
        value.set(&mut o.entrypoint)
    }),
    flag(
        "-v, --volume SOURCE:CTR[:ro]",
        "Mount a file or directory of the host, or a volume by name",
        |o, value| value.set(&mut o.volumes),
    ),
    flag(
        "--mount OPTIONS",
        "Mount by type=bind|volume|tmpfs,source=...,target=...,readonly",
        |o, value| value.set(&mut o.mounts),
    ),
    flag("--tmpfs DIR[:OPTIONS]", "Mount an empty tmpfs inside", |o, value| {
        value.set(&mut o.tmpfs)
    }),
    flag("--read-only", "Make the root file system read-only", |o, value| {
        value.set(&mut o.read_only)
    }),
    flag(
        "--layer MODE",
        "Where it writes: overlay, tmpfs or copy (default what this host can)",
        |o, value| {
            o.layer = Some(container::layer::parse(value.text())?);
            Ok(())
        },
    ),
    flag("--label-file FILE", "Attach the labels that a file lists", |o, value| {
        value.set(&mut o.label_files)
    }),
    flag("-l, --label KEY[=VALUE]", "Attach a label", |o, value| value.set(&mut o.labels)),
    flag("-m, --memory LIMIT", "Memory limit (100m, 1g; at least 6m)", |o, value| {
        o.limits.memory = units::parse_memory(&value.text())?;
        Ok(())
    }),
    flag(
        "--memory-swap LIMIT",
        "Limit of memory and swap together; -1 is unlimited",
        |o, value| {
            o.limits.memory_swap = units::parse_swap(&value.text())?;
            Ok(())
        },
    ),
    flag(
        "-c, --cpushare, --cpu-shares SHARES",
        "Weight for processor time (2 to 262144; 1024 is usual)",
        |o, value| {
            o.limits.cpu_shares = Some(units::parse_shares(&value.text())?);
            Ok(())
        },
    ),
    flag("--cpuset, --cpuset-cpus CORES", "Processors to run on (0-1, 0,2)", |o, value| {
        o.limits.cpuset = Some(units::parse_cpuset(&value.text())?);
        Ok(())
    }),
    flag("--cpus NUMBER", "Limit of processor time (1.5 is one and a half)", |o, value| {
        o.limits.milli_cpus = units::parse_cpus(&value.text())?;
        Ok(())
    }),
    flag(
        "--pids-limit NUMBER",
        "Limit of processes and threads (default 2048; -1 is unlimited)",
        |o, value| {
            o.limits.pids = Some(match units::whole(&value.text())? {
                number if number > 0 => number,
                0 | -1 => -1,
                _ => return Err(Error::new("neither -1 nor a number of processes")),
            });
            Ok(())
        },
    ),
    flag(
        "--stop-signal SIGNAL",
        "Signal that asks it to stop (default the image's, or TERM)",
        |o, value| {
            let text = value.text();
            if signal::parse(&text).is_none() {
                return Err(Error::new("no such signal"));
            }
            o.stop_signal = Some(text);
            Ok(())
        },
    ),
    flag(
        "--stop-timeout SECONDS",
        "Wait this long for it to stop before KILL (default 10; -1 for ever)",
        |o, value| value.set(&mut o.stop_timeout),
    ),
    flag("--init", "Run a first process that reaps and forwards signals", |o, value| {
        value.set(&mut o.init)
    }),
    flag(
        "--net, --network NETWORK",
        "Network to join (repeatable), or none, host, container:NAME (default rocker0)",
        |o, value| value.set(&mut o.net.networks),
    ),
    flag(
        "-p, --publish [IP:][HOST]:CTR[/udp]",
        "Publish a port of the container, or a range of them",
        |o, value| value.set(&mut o.net.publish),
    ),
    flag(
        "--expose PORT[/udp]",
        "Expose a port, or a range of them, as the image may do",
        |o, value| value.set(&mut o.net.expose),
    ),
    flag("-P, --publish-all", "Publish all ports that are exposed", |o, value| {
        value.set(&mut o.net.publish_all)
    }),
    flag(
        "--publish-mode MODE",
        "Publish by the kernel or by a proxy (nft, proxy; default what works)",
        |o, value| {
            value.set(&mut o.net.publish_mode)?;
            match o.net.publish_mode.as_deref() {
                Some("nft" | "proxy") => Ok(()),
                _ => Err(Error::new("neither nft nor proxy")),
            }
        },
    ),
    flag("--ip, --ip6 ADDRESS", "Address in the first network", |o, value| {
        value.set(&mut o.net.ip)
    }),
    flag("--mac-address MAC", "Hardware address of the first interface", |o, value| {
        value.set(&mut o.net.mac)
    }),
    flag(
        "--network-alias, --net-alias NAME",
        "Another name by which members of its networks find it",
        |o, value| value.set(&mut o.net.aliases),
    ),
    flag(
        "--add-host NAME:ADDRESS",
        "Add a line to /etc/hosts (ADDRESS may be host-gateway)",
        |o, value| value.set(&mut o.net.add_host),
    ),
    flag("--dns ADDRESS", "Name server to ask instead of the host's", |o, value| {
        value.set(&mut o.net.dns)
    }),
    flag("--dns-search DOMAIN", "Domain to look in instead of the host's", |o, value| {
        value.set(&mut o.net.dns_search)
    }),
    flag(
        "--dns-option, --dns-opt OPTION",
        "Option of the resolver instead of the host's",
        |o, value| value.set(&mut o.net.dns_options),
    ),
    flag("--cap-add NAME", "Add a capability (NET_ADMIN, or ALL)", |o, value| {
        security::capability_names(&mut o.security.cap_add, &value.text())
    }),
    flag("--cap-drop NAME", "Take a capability away (CHOWN, or ALL)", |o, value| {
        security::capability_names(&mut o.security.cap_drop, &value.text())
    }),
    flag(
        "--security-opt OPTION",
        "no-new-privileges[=false], seccomp=unconfined, or seccomp=FILE",
        |o, value| security::security_option(&mut o.security, &value.text()),
    ),
    flag(
        "--privileged",
        "Give it all rights and all devices: it can do anything to this host",
        |o, value| value.set(&mut o.security.privileged),
    ),
    flag(
        "--device DEVICE[:CTR[:rwm]]",
        "Show a device of the host, or a directory of them, inside",
        |o, value| {
            o.security.devices.push(security::device(&value.text())?);
            Ok(())
        },
    ),
    flag(
        "--ulimit NAME=SOFT[:HARD]",
        "Limit a resource of each process (nofile=1024:2048)",
        |o, value| {
            o.security.ulimits.push(security::ulimit(&value.text())?);
            Ok(())
        },
    ),
    flag(
        "--sysctl KEY=VALUE",
        "Set a kernel value of the container's own (net.ipv4.ip_forward=1)",
        |o, value| value.set(&mut o.security.sysctls),
    ),
    flag(
        "--userns MODE",
        "Users of its own: auto or UID:GID:SIZE of the host's, or host (default)",
        |o, value| {
            o.userns = userns::parse(&value.text())?;
            Ok(())
        },
    ),
    flag("--shm-size SIZE", "Size of /dev/shm (default 64m)", |o, value| {
        // Nothing is as nothing said, for docker too: for the kernel it is without a bound.
        o.security.shm_size = Some(size::parse(&value.text())?).filter(|size| *size > 0);
        Ok(())
    }),
    flag(
        "--oom-score-adj NUMBER",
        "Whom the kernel ends first when memory is short (-1000 to 1000)",
        |o, value| {
            o.security.oom_score_adj = Some(security::oom_score(&value.text())?);
            Ok(())
        },
    ),
    flag("--cidfile FILE", "Write the id to a new file", |o, value| value.set(&mut o.cidfile)),
    flag("--pidfile FILE", "Write the process id to a file", |o, value| value.set(&mut o.pidfile)),
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
    let options = Options { mask: globals.mask, ..options };
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
    let options = Options { mask: globals.mask, ..options };
    let id = container::create(&globals.engine()?, options)?;
    print::line(&id)?;
    Ok(0)
}
