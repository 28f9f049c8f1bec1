//! The runtime's log, as runc writes it: one line for each message, as text on
//! stderr or in the file that `--log` names, where `--log-format json` makes it
//! one JSON object. conmon and containerd read the last error from that file.

use crate::error::{Context, Result};
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};
use std::borrow::Cow;
use std::fmt::Write as _;
use std::path::Path;
use std::time::SystemTime;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    #[default]
    Text,
    Json,
}

#[derive(Debug, Default)]
pub struct Log {
    file: Option<OwnedFd>,
    format: Format,
    quiet: bool,
    debug: bool,
}

impl Log {
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

    /// A log that writes nothing.
    pub fn quiet() -> Self {
        Log { quiet: true, ..Log::default() }
    }

    /// Logs what is being done, for --debug.
    pub fn debug(&self, message: impl FnOnce() -> String) {
        if self.debug {
            self.line("debug", &message());
        }
    }

    pub fn warn(&self, message: &str) {
        self.line("warning", message);
    }

    /// Logs an error; with a log file, people also get the bare message.
    pub fn error(&self, message: &str) {
        self.line("error", message);
        if self.file.is_some() {
            self.bare(message);
        }
    }

    /// An error that stands among what the program says, bare as from a shell.
    pub fn error_of_program(&self, message: &str) {
        if self.file.is_some() {
            self.line("error", message);
        }
        self.bare(message);
    }

    fn bare(&self, message: &str) {
        if !self.quiet {
            tell(&format!("{message}\n"));
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
        // Nowhere is left to tell of a log that can't be written.
        let _ = match &self.file {
            Some(file) => crate::path::write_all(file, line.as_bytes()),
            None => crate::path::write_all(rustix::stdio::stderr(), line.as_bytes()),
        };
    }
}

/// Writes to stderr, where nobody may be left to read it.
pub fn tell(text: &str) {
    let _ = crate::path::write_all(rustix::stdio::stderr(), printable(text).as_bytes());
}

/// `text` without control characters but tabs and ends of lines: names from an
/// image, a record or a file stand in messages, and a terminal would obey their
/// escape sequences. That goes for C1 too (U+009B is CSI), which JSON leaves as
/// they are; each becomes what JSON would read as the same.
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
