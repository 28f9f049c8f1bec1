//! The processes in the container that clients have asked for.

use crate::control::protocol::{AttachedStream, ExecProcess};
use crate::process::exit::Exit;
use crate::process::pty::ConsoleSocket;
use std::os::fd::OwnedFd;

/// Processes at the same time, those that are still to be started included.
pub(super) const LIMIT: usize = 1024;

/// A process that a client has asked for.
#[derive(Debug)]
pub(super) struct Exec {
    pub(super) number: u32,
    pub(super) client: u32,
    pub(super) process: ExecProcess,
    /// The client's ends of its streams, until it is started.
    pub(super) streams: Vec<(AttachedStream, OwnedFd)>,
    pub(super) console: Option<ConsoleSocket>,
    /// Once it is started.
    pub(super) pid: Option<i32>,
}

/// All processes of clients that have not ended.
#[derive(Debug, Default)]
pub(super) struct Execs {
    pub(super) list: Vec<Exec>,
    /// The number of the last one.
    pub(super) last: u32,
    /// Children that ended while the runtime's `exec` ran, one of which may be its process.
    pub(super) orphans: Vec<(i32, Exit)>,
}
