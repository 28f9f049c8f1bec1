//! The start of the command: look-up in PATH, fork, and the result of its execve.

use crate::args::Args;
use crate::{notify, sys};
use std::ffi::{CString, OsStr, OsString};
use std::fmt;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

/// The value of PATH where the environment has none.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The running command.
#[derive(Debug)]
pub struct Child {
    pub pid: i32,
    /// Its process group is in the foreground of the terminal on stdin.
    pub on_terminal: bool,
}

/// Why the command does not run.
#[derive(Debug)]
pub enum StartError {
    /// An argument or environment variable holds a NUL byte.
    Nul(OsString),
    /// A pipe or a process could not be made.
    Fork(io::Error),
    /// The kernel refused to execute it.
    Exec { command: OsString, searched: bool, interpreter: bool, error: io::Error },
}

impl StartError {
    /// As of shells: 127 where the command is not found, 126 where it can't be executed.
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Exec { error, .. } if error.kind() == io::ErrorKind::NotFound => 127,
            _ => 126,
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nul(text) => write!(f, "start command: NUL byte in {text:?}"),
            Self::Fork(error) => write!(f, "start command: fork: {error}"),
            Self::Exec { command, searched, interpreter, error } => {
                write!(f, "start {command:?}: ")?;
                match error.kind() {
                    io::ErrorKind::NotFound if *interpreter => write!(
                        f,
                        "the file exists, but the interpreter that it names (#! line or dynamic \
                         loader) does not"
                    ),
                    io::ErrorKind::NotFound if *searched => {
                        write!(f, "executable file not found in $PATH")
                    }
                    _ => write!(f, "{error}"),
                }
            }
        }
    }
}

/// Starts the command. `Ok` means that its execve has succeeded.
pub fn start(args: &Args) -> Result<Child, StartError> {
    let name = &args.command[0];
    let searched = !name.as_bytes().contains(&b'/');
    let files = if searched {
        let path = std::env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into());
        candidates(name, &path)
    } else {
        vec![name.clone()]
    };
    let prepared = sys::Exec {
        files: c_strings(files.iter().cloned())?,
        argv: c_strings(args.command.iter().cloned())?,
        envp: c_strings(environment(std::env::vars_os(), args.command_notifies))?,
    };
    let on_terminal = sys::is_terminal(0);
    match sys::spawn(&prepared, on_terminal).map_err(StartError::Fork)? {
        Ok(pid) => Ok(Child { pid, on_terminal }),
        Err(error) => Err(StartError::Exec {
            command: name.clone(),
            searched,
            interpreter: files.iter().any(|file| Path::new(file).is_file()),
            error,
        }),
    }
}

/// The paths of a name without a slash. An empty element of PATH is the working directory (POSIX).
fn candidates(name: &OsStr, path: &OsStr) -> Vec<OsString> {
    path.as_bytes()
        .split(|&byte| byte == b':')
        .map(|dir| {
            let dir = if dir.is_empty() { &b"."[..] } else { dir };
            OsString::from_vec([dir, b"/", name.as_bytes()].concat())
        })
        .collect()
}

/// The command's environment, without NOTIFY_SOCKET unless the command notifies: else it could notify
/// in the place of firn-init.
fn environment(
    vars: impl Iterator<Item = (OsString, OsString)>,
    command_notifies: bool,
) -> impl Iterator<Item = OsString> {
    vars.filter(move |(key, _)| command_notifies || key != notify::VARIABLE).map(|(mut entry, value)| {
        entry.push("=");
        entry.push(value);
        entry
    })
}

fn c_strings(texts: impl Iterator<Item = OsString>) -> Result<Vec<CString>, StartError> {
    texts
        .map(|text| {
            CString::new(text.into_vec()).map_err(|error| StartError::Nul(OsString::from_vec(error.into_vec())))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_is_searched_in_order() {
        let found = candidates(OsStr::new("sh"), OsStr::new("/a:/b::/c/"));
        assert_eq!(found, ["/a/sh", "/b/sh", "./sh", "/c//sh"]);
    }

    #[test]
    fn notify_socket_is_kept_from_the_command() {
        let vars = || [("A".into(), "1".into()), ("NOTIFY_SOCKET".into(), "/s".into())].into_iter();
        let kept: Vec<_> = environment(vars(), false).collect();
        assert_eq!(kept, ["A=1"]);
        let passed: Vec<_> = environment(vars(), true).collect();
        assert_eq!(passed, ["A=1", "NOTIFY_SOCKET=/s"]);
    }
}
