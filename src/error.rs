//! The one error type, the context that is added to it on its way up, and warnings.

use crate::sys::{self, Errno};
use std::fmt::{self, Display, Write};
use std::ops::{Deref, DerefMut};
use std::os::fd::AsFd;
use std::sync::OnceLock;

/// What a function of rocker gives when it can fail.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure, as it is shown to the user: `message: errno`, and perhaps a second line with a remedy.
///
/// What it holds lies elsewhere: hardly any result is a failure, but each is moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error(Box<Failure>);

/// What there is to say of a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What was being done, on what, and why it did not work; lower case, no full stop.
    pub message: String,
    /// The kernel's answer, where the kernel gave one.
    pub errno: Option<Errno>,
    /// What it is due to, where a caller goes on by that.
    pub cause: Cause,
    /// The exit code that the program ends with.
    pub code: u8,
    /// A remedy, only where one is known.
    pub hint: Option<String>,
}

/// What a failure is due to that rocker itself found, as far as callers ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    Other,
    /// There is nothing of that name, or there is no more.
    NotFound,
    /// What is stored cannot be understood.
    Damaged,
    /// Another has what was asked for.
    InUse,
    /// What was read is nothing of what it was taken for.
    Foreign,
    /// What was read ends too early.
    CutShort,
}

/// Exit code of any failure that has no code of its own.
pub const FAILURE: u8 = 1;
/// Exit code of a wrong option, and of run, create and exec that failed before the program.
pub const ENGINE: u8 = 125;
/// Exit code when the program was found but cannot be executed.
pub const NOT_EXECUTABLE: u8 = 126;
/// Exit code when the program was not found.
pub const NOT_FOUND: u8 = 127;

impl Deref for Error {
    type Target = Failure;

    fn deref(&self) -> &Failure {
        &self.0
    }
}

impl DerefMut for Error {
    fn deref_mut(&mut self) -> &mut Failure {
        &mut self.0
    }
}

impl Error {
    /// An error that rocker itself found.
    pub fn new(message: impl Into<String>) -> Self {
        Self::of(message.into(), None)
    }

    #[cold]
    #[inline(never)]
    fn of(message: String, errno: Option<Errno>) -> Self {
        Self(Box::new(Failure { message, errno, cause: Cause::Other, code: FAILURE, hint: None }))
    }

    /// The same error with what it is due to.
    #[cold]
    #[inline(never)]
    pub fn cause(mut self, cause: Cause) -> Self {
        self.cause = cause;
        self
    }

    /// The same error with another exit code.
    #[cold]
    #[inline(never)]
    pub fn code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }

    /// The same error with the exit code of run, create and exec that failed before the program,
    /// unless it has one of its own.
    #[cold]
    #[inline(never)]
    pub fn before_program(mut self) -> Self {
        if self.code == FAILURE {
            self.code = ENGINE;
        }
        self
    }

    /// The same error with another message.
    #[cold]
    #[inline(never)]
    pub fn message(mut self, message: String) -> Self {
        self.message = message;
        self
    }

    /// The same error with a remedy, shown on a line of its own.
    pub fn hint(self, hint: impl Into<String>) -> Self {
        self.set_hint(hint.into())
    }

    #[cold]
    #[inline(never)]
    fn set_hint(mut self, hint: String) -> Self {
        self.hint = Some(hint);
        self
    }

    /// The same error with what was being done before its message.
    #[cold]
    #[inline(never)]
    pub fn during(mut self, what: &dyn Display) -> Self {
        self.message = match self.message.is_empty() {
            true => what.to_string(),
            false => format!("{what}: {}", self.message),
        };
        self
    }
}

impl From<Errno> for Error {
    fn from(errno: Errno) -> Self {
        Self::of(String::new(), Some(errno))
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        let Some(errno) = self.errno else { return Ok(()) };
        if !self.message.is_empty() {
            f.write_str(": ")?;
        }
        let name = errno.name().unwrap_or("unknown error");
        match errno.description() {
            Some(text) => write!(f, "{text} ({name})"),
            None => write!(f, "{name} ({})", errno.into_raw()),
        }
    }
}

/// Says what was being done when a call failed. The text is formatted only on failure.
pub trait Context<T> {
    /// Puts `what` before the message of the error.
    fn context(self, what: impl Display) -> Result<T>;
}

impl<T> Context<T> for std::result::Result<T, Errno> {
    fn context(self, what: impl Display) -> Result<T> {
        match self {
            Ok(value) => Ok(value),
            Err(errno) => Err(Error::from(errno).during(&what)),
        }
    }
}

impl<T> Context<T> for Result<T> {
    fn context(self, what: impl Display) -> Result<T> {
        match self {
            Ok(value) => Ok(value),
            Err(error) => Err(error.during(&what)),
        }
    }
}

/// Set once at the start, where `--debug` or `RUST_LOG` asks for the steps to be shown.
static VERBOSE: OnceLock<()> = OnceLock::new();

/// From here on `debug` shows what it is given.
pub fn show_debug() {
    let _ = VERBOSE.set(());
}

/// Shows a step on stderr for those who asked for it. Nothing is formatted for others.
pub fn debug(what: impl Display) {
    if VERBOSE.get().is_some() {
        say("debug: ", &what);
    }
}

/// Shows on stderr what works, but not as it was asked for.
pub fn warn(what: impl Display) {
    say("warning: ", &what);
}

/// Shows an error on stderr, and its remedy on a line of its own.
pub fn report(error: &Error) {
    say("", error);
    if let Some(hint) = error.hint.as_deref().or(check_line(error.errno)) {
        write_stderr(&format!("hint: {}\n", escape(hint)));
    }
}

/// Where `rocker check` tells more of what the host is to blame for.
fn check_line(errno: Option<Errno>) -> Option<&'static str> {
    Some(match errno? {
        Errno::EROFS | Errno::ENOSPC | Errno::EDQUOT => "see rocker check, state directory",
        Errno::ENOSYS => "see rocker check, kernel",
        _ => return None,
    })
}

fn say(kind: &str, what: &dyn Display) {
    write_stderr(&format!("rocker: {kind}{}\n", escape(&what.to_string())));
}

/// Writes to stderr in one piece; a closed one is nobody's loss.
pub fn write_stderr(text: &str) {
    let _ = sys::io::write_all(std::io::stderr().as_fd(), text.as_bytes());
}

/// The text with everything visible that a terminal would obey.
pub fn escape(text: &str) -> String {
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        // Nearly always; lists ask for each cell.
        return text.to_owned();
    }
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        let _ = match character {
            '\n' => escaped.write_str("\\n"),
            '\r' => escaped.write_str("\\r"),
            '\t' => escaped.write_str("\\t"),
            _ if !is_obeyed(character) => escaped.write_char(character),
            '\0'..='\x7f' => write!(escaped, "\\x{:02x}", character as u32),
            _ => write!(escaped, "\\u{{{:x}}}", character as u32),
        };
    }
    escaped
}

/// Whether a terminal would obey a character: control characters, escapes, and the marks that change
/// the direction of writing.
pub fn is_obeyed(character: char) -> bool {
    matches!(
        character,
        '\0'..='\x1f'
            | '\x7f'..='\u{9f}'
            | '\u{61c}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
            | '\u{feff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_what_was_done_and_the_errno_in_words_and_by_name() {
        let error = Err::<(), _>(Errno::EPERM).context("mount proc on /proc").context("run web");
        assert_eq!(
            error.unwrap_err().to_string(),
            "run web: mount proc on /proc: Operation not permitted (EPERM)"
        );
    }

    #[test]
    fn context_keeps_code_and_hint() {
        let error = Err::<(), _>(Error::new("x").code(ENGINE).hint("y")).context("run");
        let error = error.unwrap_err();
        assert_eq!((error.code, error.hint.as_deref()), (ENGINE, Some("y")));
    }

    #[test]
    fn what_a_terminal_would_obey_is_escaped_and_all_else_is_kept() {
        assert_eq!(
            escape("a\x1b[31m\n\u{9b}\u{61c}\u{202e}\x7f"),
            "a\\x1b[31m\\n\\u{9b}\\u{61c}\\u{202e}\\x7f"
        );
        assert_eq!(escape("größe 容器 …"), "größe 容器 …");
    }
}
