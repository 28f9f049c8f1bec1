//! The error type of the runtime: operation, object and reason. Context is added on the way
//! up, and `cli::run` prints the chain once. An error's kind is a type, never a prefix of its
//! text.

use rustix::io::Errno;
use std::fmt;

/// Result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Kinds of errors that callers distinguish.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Kind {
    #[default]
    Other,
    /// The container does not exist.
    NotFound,
    /// A container with this id exists.
    AlreadyExists,
    /// The id has characters that are not allowed.
    InvalidId,
    /// The container, or its init, is not running.
    NotRunning,
    /// The container is in the wrong state for the operation.
    WrongState,
    /// execve(2) of the program failed; the runtime had nothing left to do.
    Program,
}

/// A failed operation. `Display` prints operation and object, `source` is the reason;
/// [`Error::chain`] prints all.
#[derive(Debug)]
pub struct Error {
    what: String,
    source: Option<Source>,
    kind: Kind,
}

/// The reason of an [`Error`].
#[derive(Debug)]
pub enum Source {
    Os(Errno),
    Inner(Box<Error>),
    Other(Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// An error without a source. `what`: `operation object: reason`.
    pub fn new(what: impl Into<String>) -> Self {
        Self::of_kind(Kind::Other, what)
    }

    /// The same, with a kind.
    pub fn of_kind(kind: Kind, what: impl Into<String>) -> Self {
        Error { what: what.into(), source: None, kind }
    }

    /// An error of a system call. `what`: `operation object`.
    pub fn of_errno(errno: Errno, what: impl Into<String>) -> Self {
        Error { what: what.into(), source: Some(Source::Os(errno)), kind: Kind::Other }
    }

    /// Sets the kind.
    pub fn with_kind(self, kind: Kind) -> Self {
        Error { kind, ..self }
    }

    /// Wraps the error as part of the operation `what`.
    pub fn context(self, what: impl Into<String>) -> Self {
        Error { what: what.into(), source: Some(Source::Inner(Box::new(self))), kind: Kind::Other }
    }

    /// Its kind, or that of its source.
    pub fn kind(&self) -> Kind {
        match (self.kind, &self.source) {
            (Kind::Other, Some(Source::Inner(inner))) => inner.kind(),
            (kind, _) => kind,
        }
    }

    /// For another process: one byte for [`Kind::Program`] or not, then the chain.
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

    /// The errno at the end of the chain, if there is one.
    pub fn errno(&self) -> Option<Errno> {
        match self.source.as_ref()? {
            Source::Os(errno) => Some(*errno),
            Source::Inner(inner) => inner.errno(),
            Source::Other(_) => None,
        }
    }

    /// The chain in one line: `operation: inner operation: reason`.
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

/// Adds the operation to an error.
pub trait Context<T> {
    /// Wraps an error as the reason of `what`: `operation object`.
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

/// strerror(3) in lower case, as Go prints it: podman and containerd match phrases such as
/// `permission denied`.
pub fn errno_text(errno: Errno) -> String {
    if errno == Errno::STALE {
        // ESTALE is also the error of `path::openat2_retry` after its last try.
        return "stale file handle: the path is being renamed or replaced continuously".into();
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
