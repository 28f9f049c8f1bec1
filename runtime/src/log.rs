//! The log, in runc's format: one line for each message, as text to stderr or to the file of
//! `--log`, as a JSON object with `--log-format json`. conmon and containerd read the last
//! error from that file.

use crate::error::{Context, Result};
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};
use std::borrow::Cow;
use std::fmt::Write as _;
use std::path::Path;
use std::time::SystemTime;

/// Format of log lines, `--log-format`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    #[default]
    Text,
    Json,
}

/// A log: stderr or a file.
#[derive(Debug, Default)]
pub struct Log {
    file: Option<OwnedFd>,
    format: Format,
    quiet: bool,
    debug: bool,
}

impl Log {
    /// Opens the log for appending; without `file` it is stderr. `debug`: log debug messages.
    /// Errors: those of open(2).
    pub fn open(file: Option<&Path>, format: Format, debug: bool) -> Result<Self> {
        let file = match file {
            None => None,
            Some(path) => {
                let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::CLOEXEC;
                let file = rustix::fs::open(path, flags, Mode::from_raw_mode(0o644))
                    .doing(|| format!("open the log {}", path.display()))?;
                Some(file)
            }
        };
        Ok(Log { file, format, quiet: false, debug })
    }

    /// A log that discards messages.
    pub fn quiet() -> Self {
        Log { quiet: true, ..Log::default() }
    }

    /// Logs a debug message, only with `--debug`.
    pub fn debug(&self, message: impl FnOnce() -> String) {
        if self.debug {
            self.line("debug", &message());
        }
    }

    /// Logs a warning.
    pub fn warn(&self, message: &str) {
        self.line("warning", message);
    }

    /// Logs an error; with a log file also prints the bare message to stderr.
    pub fn error(&self, message: &str) {
        self.line("error", message);
        if self.file.is_some() {
            self.bare(message);
        }
    }

    /// Logs an error of executing the program: on stderr bare, as a shell prints it.
    pub fn error_of_program(&self, message: &str) {
        if self.file.is_some() {
            self.line("error", message);
        }
        self.bare(message);
    }

    fn bare(&self, message: &str) {
        if !self.quiet {
            print_to_stderr(&format!("{message}\n"));
        }
    }

    fn line(&self, level: &str, message: &str) {
        if self.quiet {
            return;
        }
        let time = crate::time::rfc3339(SystemTime::now());
        let line = match self.format {
            Format::Json => {
                format!("{{\"level\":\"{level}\",\"msg\":{},\"time\":\"{time}\"}}\n", quoted(message))
            }
            Format::Text => format!("time=\"{time}\" level={level} msg={}\n", quoted(message)),
        };
        // A failed write to the log can't be reported.
        let _ = match &self.file {
            Some(file) => crate::path::write_all(file, line.as_bytes()),
            None => crate::path::write_all(rustix::stdio::stderr(), line.as_bytes()),
        };
    }
}

/// Prints to stderr, ignoring errors.
pub fn print_to_stderr(text: &str) {
    let _ = crate::path::write_all(rustix::stdio::stderr(), printable(text).as_bytes());
}

/// Replaces control characters except tab and newline by `\uXXXX`: messages contain names
/// from images, records and files, and a terminal would interpret escape sequences in them.
/// Includes C1 (U+009B is CSI), which serde_json does not escape; a JSON parser reads the
/// same text.
pub fn printable(text: &str) -> Cow<'_, str> {
    let is_harmful = |c: char| c.is_control() && c != '\n' && c != '\t';
    if !text.contains(is_harmful) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len() + 5);
    for c in text.chars() {
        match is_harmful(c) {
            true => drop(write!(clean, "\\u{:04x}", u32::from(c))),
            false => clean.push(c),
        }
    }
    Cow::Owned(clean)
}

fn quoted(text: &str) -> String {
    printable(&serde_json::Value::from(text).to_string()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_quoted_so_that_a_line_stays_a_line() {
        assert_eq!(quoted("exec: \"x\"\n"), r#""exec: \"x\"\n""#);
    }

    #[test]
    fn nothing_that_a_terminal_would_obey_is_printed() {
        assert_eq!(printable("a\tb\nä"), "a\tb\nä");
        assert_eq!(printable("\x1b[31m\r\x7f\u{9b}31m"), r"\u001b[31m\u000d\u007f\u009b31m");
        assert_eq!(quoted("\u{9b}\x1b"), r#""\u009b\u001b""#);
    }
}
