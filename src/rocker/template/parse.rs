//! Reads the text of a template.

use super::{Action, Node, Pipe, Range, Target, Term};
use crate::rocker::{json, units};
use miniserde::json::Value;

/// Why a text is no template.
type Parsed<T> = Result<T, String>;

/// Deeper nesting is refused, since each level is a call of this program.
const DEEPEST: usize = 64;

/// A piece of the text between or inside the braces.
enum Piece<'a> {
    Text(&'a str),
    Action(&'a str),
}

/// Reads a whole template.
pub fn parse(text: &str) -> Parsed<Vec<Node>> {
    let pieces = pieces(text)?;
    let mut reader = Reader { pieces: pieces.into_iter(), depth: 0 };
    let (nodes, end) = reader.nodes()?;
    match end {
        None => Ok(nodes),
        Some(word) => Err(format!("unexpected {{{{{}}}}}", first_word(word))),
    }
}

/// Divides the text at the braces; `{{-` and `-}}` take the blanks beside them away.
fn pieces(mut rest: &str) -> Parsed<Vec<Piece<'_>>> {
    let mut pieces = Vec::new();
    let mut trim = false;
    while let Some(start) = rest.find("{{") {
        let mut before = if trim { rest[..start].trim_start() } else { &rest[..start] };
        rest = &rest[start + 2..];
        if let Some(after) = rest.strip_prefix("- ") {
            before = before.trim_end();
            rest = after;
        }
        let end = closing(rest).ok_or("{{ without }}")?;
        let mut action = rest[..end].trim();
        rest = &rest[end + 2..];
        trim = false;
        if let Some(shorter) = action.strip_suffix('-')
            && (shorter.is_empty() || shorter.ends_with(char::is_whitespace))
        {
            trim = true;
            action = shorter.trim_end();
        }
        if !before.is_empty() {
            pieces.push(Piece::Text(before));
        }
        if !(action.starts_with("/*") && action.ends_with("*/")) {
            pieces.push(Piece::Action(action));
        }
    }
    let rest = if trim { rest.trim_start() } else { rest };
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    Ok(pieces)
}

/// Where the `}}` is that closes an action: not inside quotes, unless it is a comment.
fn closing(text: &str) -> Option<usize> {
    if text.trim_start().starts_with("/*") {
        return text.find("}}");
    }
    let mut quote = None;
    let mut escaped = false;
    for (index, character) in text.char_indices() {
        match quote {
            Some('"') if escaped => escaped = false,
            Some('"') if character == '\\' => escaped = true,
            Some(open) if character == open => quote = None,
            Some(_) => {}
            None if matches!(character, '"' | '`') => quote = Some(character),
            None if text[index..].starts_with("}}") => return Some(index),
            None => {}
        }
    }
    None
}

fn first_word(action: &str) -> &str {
    action.split(|c: char| c.is_whitespace() || c == '(').next().unwrap_or_default()
}

struct Reader<'a> {
    pieces: std::vec::IntoIter<Piece<'a>>,
    depth: usize,
}

impl<'a> Reader<'a> {
    /// The nodes up to an `end` or `else`, which is given too; `None` is the end of the text.
    fn nodes(&mut self) -> Parsed<(Vec<Node>, Option<&'a str>)> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let action = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text.to_string()));
                    continue;
                }
                Piece::Action(action) => action,
            };
            let word = first_word(action);
            let rest = &action[word.len()..];
            match word {
                "end" | "else" => return Ok((nodes, Some(action))),
                "if" => nodes.push(self.branches(rest)?),
                "with" => {
                    let (body, otherwise) = self.body()?;
                    nodes.push(Node::With(action_of(rest)?, body, otherwise));
                }
                "range" => nodes.push(self.range(rest)?),
                _ => nodes.push(Node::Action(action_of(action)?)),
            }
        }
        Ok((nodes, None))
    }

    /// What is inside a block: its nodes, and the action that ended them.
    fn inside(&mut self) -> Parsed<(Vec<Node>, &'a str)> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err("too deeply nested".to_string());
        }
        let (nodes, end) = self.nodes()?;
        self.depth -= 1;
        Ok((nodes, end.ok_or("a block without {{end}}")?))
    }

    fn body(&mut self) -> Parsed<(Vec<Node>, Vec<Node>)> {
        let (body, end) = self.inside()?;
        let otherwise = match end {
            "end" => Vec::new(),
            "else" => {
                let (otherwise, end) = self.inside()?;
                if end != "end" {
                    return Err(format!("unexpected {{{{{end}}}}}"));
                }
                otherwise
            }
            _ => return Err(format!("unexpected {{{{{end}}}}}")),
        };
        Ok((body, otherwise))
    }

    fn branches(&mut self, condition: &str) -> Parsed<Node> {
        let mut branches = Vec::new();
        let mut condition = action_of(condition)?;
        loop {
            let (body, end) = self.inside()?;
            branches.push((condition, body));
            match end {
                "end" => return Ok(Node::If(branches, Vec::new())),
                "else" => {
                    let (otherwise, end) = self.inside()?;
                    return match end {
                        "end" => Ok(Node::If(branches, otherwise)),
                        _ => Err(format!("unexpected {{{{{end}}}}}")),
                    };
                }
                _ => match end.strip_prefix("else").map(str::trim_start) {
                    Some(next) if first_word(next) == "if" => condition = action_of(&next[2..])?,
                    _ => return Err(format!("unexpected {{{{{end}}}}}")),
                },
            }
        }
    }

    fn range(&mut self, head: &str) -> Parsed<Node> {
        let (names, over) = match head.split_once(":=") {
            Some((names, over)) if names.trim_start().starts_with('$') => (names, over),
            _ => ("", head),
        };
        let mut names = names.split(',').map(|name| name.trim().trim_start_matches('$'));
        let mut next = || names.next().filter(|name| !name.is_empty()).map(str::to_string);
        let (first, second) = (next(), next());
        let (key, item) = if second.is_some() { (first, second) } else { (None, first) };
        let over = pipe(over)?;
        let (body, otherwise) = self.body()?;
        Ok(Node::Range(Range { key, item, over, body, otherwise }))
    }
}

fn action_of(text: &str) -> Parsed<Action> {
    let (into, value) = match target(text) {
        Some((into, value)) => (Some(into), value),
        None => (None, text),
    };
    Ok(Action { into, pipe: pipe(value)? })
}

/// The variable of `$name := value` or `$name = value`, and the value.
fn target(text: &str) -> Option<(Target, &str)> {
    let rest = text.trim_start().strip_prefix('$')?;
    let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))?;
    let (name, rest) = rest.split_at(end);
    let name = name.to_string();
    let rest = rest.trim_start();
    match rest.strip_prefix(":=") {
        Some(value) => Some((Target::New(name), value)),
        None => Some((Target::Known(name), rest.strip_prefix('=')?)),
    }
}

fn pipe(text: &str) -> Parsed<Pipe> {
    let mut words = Words { rest: text.trim(), depth: 0 };
    let pipe = words.pipe()?;
    match words.rest {
        "" => Ok(pipe),
        rest => Err(format!("unexpected {rest} in {{{{{}}}}}", text.trim())),
    }
}

/// The words of an action.
struct Words<'a> {
    rest: &'a str,
    depth: usize,
}

impl Words<'_> {
    fn pipe(&mut self) -> Parsed<Pipe> {
        let mut pipe = Vec::new();
        loop {
            let mut call = Vec::new();
            while let Some(term) = self.term()? {
                call.push(term);
                self.rest = self.rest.trim_start();
            }
            if call.is_empty() {
                return Err("a value is missing".to_string());
            }
            pipe.push(call);
            match self.rest.strip_prefix('|') {
                Some(rest) => self.rest = rest.trim_start(),
                None => return Ok(pipe),
            }
        }
    }

    /// Takes the characters off that hold this.
    fn take(&mut self, holds: impl Fn(char) -> bool) -> String {
        let end = self.rest.find(|c| !holds(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken.to_string()
    }

    fn name(&mut self) -> String {
        self.take(|c| c.is_ascii_alphanumeric() || c == '_')
    }

    /// `.A.B`, as far as there are fields.
    fn fields(&mut self) -> Vec<String> {
        let mut fields = Vec::new();
        while let Some(rest) = self.rest.strip_prefix('.') {
            self.rest = rest;
            let name = self.name();
            if !name.is_empty() {
                fields.push(name);
            }
        }
        fields
    }

    fn term(&mut self) -> Parsed<Option<Term>> {
        Ok(Some(match self.rest.chars().next() {
            Some('.') => Term::Field(self.fields()),
            Some('$') => {
                self.rest = &self.rest[1..];
                Term::Variable(self.name(), self.fields())
            }
            Some('(') => {
                self.depth += 1;
                if self.depth > DEEPEST {
                    return Err("too deeply nested".to_string());
                }
                self.rest = self.rest[1..].trim_start();
                let pipe = self.pipe()?;
                self.rest = self.rest.strip_prefix(')').ok_or("( without )")?;
                self.depth -= 1;
                Term::Group(pipe, self.fields())
            }
            Some('"') => Term::Literal(json::text(self.quoted()?)),
            Some('`') => {
                let (text, rest) = self.rest[1..].split_once('`').ok_or("` without `")?;
                self.rest = rest;
                Term::Literal(json::text(text))
            }
            Some(c) if c.is_ascii_digit() || c == '-' => {
                let number = self.take(|c| c.is_ascii_alphanumeric() || c == '-');
                let number = units::whole(&number).map_err(|why| format!("{number}: {why}"))?;
                Term::Literal(json::number(number))
            }
            Some(c) if c.is_ascii_alphabetic() => match &*self.name() {
                "true" => Term::Literal(Value::Bool(true)),
                "false" => Term::Literal(Value::Bool(false)),
                "nil" => Term::Literal(Value::Null),
                name if super::functions::is_known(name) => Term::Function(name.to_string()),
                name => return Err(format!("no function {name}")),
            },
            _ => return Ok(None),
        }))
    }

    fn quoted(&mut self) -> Parsed<String> {
        let mut text = String::new();
        let mut characters = self.rest[1..].char_indices();
        while let Some((index, character)) = characters.next() {
            match character {
                '"' => {
                    self.rest = &self.rest[1 + index + 1..];
                    return Ok(text);
                }
                '\\' => match characters.next() {
                    Some((_, 'n')) => text.push('\n'),
                    Some((_, 't')) => text.push('\t'),
                    Some((_, other @ ('"' | '\\'))) => text.push(other),
                    Some((_, other)) => return Err(format!("\\{other} is not known in a text")),
                    None => break,
                },
                _ => text.push(character),
            }
        }
        Err("\" without \"".to_string())
    }
}
