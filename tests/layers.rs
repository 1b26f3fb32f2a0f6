//! Holds each module to what it may use: the table of doc/architecture.md.

use std::fs;
use std::path::{Path, PathBuf};

/// A module, and the modules that it may use besides itself.
const TABLE: &[(&str, &[&str])] = &[
    ("sys", &[]),
    ("error", &["sys"]),
    ("namespace", &["error", "sys"]),
    ("cgroups", &["error", "sys"]),
    ("network", &["error", "sys"]),
    ("image", &["error", "sys"]),
    ("runtime", &["namespace", "cgroups", "error", "sys"]),
    ("container", &["runtime", "namespace", "cgroups", "network", "image", "error", "sys"]),
    // Of sys only what is no business of the engine: the time and the signals of the host, the
    // standard streams, how this process starts and ends.
    ("rocker", &["container", "image", "network", "runtime", "error", "sys"]),
    ("main", &["rocker"]),
];

/// What `rocker` may use of `sys`.
const OF_SYS: &[&str] = &["Errno", "io", "process", "signal", "time"];

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("the sources can be read") {
        let path = entry.expect("the sources can be read").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The paths that start at the crate: `sys::io` of `use crate::sys::io;`, both of
/// `use crate::{error, sys::io}`.
fn paths(code: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for (start, _) in code.match_indices("crate::") {
        // `mycrate::` would be another word.
        if code[..start].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        expand("", &code[start + "crate::".len()..], &mut paths);
    }
    paths
}

/// Adds the path at the start of `rest`, or each of those in its braces. Gives what follows.
fn expand<'a>(before: &str, rest: &'a str, paths: &mut Vec<String>) -> &'a str {
    let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
    let (path, mut rest) = rest.split_at(end.unwrap_or(rest.len()));
    if !(path.is_empty() || path.ends_with("::")) || !rest.starts_with('{') {
        paths.push(format!("{before}{path}"));
        return rest;
    }
    let before = format!("{before}{path}");
    rest = rest[1..].trim_start();
    while !rest.starts_with('}') {
        rest = expand(&before, rest, paths);
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
        if rest.starts_with('*') {
            rest = rest[1..].trim_start_matches(|c: char| c.is_whitespace() || c == ',');
        }
        assert!(!rest.is_empty(), "braces that do not close");
    }
    &rest[1..]
}

/// The code without its comments.
fn code(text: &str) -> String {
    text.lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn no_module_uses_one_that_lies_above_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 20, "the sources are somewhere else");
    let mut wrong = Vec::new();
    for file in files {
        let shown = file.strip_prefix(&root).unwrap().display().to_string();
        let module = shown.split('/').next().unwrap().trim_end_matches(".rs");
        let Some((_, allowed)) = TABLE.iter().find(|(known, _)| *known == module) else {
            wrong.push(format!("{shown}: the module {module} is not in the table"));
            continue;
        };
        for path in paths(&code(&fs::read_to_string(&file).unwrap())) {
            let mut parts = path.split("::");
            let used = parts.next().unwrap_or_default();
            if used != module && !allowed.contains(&used) {
                wrong.push(format!("{shown}: uses {path}"));
            }
            if module == "rocker" && used == "sys" {
                let part = parts.next().unwrap_or_default();
                if !OF_SYS.contains(&part) {
                    wrong.push(format!("{shown}: uses {path}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_path_is_found_in_each_way_of_writing_it() {
    let found = paths(
        "use crate::sys::io;\nuse crate::{error::{Error, Result}, image};\n\
         pub(crate) fn f() -> crate::error::Result<()> { mycrate::x() }\nuse crate::sys::{self, Errno};",
    );
    assert_eq!(
        found,
        [
            "sys::io",
            "error::Error",
            "error::Result",
            "image",
            "error::Result",
            "sys::self",
            "sys::Errno"
        ]
    );
}
