//! Opens the console socket or the pipes between the caller and a new process.

use super::pair::ConsolePair;
use super::{socket, streams};
use crate::error::{Context, Result};
use crate::plan::request::Console;
use crate::plan::streams::StreamsPlan;
use rustix::fd::OwnedFd;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use std::path::Path;

/// Connects to the console socket, or makes a socket pair or the pipes of the plan.
/// Errors: those of connect(2), socketpair(2), pipe(2).
pub fn open(plan: &StreamsPlan) -> Result<ConsolePair> {
    match &plan.console {
        Console::Socket(path) => Ok(ConsolePair::terminal(None, connect(path)?)),
        Console::Foreground => {
            let (kind, flags) = (SocketType::STREAM, SocketFlags::CLOEXEC);
            let pair = rustix::net::socketpair(AddressFamily::UNIX, kind, flags, None);
            let (caller, process) = pair.doing(|| "make a console socket")?;
            Ok(ConsolePair::terminal(Some(caller), process))
        }
        Console::None => streams::make_pipes(&plan.streams),
    }
}

fn connect(path: &Path) -> Result<OwnedFd> {
    socket::connect(path).doing(|| format!("connect to the console socket {}", path.display()))
}
