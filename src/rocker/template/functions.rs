//! The functions of templates.

use crate::error::{Error, Result};
use crate::rocker::{json, print};
use miniserde::json::Value;

const NAMES: &str = "json index len join split upper lower title print println printf slice \
     eq ne lt le gt ge and or not pad truncate";

/// An error of a template.
pub fn error(why: impl Into<String>) -> Error {
    Error::new(format!("--format: {}", why.into()))
}

/// Whether a value counts as true: not false, 0 or empty.
pub fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(truth) => *truth,
        Value::Number(number) => json::number_text(number) != "0",
        Value::String(text) => !text.is_empty(),
        Value::Array(array) => !array.is_empty(),
        Value::Object(object) => !object.is_empty(),
    }
}

/// Whether there is a function of this name.
pub fn is_known(name: &str) -> bool {
    NAMES.split_ascii_whitespace().any(|known| known == name)
}

/// Calls a function.
pub fn call(name: &str, arguments: &[Value]) -> Result<Value> {
    let wrong = || error(format!("wrong arguments for {name}"));
    Ok(match (name, arguments) {
        ("json", [value]) => json::text(json::compact(value)),
        ("index", [value, keys @ ..]) => return index(value, keys),
        ("len", [Value::String(text)]) => json::number(text.len() as i64),
        ("len", [Value::Array(array)]) => json::number(array.len() as i64),
        ("len", [Value::Object(object)]) => json::number(object.len() as i64),
        ("join", [Value::Array(array), Value::String(between)]) => {
            let texts: Vec<String> = array.iter().map(shown).collect();
            json::text(texts.join(between))
        }
        ("join", [Value::Null, Value::String(_)]) => json::text(""),
        ("split", [Value::String(text), Value::String(between)]) => {
            json::list(text.split(between.as_str()).map(json::text))
        }
        ("upper", [Value::String(text)]) => json::text(text.to_ascii_uppercase()),
        ("lower", [Value::String(text)]) => json::text(text.to_ascii_lowercase()),
        ("title", [Value::String(text)]) => {
            let mut text = text.clone();
            if let Some(first) = text.get_mut(..1) {
                first.make_ascii_uppercase();
            }
            json::text(text)
        }
        ("print", values) => json::text(values.iter().map(shown).collect::<String>()),
        ("println", values) => {
            let texts: Vec<String> = values.iter().map(shown).collect();
            json::text(texts.join(" ") + "\n")
        }
        ("printf", [Value::String(format), values @ ..]) => json::text(printf(format, values)?),
        ("slice", [Value::String(text), from, to @ ..]) if to.len() < 2 => {
            let from = whole(from).ok_or_else(wrong)?;
            let to = match to.first() {
                Some(to) => whole(to).ok_or_else(wrong)?,
                None => text.len(),
            };
            json::text(text.get(from..to).ok_or_else(wrong)?)
        }
        ("eq", [first, others @ ..]) if !others.is_empty() => {
            Value::Bool(others.iter().any(|other| same(first, other)))
        }
        ("ne", [first, second]) => Value::Bool(!same(first, second)),
        ("lt" | "le" | "gt" | "ge", [first, second]) => {
            let order = whole(first).ok_or_else(wrong)?.cmp(&whole(second).ok_or_else(wrong)?);
            Value::Bool(match name {
                "lt" => order.is_lt(),
                "le" => order.is_le(),
                "gt" => order.is_gt(),
                _ => order.is_ge(),
            })
        }
        ("pad", [Value::String(text), before, after]) => {
            let (before, after) =
                (whole(before).ok_or_else(wrong)?, whole(after).ok_or_else(wrong)?);
            let mut padded = String::new();
            if !text.is_empty() {
                print::pad(&mut padded, before.min(WIDEST));
                padded.push_str(text);
                print::pad(&mut padded, after.min(WIDEST));
            }
            json::text(padded)
        }
        ("truncate", [Value::String(text), length]) => {
            json::text(text.chars().take(whole(length).ok_or_else(wrong)?).collect::<String>())
        }
        ("and", [.., last]) => arguments.iter().find(|value| !truth(value)).unwrap_or(last).clone(),
        ("or", [.., last]) => arguments.iter().find(|value| truth(value)).unwrap_or(last).clone(),
        ("not", [value]) => Value::Bool(!truth(value)),
        _ => return Err(wrong()),
    })
}

fn whole(value: &Value) -> Option<usize> {
    match value {
        Value::Number(number) => json::number_text(number).parse().ok(),
        _ => None,
    }
}

fn same(a: &Value, b: &Value) -> bool {
    json::compact(a) == json::compact(b)
}

fn index(value: &Value, keys: &[Value]) -> Result<Value> {
    let mut value = value.clone();
    for key in keys {
        value = match (&value, key) {
            // As in a map of texts in Go: what is not there is empty.
            (Value::Object(object), Value::String(key)) => {
                object.get(key).cloned().unwrap_or_else(|| json::text(""))
            }
            (Value::Null, _) => Value::Null,
            (Value::Array(array), key) => {
                let place = whole(key).ok_or_else(|| error("index: not a place in a list"))?;
                let missing = || error(format!("index: no place {place} in the list"));
                array.get(place).cloned().ok_or_else(missing)?
            }
            _ => return Err(error("index: neither list nor object")),
        };
    }
    Ok(value)
}

/// The value of a label in a row, whose `Labels` are `a=1,b=2`.
pub fn label(row: &Value, name: &Value) -> Result<Value> {
    let (Value::Object(row), Value::String(name)) = (row, name) else {
        return Err(error("wrong arguments for .Label"));
    };
    let labels = match row.get("Labels") {
        Some(Value::String(labels)) => labels.as_str(),
        _ => return Err(error("no field .Labels")),
    };
    let value = labels.split(',').find_map(|label| match label.split_once('=') {
        Some((key, value)) if key == name => Some(value),
        _ => None,
    });
    Ok(json::text(value.unwrap_or_default()))
}

/// The value as Go prints it.
pub fn plain(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("<no value>"),
        Value::Bool(truth) => out.push_str(if *truth { "true" } else { "false" }),
        Value::Number(number) => out.push_str(&json::number_text(number)),
        Value::String(text) => out.push_str(text),
        Value::Array(array) => {
            for (index, value) in array.iter().enumerate() {
                out.push(if index == 0 { '[' } else { ' ' });
                plain(value, out);
            }
            out.push_str(if array.is_empty() { "[]" } else { "]" });
        }
        Value::Object(object) => {
            out.push_str("map[");
            for (index, (key, value)) in object.iter().enumerate() {
                if index > 0 {
                    out.push(' ');
                }
                out.push_str(key);
                out.push(':');
                plain(value, out);
            }
            out.push(']');
        }
    }
}

fn shown(value: &Value) -> String {
    let mut out = String::new();
    plain(value, &mut out);
    out
}

/// The widest field that a format can ask for.
const WIDEST: usize = 4096;

/// `%s %v %d %q %%`, with width, precision and `-`.
fn printf(format: &str, values: &[Value]) -> Result<String> {
    let mut values = values.iter();
    let mut out = String::new();
    let mut rest = format;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        let left = after.starts_with('-');
        let after = after.trim_start_matches('-');
        let end = after.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(after.len());
        let (size, after) = after.split_at(end);
        let (width, precision) = size.split_once('.').unwrap_or((size, ""));
        let mut characters = after.chars();
        let verb = characters.next().unwrap_or_default();
        rest = characters.as_str();
        if verb == '%' {
            out.push('%');
            continue;
        }
        let value = values.next().ok_or_else(|| error("printf: too few arguments"))?;
        let mut text = match verb {
            's' | 'v' | 'd' => shown(value),
            'q' => json::compact(value),
            _ => return Err(error("printf: only %s, %v, %d, %q and %% are known")),
        };
        if let Ok(precision) = precision.parse() {
            text = text.chars().take(precision).collect();
        }
        let width: usize = width.parse().unwrap_or(0).min(WIDEST);
        let blanks = width.saturating_sub(text.chars().count());
        match left {
            true => {
                out.push_str(&text);
                print::pad(&mut out, blanks);
            }
            false => {
                print::pad(&mut out, blanks);
                out.push_str(&text);
            }
        }
    }
    out.push_str(rest);
    Ok(out)
}
