//! `--pidfd-socket`: sends a pidfd of the container's process, which, unlike a pid, is
//! never reused.

use super::socket;
use crate::error::{Context, Result};
use rustix::fd::{AsFd, OwnedFd};
use std::path::Path;

/// The data sent with the pidfd of init, as by runc.
pub const OF_INIT: &[u8] = b"standard";
/// The data sent with the pidfd of a process of `exec`, as by runc.
pub const OF_EXEC: &[u8] = b"setns";

/// Connects to the socket. Errors: those of connect(2).
pub fn connect(path: &Path) -> Result<OwnedFd> {
    socket::connect(path).doing(|| format!("connect to the pidfd socket {}", path.display()))
}

/// Sends the pidfd (SCM_RIGHTS) with `word` as data. Errors: those of sendmsg(2).
pub fn send(socket: &OwnedFd, word: &[u8], pidfd: &OwnedFd) -> Result<()> {
    socket::send(socket, word, pidfd.as_fd()).doing(|| "send the pidfd to its socket")
}
