//! Splits a command that was given as one word, as a shell splits words.

use crate::error::{Error, Result};

/// Splits at blanks; quotes and backslashes are honoured, nothing is expanded.
pub fn split(text: &str) -> Result<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (Some(open), _) if letter == open => quote = None,
            (Some('"'), '\\') => match letters.next() {
                Some(next @ ('"' | '\\' | '$' | '`')) => word.get_or_insert_default().push(next),
                Some(next) => word.get_or_insert_default().extend(['\\', next]),
                None => return Err(unfinished(text)),
            },
            (None, '\\') => match letters.next() {
                Some(next) => word.get_or_insert_default().push(next),
                None => return Err(unfinished(text)),
            },
            (None, '"' | '\'') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None, ' ' | '\t' | '\n') => words.extend(word.take()),
            _ => word.get_or_insert_default().push(letter),
        }
    }
    if quote.is_some() {
        return Err(unfinished(text));
    }
    words.extend(word);
    match words.is_empty() {
        true => Err(Error::new("the command is empty")),
        false => Ok(words),
    }
}

fn unfinished(text: &str) -> Error {
    Error::new(format!("command {text:?}: a quote or backslash has no end"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        split(text).unwrap()
    }

    #[test]
    fn blanks_part_words_and_quotes_join_them() {
        assert_eq!(words("ls  -l"), ["ls", "-l"]);
        assert_eq!(words("sh -c 'echo \"a  b\"' ''"), ["sh", "-c", "echo \"a  b\"", ""]);
        assert_eq!(words(r#"a\ b "c\"d" "e\f""#), ["a b", "c\"d", r"e\f"]);
    }

    #[test]
    fn an_open_quote_is_an_error() {
        assert!(split("echo 'a").is_err());
        assert!(split("echo \\").is_err());
        assert!(split("  ").is_err());
    }
}
