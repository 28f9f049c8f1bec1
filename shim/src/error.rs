//! Errors: a message that names the operation and the object, and its cause.
//! They are printed once, at `main`, as a chain.

use std::fmt;

/// What every fallible function of this crate returns.
pub type Result<T> = std::result::Result<T, Error>;

/// A message with an optional cause.
#[derive(Debug)]
pub struct Error {
    message: String,
    cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error without a cause of its own.
    pub fn new(message: impl Into<String>) -> Error {
        Error { message: message.into(), cause: None }
    }

    /// The message and all causes, `operation: object: cause`.
    pub fn chain(&self) -> String {
        let mut text = self.message.clone();
        let mut next = std::error::Error::source(self);
        while let Some(cause) = next {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            next = cause.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.cause {
            Some(cause) => Some(&**cause),
            None => None,
        }
    }
}

/// Puts what was being done before an error.
pub trait Context<T> {
    /// Wraps the error with `what`, which is only made when there is one.
    fn context(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E> Context<T> for std::result::Result<T, E>
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn context(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|cause| Error { message: what(), cause: Some(cause.into()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_names_every_link_once() {
        let io = std::io::Error::from_raw_os_error(2);
        let text = io.to_string();
        let inner: Result<()> = Err(io).context(|| "open config.json".into());
        let outer = inner.context(|| "bundle /b".into()).unwrap_err();
        assert_eq!(outer.chain(), format!("bundle /b: open config.json: {text}"));
    }
}
