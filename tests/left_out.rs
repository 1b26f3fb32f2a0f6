//! Holds the list of what the test machines leave out to the tests: none of those machines has strace.

use std::fs;
use std::path::Path;

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

#[test]
fn what_needs_strace_is_left_out_of_the_test_machines() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let list = fs::read_to_string(tests.join("vm/left-out")).unwrap();
    let left_out: Vec<_> = list.lines().filter_map(|line| line.split_once(": ")).collect();
    let mut found = Vec::new();
    for entry in fs::read_dir(tests.join("integration")).unwrap() {
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
