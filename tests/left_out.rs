//! Holds the lists of what the test machines leave out and skip to the tests: none of those machines has
//! strace, and a skip is expected for the reason that the test gives.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

const MISSING: &str = "has_program(\"strace\")";

/// The tests of a file that need strace, as the runner calls them.
fn tests_with_strace(module: &str, code: &str) -> Vec<String> {
    let functions = code.split("#[test]\n").skip(1);
    let names = functions.filter_map(|function| {
        let body = function.split("\n}\n").next()?;
        let name = function.strip_prefix("fn ")?.split('(').next()?;
        body.contains(MISSING).then(|| format!("{module}::{name}"))
    });
    names.collect()
}

/// A path below tests.
fn place(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

/// Whether code gives this reason for a skip, as it stands or, where a value is put in, begun.
fn gives(code: &str, reason: &str) -> bool {
    code.split("skip(").skip(1).any(|call| {
        let text = call.split('"').nth(1).unwrap_or_default();
        match text.split_once('{') {
            Some((beginning, _)) => reason.starts_with(beginning),
            None => reason == text,
        }
    })
}

#[test]
fn what_a_test_machine_may_skip_is_a_test_that_gives_this_reason() {
    let list = fs::read_to_string(place("vm/skips")).unwrap();
    let wrong = list.lines().filter(|line| !line.starts_with('#')).filter(|line| {
        let skip = line.split_once(' ').and_then(|(_, skip)| skip.split_once(": "));
        let Some((name, reason)) = skip else { return true };
        let module = name.split("::").next().unwrap_or_default();
        let function = name.rsplit("::").next().unwrap_or_default();
        let file = place("integration").join(module).with_extension("rs");
        let code = fs::read_to_string(file).unwrap_or_default();
        !code.contains(&format!("fn {function}(")) || !gives(&code, reason)
    });
    assert_eq!(wrong.collect::<Vec<_>>(), Vec::<&str>::new());
}

/// What judge.sh says of machine 2, which ran one test and skipped it for a reason, and whether it is content.
fn judged(name: &str, reason: &str) -> io::Result<(bool, String)> {
    let test = "isolation::the_base_image_is_reproducible";
    let [selected, log] = ["selected", "log"]
        .map(|file| Path::new(env!("CARGO_TARGET_TMPDIR")).join([name, file].join(".")));
    fs::write(&selected, format!("run {test}\nother a::b\nother a::c\nnone a::d\n"))?;
    let said =
        format!("test {test} ... ok\r\nskipped {test}: {reason}\r\nmachine: end 0 after 5 s\r\n");
    fs::write(&log, said)?;
    let output = Command::new(place("vm/judge.sh")).arg("2").args([selected, log]).output()?;
    Ok((output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned()))
}

#[test]
fn a_test_machine_that_skips_for_another_reason_than_expected_fails() {
    let (well, said) =
        judged("expected", "this machine has no ldd, so it is none to make images on").unwrap();
    let last = "machine 2: 1 tests in 5 s, 1 skipped; 2 not for this kind of machine, 1 for none\n";
    assert!(well && said.ends_with(last), "{said}");
    let (well, said) = judged("other", "this machine has no ldd").unwrap();
    assert!(
        !well && said.contains("this machine has no ldd, which tests/vm/skips does not expect"),
        "{said}"
    );
}

#[test]
fn what_needs_strace_is_left_out_of_the_test_machines() {
    let list = fs::read_to_string(place("vm/left-out")).unwrap();
    let left_out: Vec<_> = list.lines().filter_map(|line| line.split_once(": ")).collect();
    let mut found = Vec::new();
    for entry in fs::read_dir(place("integration")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let module = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        found.extend(tests_with_strace(&module, &fs::read_to_string(&path).unwrap()));
    }
    assert!(found.len() > 5, "{found:?}");
    found.retain(|name| !left_out.iter().any(|(beginning, _)| name.starts_with(beginning)));
    assert!(found.is_empty(), "tests/vm/left-out does not name {found:?}");
}
