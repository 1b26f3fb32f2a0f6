//! Output for people and scripts: stdout in one piece, and tables.

use crate::error::{Context, Error, Result, escape};
use crate::sys::{Errno, io};
use std::os::fd::AsFd;

/// Writes to stdout. A reader that went away is no error: there is nobody left to tell.
pub fn out(text: &str) -> Result<()> {
    out_bytes(text.as_bytes()).map(drop)
}

/// Writes to stdout as it is; `false` when nobody reads any more.
pub fn out_bytes(bytes: &[u8]) -> Result<bool> {
    match io::write_all(std::io::stdout().as_fd(), bytes) {
        Err(Errno::EPIPE) => Ok(false),
        // Without the errno: its usual hint is about the state directory.
        other => match other.context("write to stdout") {
            Ok(()) => Ok(true),
            Err(error) => Err(Error::new(error.to_string())),
        },
    }
}

/// Writes one line to stdout, escaped.
pub fn line(text: &str) -> Result<()> {
    out(&(escape(text) + "\n"))
}

/// A table with two blanks between its columns, as wide as its widest cells.
pub fn table(rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| escape(cell)).collect()).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in &rows {
        for (column, cell) in row.iter().enumerate() {
            text.push_str(cell);
            if column + 1 < row.len() {
                pad(&mut text, widths[column] + 2 - cell.chars().count());
            }
        }
        text.push('\n');
    }
    text
}

/// Adds that many blanks.
pub fn pad(text: &mut String, blanks: usize) {
    text.extend(std::iter::repeat_n(' ', blanks));
}

/// The text cut to so many characters, the last of them a `…` where something is missing.
pub fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_string();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(rows: &[&[&str]]) -> Vec<Vec<String>> {
        rows.iter().map(|row| row.iter().map(|cell| cell.to_string()).collect()).collect()
    }

    #[test]
    fn columns_are_two_blanks_apart_and_lines_end_without_blanks() {
        let text = table(&rows(&[&["ID", "NAME", "PID"], &["12345", "é", "1"]]));
        assert_eq!(text, "ID     NAME  PID\n12345  é     1\n");
    }

    #[test]
    fn cells_cannot_move_the_cursor() {
        assert_eq!(table(&rows(&[&["a\nb\x1b[H", "c"]])), "a\\nb\\x1b[H  c\n");
    }

    #[test]
    fn what_is_too_long_is_cut_to_the_width() {
        assert_eq!(cut("/bin/sleep 1000", 10), "/bin/slee…");
        assert_eq!(cut("äöü", 3), "äöü");
    }
}
