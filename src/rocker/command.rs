//! What a command is: a table of options, and a function that acts.
//!
//! `spec` of a flag (`-t, --time SECONDS`) and `words` of a command (`CONTAINER...`) are the
//! texts that the help shows; parser, manual page and completion read them too.

use super::{Globals, units};
use crate::container::membership::is_set;
use crate::error::{ENGINE, Error, FAILURE, Result};

/// One command with its own type of options.
pub struct Command<O: 'static> {
    /// The word that calls it; names that start with `__` are shown nowhere.
    pub name: &'static str,
    /// Other spellings: `ls, container ls`.
    pub aliases: &'static str,
    /// The positional words; what is not in brackets must be given.
    pub words: &'static str,
    pub about: &'static str,
    /// Further paragraphs of the help: examples, exit codes.
    pub more: &'static str,
    pub rules: Rules,
    pub flags: &'static [Flag<O>],
    /// Takes one positional word.
    pub word: fn(&mut O, String) -> Result<()>,
    /// Acts, and gives the exit code.
    pub run: fn(&Globals, O) -> Result<u8>,
}

/// What differs between commands before they act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rules {
    /// Needs root; options may follow positional words.
    Usual,
    /// Needs nothing.
    Harmless,
    /// Needs root; the words after the first positional one belong to a program. Exits with 125
    /// when it fails before that program.
    Program,
    /// As `Harmless`, and the words after the first positional one are kept as they are.
    Verbatim,
}

impl Rules {
    /// Whether every word after the first positional one is kept as it is.
    pub fn stops_at_word(self) -> bool {
        matches!(self, Self::Program | Self::Verbatim)
    }

    /// Whether the command can work only as root.
    pub fn needs_root(self) -> bool {
        matches!(self, Self::Usual | Self::Program)
    }

    /// The exit code of a failure that has none of its own.
    pub fn failure(self) -> u8 {
        if self == Self::Program { ENGINE } else { FAILURE }
    }
}

/// One option of a command.
pub struct Flag<O> {
    pub spec: &'static str,
    pub about: &'static str,
    pub set: fn(&mut O, Value) -> Result<()>,
}

/// A row of a command's table of options.
pub const fn flag<O>(
    spec: &'static str,
    about: &'static str,
    set: fn(&mut O, Value) -> Result<()>,
) -> Flag<O> {
    Flag { spec, about, set }
}

impl<O> Clone for Flag<O> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<O> Copy for Flag<O> {}

/// Two tables as one, of as many rows as they have together.
pub const fn joined<O, const ROWS: usize>(
    first: &[Flag<O>],
    second: &[Flag<O>],
) -> [Flag<O>; ROWS] {
    assert!(first.len() + second.len() == ROWS);
    let mut table = [first[0]; ROWS];
    let mut row = 0;
    while row < ROWS {
        table[row] = if row < first.len() { first[row] } else { second[row - first.len()] };
        row += 1;
    }
    table
}

/// What was given to an option: nothing, or a text.
pub struct Value(pub Option<String>);

impl Value {
    /// The text; empty where none was given.
    pub fn text(self) -> String {
        self.0.unwrap_or_default()
    }

    /// Stores the value as the type of its place asks for.
    pub fn set(self, place: &mut dyn Setting) -> Result<()> {
        place.set(self.0)
    }

    /// The same for an option whose place tells that it is off.
    pub fn set_off(self, place: &mut bool) -> Result<()> {
        let mut on = true;
        self.set(&mut on)?;
        *place = !on;
        Ok(())
    }
}

/// A place that an option fills.
pub trait Setting {
    /// Takes the text of an option, or the fact that it was given.
    fn set(&mut self, text: Option<String>) -> Result<()>;
}

impl Setting for bool {
    fn set(&mut self, text: Option<String>) -> Result<()> {
        *self = is_set(text.as_deref().unwrap_or("true"))
            .ok_or_else(|| Error::new("neither true nor false"))?;
        Ok(())
    }
}

impl Setting for String {
    fn set(&mut self, text: Option<String>) -> Result<()> {
        *self = text.unwrap_or_default();
        Ok(())
    }
}

impl Setting for Option<String> {
    fn set(&mut self, text: Option<String>) -> Result<()> {
        *self = Some(text.unwrap_or_default());
        Ok(())
    }
}

impl Setting for Vec<String> {
    fn set(&mut self, text: Option<String>) -> Result<()> {
        self.push(text.unwrap_or_default());
        Ok(())
    }
}

impl Setting for Option<i64> {
    fn set(&mut self, text: Option<String>) -> Result<()> {
        *self = Some(units::whole(&text.unwrap_or_default())?);
        Ok(())
    }
}

/// What the help, the manual page and the completion know of a command.
#[derive(Clone, Copy)]
pub struct Facts {
    pub name: &'static str,
    pub aliases: &'static str,
    pub words: &'static str,
    pub about: &'static str,
    pub more: &'static str,
    pub rules: Rules,
}

/// A command, whatever its options are.
pub trait Entry: Sync {
    fn facts(&self) -> Facts;
    /// Text and meaning of the option at this place of the table.
    fn flag(&self, index: usize) -> Option<(&'static str, &'static str)>;
    /// A call of this command, without any option yet.
    fn call(&'static self) -> Box<dyn Call>;
}

/// A call of a command that is being put together.
pub trait Call {
    fn set(&mut self, index: usize, value: Value) -> Result<()>;
    fn word(&mut self, word: String) -> Result<()>;
    fn run(self: Box<Self>, globals: &Globals) -> Result<u8>;
}

struct CallOf<O: 'static> {
    command: &'static Command<O>,
    options: O,
}

impl<O: Default> Entry for Command<O> {
    fn facts(&self) -> Facts {
        Facts {
            name: self.name,
            aliases: self.aliases,
            words: self.words,
            about: self.about,
            more: self.more,
            rules: self.rules,
        }
    }

    fn flag(&self, index: usize) -> Option<(&'static str, &'static str)> {
        self.flags.get(index).map(|flag| (flag.spec, flag.about))
    }

    fn call(&'static self) -> Box<dyn Call> {
        Box::new(CallOf { command: self, options: O::default() })
    }
}

impl<O> Call for CallOf<O> {
    fn set(&mut self, index: usize, value: Value) -> Result<()> {
        (self.command.flags[index].set)(&mut self.options, value)
    }

    fn word(&mut self, word: String) -> Result<()> {
        (self.command.word)(&mut self.options, word)
    }

    fn run(self: Box<Self>, globals: &Globals) -> Result<u8> {
        (self.command.run)(globals, self.options)
    }
}

/// The option names in a `spec`: `-t` and `--time`.
pub fn names(spec: &'static str) -> impl Iterator<Item = &'static str> {
    spec.split([',', ' ']).filter(|token| token.starts_with('-'))
}

/// What an option takes, as its `spec` calls it; `None` for one that takes nothing.
pub fn value_name(spec: &'static str) -> Option<&'static str> {
    spec.split(' ').next_back().filter(|token| !token.starts_with('-'))
}

/// All options of a command.
pub fn flags(entry: &dyn Entry) -> impl Iterator<Item = (&'static str, &'static str)> {
    (0..).map_while(|index| entry.flag(index))
}

/// The place in the table of the option with this name, its dashes included.
pub fn find_flag(entry: &dyn Entry, name: &str) -> Option<(usize, &'static str)> {
    flags(entry)
        .enumerate()
        .map(|(index, (spec, _))| (index, spec))
        .find(|(_, spec)| names(spec).any(|known| known == name))
}

/// How many positional words a command takes: at least, and at most where there is a limit.
pub fn word_count(words: &str) -> (usize, Option<usize>) {
    let tokens = || words.split_ascii_whitespace();
    let least = tokens().filter(|token| !token.starts_with('[')).count();
    let endless = tokens().any(|token| token.trim_end_matches(']').ends_with("..."));
    (least, (!endless).then(|| tokens().count()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_tells_its_names_and_its_value() {
        let spec = "-c, --cpushare, --cpu-shares WEIGHT";
        assert_eq!(names(spec).collect::<Vec<_>>(), ["-c", "--cpushare", "--cpu-shares"]);
        assert_eq!(value_name(spec), Some("WEIGHT"));
        assert_eq!(value_name("-d, --detach"), None);
    }

    #[test]
    fn the_words_of_a_command_tell_how_many_it_takes() {
        assert_eq!(word_count(""), (0, Some(0)));
        assert_eq!(word_count("FILE IMAGE"), (2, Some(2)));
        assert_eq!(word_count("CONTAINER..."), (1, None));
        assert_eq!(word_count("CONTAINER COMMAND [ARG...]"), (2, None));
        assert_eq!(word_count("[IMAGE]"), (0, Some(1)));
    }
}
