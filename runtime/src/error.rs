//! One error type for the whole runtime: what was being done to which object,
//! and why it failed. It is built on the way up and printed once, as a chain,
//! by `cli::run`.

use rustix::io::Errno;
use std::fmt;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failed operation. `Display` shows the operation and its object; the
/// reason is the source, and [`Error::chain`] shows both.
#[derive(Debug)]
pub struct Error {
    what: String,
    source: Option<Source>,
    of_program: bool,
}

#[derive(Debug)]
pub enum Source {
    Os(Errno),
    Inner(Box<Error>),
    Other(Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// An error that has no deeper reason.
    pub fn new(what: impl Into<String>) -> Self {
        Error { what: what.into(), source: None, of_program: false }
    }

    /// What init said when it could not become the program: `exec PROGRAM: why`
    /// where the execve(2) itself failed, else the step's name before it all.
    pub fn of_init(words: String) -> Self {
        Error { of_program: words.starts_with("exec "), ..Error::new(words) }
    }

    /// Nothing of the runtime's was left to do.
    pub fn is_of_program(&self) -> bool {
        self.of_program
    }

    /// The kernel's reason at the bottom of the chain, if there is one.
    pub fn errno(&self) -> Option<Errno> {
        match self.source.as_ref()? {
            Source::Os(errno) => Some(*errno),
            Source::Inner(inner) => inner.errno(),
            Source::Other(_) => None,
        }
    }

    /// The whole chain in one line: `operation: inner operation: reason`.
    pub fn chain(&self) -> String {
        let mut text = self.what.clone();
        let reason = match &self.source {
            None => return text,
            Some(Source::Os(errno)) => errno_text(*errno),
            Some(Source::Inner(inner)) => inner.chain(),
            Some(Source::Other(other)) => other.to_string(),
        };
        if !text.is_empty() {
            text.push_str(": ");
        }
        text + &reason
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self.source.as_ref()? {
            Source::Os(errno) => Some(errno),
            Source::Inner(inner) => Some(inner.as_ref()),
            Source::Other(other) => Some(other.as_ref()),
        }
    }
}

impl From<Errno> for Source {
    fn from(errno: Errno) -> Self {
        Source::Os(errno)
    }
}

impl From<Error> for Source {
    fn from(error: Error) -> Self {
        Source::Inner(Box::new(error))
    }
}

impl From<std::io::Error> for Source {
    fn from(error: std::io::Error) -> Self {
        match Errno::from_io_error(&error) {
            Some(errno) => Source::Os(errno),
            None => Source::Other(Box::new(error)),
        }
    }
}

impl From<serde_json::Error> for Source {
    fn from(error: serde_json::Error) -> Self {
        Source::Other(Box::new(error))
    }
}

/// Names the operation that a failure belongs to.
pub trait Context<T> {
    fn doing<W: Into<String>>(self, what: impl FnOnce() -> W) -> Result<T>;
}

impl<T, E: Into<Source>> Context<T> for Result<T, E> {
    fn doing<W: Into<String>>(self, what: impl FnOnce() -> W) -> Result<T> {
        self.map_err(|source| Error { what: what().into(), source: Some(source.into()), of_program: false })
    }
}

/// Returns early with a formatted [`Error`].
#[macro_export]
macro_rules! bail {
    ($($arg:tt)*) => { return Err($crate::error::Error::new(format!($($arg)*))) };
}

/// The C library's text in lower case, as Go prints it: podman and containerd
/// look for phrases such as `permission denied` in a runtime's messages.
pub fn errno_text(errno: Errno) -> String {
    if errno == Errno::STALE {
        // Also what `path::openat2_again` ends with.
        return "stale file handle: what lies there is being renamed or replaced all the time".into();
    }
    let text = std::io::Error::from(errno).to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_names_each_operation_once_and_ends_in_the_reason() {
        let error = Err::<(), _>(Errno::NOENT).doing(|| "open /etc/passwd").doing(|| "init: user").unwrap_err();
        assert_eq!(error.chain(), "init: user: open /etc/passwd: no such file or directory");
        assert_eq!(error.errno(), Some(Errno::NOENT));
        assert_eq!(error.to_string(), "init: user");
    }

    #[test]
    fn errno_texts_are_those_that_callers_match() {
        assert_eq!(errno_text(Errno::ACCESS), "permission denied");
        assert_eq!(errno_text(Errno::PERM), "operation not permitted");
    }
}
