//! Why a command of the runtime failed, from what it wrote.

use super::command::{Runtime, Verb};
use crate::process::exit::Exit;
use firn::error::Error;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

/// Bytes at the end of a command's log or stderr in which its error is looked for.
const READ_LIMIT: u64 = 64 << 10;

/// What kind of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// There is no container of that name. runc and crun have no exit status for it, only the
    /// words `does not exist`.
    NoSuchContainer,
    /// Of `create`: there is one, and it is another's. By the words of runc and firn, or of crun.
    Exists,
    Other,
}

/// A command that failed.
#[derive(Debug)]
pub(crate) struct CommandError {
    pub(crate) kind: FailureKind,
    id: String,
    /// The command and its reason.
    pub(crate) message: String,
}

impl CommandError {
    /// The error of `verb`, which ended with `exit`. The runtime's reason is the last error in its
    /// JSON log, else the last line of its stderr, else that of `output`: what it printed where
    /// its stderr is the container's.
    pub(crate) fn of(runtime: &Runtime, verb: Verb, exit: Exit, output: &str) -> CommandError {
        let name = runtime.program.file_name().unwrap_or(runtime.program.as_os_str());
        let reason = last_error(&read_end(&runtime.log))
            .or_else(|| last_line(&read_end(&runtime.stderr)))
            .or_else(|| last_line(output));
        // In one line, so that no name in it looks like another message.
        let reason = reason.map(|reason| reason.replace('\n', "\\u000a"));
        let kind = match &reason {
            Some(reason) if reason.contains("does not exist") => FailureKind::NoSuchContainer,
            Some(reason) if matches!(verb, Verb::Create) && says_that_it_exists(reason) => FailureKind::Exists,
            _ => FailureKind::Other,
        };
        let reason = match (reason, exit) {
            (Some(reason), _) => reason,
            (None, Exit::Signal(signal)) => format!("ended by {signal}"),
            (None, exit) => format!("exit status {}", exit.code()),
        };
        CommandError { kind, id: runtime.id.clone(), message: format!("{} {verb}: {reason}", name.display()) }
    }
}

impl From<CommandError> for Error {
    fn from(error: CommandError) -> Error {
        Error::new(format!("container {}: {}", error.id, error.message))
    }
}

fn says_that_it_exists(reason: &str) -> bool {
    reason.contains("container with given ID already exists")
        || reason.contains("container `") && reason.contains("` already exists")
}

/// The end of a file as text; nothing if it can't be read.
fn read_end(path: &Path) -> String {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.seek(SeekFrom::End(0))?;
        file.seek(SeekFrom::Start(length.saturating_sub(READ_LIMIT)))?;
        let mut text = Vec::new();
        file.take(READ_LIMIT).read_to_end(&mut text)?;
        Ok(text)
    };
    String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
}

/// The message of the last JSON object in `log` whose level is `error`.
fn last_error(log: &str) -> Option<String> {
    log.lines()
        .rev()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .find(|entry| entry.get("level").is_some_and(|level| level == "error"))
        .and_then(|entry| Some(entry.get("msg")?.as_str()?.trim().to_owned()))
        .filter(|message| !message.is_empty())
}

/// The last line that is not blank, at most 500 characters of it.
fn last_line(text: &str) -> Option<String> {
    let line = text.lines().map(str::trim).rfind(|line| !line.is_empty())?;
    Some(line.chars().take(500).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_error_counts() {
        let log = r#"{"level":"error","msg":"first","time":"t"}
{"level":"warning","msg":"warned","time":"t"}
{"level":"error","msg":"second ","time":"t"}
{"level":"info","msg":"info","time":"t"}
{"level":"error","msg":"cut o"#;
        assert_eq!(last_error(log).as_deref(), Some("second"));
        for nothing in ["", "text", r#"{"level":"info","msg":"x"}"#, r#"{"level":"error"}"#, "[1]"] {
            assert_eq!(last_error(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn without_a_log_the_last_line_counts() {
        assert_eq!(last_line("a\n  b  \n\n").as_deref(), Some("b"));
        assert_eq!(last_line("\n"), None);
        assert_eq!(last_line(&"x".repeat(9000)).map(|line| line.len()), Some(500));
    }
}
