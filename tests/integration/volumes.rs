//! Named volumes: they outlive containers, and begin with what the image has at their place.

use crate::harness::{PATIENCE, Rocker, finish, has_program, skip};
use crate::harness_host as machine;
use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

fn run(rocker: &Rocker, options: &[&str], script: &str) -> String {
    let args = [&["run", "--rm", "--net", "none"], options].concat();
    rocker.ok(&[&args[..], &["--image", "busybox", "sh", "-c", script]].concat())
}

#[test]
fn a_mount_takes_sizes_with_units_and_is_refused_when_it_is_made() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let mount = |mount: &str| {
        let run = ["run", "--rm", "--net", "none", "--mount", mount, "busybox"];
        rocker.ok(&[&run[..], &["grep", " /t ", "/proc/mounts"]].concat())
    };
    let shown = mount("type=tmpfs,target=/t,tmpfs-size=1MiB");
    assert!(shown.contains("size=1024k"), "{shown}");
    let path = rocker.files().join("a,b");
    std::fs::create_dir(&path).unwrap();
    let shown = mount(&format!("Type=bind,\"SRC={}\",dst=/t,readonly=True", path.display()));
    assert!(shown.contains(" ro,"), "{shown}");
    let bad = ["create", "--mount", "type=tmpfs,target=/t,tmpfs-size=banana", "busybox", "true"];
    let said = rocker.refused(&bad, 125);
    assert!(said.contains("/t,tmpfs-size=banana: tmpfs-size=banana: not a size"), "{said}");
    let said = rocker.refused(&["volume", "create", &"a".repeat(129)], 1);
    assert!(said.contains("at most 128 of them"), "{said}");
}

#[test]
fn inspect_shows_objects_whose_labels_are_maps() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    rocker.ok(&["volume", "create", "-l", "x=1", "-l", "y=2", "data"]);
    let has_networks = !["bridge", "veth"].into_iter().any(machine::lacks);
    if has_networks {
        rocker.ok(&["network", "create", "-l", "x=1", "web"]);
    }
    rocker.ok(&["create", "--name", "one", "--net", "none", "-l", "x=1", "busybox", "true"]);
    let template = "{{.Labels.x}}{{.Labels.none}}{{range $k, $v := .Labels}}{{$k}}{{$v}}{{end}}";
    let inspect = |kind: &str, format: &str, name: &str| {
        let output = rocker.ok(&[kind, "inspect", "-f", format, name]);
        output.trim_end().to_owned()
    };
    assert_eq!(inspect("volume", template, "data"), "1<no value>x1y2");
    if has_networks {
        assert_eq!(inspect("network", template, "web"), "1<no value>x1");
    }
    assert_eq!(
        inspect("container", "{{with .Config}}{{.Labels.none}}{{end}}", "one"),
        "<no value>"
    );
    assert_eq!(inspect("volume", "{{.Options}} {{.Scope}}", "data"), "map[] local");
    let all = [("volume", "data"), ("container", "one"), ("network", "web")];
    for (kind, name) in &all[..if has_networks { 3 } else { 2 }] {
        let object = inspect(kind, "{{json .}}", name);
        assert!(object.starts_with('{') && object.ends_with('}'), "{object}");
    }
    let list = rocker.ok(&["volume", "ls", "--format", "{{.Labels}} {{.Label \"y\"}}"]);
    assert_eq!(list, "x=1,y=2 2\n");
}

#[test]
fn a_volume_outlives_its_containers_and_is_shared_by_them() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    run(&rocker, &["-v", "data:/data"], "echo kept > /data/note");
    assert_eq!(run(&rocker, &["-v", "data:/other:ro"], "cat /other/note"), "kept\n");
    let script = "touch /other/x 2>/dev/null || echo refused";
    assert_eq!(run(&rocker, &["-v", "data:/other:ro"], script), "refused\n");
    assert_eq!(rocker.ok(&["volume", "ls", "-q"]), "data\n");
    let place = rocker.ok(&["volume", "inspect", "-f", "{{.Mountpoint}}", "data"]);
    assert_eq!(place.trim(), rocker.root().join("volumes/data/_data").to_str().unwrap());
    assert_eq!(fs::read_to_string(format!("{}/note", place.trim())).unwrap(), "kept\n");
}

#[test]
fn a_new_volume_takes_what_the_image_has_there_and_keeps_it() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let script = "mkdir -p /srv/deep; echo a > /srv/deep/a; ln -s deep/a /srv/link; \
                  chmod 600 /srv/deep/a; chown 7:8 /srv/deep/a; chmod 711 /srv; chown 9 /srv";
    let args =
        ["run", "--net", "none", "--name", "maker", "--image", "busybox", "sh", "-c", script];
    rocker.ok(&args);
    rocker.ok(&["commit", "maker", "filled"]);
    let look = |image: &str| {
        let script = "stat -c '%n %a %u %g' /srv /srv/deep/a; readlink /srv/link";
        let args = ["run", "--rm", "--net", "none", "-v", "v:/srv", "--image", image];
        rocker.ok(&[&args[..], &["sh", "-c", script]].concat())
    };
    assert_eq!(look("filled"), "/srv 711 9 0\n/srv/deep/a 600 7 8\ndeep/a\n");
    run(&rocker, &["-v", "v:/srv"], "rm /srv/link; ln -s changed /srv/link");
    // It is not empty any more: nothing is copied again.
    assert!(look("filled").ends_with("changed\n"));
    // A directory of the host is shown as it is.
    let empty = rocker.files().join("empty");
    fs::create_dir(&empty).unwrap();
    let mount = format!("{}:/srv", empty.display());
    let args = ["run", "--rm", "--net", "none", "-v", &mount, "--image", "filled", "ls", "/srv"];
    assert_eq!(rocker.ok(&args), "");
}

/// An image like busybox in which a script has run.
fn image(rocker: &Rocker, name: &str, script: &str) {
    rocker.ok(&["run", "--name", name, "--net", "none", "busybox", "sh", "-c", script]);
    rocker.ok(&["commit", name, name]);
    rocker.ok(&["rm", name]);
}

#[test]
fn the_first_content_of_a_volume_is_the_images_and_not_that_of_a_mount_above_it() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    image(&rocker, "node", "mkdir -p /app/modules; echo image > /app/modules/which");
    let project = rocker.files().join("project");
    fs::create_dir_all(project.join("modules")).unwrap();
    fs::write(project.join("modules/which"), "host\n").unwrap();
    let bind = format!("{}:/app", project.display());
    for (volume, above) in [("one", ["-v", &bind]), ("two", ["--tmpfs", "/app"])] {
        let volume = format!("{volume}:/app/modules");
        let args =
            [&["run", "--rm", "--net", "none", "-v", &volume], &above[..], &["node"]].concat();
        assert_eq!(rocker.ok(&[&args[..], &["cat", "/app/modules/which"]].concat()), "image\n");
    }
}

#[test]
fn a_volume_is_filled_once_however_many_containers_begin_with_it() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let script = "mkdir /data; cd /data; echo image > conf; \
                  i=0; while [ $i -lt 400 ]; do echo $i > f$i; i=$((i+1)); done";
    image(&rocker, "many", script);
    let args = ["run", "--rm", "--net", "none", "-v", "data:/data", "many", "sh", "-c"];
    let append = [&args[..], &["echo mine >> /data/conf"]].concat();
    let clients: Vec<_> = (0..4).map(|_| rocker.spawn(&append)).collect();
    for client in clients {
        assert_eq!(client.finish().code, 0);
    }
    let found = rocker.ok(&[&args[..], &["cat /data/conf; ls /data | wc -l"]].concat());
    assert_eq!(found, "image\nmine\nmine\nmine\nmine\n401\n");
}

#[test]
fn what_a_container_removes_from_its_volume_stays_removed() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    image(&rocker, "spool", "mkdir /spool; touch /spool/job");
    let args = ["run", "--name", "worker", "--net", "none", "-v", "jobs:/spool", "spool"];
    let script = "ls /spool; rm -f /spool/job";
    assert_eq!(rocker.ok(&[&args[..], &["sh", "-c", script]].concat()), "job\n");
    assert_eq!(rocker.ok(&["start", "-a", "worker"]), "");
}

#[test]
fn links_that_lead_nowhere_stay_and_what_they_name_is_made() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let files = rocker.files();
    let own = files.join("own");
    fs::create_dir_all(own.join("releases/5")).unwrap();
    fs::write(own.join("releases/5/page"), "five\n").unwrap();
    fs::write(own.join("conf"), "conf\n").unwrap();
    let host = files.join("host");
    fs::create_dir(&host).unwrap();
    for (link, target) in [
        ("resolv.conf", "../run/resolve/stub.conf"),
        ("current", "/srv/releases/5"),
        ("there", "releases/there"),
        ("conf", "/elsewhere/conf"),
        ("round", "round"),
    ] {
        symlink(target, host.join(link)).unwrap();
    }
    let names = |volume: &str, target: &str| format!("{}/{volume}:{target}", files.display());
    let run = |target: &str, further: &[&str], script: &str| {
        let host = names("host", target);
        let args = [&["run", "--rm", "--net", "none", "-v", &host], further, &["busybox"]].concat();
        rocker.run(&[&args[..], &["sh", "-c", script]].concat())
    };
    // The names that each container gets from us.
    assert_eq!(run("/etc", &[], "test -e /run/resolve/stub.conf && cat /etc/hostname").code, 0);
    let (release, conf) = (names("own/releases/5", "/app/current"), names("own/conf", "/app/conf"));
    let further = ["-v", &release, "-v", &conf, "--tmpfs", "/app/there/deep"];
    let script = "cat /srv/releases/5/page /app/current/page /elsewhere/conf; df /app/releases/there/deep | tail -n 1";
    let output = run("/app", &further, script);
    assert!(output.stdout.starts_with("five\nfive\nconf\ntmpfs "), "{output:?}");
    let refused = run("/app", &["--tmpfs", "/app/round"], "true");
    assert_eq!(refused.code, 125, "{refused:?}");
    assert!(refused.stderr.contains("ELOOP"), "{refused:?}");
    for (link, target) in
        [("resolv.conf", "../run/resolve/stub.conf"), ("current", "/srv/releases/5")]
    {
        assert_eq!(fs::read_link(host.join(link)).unwrap().to_str(), Some(target));
    }
    assert!(fs::read_link(host.join("conf")).is_ok());
    // What was missing below the directory of the host is made there, as docker does.
    assert!(host.join("releases/there/deep").is_dir());
}

#[test]
fn a_tmpfs_has_the_mode_of_the_directory_that_it_covers() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    image(&rocker, "modes", "mkdir -m 700 /private; mkdir -m 2775 /shared");
    let mounts = ["/private", "/shared", "/new", "/private/a:mode=750", "/private/b:size=1m"];
    let options = mounts.iter().flat_map(|mount| ["--tmpfs", *mount]).collect::<Vec<_>>();
    let args = [&["run", "--rm", "--net", "none"], &options[..], &["modes", "stat", "-c", "%a"]];
    let places = ["/private", "/shared", "/new", "/private/a", "/private/b"];
    let said = rocker.ok(&[&args.concat()[..], &places].concat());
    assert_eq!(said, "700\n2775\n1777\n750\n1777\n");
}

#[test]
fn a_tmpfs_where_the_image_has_nothing_has_the_same_mode_at_every_start() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let mounts = ["/new", "/new/in", "/other:mode=750", "/far/below"];
    let options = mounts.iter().flat_map(|mount| ["--tmpfs", *mount]).collect::<Vec<_>>();
    let args = [&["run", "--name", "x", "--net", "none"][..], &options];
    let look = ["busybox", "stat", "-c", "%a", "/new", "/new/in", "/other", "/far/below", "/far"];
    let expected = "1777\n1777\n750\n1777\n755\n";
    assert_eq!(rocker.ok(&[&args.concat()[..], &look].concat()), expected);
    for _ in 0..2 {
        assert_eq!(rocker.ok(&["start", "-a", "x"]), expected);
    }
}

#[test]
fn mount_knows_binds_volumes_and_tmpfs() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let files = rocker.files();
    fs::write(files.join("note"), "host\n").unwrap();
    let bind = format!("type=bind,source={},target=/host,readonly", files.display());
    let mounts = ["--mount", &bind, "--mount", "source=v,target=/v"];
    let tmpfs = ["--mount", "type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=700"];
    let script = "cat /host/note; touch /host/x 2>/dev/null || echo refused; touch /v/x; \
                  stat -c %a /t; df -k /t | tail -n 1 | tr -s ' ' | cut -d ' ' -f 2";
    let said = run(&rocker, &[&mounts[..], &tmpfs].concat(), script);
    assert_eq!(said, "host\nrefused\n700\n1024\n");
    assert!(rocker.root().join("volumes/v/_data/x").exists());
}

#[test]
fn volumes_are_made_listed_and_removed_by_name() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    assert_eq!(rocker.ok(&["volume", "create", "--label", "a=b", "one"]), "one\n");
    assert_eq!(rocker.ok(&["volume", "create", "one"]), "one\n");
    rocker.ok(&["volume", "create", "two"]);
    let listed = rocker.ok(&["volume", "ls"]);
    assert_eq!(listed, "DRIVER  VOLUME NAME\nlocal   one\nlocal   two\n");
    assert_eq!(rocker.ok(&["volume", "ls", "-q", "--filter", "label=a"]), "one\n");
    rocker.ok(&["create", "--name", "user", "-v", "two:/x", "--image", "busybox", "true"]);
    assert_eq!(
        rocker.inspect("user", "{{(index .Mounts 0).Type}} {{(index .Mounts 0).Name}}"),
        "volume two"
    );
    let refused = rocker.refused(&["volume", "rm", "two"], 1);
    assert!(refused.contains("volume two is in use by user"), "{refused}");
    assert_eq!(rocker.ok(&["volume", "prune", "-f"]), "one\n");
    rocker.ok(&["rm", "user"]);
    assert_eq!(rocker.ok(&["volume", "rm", "two"]), "two\n");
    assert_eq!(crate::harness::names(&rocker.root().join("volumes")).count(), 0);
    for (args, words) in [
        (&["volume", "rm", "ghost"][..], "No such volume: ghost"),
        (&["volume", "create", "a/b"], "only letters, digits"),
        (&["volume", "inspect", "../x"], "No such volume: ../x"),
    ] {
        let output = rocker.run(args);
        assert_eq!(output.code, 1, "{output:?}");
        assert!(output.stderr.contains(words), "{args:?}: {output:?}");
    }
    for options in ["-v -x:/y", "--mount type=nfs,target=/x", "--mount source=v", "-v v:/proc/x"] {
        let mut args = vec!["run", "--rm"];
        args.extend(options.split(' '));
        args.extend(["--image", "busybox", "true"]);
        rocker.refused(&args, 125);
        assert_eq!(rocker.ok(&["volume", "ls", "-q"]), "", "{options}");
    }
}

#[test]
fn no_volume_goes_while_a_container_is_made_that_mounts_it() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let create =
        ["create", "--name", "web", "--net", "none", "-v", "data:/data", "busybox", "true"];
    for round in 0..60 {
        let removals: [&[&str]; 2] = [&["volume", "rm", "data"], &["volume", "prune", "-f"]];
        rocker.ok(&["volume", "create", "data"]);
        let created = rocker.spawn(&create);
        let removed = rocker.spawn(removals[round % 2]);
        let (created, removed) = (created.finish(), removed.finish());
        assert_eq!(created.code, 0, "{created:?}");
        assert_eq!(rocker.ok(&["volume", "ls", "-q"]), "data\n", "round {round}: {removed:?}");
        rocker.ok(&["rm", "web"]);
    }
}

#[test]
fn one_volume_is_made_once_however_many_commands_make_it() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    for _ in 0..10 {
        let made: Vec<_> = (0..4).map(|_| rocker.spawn(&["volume", "create", "data"])).collect();
        for made in made {
            let output = made.finish();
            assert_eq!((output.code, &*output.stdout), (0, "data\n"), "{output:?}");
        }
        rocker.ok(&["volume", "rm", "data"]);
    }
}

#[test]
fn a_volume_that_was_taken_away_by_hand_is_made_anew_at_the_next_start() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let script = ["busybox", "sh", "-c", "echo there > /data/note; cat /data/note"];
    rocker
        .ok(&[&["create", "--name", "web", "--net", "none", "-v", "data:/data"], &script[..]]
            .concat());
    fs::remove_dir_all(rocker.root().join("volumes/data")).unwrap();
    assert_eq!(rocker.ok(&["start", "-a", "web"]), "there\n");
    assert_eq!(rocker.ok(&["volume", "ls", "-q"]), "data\n");
}

#[test]
fn a_volume_that_is_not_to_be_filled_stays_empty() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    for (number, option) in
        ["-v NAME:/bin:nocopy", "--mount src=NAME,dst=/bin,volume-nocopy", "-v NAME:/bin:ro,nocopy"]
            .iter()
            .enumerate()
    {
        let name = format!("v{number}");
        let option = option.replace("NAME", &name);
        let option: Vec<&str> = option.split(' ').collect();
        let words = ["busybox", "/bin/true"];
        // There may be no program in it any more.
        rocker.run(&[&["run", "--rm", "--net", "none"], &option[..], &words].concat());
        let data = rocker.root().join("volumes").join(name).join("_data");
        assert_eq!(fs::read_dir(&data).unwrap().count(), 0, "{option:?}");
    }
    let files = rocker.files();
    let bind = format!("type=bind,src={},dst=/x,bind-propagation=rprivate", files.display());
    rocker.ok(&["run", "--rm", "--net", "none", "--mount", &bind, "busybox", "true"]);
    let bind = format!("{}:/x:nocopy", files.display());
    rocker.refused(&["run", "--rm", "--net", "none", "-v", &bind, "busybox", "true"], 125);
    let unnamed = ["run", "--net", "none", "--mount", "type=volume,dst=/x", "busybox", "true"];
    let said = rocker.run(&unnamed).stderr;
    assert!(said.contains("has no source\nhint: volumes without a name"), "{said}");
}

#[test]
fn a_read_only_tmpfs_may_hold_the_places_of_other_mounts() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let script = "cat /etc/hostname /outer/inner/x; for f in /etc/x /outer/x /outer/inner/x; do \
                  touch $f 2> /dev/null && echo $f; done; grep -c ' /etc tmpfs ro,.*noatime' /proc/mounts";
    let options = [
        "-h",
        "web",
        "--tmpfs",
        "/etc:ro,noatime",
        "--tmpfs",
        "/outer:ro",
        "--tmpfs",
        "/outer/inner",
    ];
    let shown = run(&rocker, &options, &format!("echo in > /outer/inner/x; {script}"));
    assert_eq!(shown, "web\nin\n/outer/inner/x\n1\n");
}

/// Makes the source of a volume that has mounts in it, of which some lie under others, and begins a command.
const MOUNTS_IN_A_VOLUME: &str = "set -e; \
    mount --bind $0 $0; mount -o remount,bind,ro,noexec $0; cd $0/a*; \
    mount -t tmpfs -o dev,exec one .; cd ../a*; mkdir -p deep hidden/inner; \
    mount -t tmpfs -o ro,noexec,noatime two deep; mount -t tmpfs three hidden/inner; \
    mount -t tmpfs four hidden; mount -t tmpfs five hidden; cd /; exec \"$@\"";

#[test]
fn mounts_in_a_volume_are_restricted_too_and_keep_their_own_restrictions() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    if !has_program("strace") || !has_program("unshare") {
        return skip("strace or unshare is not there");
    }
    let source = rocker.files().join("source");
    fs::create_dir_all(source.join("a b")).unwrap();
    let source = source.to_str().unwrap();
    // The flags of the mounts that a container sees: the first is that of the volume itself.
    let shown = |mode: &str, users: &str, inject: &str| -> Vec<String> {
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", MOUNTS_IN_A_VOLUME, source]);
        command.args(["strace", "-f", "-qq", "-o", "/dev/null", "-e", inject, "--"]);
        command.arg(rocker.binary()).args(["run", "--rm", "--net", "none"]);
        let volume = format!("{source}:/v:{mode}");
        command.args(["--userns", users, "-v", &volume, "busybox"]);
        command.args(["grep", " /v", "/proc/self/mountinfo"]);
        rocker.prepare(&mut command);
        let output = finish(command, b"", PATIENCE);
        assert_eq!(output.code, 0, "{output:?}");
        let fields = |line: &str| {
            let mut fields = line.split(' ').skip(4);
            format!("{} {}", fields.next().unwrap(), fields.next().unwrap())
        };
        output.stdout.lines().map(fields).collect()
    };
    let reached = |mode: &str| {
        let hidden = format!("/v/a\\040b/hidden {mode},nosuid,nodev,relatime");
        [
            "/v ro,nosuid,nodev,noexec,relatime".to_owned(),
            format!("/v/a\\040b {mode},nosuid,nodev,relatime"),
            "/v/a\\040b/deep ro,nosuid,nodev,noexec,noatime".to_owned(),
            hidden,
        ]
    };
    let users = match std::path::Path::new("/proc/self/ns/user").exists() {
        true => &["host", "auto"][..],
        false => &["host"],
    };
    for inject in ["inject=mount_setattr:error=ENOSYS", "trace=none"] {
        for (mode, users) in users.iter().flat_map(|users| [("rw", users), ("ro", users)]) {
            let mounts = shown(mode, users, inject);
            // Those that nobody can get at come between.
            let ends = [&mounts[..3], &mounts[mounts.len() - 1..]].concat();
            assert_eq!(ends, reached(mode), "{inject} {users}");
        }
    }
}
