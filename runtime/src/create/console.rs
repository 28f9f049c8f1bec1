//! The way that the master of a container's terminal takes to whoever shows it.

use super::socket;
use crate::error::{Context, Result};
use crate::plan::process::ProcessPlan;
use crate::spec::process::ConsoleSize;
use rustix::fd::OwnedFd;
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

/// The two ends of the way that a terminal's master takes: ours, where it comes
/// to us, and init's.
#[derive(Debug, Default)]
pub struct Way {
    pub near: Option<OwnedFd>,
    pub far: Option<OwnedFd>,
}

impl Console {
    /// Makes the way for the terminal of `process`, if it has one. One that
    /// stands for our own begins with its size: the program must not run
    /// before it knows it.
    pub fn open(&self, process: &mut ProcessPlan) -> Result<Way> {
        match (self, process.terminal) {
            (Console::None, true) => crate::bail!(
                "process.terminal is true: a terminal needs --console-socket when it is not in the foreground"
            ),
            (Console::Path(path), false) => {
                crate::bail!("--console-socket {} is given, but process.terminal is false", path.display())
            }
            (Console::Path(path), true) => Ok(Way { near: None, far: Some(connect(path)?) }),
            (Console::Foreground, true) => {
                if let (None, Ok(size)) = (process.console_size, tcgetwinsize(rustix::stdio::stdin())) {
                    process.console_size = Some(ConsoleSize { height: size.ws_row, width: size.ws_col });
                }
                process.terminal_in_foreground = true;
                let (kind, flags) = (SocketType::STREAM, SocketFlags::CLOEXEC);
                let (near, far) = rustix::net::socketpair(AddressFamily::UNIX, kind, flags, None)
                    .doing(|| "make a console socket")?;
                Ok(Way { near: Some(near), far: Some(far) })
            }
            (Console::None | Console::Foreground, false) => Ok(Way::default()),
        }
    }
}

fn connect(path: &Path) -> Result<OwnedFd> {
    socket::connect(path).doing(|| format!("connect to the console socket {}", path.display()))
}
