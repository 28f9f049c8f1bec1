//! Errors: the operation and its object, and the reason. They are printed once, by `cli::main`, as
//! a chain.

use std::fmt;

/// The result of a function of this crate.
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// An operation with its object, and the reason, if that is an error of its own.
#[derive(Debug)]
pub(crate) struct Error {
    message: String,
    cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error whose message holds the reason too.
    pub(crate) fn new(message: impl Into<String>) -> Error {
        Error { message: message.into(), cause: None }
    }

    /// The whole chain in one line: `operation object: reason`.
    pub(crate) fn chain(&self) -> String {
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

/// Names the operation that has failed.
pub(crate) trait Context<T> {
    /// Makes the error the reason of one with the message `operation`.
    fn context(self, operation: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E> Context<T> for std::result::Result<T, E>
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn context(self, operation: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|cause| Error { message: operation(), cause: Some(cause.into()) })
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
