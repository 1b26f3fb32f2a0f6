//! The name of an image: `NAME[:TAG]`, checked once, before any path is made of it.

use crate::error::{Error, Result, escape};
use std::fmt::{self, Display};

/// The longest name, with its slashes.
const NAME_LIMIT: usize = 255;
/// The longest tag.
const TAG_LIMIT: usize = 128;

/// A name and a tag that are safe as names of files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    pub name: String,
    pub tag: String,
}

impl Reference {
    /// Takes `NAME[:TAG]` apart at the last colon behind the last slash; the tag defaults to
    /// `latest`.
    pub fn parse(text: &str) -> Result<Self> {
        let last = text.rfind('/').map_or(0, |slash| slash + 1);
        let (name, tag) = match text[last..].rfind(':') {
            Some(colon) => (&text[..last + colon], &text[last + colon + 1..]),
            None => (text, "latest"),
        };
        let reference = Self { name: name.to_owned(), tag: tag.to_owned() };
        match reference.wrong() {
            None => Ok(reference),
            Some(why) => {
                let what = format!("invalid reference format: \"{}\"", escape(text));
                Err(Error::new(what).hint(why))
            }
        }
    }

    /// Why this is no name of an image, or none.
    fn wrong(&self) -> Option<&'static str> {
        if self.name.is_empty() || self.name.len() > NAME_LIMIT {
            return Some("a name has 1 to 255 bytes");
        }
        if self.tag.len() > TAG_LIMIT || !is_tag(&self.tag) {
            return Some("a tag has 1 to 128 letters, digits and . _ -, and begins with no . or -");
        }
        let mut components = self.name.split('/');
        let first = components.next().unwrap_or_default();
        let first_is_host = self.name.contains('/') && is_host(first);
        if !(first_is_host || is_component(first)) || !components.all(is_component) {
            return Some(
                "a name is of lower-case letters and digits, with . _ - and / between them",
            );
        }
        // Such a name could not be told from an id.
        if self.name.len() == 64 && self.name.bytes().all(is_hex) {
            return Some("a name is not 64 hexadecimal digits");
        }
        None
    }

    /// The name as one name of a file: slashes are written as `+`, which no name holds.
    pub fn directory(&self) -> String {
        self.name.replace('/', "+")
    }

    /// The reference that a directory and a link of the store stand for.
    pub fn from_directory(directory: &str, tag: &str) -> Result<Self> {
        Self::parse(&format!("{}:{tag}", directory.replace('+', "/")))
    }
}

impl Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, self.tag)
    }
}

/// Whether the byte is a digit of an id.
pub fn is_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

fn is_letter_or_digit(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

fn is_tag(tag: &str) -> bool {
    let mut bytes = tag.bytes();
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && bytes.all(inner)
}

/// Letters and digits, separated by one dot, one or two underscores or any number of dashes.
fn is_component(component: &str) -> bool {
    let is_separator = |part: &str| {
        matches!(part, "." | "_" | "__") || (!part.is_empty() && part.bytes().all(|b| b == b'-'))
    };
    let (Some(first), Some(last)) = (component.bytes().next(), component.bytes().last()) else {
        return false;
    };
    let between = component.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    is_letter_or_digit(first)
        && is_letter_or_digit(last)
        && between.filter(|part| !part.is_empty()).all(is_separator)
}

/// A first component that is a host: it has a dot or a port, or is `localhost`.
fn is_host(component: &str) -> bool {
    let (host, port) = match component.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (component, None),
    };
    let is_label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|byte| is_letter_or_digit(byte) || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_port =
        |port: &str| (1..=5).contains(&port.len()) && port.bytes().all(|b| b.is_ascii_digit());
    (host.contains('.') || port.is_some() || host == "localhost")
        && host.split('.').all(is_label)
        && port.is_none_or(is_port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> (String, String) {
        let reference = Reference::parse(text).unwrap();
        (reference.name, reference.tag)
    }

    #[test]
    fn the_tag_stands_behind_the_last_colon_behind_the_last_slash() {
        assert_eq!(parts("busybox"), ("busybox".into(), "latest".into()));
        assert_eq!(parts("busybox:1.36"), ("busybox".into(), "1.36".into()));
        assert_eq!(parts("host:5000/a/b"), ("host:5000/a/b".into(), "latest".into()));
        assert_eq!(parts("localhost/a_b:V1"), ("localhost/a_b".into(), "V1".into()));
    }

    #[test]
    fn names_that_are_no_names_are_refused() {
        let long = "a".repeat(256);
        let digits = "0".repeat(64);
        let bad = [
            "", ":", ":tag", "a:", "A", "a b", "a/../b", "..", ".", "a..b", "/a", "a/", "a//b",
            "a+b", "a\nb", "\x1b[0m", "a:b c", "a:.b", "a:-b", "a:../b", "-a", "a-", "_a", "a___b",
            "é", "a:b:c", "host:x/a", "a@b", &long, &digits,
        ];
        for text in bad {
            assert!(Reference::parse(text).is_err(), "{text:?}");
        }
        assert!(Reference::parse(&format!("a:{}", "t".repeat(129))).is_err());
        assert!(Reference::parse(&format!("a:{}", "t".repeat(128))).is_ok());
    }

    #[test]
    fn a_refusal_shows_no_control_byte() {
        let error = Reference::parse("a\x1b[31m\n").unwrap_err();
        assert!(!error.to_string().bytes().any(|byte| byte < b' '), "{error}");
    }

    #[test]
    fn a_directory_leads_back_to_its_name() {
        let reference = Reference::parse("host:5000/a/b:c").unwrap();
        assert_eq!(reference.directory(), "host:5000+a+b");
        assert_eq!(Reference::from_directory("host:5000+a+b", "c").unwrap(), reference);
    }
}
