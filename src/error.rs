//! The one error type, the context that is added to it on its way up, and warnings.

use crate::sys::Errno;
use std::fmt::{self, Display};

/// What a function of rocker gives when it can fail.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure, as it is shown to the user: `message: errno`, and perhaps a second line with a remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// What was being done, on what, and why it did not work; lower case, no full stop.
    pub message: String,
    /// The kernel's answer, where the kernel gave one.
    pub errno: Option<Errno>,
    /// The exit code that the program ends with.
    pub code: u8,
    /// A remedy, only where one is known.
    pub hint: Option<String>,
}

/// Exit code of any failure that has no code of its own.
pub const FAILURE: u8 = 1;
/// Exit code of a wrong option, and of run, create and exec that failed before the program.
pub const ENGINE: u8 = 125;
/// Exit code when the program was found but cannot be executed.
pub const NOT_EXECUTABLE: u8 = 126;
/// Exit code when the program was not found.
pub const NOT_FOUND: u8 = 127;

impl Error {
    /// An error that rocker itself found.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), errno: None, code: FAILURE, hint: None }
    }

    /// The same error with another exit code.
    pub fn code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }

    /// The same error with a remedy, shown on a line of its own.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<Errno> for Error {
    fn from(errno: Errno) -> Self {
        Self { message: String::new(), errno: Some(errno), code: FAILURE, hint: None }
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
        self.map_err(|errno| Error { message: what.to_string(), ..Error::from(errno) })
    }
}

impl<T> Context<T> for Result<T> {
    fn context(self, what: impl Display) -> Result<T> {
        self.map_err(|error| {
            let message = match error.message.is_empty() {
                true => what.to_string(),
                false => format!("{what}: {}", error.message),
            };
            Error { message, ..error }
        })
    }
}

/// Tells the user of something that does not stop the command.
pub fn warn(what: impl Display) {
    use std::io::Write;
    // One write, so that lines of several processes do not mix; nobody to tell if it fails.
    let _ = std::io::stderr().write_all(format!("rocker: warning: {what}\n").as_bytes());
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
}
