//! What the bench needs: directories, the image, the yardsticks and the other engines.

use crate::measure::must;
use std::fmt::Write;
use std::fs;
use std::path::Path;

/// Where everything is, and the words that start each engine.
pub struct Setup {
    /// Private and empty at the start: a tmpfs.
    pub base: String,
    /// The name of the cgroups that we make.
    pub group: String,
    /// The directory of the compiled yardsticks.
    pub programs: String,
    pub rocker: String,
    /// The unpacked image: the base image with a `true` of 20 instructions.
    pub rootfs: String,
    pub podman: Option<Vec<String>>,
    /// The directory that docker is unpacked in.
    pub docker: Option<String>,
}

/// The payload of all starts.
pub const TRUE: &str = "/bin/true";

impl Setup {
    /// Reads the environment that run.sh sets, and makes the image and the engines' state.
    pub fn new() -> Self {
        let get = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("run.sh sets {name}"));
        let base = get("BENCH_BASE");
        let mut setup = Self {
            group: get("BENCH_GROUP"),
            programs: get("BENCH_PROGRAMS"),
            rocker: get("ROCKER_BIN"),
            rootfs: format!("{base}/rootfs"),
            podman: None,
            docker: std::env::var("BENCH_DOCKER").ok().filter(|path| !path.is_empty()),
            base,
        };
        setup.make_image(&get("BENCH_IMAGE"));
        setup.make_cgroups();
        setup.make_podman();
        setup
    }

    fn make_image(&self, archive: &str) {
        let Self { base, rootfs, programs, .. } = self;
        fs::create_dir(rootfs).unwrap();
        must(&["tar", "-C", rootfs, "-xf", archive]);
        let payload = format!("{rootfs}{TRUE}");
        fs::remove_file(&payload).unwrap();
        fs::copy(format!("{programs}/true"), &payload).unwrap();
        must(&["tar", "--numeric-owner", "-C", rootfs, "-cf", &format!("{base}/image.tar"), "."]);
        must(&[&self.rocker, "import", &format!("{base}/image.tar"), "busybox"]);
        fs::create_dir(format!("{base}/limit")).unwrap();
    }

    fn make_cgroups(&self) {
        let root = Path::new("/sys/fs/cgroup");
        if root.join("cgroup.controllers").exists() {
            for directory in [root.to_path_buf(), root.join(&self.group)] {
                fs::create_dir_all(&directory).unwrap();
                fs::write(directory.join("cgroup.subtree_control"), "+memory +pids").unwrap();
            }
        } else {
            for controller in ["memory", "pids"] {
                fs::create_dir_all(root.join(controller).join(&self.group)).unwrap();
            }
        }
    }

    fn make_podman(&mut self) {
        let b = &self.base;
        let words = format!(
            "podman --root {b}/podman --runroot {b}/podman-run --tmpdir {b}/podman-tmp \
             --network-config-dir {b}/podman-net --cgroup-manager cgroupfs --storage-driver overlay \
             --events-backend file --runtime crun"
        );
        let words: Vec<String> = words.split(' ').map(str::to_string).collect();
        let mut import = std::process::Command::new(&words[0]);
        import.args(&words[1..]).args(["import", "-q", &format!("{b}/image.tar"), "busybox"]);
        match import.output() {
            Ok(output) if output.status.success() => self.podman = Some(words),
            Ok(output) => crate::report::note(&format!(
                "left out podman: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            )),
            Err(error) => crate::report::note(&format!("left out podman: {error}")),
        }
    }

    /// The yardstick for a start: with what an engine also does by default, or without.
    pub fn limit(&self, equal: bool, further: &[&str]) -> Vec<String> {
        let program = format!("{}/limit", self.programs);
        let mut words = vec![program.as_str(), "-g", &self.group];
        if equal {
            words.extend(EQUAL);
        }
        words.extend(further);
        words.into_iter().map(str::to_string).collect()
    }

    /// `limit` that starts a container.
    pub fn limit_run(&self, equal: bool, options: &[&str], command: &[&str]) -> Vec<String> {
        let state = format!("{}/limit", self.base);
        self.limit(equal, &[options, &[state.as_str(), &self.rootfs], command].concat())
    }

    /// `rocker run --rm` or whatever the words say, on no network.
    pub fn rocker(&self, words: &[&str]) -> Vec<String> {
        [&[self.rocker.as_str()], words].concat().into_iter().map(str::to_string).collect()
    }

    /// An OCI runtime with state of its own.
    pub fn runtime(&self, name: &str, words: &[&str]) -> Vec<String> {
        let state = format!("{}/{name}", self.base);
        let head = [name, "--root", state.as_str()];
        [&head, words].concat().into_iter().map(str::to_string).collect()
    }

    /// Podman with state of its own; nothing where there is none.
    pub fn podman(&self, words: &[&str]) -> Option<Vec<String>> {
        let mut all = self.podman.clone()?;
        all.extend(words.iter().map(|word| word.to_string()));
        Some(all)
    }

    /// Makes the directory that an OCI runtime runs, and gives its path.
    pub fn bundle(&self, name: &str, command: &[&str]) -> String {
        let directory = format!("{}/bundle-{name}", self.base);
        fs::create_dir_all(&directory).unwrap();
        let cgroup = format!("/{}/{name}", self.group);
        fs::write(format!("{directory}/config.json"), oci(&self.rootfs, &cgroup, command)).unwrap();
        directory
    }
}

/// The options of `limit` for what rocker does by default and a bare container does not need.
pub const EQUAL: [&str; 4] = ["-c", "memory,pids", "-m", "-k"];

/// Extra options that podman needs where root may not raise its own limits.
pub const PODMAN: [&str; 7] =
    ["--rm", "--network", "none", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"];

/// The configuration of a container like the others, for an OCI runtime.
fn oci(rootfs: &str, cgroup: &str, command: &[&str]) -> String {
    let mounts = [
        ("/proc", "proc", "nosuid noexec nodev"),
        ("/dev", "tmpfs", "nosuid strictatime mode=755 size=65536k"),
        ("/dev/pts", "devpts", "nosuid noexec newinstance ptmxmode=0666 mode=0620 gid=5"),
        ("/dev/shm", "tmpfs", "nosuid noexec nodev mode=1777 size=65536k"),
        ("/dev/mqueue", "mqueue", "nosuid noexec nodev"),
        ("/sys", "sysfs", "nosuid noexec nodev ro"),
    ];
    let mut text = String::new();
    for (target, kind, options) in mounts {
        let comma = if text.is_empty() { "" } else { "," };
        let options = list(&options.split(' ').collect::<Vec<_>>());
        let _ = write!(
            text,
            r#"{comma}{{"destination":"{target}","type":"{kind}","source":"{kind}","options":{options}}}"#
        );
    }
    let capabilities = list(&[
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_FOWNER",
        "CAP_FSETID",
        "CAP_KILL",
        "CAP_NET_BIND_SERVICE",
        "CAP_SETFCAP",
        "CAP_SETGID",
        "CAP_SETPCAP",
        "CAP_SETUID",
        "CAP_SYS_CHROOT",
    ]);
    let command = list(command);
    format!(
        r#"{{"ociVersion":"1.0.2","hostname":"bench","mounts":[{text}],
"root":{{"path":"{rootfs}","readonly":false}},
"process":{{"terminal":false,"user":{{"uid":0,"gid":0}},"args":{command},"cwd":"/",
"env":["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],"noNewPrivileges":true,"capabilities":
{{"bounding":{capabilities},"effective":{capabilities},"permitted":{capabilities}}}}},
"linux":{{"cgroupsPath":"{cgroup}","resources":{{"memory":{{"limit":268435456}}}},"namespaces":
[{{"type":"pid"}},{{"type":"network"}},{{"type":"ipc"}},{{"type":"uts"}},{{"type":"mount"}}]}}}}"#
    )
}

fn list(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    format!("[{}]", quoted.join(","))
}
