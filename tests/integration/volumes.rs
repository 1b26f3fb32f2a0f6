//! Named volumes: they outlive containers, and begin with what the image has at their place.

use crate::harness::Rocker;
use std::fs;

fn run(rocker: &Rocker, options: &[&str], script: &str) -> String {
    let args = [&["run", "--rm", "--net", "none"], options].concat();
    rocker.ok(&[&args[..], &["--image", "busybox", "sh", "-c", script]].concat())
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
