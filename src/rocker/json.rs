//! Values that are shown: how they are put together, and their text, compact or indented.

use crate::error::is_obeyed;
use miniserde::json::{Array, Number, Object, Value};
use std::collections::BTreeMap;

/// What an entry of an object holds, copied only when the object is put together.
pub enum Part<'a> {
    Text(&'a str),
    Texts(&'a [String]),
    Number(i64),
    Flag(bool),
    Value(Value),
}

/// An object of these entries.
pub fn object(entries: &mut [(&str, Part<'_>)]) -> Value {
    let mut object = Object::new();
    for (key, part) in entries {
        let value = match part {
            Part::Text(part) => text(*part),
            Part::Texts(part) => texts(part),
            Part::Number(part) => number(*part),
            Part::Flag(part) => Value::Bool(*part),
            Part::Value(part) => std::mem::take(part),
        };
        object.insert(key.to_string(), value);
    }
    Value::Object(object)
}

/// A string.
pub fn text(text: impl Into<String>) -> Value {
    Value::String(text.into())
}

/// A whole number.
pub fn number(number: i64) -> Value {
    match u64::try_from(number) {
        Ok(number) => Value::Number(Number::U64(number)),
        Err(_) => Value::Number(Number::I64(number)),
    }
}

/// A list.
pub fn list(values: impl IntoIterator<Item = Value>) -> Value {
    let mut array = Array::new();
    array.extend(values);
    Value::Array(array)
}

/// A list of strings.
pub fn texts(texts: &[String]) -> Value {
    list(texts.iter().map(text))
}

/// An object of these texts.
pub fn map(texts: &BTreeMap<String, String>) -> Value {
    let mut parts: Vec<_> = texts.iter().map(|(key, value)| (&**key, Part::Text(value))).collect();
    object(&mut parts)
}

/// The value on one line.
pub fn compact(value: &Value) -> String {
    let mut out = String::new();
    write(value, None, &mut out);
    out
}

/// The value with an entry a line, four blanks deeper at each level.
pub fn pretty(value: &Value) -> String {
    let mut out = String::new();
    write(value, Some(0), &mut out);
    out
}

fn write(value: &Value, depth: Option<usize>, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Number(number) => out.push_str(&number_text(number)),
        Value::String(text) => write_string(text, out),
        Value::Array(array) if array.is_empty() => out.push_str("[]"),
        Value::Object(object) if object.is_empty() => out.push_str("{}"),
        Value::Array(array) => {
            let deeper = depth.map(|depth| depth + 1);
            for (index, value) in array.iter().enumerate() {
                out.push(if index == 0 { '[' } else { ',' });
                new_line(deeper, out);
                write(value, deeper, out);
            }
            new_line(depth, out);
            out.push(']');
        }
        Value::Object(object) => {
            let deeper = depth.map(|depth| depth + 1);
            for (index, (key, value)) in object.iter().enumerate() {
                out.push(if index == 0 { '{' } else { ',' });
                new_line(deeper, out);
                write_string(key, out);
                out.push_str(if depth.is_some() { ": " } else { ":" });
                write(value, deeper, out);
            }
            new_line(depth, out);
            out.push('}');
        }
    }
}

fn new_line(depth: Option<usize>, out: &mut String) {
    if let Some(depth) = depth {
        out.push('\n');
        super::print::pad(out, depth * 4);
    }
}

/// A number as text. Fractions are not shown: nothing here has them.
pub fn number_text(number: &Number) -> String {
    match number {
        Number::U64(number) => number.to_string(),
        Number::I64(number) => number.to_string(),
        Number::F64(number) => (*number as i64).to_string(),
    }
}

/// A string in quotes. What a terminal would obey is escaped too.
fn write_string(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            _ if is_obeyed(character) => {
                out.push_str("\\u");
                for shift in [12, 8, 4, 0] {
                    let digit = (character as u32 >> shift) & 15;
                    out.push(char::from_digit(digit, 16).unwrap_or('0'));
                }
            }
            _ => out.push(character),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Value {
        object(&mut [
            ("Name", Part::Text("a\"b\\\n\x1b\u{202e}é")),
            ("Empty", Part::Texts(&[])),
            ("Numbers", Part::Value(list([number(1), number(-2)]))),
            ("Flag", Part::Flag(true)),
        ])
    }

    #[test]
    fn compact_text_is_read_back_as_the_same_value() {
        let compact = compact(&sample());
        assert_eq!(
            compact,
            r#"{"Empty":[],"Flag":true,"Name":"a\"b\\\n\u001b\u202eé","Numbers":[1,-2]}"#
        );
        let back: Value = miniserde::json::from_str(&compact).expect("it is JSON");
        assert_eq!(super::compact(&back), compact);
    }

    #[test]
    fn indented_text_has_an_entry_a_line() {
        let value = list([object(&mut [
            ("A", Part::Value(list([number(1)]))),
            ("B", Part::Value(object(&mut []))),
        ])]);
        assert_eq!(
            pretty(&value),
            "[\n    {\n        \"A\": [\n            1\n        ],\n        \"B\": {}\n    }\n]"
        );
    }
}
