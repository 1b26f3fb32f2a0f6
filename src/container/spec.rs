//! From options and image to the record: decisions only, but for what has to be looked up on the
//! host.

use super::options::Options;
use super::record::{Mount, MountKind, Record, State, Status};
use super::restart;
use super::security;
use super::store::check_name;
use super::{membership, names, volumes};
use crate::error::{Context, Error, Result};
use crate::image::Image;
use crate::namespace::mounts::tmpfs_options;
use crate::runtime::program::DEFAULT_PATH;
use crate::sys::{fs, signal, time};
use std::collections::BTreeMap;

/// The image for a command line that names none.
const DEFAULT_IMAGE: &str = "busybox";
/// Smaller limits leave a program no room to start.
pub const LEAST_MEMORY: u64 = 6 << 20;
/// Docker's time between the stop signal and SIGKILL.
const STOP_SECONDS: i64 = 10;
/// Files of the container's own that appear below /etc.
pub const ETC_FILES: [&str; 3] = ["hosts", "hostname", "resolv.conf"];

/// Which of the words is the image, and which the command.
///
/// A first word that begins with `/` or holds a blank cannot be an image: then it is busybox.
pub fn image_and_words(options: &Options) -> Result<(&str, &[String])> {
    match (&options.image, &options.words[..]) {
        (Some(image), words) => Ok((image, words)),
        (None, [first, ..]) if first.starts_with('/') || first.contains(' ') => {
            Ok((DEFAULT_IMAGE, &options.words))
        }
        (None, [first, rest @ ..]) => Ok((first, rest)),
        (None, []) => Err(Error::new("no image was named").hint("rocker run IMAGE [COMMAND]")),
    }
}

/// Builds the record of a new container. Every value that was given is checked here.
pub fn record(options: &Options, image: &Image, words: &[String], id: String) -> Result<Record> {
    let config = &image.config;
    let name = options.name.clone().unwrap_or_else(|| id.clone());
    if options.name.is_some() {
        check_name(&name)?;
    }
    let hostname = options.hostname.clone().unwrap_or_else(|| id.clone());
    if hostname.is_empty() || hostname.len() > 64 || hostname.contains(['/', '\0', '\n', ' ']) {
        return Err(Error::new(format!("host name {hostname:?}: not usable")));
    }
    check_limits(options)?;
    let (restart, restart_most) = restart::parse(options.restart.as_deref().unwrap_or_default())?;
    let (network, net) = membership::plan(&options.net, &config.exposed_ports)?;
    let workdir = options.workdir.clone().unwrap_or_else(|| config.working_dir.clone());
    let stop_signal = options.stop_signal.as_deref().unwrap_or(&config.stop_signal);
    let (args, entrypoint) = args(options, image, words)?;
    Ok(Record {
        version: 1,
        name,
        image: format!("{}:{}", image.name, image.tag),
        image_id: image.id.clone(),
        layers: image.layers.iter().map(|layer| layer.digest.clone()).collect(),
        layer_sizes: image.layers.iter().map(|layer| layer.size).collect(),
        created: time::seconds(),
        args,
        entrypoint: Some(entrypoint),
        env: environment(options, &config.env)?,
        user: options.user.clone().unwrap_or_else(|| config.user.clone()),
        workdir: absolute_workdir(&workdir)?,
        hostname,
        labels: labels(&config.labels, options)?,
        mounts: mounts(options)?,
        read_only: options.read_only,
        limits: options.limits.clone(),
        stop_signal: match stop_signal {
            "" => libc::SIGTERM as u32,
            text => signal::parse(text)
                .ok_or_else(|| Error::new(format!("stop signal {text:?}: no such signal")))?,
        },
        stop_timeout: options.stop_timeout.unwrap_or(STOP_SECONDS),
        init: options.init,
        tty: options.tty,
        interactive: options.interactive || options.tty,
        auto_remove: options.rm,
        restart,
        restart_most,
        security: security::decide(&options.security, membership::is_own(&network))?,
        userns: None,
        keeps_stdin: options.detach.then_some(true),
        network,
        net,
        layer_mode: options.layer.clone().unwrap_or_default(),
        id,
    })
}

fn check_limits(options: &Options) -> Result<()> {
    let limits = &options.limits;
    if let Some(bytes) = limits.memory.filter(|bytes| *bytes < LEAST_MEMORY) {
        return Err(Error::new(format!("memory limit of {bytes} bytes: the least is 6m")));
    }
    if let (Some(both), memory) = (limits.memory_swap, limits.memory)
        && both >= 0
        && memory.is_none_or(|memory| memory > both as u64)
    {
        return Err(Error::new("memory-swap: needs a memory limit, and must not be below it"));
    }
    Ok(())
}

/// Entry point and command, docker's way: an entry point that is given drops the image's command.
/// Gives also how many words are the entry point.
fn args(options: &Options, image: &Image, words: &[String]) -> Result<(Vec<String>, u32)> {
    let config = &image.config;
    let mut args = match options.entrypoint.as_deref() {
        Some("") => Vec::new(),
        Some(program) => vec![program.to_owned()],
        None => config.entrypoint.clone(),
    };
    let entrypoint = args.len() as u32;
    match (words, &options.entrypoint) {
        ([], None) => args.extend(config.cmd.iter().cloned()),
        _ => args.extend(words.iter().cloned()),
    }
    match args.is_empty() {
        false => Ok((args, entrypoint)),
        true => Err(Error::new("no command was given, and the image names none")),
    }
}

fn absolute_workdir(workdir: &str) -> Result<String> {
    match workdir {
        "" => Ok("/".to_owned()),
        path if path.starts_with('/') => Ok(path.to_owned()),
        path => Err(Error::new(format!("working directory {path:?}: is not an absolute path"))),
    }
}

/// The image's variables, then the files', then the options': the later one counts. What a start adds
/// is not among them.
fn environment(options: &Options, image: &[String]) -> Result<Vec<String>> {
    let mut env: Vec<String> = Vec::new();
    for entry in image {
        set(&mut env, entry.clone());
    }
    if !env.iter().any(|entry| entry.starts_with("PATH=")) {
        set(&mut env, format!("PATH={DEFAULT_PATH}"));
    }
    add_variables(&mut env, &options.env_files, &options.env)?;
    Ok(env)
}

/// Adds what files list, then what options say.
pub fn add_variables(env: &mut Vec<String>, files: &[String], entries: &[String]) -> Result<()> {
    for file in files {
        lines("environment file", file)?.iter().try_for_each(|line| add_variable(env, line))?;
    }
    entries.iter().try_for_each(|entry| add_variable(env, entry))
}

/// What a file lists, one on each line that is neither empty nor a comment. `what` it is.
fn lines(what: &str, file: &str) -> Result<Vec<String>> {
    let text = std::fs::read(file).map_err(fs::errno);
    let text = String::from_utf8(text.context(format_args!("read the {what} {file}"))?)
        .map_err(|_| Error::new(format!("{what} {file}: is not UTF-8")))?;
    // Editors of Windows put a mark in front.
    let lines = text.trim_start_matches('\u{feff}').lines().map(str::trim_start);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(lines.map(str::to_owned).collect())
}

/// Adds `KEY=VALUE`, or with a bare `KEY` what the caller has under it, if anything.
pub fn add_variable(env: &mut Vec<String>, entry: &str) -> Result<()> {
    let key = entry.split('=').next().unwrap_or_default();
    if key.is_empty() || key.contains([' ', '\t']) || entry.contains('\0') {
        return Err(Error::new(format!("environment variable {entry:?}: has no proper name")));
    }
    match entry.contains('=') {
        true => set(env, entry.to_owned()),
        false => match std::env::var(key) {
            Ok(value) => set(env, format!("{key}={value}")),
            Err(_) => env.retain(|other| other.split('=').next() != Some(key)),
        },
    }
    Ok(())
}

/// Adds `KEY=VALUE`, or puts it in the place of another value.
pub fn set(env: &mut Vec<String>, entry: String) {
    let key = entry.split('=').next();
    match env.iter_mut().find(|other| other.split('=').next() == key) {
        Some(other) => *other = entry,
        None => env.push(entry),
    }
}

fn labels(image: &BTreeMap<String, String>, options: &Options) -> Result<BTreeMap<String, String>> {
    let mut labels = image.clone();
    let mut asked = Vec::new();
    for file in &options.label_files {
        asked.extend(lines("label file", file)?);
    }
    for label in asked.iter().chain(&options.labels) {
        let (key, value) = label.split_once('=').unwrap_or((label, ""));
        if key.is_empty() {
            return Err(Error::new(format!("label {label:?}: has no name")));
        }
        labels.insert(key.to_owned(), value.to_owned());
    }
    Ok(labels)
}

fn mounts(options: &Options) -> Result<Vec<Mount>> {
    let mut list = Vec::new();
    for text in &options.volumes {
        list.push(volume(text)?);
    }
    for text in &options.tmpfs {
        let (target, options) = text.split_once(':').unwrap_or((text, ""));
        tmpfs_options(options).context(format_args!("tmpfs {text}"))?;
        list.push(tmpfs(target, options)?);
    }
    for text in &options.mounts {
        let mount = volumes::parse_mount(text)?;
        let what = || format!("mount {text}");
        list.push(match &*mount.kind {
            "tmpfs" => tmpfs(&mount.target, &mount.options)?,
            "bind" => bind(&mount.source, &mount.target, mount.read_only).context(what())?,
            _ => {
                let target = target_path(&mount.target)?;
                volumes::mount(&mount.source, target, mount.read_only, &mount.options)
                    .context(what())?
            }
        });
    }
    for (index, mount) in list.iter().enumerate() {
        if list[..index].iter().any(|other| other.target == mount.target) {
            return Err(Error::new(format!("{}: is the target of two mounts", mount.target)));
        }
    }
    Ok(list)
}

/// Reads `HOST:CTR[:ro|rw]`; the source has to be there. What docker takes besides means nothing
/// here: no labels of SELinux are set, mounts are private, and the host is this machine.
fn volume(text: &str) -> Result<Mount> {
    let mut parts = text.split(':');
    let (source, target) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let (mut read_only, mut options) = (false, "");
    for mode in parts.next().into_iter().flat_map(|modes| modes.split(',')) {
        match mode {
            "ro" | "rw" => read_only = mode == "ro",
            volumes::NO_COPY => options = volumes::NO_COPY,
            "z" | "Z" | "private" | "rprivate" | "cached" | "delegated" | "consistent" => {}
            _ => {
                return Err(Error::new(format!(
                    "volume {text}: mode {mode:?} is not known; ro and rw are"
                )));
            }
        }
    }
    if source.is_empty() || target.is_empty() || parts.next().is_some() {
        return Err(Error::new(format!("volume {text}: is not HOST:CONTAINER[:ro]")));
    }
    if !source.contains('/') && ![".", ".."].contains(&source) {
        return volumes::mount(source, target_path(target)?, read_only, options);
    }
    if !options.is_empty() {
        return Err(Error::new(format!("volume {text}: {options} is for volumes with a name")));
    }
    bind(source, target, read_only)
}

fn tmpfs(target: &str, options: &str) -> Result<Mount> {
    Ok(Mount {
        kind: MountKind::Tmpfs,
        volume: String::new(),
        source: String::new(),
        target: target_path(target)?,
        read_only: false,
        options: options.to_owned(),
    })
}

/// A file or directory of the host, which has to be there.
fn bind(source: &str, target: &str, read_only: bool) -> Result<Mount> {
    let path = std::path::absolute(source).map_err(fs::errno);
    let path = path.context(format_args!("volume {source}"))?;
    fs::stat_path(&path).context(format_args!("volume {}", path.display()))?;
    let source = path.to_str().map(str::to_owned);
    Ok(Mount {
        kind: MountKind::Bind,
        volume: String::new(),
        source: source.ok_or_else(|| Error::new("the source is not UTF-8"))?,
        target: target_path(target)?,
        read_only,
        options: String::new(),
    })
}

/// A place to mount on: absolute, `.` and `..` resolved, neither `/` nor in /proc.
fn target_path(target: &str) -> Result<String> {
    let mut names: Vec<&str> = Vec::new();
    for name in target.split('/') {
        match name {
            "" | "." => {}
            ".." => drop(names.pop()),
            name => names.push(name),
        }
    }
    let refuse = |why: &str| Err(Error::new(format!("mount target {target:?}: {why}")));
    match names.first() {
        _ if !target.starts_with('/') => refuse("is not an absolute path"),
        None => refuse("the root cannot be mounted over"),
        Some(&"proc") => refuse("nothing may be mounted inside /proc"),
        _ => Ok(format!("/{}", names.join("/"))),
    }
}

/// The state of a container that has not run yet.
pub fn first_state(record: &Record) -> State {
    State {
        id: record.id.clone(),
        name: record.name.clone(),
        command: record.args.join(" "),
        created_time: time::utc(time::now()),
        status: Status::Created,
        volume: record.mounts.iter().filter(|m| m.kind == MountKind::Bind).map(shown).collect(),
        network: record.network.clone(),
        image_name: record.image.clone(),
        created: record.created,
        created_uptime: time::since_boot(),
        ..State::default()
    }
}

fn shown(mount: &Mount) -> String {
    let source = if mount.volume.is_empty() { &mount.source } else { &mount.volume };
    format!("{source}:{}{}", mount.target, if mount.read_only { ":ro" } else { "" })
}

/// What /etc/hosts, /etc/hostname and /etc/resolv.conf hold, in the order of `ETC_FILES`.
pub fn etc_files(record: &Record) -> [Vec<u8>; 3] {
    let hosts = names::hosts(record, &[], None, &[]);
    let resolv = names::resolv(&record.net, membership::has_own_namespace(record));
    [hosts.into_bytes(), format!("{}\n", record.hostname).into_bytes(), resolv.into_bytes()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::ImageConfig;

    fn image(config: ImageConfig) -> Image {
        Image {
            name: "busybox".to_owned(),
            tag: "latest".to_owned(),
            id: "0".repeat(64),
            size: 0,
            created_time: String::new(),
            created: 0,
            boot_id: None,
            created_uptime: None,
            layers: Vec::new(),
            config,
            comment: String::new(),
            author: String::new(),
        }
    }

    fn words(list: &[&str]) -> Vec<String> {
        list.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn test_container_info_generation() {
        let options = Options { words: words(&["busybox", "ls", "-l"]), ..Options::default() };
        let (name, rest) = image_and_words(&options).unwrap();
        assert_eq!(name, "busybox");
        let image = image(ImageConfig::default());
        let record = record(&options, &image, rest, "0123456789".to_owned()).unwrap();
        let state = first_state(&record);
        assert_eq!((state.id.as_str(), state.name.as_str()), ("0123456789", "0123456789"));
        assert_eq!(state.command, "ls -l");
        assert_eq!(state.image_name, "busybox:latest");
        assert_eq!((state.pid, state.status), (0, Status::Created));
    }

    #[test]
    fn a_first_word_that_cannot_be_an_image_is_the_command_of_busybox() {
        for first in ["/bin/sleep", "ls -l"] {
            let options = Options { words: words(&[first, "1"]), ..Options::default() };
            assert_eq!(image_and_words(&options).unwrap().0, "busybox");
        }
        assert!(image_and_words(&Options::default()).is_err());
    }

    #[test]
    fn an_entry_point_that_is_given_drops_the_command_of_the_image() {
        let config = ImageConfig {
            entrypoint: words(&["/e"]),
            cmd: words(&["c"]),
            ..ImageConfig::default()
        };
        let image = image(config);
        let plain = Options::default();
        let args = |options: &Options, given: &[&str]| args(options, &image, &words(given));
        assert_eq!(args(&plain, &[]).unwrap(), (words(&["/e", "c"]), 1));
        assert_eq!(args(&plain, &["x"]).unwrap(), (words(&["/e", "x"]), 1));
        let other = Options { entrypoint: Some("/o".to_owned()), ..Options::default() };
        assert_eq!(args(&other, &[]).unwrap(), (words(&["/o"]), 1));
        let none = Options { entrypoint: Some(String::new()), ..Options::default() };
        assert_eq!(args(&none, &["x"]).unwrap(), (words(&["x"]), 0));
        assert!(args(&none, &[]).is_err());
    }

    #[test]
    fn a_later_variable_replaces_an_earlier_one_of_the_same_name() {
        let options = Options { env: words(&["A=2", "B="]), ..Options::default() };
        let env = environment(&options, &words(&["A=1", "PATH=/x"])).unwrap();
        assert_eq!(env, ["A=2", "PATH=/x", "B="]);
    }

    #[test]
    fn mount_targets_are_made_plain_and_proc_is_refused() {
        assert_eq!(target_path("/a/./b/../c/").unwrap(), "/a/c");
        for bad in ["a", "/", "/..", "/proc", "/proc/self/attr", "/x/../proc/1"] {
            assert!(target_path(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn volumes_without_a_path_or_with_an_unknown_mode_are_refused() {
        for bad in
            ["", "/tmp", ":/x", "/tmp:", "-data:/x", "/tmp:/x:rslave", "/tmp:/x:ro:y", "/tmp:/x:"]
        {
            assert!(volume(bad).is_err(), "{bad}");
        }
        for (mode, read_only) in
            [("ro", true), ("z", false), ("ro,Z", true), ("rprivate,rw", false)]
        {
            assert_eq!(volume(&format!("/tmp:/x:{mode}")).unwrap().read_only, read_only, "{mode}");
        }
        assert_eq!(volume("data:/x").unwrap().volume, "data");
        for here in [".:/x", "..:/x", "./.:/x"] {
            assert!(volume(here).unwrap().source.starts_with('/'), "{here}");
        }
        assert!(volume("/no/such/place:/x").unwrap_err().message.contains("/no/such/place"));
    }
}
