//! The way that the master of a container's terminal takes to whoever shows it.

use super::streams::Output;
use super::{socket, streams};
use crate::error::{Context, Result};
use crate::plan::process::ProcessPlan;
use crate::spec::process::ConsoleSize;
use rustix::fd::{OwnedFd, RawFd};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::termios::tcgetwinsize;
use std::path::{Path, PathBuf};

/// Who gets the master of a terminal, if the config asks for one.
#[derive(Debug, Default)]
pub enum Console {
    /// Nobody: then there can be none.
    #[default]
    None,
    /// Whoever listens at a socket of the host.
    Path(PathBuf),
    /// The caller, whose own terminal it stands for.
    Foreground,
}

/// What lies between the caller's streams and the process's: our ends, and its.
#[derive(Debug, Default)]
pub struct Way {
    pub near: Ends,
    pub far: Ends,
    /// Of the process's streams that are pipes, as /proc/PID/fd has them.
    pub names: Vec<String>,
}

#[derive(Debug, Default)]
pub struct Ends {
    /// Over which a terminal's master comes.
    pub console: Option<OwnedFd>,
    /// By the number of the stream.
    pub pipes: Vec<(RawFd, OwnedFd)>,
}

impl Way {
    fn console(near: Option<OwnedFd>, far: OwnedFd) -> Self {
        let ends = |console| Ends { console, pipes: Vec::new() };
        Way { near: ends(near), far: ends(Some(far)), names: Vec::new() }
    }
}

impl Console {
    /// Makes the way for the terminal of `process`, if it has one, or for its
    /// streams. A terminal that stands for our own begins with its size: the
    /// program must not run before it knows it.
    pub fn open(&self, process: &mut ProcessPlan, outputs: Output) -> Result<Way> {
        match (self, process.terminal) {
            (Console::None, true) => crate::bail!(
                "process.terminal is true: a terminal needs --console-socket when it is not in the foreground"
            ),
            (Console::Path(path), false) => {
                crate::bail!("--console-socket {} is given, but process.terminal is false", path.display())
            }
            (Console::Path(path), true) => Ok(Way::console(None, connect(path)?)),
            (Console::Foreground, true) => {
                if let (None, Ok(size)) = (process.console_size, tcgetwinsize(rustix::stdio::stdin())) {
                    process.console_size = Some(ConsoleSize { height: size.ws_row, width: size.ws_col });
                }
                process.terminal_in_foreground = true;
                let (kind, flags) = (SocketType::STREAM, SocketFlags::CLOEXEC);
                let (near, far) = rustix::net::socketpair(AddressFamily::UNIX, kind, flags, None)
                    .doing(|| "make a console socket")?;
                Ok(Way::console(Some(near), far))
            }
            (Console::Foreground, false) => streams::stand_between(process, outputs),
            (Console::None, false) => streams::pass(process),
        }
    }
}

fn connect(path: &Path) -> Result<OwnedFd> {
    socket::connect(path).doing(|| format!("connect to the console socket {}", path.display()))
}
