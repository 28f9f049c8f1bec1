//! `--pidfd-socket`: a caller gets a pidfd of the container's process, which
//! can't come to mean another one, as a pid can.

use super::socket;
use crate::error::{Context, Result};
use rustix::fd::{AsFd, OwnedFd};
use std::path::Path;

/// What comes with the descriptor, in runc's words.
pub const OF_INIT: &[u8] = b"standard";
pub const OF_EXEC: &[u8] = b"setns";

pub fn connect(path: &Path) -> Result<OwnedFd> {
    socket::connect(path).doing(|| format!("connect to the pidfd socket {}", path.display()))
}

pub fn send(socket: &OwnedFd, word: &[u8], pidfd: &OwnedFd) -> Result<()> {
    socket::send(socket, word, pidfd.as_fd()).doing(|| "send the pidfd to its socket")
}
