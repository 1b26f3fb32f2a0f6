//! Files of networks and volumes, and leases, that are cut or have a wrong bit: what is damaged is
//! told in one line, and nobody else is harmed.

use crate::harness::{Output, Rocker, one_line, skip};
use crate::harness_host::{is_torture, report};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::symlink;
use std::path::Path;

/// Each length and each bit in the torture, a sample of them otherwise.
fn bent(whole: &[u8], cuts: usize, turns: usize) -> Vec<Vec<u8>> {
    let step =
        |all: usize, sample: usize| if is_torture() { 1 } else { all.div_ceil(sample).max(1) };
    let lengths = (0..whole.len()).step_by(step(whole.len(), cuts));
    let bits = (0..whole.len() * 8).step_by(step(whole.len() * 8, turns));
    let cut = lengths.map(|length| whole[..length].to_vec());
    let turned = bits.map(|bit| {
        let mut bytes = whole.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        bytes
    });
    cut.chain(turned).collect()
}

/// No panic, no signal, and at most one line with a hint.
#[track_caller]
fn sound(what: &str, output: &Output) {
    assert!(matches!(output.code, 0 | 1 | 125), "{what}: {output:?}");
    if output.code != 0 {
        assert!(one_line(&output.stderr).starts_with("rocker: "), "{what}");
    }
}

/// Two networks whose names are one bit apart, and a container in each; nothing without bridges.
fn networks() -> Option<Rocker> {
    let rocker = Rocker::with_busybox()?;
    for name in ["net0", "net1"] {
        let output = rocker.run(&["network", "create", name]);
        if output.stderr.contains("EOPNOTSUPP") || output.stderr.contains("EPROTONOSUPPORT") {
            skip("this kernel has no bridges");
            return None;
        }
        assert_eq!(output.code, 0, "{output:?}");
    }
    rocker.sleeper("other", &["--net", "net0"]);
    Some(rocker)
}

#[track_caller]
fn other_is_well(rocker: &Rocker, what: &str) {
    let address = rocker.inspect("other", "{{.NetworkSettings.IPAddress}}");
    let gateway = rocker.ok(&["exec", "other", "ip", "route"]);
    let gateway = gateway.split_whitespace().nth(2).unwrap_or_default();
    let ping = ["exec", "--privileged", "other", "ping", "-c", "1", "-W", "5", gateway];
    assert_eq!(rocker.run(&ping).code, 0, "{what}: {address} does not reach {gateway}");
}

#[test]
fn a_damaged_file_of_a_network_harms_no_other_one() {
    let Some(rocker) = networks() else { return };
    let file = rocker.root().join("networks/net1/network.json");
    let whole = fs::read(&file).unwrap();
    let mut tried = 0;
    for bytes in bent(&whole, 12, 40) {
        fs::write(&file, &bytes).unwrap();
        let what = String::from_utf8_lossy(&bytes).into_owned();
        for words in [
            &["network", "ls"][..],
            &["network", "inspect", "net1"],
            &["run", "--rm", "--net", "net1", "busybox", "true"],
            &["network", "rm", "net1"],
        ] {
            sound(&what, &rocker.run(words));
        }
        other_is_well(&rocker, &what);
        // It may have been removed, or made anew under the wrong name.
        for line in rocker.on_host(&["ip", "-o", "link", "show", "type", "bridge"]).lines() {
            let link = line.split(": ").nth(1).unwrap_or_default();
            if link != "net0" {
                rocker.on_host(&["ip", "link", "del", link]);
            }
        }
        let _ = fs::remove_dir_all(rocker.root().join("networks/net1"));
        rocker.ok(&["network", "create", "net1"]);
        tried += 1;
    }
    rocker.ok(&["rm", "-f", "other"]);
    assert!(tried > 0);
    report(&format!("{tried} damaged files of networks, 0 panics, 0 others harmed"));
}

#[test]
fn a_damaged_lease_harms_nobody() {
    let Some(rocker) = networks() else { return };
    rocker.sleeper("web", &["--net", "net1"]);
    let leases = rocker.root().join("networks/net1/leases");
    let name = crate::harness::names(&leases).next().unwrap();
    let whole = fs::read_link(leases.join(&name)).unwrap().into_os_string().into_vec();
    let mut tried = 0;
    for bytes in bent(&whole, 8, 40) {
        if bytes.is_empty() || bytes.contains(&0) {
            continue;
        }
        let what = String::from_utf8_lossy(&bytes).into_owned();
        let _ = fs::remove_file(leases.join(&name));
        symlink(std::ffi::OsStr::from_bytes(&bytes), leases.join(&name)).unwrap();
        for words in [
            &["network", "inspect", "net1"][..],
            &["run", "--rm", "--net", "net1", "busybox", "true"],
            &["ps"],
        ] {
            sound(&what, &rocker.run(words));
        }
        tried += 1;
    }
    other_is_well(&rocker, "leases");
    rocker.ok(&["rm", "-f", "web", "other"]);
    assert!(tried > 0);
    report(&format!("{tried} damaged leases, 0 panics"));
}

#[test]
fn a_damaged_file_of_a_volume_harms_no_other_one() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    rocker.ok(&["volume", "create", "vol0", "--label", "key=value"]);
    rocker.ok(&["volume", "create", "vol1", "--label", "key=value"]);
    let place = |name: &str| rocker.root().join("volumes").join(name);
    fs::write(place("vol0").join("_data/kept"), "").unwrap();
    let file = place("vol1").join("volume.json");
    let whole = fs::read(&file).unwrap();
    let mut tried = 0;
    for bytes in bent(&whole, 20, 60) {
        fs::write(&file, &bytes).unwrap();
        let what = String::from_utf8_lossy(&bytes).into_owned();
        for words in [
            &["volume", "ls"][..],
            &["volume", "inspect", "vol1"],
            &["run", "--rm", "--net", "none", "-v", "vol1:/v", "busybox", "true"],
            &["volume", "rm", "vol1"],
            &["volume", "create", "vol1"],
        ] {
            sound(&what, &rocker.run(words));
        }
        assert!(place("vol0").join("_data/kept").exists(), "{what}");
        if !Path::new(&file).exists() {
            rocker.ok(&["volume", "create", "vol1"]);
        }
        tried += 1;
    }
    assert!(tried > 0);
    report(&format!("{tried} damaged files of volumes, 0 panics, 0 others harmed"));
}

#[test]
fn no_volume_is_removed_while_a_container_cannot_tell_which_it_mounts() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    rocker.sleeper("web", &["--net", "none", "-v", "data:/data"]);
    rocker.ok(&["volume", "create", "unused"]);
    let id = rocker.inspect("web", "{{.Id}}");
    let file = rocker.root().join("containers").join(&id).join("record.json");
    let whole = fs::read(&file).unwrap();
    let remove = || rocker.refused(&["volume", "rm", "data"], 1);
    let prune = || rocker.refused(&["volume", "prune", "-f"], 1);
    for bytes in [&whole[..whole.len() / 2], b""] {
        fs::write(&file, bytes).unwrap();
        let said = [remove(), prune()];
        assert!(said.iter().all(|line| line.contains(&id)), "{said:?}");
    }
    fs::remove_file(&file).unwrap();
    let said = [remove(), prune()];
    assert!(said.iter().all(|line| line.contains(&id)), "{said:?}");
    assert_eq!(rocker.ok(&["volume", "ls", "-q"]), "data\nunused\n");
    fs::write(&file, whole).unwrap();
    rocker.ok(&["rm", "-f", "web"]);
    assert_eq!(rocker.ok(&["volume", "prune", "-f"]), "data\nunused\n");
}

#[test]
fn a_container_whose_keeper_lives_is_not_swept_away_whatever_its_state_says() {
    let Some(rocker) = Rocker::with_busybox() else { return };
    let words = ["run", "-d", "--rm", "--name", "web", "--net", "none", "busybox", "sleep", "1000"];
    let id = rocker.ok(&words).trim().to_owned();
    let pid = rocker.pid("web");
    let file = rocker.root().join("tmp").join(&id).join("config.json");
    let whole = fs::read_to_string(&file).unwrap();
    let elsewhere = whole.replace(&format!("\"pid\":{pid},"), "\"pid\":4194303,");
    assert_ne!(whole, elsewhere);
    for text in ["{", &elsewhere] {
        fs::write(&file, text).unwrap();
        rocker.run(&["create", "--net", "none", "busybox", "true"]);
        assert!(fs::exists(format!("/proc/{pid}")).unwrap(), "it was ended: {text}");
        assert!(file.exists(), "it is gone: {text}");
    }
    fs::write(&file, whole).unwrap();
    rocker.ok(&["rm", "-f", "web"]);
}
