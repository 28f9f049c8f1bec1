//! One error type for the whole runtime: what was being done to which object,
//! and why it failed. It is built on the way up and printed once, as a chain,
//! by `cli::run`. Its kind is a type, never a prefix of its text.

use rustix::io::Errno;
use std::fmt;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a caller can tell apart, whatever the text says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Kind {
    #[default]
    Other,
    /// There is no such container.
    NotFound,
    /// There is a container of that id.
    AlreadyExists,
    /// It is no container's id.
    InvalidId,
    /// The container, or its init, does not run.
    NotRunning,
    /// The container is in a state in which this can't be done.
    WrongState,
    /// The kernel refused to execute the program: nothing of the runtime's was left to do.
    Program,
}

/// A failed operation. `Display` shows the operation and its object; the
/// reason is the source, and [`Error::chain`] shows both.
#[derive(Debug)]
pub struct Error {
    what: String,
    source: Option<Source>,
    kind: Kind,
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
        Self::of_kind(Kind::Other, what)
    }

    /// The same, of a kind that callers look for.
    pub fn of_kind(kind: Kind, what: impl Into<String>) -> Self {
        Error { what: what.into(), source: None, kind }
    }

    /// What the kernel refused.
    pub fn of_errno(errno: Errno, what: impl Into<String>) -> Self {
        Error { what: what.into(), source: Some(Source::Os(errno)), kind: Kind::Other }
    }

    pub fn with_kind(self, kind: Kind) -> Self {
        Error { kind, ..self }
    }

    /// The same failure as part of a larger operation.
    pub fn context(self, what: impl Into<String>) -> Self {
        Error { what: what.into(), source: Some(Source::Inner(Box::new(self))), kind: Kind::Other }
    }

    /// Its own kind, or that of the reason below it.
    pub fn kind(&self) -> Kind {
        match (self.kind, &self.source) {
            (Kind::Other, Some(Source::Inner(inner))) => inner.kind(),
            (kind, _) => kind,
        }
    }

    /// For another process: a byte for whether it is of [`Kind::Program`], and the text.
    pub fn to_bytes(&self) -> Vec<u8> {
        let kind = if self.kind() == Kind::Program { Self::OF_PROGRAM } else { Self::OF_RUNTIME };
        [&[kind], self.chain().as_bytes()].concat()
    }

    /// From [`Error::to_bytes`].
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let (kind, text) = match bytes {
            [Self::OF_PROGRAM, text @ ..] => (Kind::Program, text),
            [Self::OF_RUNTIME, text @ ..] => (Kind::Other, text),
            text => (Kind::Other, text),
        };
        Self::of_kind(kind, String::from_utf8_lossy(text))
    }

    const OF_PROGRAM: u8 = 1;
    const OF_RUNTIME: u8 = 2;

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
        self.map_err(|source| Error { what: what().into(), source: Some(source.into()), kind: Kind::Other })
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
        // After the attempts of `path::openat2_retry`.
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
    fn a_kind_shows_through_and_survives_the_way() {
        let error = Error::of_kind(Kind::NotRunning, "container not running").context("kill");
        assert_eq!(error.kind(), Kind::NotRunning);
        let refused = Error::of_errno(Errno::NOEXEC, "exec /x").with_kind(Kind::Program);
        let heard = Error::from_bytes(&refused.to_bytes());
        assert_eq!((heard.kind(), heard.chain()), (Kind::Program, "exec /x: exec format error".into()));
        let heard = Error::from_bytes(&Error::new("exec what: no").to_bytes());
        assert_eq!((heard.kind(), heard.chain()), (Kind::Other, "exec what: no".into()));
    }

    #[test]
    fn errno_texts_are_those_that_callers_match() {
        assert_eq!(errno_text(Errno::ACCESS), "permission denied");
        assert_eq!(errno_text(Errno::PERM), "operation not permitted");
    }
}
