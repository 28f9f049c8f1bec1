//! The OCI runtime's commands: how they are called, and what they say when
//! they fail. Nothing here waits: [`crate::runtime::queue`] does, in the loop.

use crate::container::policy::Exit;
use crate::error::Error;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// How much of a command's log or stderr is looked at.
const LARGEST_REPORT: u64 = 64 << 10;

/// The four commands that a monitor needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Create,
    Start,
    KillAll,
    Delete,
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verb::Create => "create",
            Verb::Start => "start",
            Verb::KillAll => "kill",
            Verb::Delete => "delete",
        })
    }
}

/// One runtime, for one container.
#[derive(Debug)]
pub struct Runtime {
    pub program: PathBuf,
    /// Its `--root`.
    pub root: Option<PathBuf>,
    pub id: String,
    /// Where it writes its JSON log lines.
    pub log: PathBuf,
    /// Where the /proc/PID/stat of the command under way stands.
    pub mark: PathBuf,
    /// Its stderr, for what doesn't reach the log (a crash, an old option).
    pub stderr: PathBuf,
}

/// What only `create` needs.
#[derive(Debug)]
pub struct CreateArgs {
    pub bundle: PathBuf,
    pub pid_file: PathBuf,
    pub console_socket: Option<PathBuf>,
}

impl Runtime {
    /// `create`; stdout and stderr are left for the caller to set.
    pub fn create(&self, args: &CreateArgs) -> io::Result<Command> {
        let mut command = self.command(Verb::Create)?;
        command.arg("--bundle").arg(&args.bundle);
        command.arg("--pid-file").arg(&args.pid_file);
        if let Some(socket) = &args.console_socket {
            command.arg("--console-socket").arg(socket);
        }
        // A name may begin with a dash.
        command.args(["--", &self.id]);
        Ok(command)
    }

    /// Any other command, complete.
    pub fn other(&self, verb: Verb) -> io::Result<Command> {
        let mut command = self.command(verb)?;
        match verb {
            Verb::KillAll => command.args(["--all", "--", &self.id, "KILL"]),
            Verb::Delete => command.args(["--force", "--", &self.id]),
            Verb::Create | Verb::Start => command.args(["--", &self.id]),
        };
        Ok(command)
    }

    fn command(&self, verb: Verb) -> io::Result<Command> {
        // Emptied each time: the last error in it is then this command's.
        private_file(&self.log)?;
        let mut command = Command::new(&self.program);
        crate::sys::prepare(&mut command, private_file(&self.mark)?.into());
        if let Some(root) = &self.root {
            command.arg("--root").arg(root);
        }
        command.arg("--log").arg(&self.log);
        command.args(["--log-format", "json", &verb.to_string()]);
        // They belong to this process; runc would set up its own forwarding
        // for NOTIFY_SOCKET, and hand LISTEN_FDS on into the container.
        for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"] {
            command.env_remove(name);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(private_file(&self.stderr)?);
        Ok(command)
    }

    /// The error of a command that ended with `exit`. `output` is what it
    /// printed, where that went elsewhere than to the stderr file.
    pub fn failure(&self, verb: Verb, exit: Exit, output: &str) -> Error {
        let name = self.program.file_name().unwrap_or(self.program.as_os_str());
        let said =
            last_error(&tail(&self.log)).or_else(|| last_line(&tail(&self.stderr))).or_else(|| last_line(output));
        // In one line, so that no name in it looks like another message.
        let said = said.map(|said| said.replace('\n', "\\u000a"));
        let why = match (said, exit) {
            (Some(said), _) => said,
            (None, Exit::Signal(signal)) => format!("ended by {signal}"),
            (None, exit) => format!("exit status {}", exit.code()),
        };
        Error::new(format!("container {}: {} {verb}: {why}", self.id, name.display()))
    }
}

fn private_file(path: &Path) -> io::Result<File> {
    File::options().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// The end of a file as text; a file that can't be read is an empty one.
fn tail(path: &Path) -> String {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.seek(SeekFrom::End(0))?;
        file.seek(SeekFrom::Start(length.saturating_sub(LARGEST_REPORT)))?;
        let mut text = Vec::new();
        file.take(LARGEST_REPORT).read_to_end(&mut text)?;
        Ok(text)
    };
    String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
}

/// The message of the last JSON object in `log` that is an error.
fn last_error(log: &str) -> Option<String> {
    log.lines()
        .rev()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .find(|entry| entry.get("level").is_some_and(|level| level == "error"))
        .and_then(|entry| Some(entry.get("msg")?.as_str()?.trim().to_owned()))
        .filter(|message| !message.is_empty())
}

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
{"level":"info","msg":"told","time":"t"}
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
