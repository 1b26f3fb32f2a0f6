//! Holds each module to what it may use: the table of doc/architecture.md. And no two files need each
//! other.

use std::collections::BTreeMap;
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
    ("rocker", &["container", "image", "network", "error", "sys"]),
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
    paths_from("crate::", code)
}

/// The paths behind a beginning, `crate::` or `super::`.
fn paths_from(beginning: &str, code: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for (start, _) in code.match_indices(beginning) {
        // `mycrate::` would be another word, `super::super::` goes up twice.
        let before = &code[..start];
        if before.ends_with(|c: char| c.is_alphanumeric() || "_$".contains(c))
            || before.ends_with("super::")
        {
            continue;
        }
        expand("", &code[start + beginning.len()..], &mut paths);
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

/// The files, by their module paths, that each file uses; its tests do not count, nor does what a
/// `mod.rs` gathers.
fn uses(root: &Path) -> BTreeMap<String, Vec<String>> {
    let mut files = Vec::new();
    sources(root, &mut files);
    let module = |file: &PathBuf| {
        let path = file.strip_prefix(root).expect("it lies there").with_extension("");
        path.display().to_string().replace('/', "::")
    };
    let gathers = |name: &String| name.ends_with("::mod") || name == "main";
    let modules: Vec<String> = files.iter().map(module).filter(|name| !gathers(name)).collect();
    let file_of = |path: &str| {
        let inside = |name: &&String| path == **name || path.starts_with(&format!("{name}::"));
        modules.iter().filter(inside).max_by_key(|name| name.len()).cloned()
    };
    let mut uses = BTreeMap::new();
    for file in files.iter().filter(|file| modules.contains(&module(file))) {
        let text = code(&fs::read_to_string(file).expect("the sources can be read"));
        let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        let name = module(file);
        let above: Vec<&str> = name.split("::").collect();
        let relative = paths_from("super::", text).into_iter().filter_map(|path| {
            let ups = 1 + path.matches("super::").count();
            let above = above.get(..above.len().checked_sub(ups)?)?.join("::");
            Some(format!("{above}::{}", path.replace("super::", "")))
        });
        let all = relative.chain(paths(text)).filter_map(|path| file_of(&path));
        uses.insert(name.clone(), all.filter(|used| *used != name).collect());
    }
    uses
}

/// A way from a file by what it uses back to it.
fn circle(
    uses: &BTreeMap<String, Vec<String>>,
    way: &mut Vec<String>,
    done: &mut Vec<String>,
) -> bool {
    let name = way.last().cloned().unwrap_or_default();
    if way[..way.len() - 1].contains(&name) {
        return true;
    }
    if done.contains(&name) {
        return false;
    }
    for used in uses.get(&name).into_iter().flatten() {
        way.push(used.clone());
        if circle(uses, way, done) {
            return true;
        }
        way.pop();
    }
    done.push(name);
    false
}

#[test]
fn no_file_needs_one_that_needs_it() {
    let uses = uses(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    assert!(uses.values().map(Vec::len).sum::<usize>() > 300, "the sources were not understood");
    let mut done = Vec::new();
    for name in uses.keys() {
        let mut way = vec![name.clone()];
        assert!(!circle(&uses, &mut way, &mut done), "in a circle: {}", way.join(" uses "));
    }
}

#[test]
fn a_circle_is_found() {
    let list = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
    let uses =
        [("a", list(&["b"])), ("b", list(&["c", "d"])), ("c", list(&[])), ("d", list(&["a"]))];
    let mut uses: BTreeMap<_, _> = uses.map(|(name, used)| (name.to_string(), used)).into();
    let found = |uses: &BTreeMap<_, _>| circle(uses, &mut list(&["a"]), &mut Vec::new());
    assert!(found(&uses));
    uses.insert("d".to_string(), list(&["c"]));
    assert!(!found(&uses));
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
