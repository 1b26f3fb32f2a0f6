//! What lists have in common: `--format` and filters.

use super::template::{self, Template};
use super::{Globals, json, print};
use crate::container::Engine;
use crate::error::{ENGINE, Error, FAILURE, Result, report};
use miniserde::json::{Object, Value};

/// How a list is to be shown where its own table is not wanted.
pub enum Format {
    /// One compact object a line.
    Json,
    Template(Template),
    /// `table {{.ID}}\t{{.Name}}`: with a header and aligned columns.
    Table(Template),
}

impl Format {
    /// Whether it may show one of these fields.
    pub fn uses(&self, fields: &[&str]) -> bool {
        match self {
            Self::Json => true,
            Self::Template(template) | Self::Table(template) => template.uses(fields),
        }
    }
}

/// Reads the value of `--format`; `None` is the usual table.
pub fn format(text: Option<&str>) -> Result<Option<Format>> {
    Ok(match text {
        None | Some("" | "table") => None,
        Some("json") => Some(Format::Json),
        Some(text) => Some(match text.strip_prefix("table ") {
            Some(columns) => Format::Table(template::parse(columns.trim_start())?),
            None => Format::Template(template::parse(text)?),
        }),
    })
}

/// The text of the rows. `headers` names the columns whose header is not just their field, and
/// `empty` has the fields of a row, for where there is none.
pub fn show(
    format: &Format,
    rows: &[Value],
    headers: &[(&str, &str)],
    empty: &Value,
) -> Result<String> {
    let mut text = String::new();
    match format {
        Format::Json => {
            for row in rows {
                text.push_str(&json::compact(row));
                text.push('\n');
            }
        }
        Format::Template(template) => {
            for row in rows {
                text.push_str(&template.apply(row)?);
                text.push('\n');
            }
        }
        Format::Table(template) => {
            let cells = |line: String| line.split('\t').map(str::to_string).collect();
            let mut table = Vec::new();
            if let Value::Object(row) = rows.first().unwrap_or(empty) {
                table.push(cells(template.apply(&header(row, headers))?));
            }
            for row in rows {
                table.push(cells(template.apply(row)?));
            }
            text = print::table(&table);
        }
    }
    Ok(text)
}

/// What `inspect` commands do: prints all that was found under the names, then why the others were
/// not. Gives the exit code.
pub fn inspect(
    globals: &Globals,
    format: Option<&str>,
    names: &[String],
    find: impl Fn(&Engine, &str) -> Result<Value>,
) -> Result<u8> {
    let format = self::format(format)?;
    if let Some(Format::Table(_)) = format {
        return Err(Error::new("--format: a table is for lists").code(ENGINE));
    }
    let engine = globals.engine()?;
    let (mut found, mut errors) = (Vec::new(), Vec::new());
    for name in names {
        match find(&engine, name) {
            Ok(value) => found.push(value),
            Err(error) => errors.push(error),
        }
    }
    let text = match format {
        None => json::pretty(&json::list(found)) + "\n",
        Some(Format::Json) => json::compact(&json::list(found)) + "\n",
        Some(format) => show(&format, &found, &[], &Value::Null)?,
    };
    print::out(&text)?;
    errors.iter().for_each(report);
    Ok(if errors.is_empty() { 0 } else { FAILURE })
}

/// A row that holds the header of each field: `CreatedAt` is `CREATED AT` unless it is named.
fn header(row: &Object, headers: &[(&str, &str)]) -> Value {
    let mut header = Object::new();
    for field in row.keys() {
        let named = headers.iter().find(|(known, _)| known == field);
        let text = named.map_or_else(|| field.to_ascii_uppercase(), |(_, text)| text.to_string());
        header.insert(field.clone(), json::text(text));
    }
    Value::Object(header)
}

/// One `--filter KEY=VALUE`.
pub struct Filter {
    pub key: String,
    pub value: String,
}

/// Reads filters; a key that is not known is wrong use.
pub fn filters(texts: &[String], known: &[&str]) -> Result<Vec<Filter>> {
    texts
        .iter()
        .map(|text| {
            let (code, hint) = match text.split_once('=') {
                Some(("name", value)) if value.contains(['(', ')', '{', '}', '|']) => {
                    (FAILURE, "of expressions ^ $ . [] * + ? are known".to_string())
                }
                Some((key, value)) if known.contains(&key) => {
                    return Ok(Filter { key: key.to_string(), value: value.to_string() });
                }
                Some(_) => (ENGINE, format!("filters are {}", known.join(", "))),
                None => (ENGINE, "write it as KEY=VALUE".to_string()),
            };
            Err(Error::new(format!("invalid filter '{text}'")).code(code).hint(hint))
        })
        .collect()
}

/// Whether an object passes: of the filters of a key one must hold (of labels all), and that
/// for each key.
pub fn passes(filters: &[Filter], holds: impl Fn(&Filter) -> bool) -> bool {
    filters.iter().all(|filter| {
        let other = |other: &&Filter| other.key == filter.key && filter.key != "label";
        holds(filter) || filters.iter().filter(other).any(&holds)
    })
}

/// Whether a `KEY` or `KEY=VALUE` is among the labels.
pub fn has_label(labels: &std::collections::BTreeMap<String, String>, wanted: &str) -> bool {
    match wanted.split_once('=') {
        Some((key, value)) => labels.get(key).is_some_and(|known| known == value),
        None => labels.contains_key(wanted),
    }
}

/// The labels as docker's lists have them: `a=1,b=2`.
pub fn labels_text(labels: &std::collections::BTreeMap<String, String>) -> String {
    let pairs: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    pairs.join(",")
}

/// Whether a name, with or without docker's `/` before it, holds what an expression of `^`, `.`, `[…]`,
/// `*`, `+`, `?` and `$` says.
pub fn matches(name: &str, expression: &str) -> bool {
    // A place of the text is behind a byte of this. Names are at most 128 bytes long.
    let text = format!("^/{name}");
    let (mut rest, anywhere) = match expression.as_bytes() {
        [b'^', rest @ ..] => (rest, false),
        rest => (rest, true),
    };
    // Where in the text what has been read of the expression may end.
    let mut ends = [anywhere; 130];
    ends[..2].fill(true);
    let length = text.len().min(ends.len());
    let ends = &mut ends[..length];
    loop {
        let length = match rest {
            [] => return ends.contains(&true),
            [b'$'] => return ends.ends_with(&[true]),
            [b'\\', _, ..] => 2,
            [b'[', ..] => rest.iter().position(|byte| *byte == b']').map_or(1, |end| end + 1),
            _ => 1,
        };
        let one = &rest[..length];
        let (optional, repeated);
        (optional, repeated, rest) = match &rest[length..] {
            [b'*', rest @ ..] => (true, true, rest),
            [b'+', rest @ ..] => (false, true, rest),
            [b'?', rest @ ..] => (true, false, rest),
            rest => (false, false, rest),
        };
        let mut before = false;
        for (end, byte) in ends.iter_mut().zip(text.bytes()) {
            let fits = before && is_one(byte, one);
            before = *end || repeated && fits;
            *end = fits || optional && *end;
        }
    }
}

/// Whether a byte is one that a part of an expression stands for.
fn is_one(byte: u8, part: &[u8]) -> bool {
    let (mut set, inverted) = match part {
        b"." => (&[][..], true),
        [b'[', b'^', set @ .., b']'] => (set, true),
        [b'[', set @ .., b']'] | [b'\\', set @ ..] | set => (set, false),
    };
    let mut found = false;
    while let [from, rest @ ..] = set {
        let to;
        (to, set) = match rest {
            [b'-', to, rest @ ..] => (to, rest),
            _ => (from, rest),
        };
        found |= *from <= byte && byte <= *to;
    }
    found != inverted
}

#[cfg(test)]
mod tests {
    use super::super::json::Part;
    use super::*;

    fn rows() -> Vec<Value> {
        let row = |id: &str, name: &str| {
            json::object(&mut [("ID", Part::Text(id)), ("Names", Part::Text(name))])
        };
        vec![row("1", "web"), row("22", "db")]
    }

    #[track_caller]
    fn shows(text: &str, expected: &str) {
        let format = format(Some(text)).unwrap().unwrap();
        let shown = show(&format, &rows(), &[("ID", "CONTAINER ID")], &Value::Null);
        assert_eq!(shown.unwrap(), expected);
    }

    #[test]
    fn rows_are_shown_as_json_by_a_template_or_as_a_table() {
        shows("json", "{\"ID\":\"1\",\"Names\":\"web\"}\n{\"ID\":\"22\",\"Names\":\"db\"}\n");
        shows("{{json .}}", "{\"ID\":\"1\",\"Names\":\"web\"}\n{\"ID\":\"22\",\"Names\":\"db\"}\n");
        shows("{{.ID}}:{{.Names}}", "1:web\n22:db\n");
        shows(
            "table {{.ID}}\\t{{.Names}}",
            "CONTAINER ID  NAMES\n1             web\n22            db\n",
        );
    }

    #[test]
    fn filters_of_one_key_are_alternatives_and_of_labels_all_must_hold() {
        let read = |texts: &[&str]| {
            let texts: Vec<String> = texts.iter().map(|text| text.to_string()).collect();
            filters(&texts, &["name", "label"]).unwrap()
        };
        let pass = |texts: &[&str], truths: &[&str]| {
            passes(&read(texts), |filter| truths.contains(&&*filter.value))
        };
        assert!(pass(&["name=a", "name=b"], &["b"]));
        assert!(!pass(&["name=a", "label=l"], &["a"]));
        assert!(!pass(&["label=l", "label=m"], &["l"]));
        assert!(pass(&["name=a", "label=l", "label=m"], &["a", "l", "m"]));
    }

    #[test]
    fn an_unknown_filter_is_wrong_use() {
        for text in ["colour=red", "name"] {
            let error = filters(&[text.to_string()], &["name"]).err().unwrap();
            assert_eq!(error.code, ENGINE);
        }
    }

    #[test]
    fn a_name_matches_by_its_parts_and_ends() {
        assert!(matches("webserver", "web") && matches("webserver", "^web"));
        assert!(matches("webserver", "server$") && matches("web", "^web$"));
        assert!(!matches("webserver", "^web$") && !matches("my-web", "^web"));
    }

    #[test]
    fn a_name_matches_by_an_expression_with_or_without_its_slash() {
        for pattern in [
            "",
            "^",
            "$",
            "^/web1$",
            "/web",
            "web.*",
            "^web[12]$",
            "^w[a-f]b.$",
            "e?b1",
            "ex*b",
            "^[^0-9]+1$",
            ".+",
            "^w.*1$",
            r"^web\1",
            "^web1?1*$",
            "b1+$",
        ] {
            assert!(matches("web1", pattern), "{pattern}");
        }
        for pattern in [
            "^/b",
            "web[^12]",
            "^web$",
            "^web[2-9]$",
            "x+",
            "^e",
            "//",
            "^.?$",
            "^web.+1",
            r"w\.b",
            "[",
            "web1]",
        ] {
            assert!(!matches("web1", pattern), "{pattern}");
        }
        assert!(!matches(&"a".repeat(128), &"a*".repeat(10_000).replace("a*a*", "a*b?c")));
    }
}
