//! The foreground of `run`, `exec` and `restore`: forwards signals, relays terminal or
//! streams, and returns the exit status.

mod caller_stream;
mod process;
mod relay;
mod terminal;

use crate::error::Result;
use crate::ipc::pair::StreamEnds;
use process::Foreground;
use rustix::fd::OwnedFd;
use rustix::process::Pid;

/// Waits for the child `pid`, with all signals blocked: they are forwarded to it. `streams`
/// are relayed to the caller's terminal and streams. Returns its exit status, or 128 + the
/// number of the signal that ended it.
pub fn wait(pid: Pid, pidfd: &OwnedFd, mut streams: StreamEnds) -> Result<u8> {
    let process = Foreground::new(pid, pidfd)?;
    match streams.console.take() {
        None if streams.pipes.is_empty() => loop {
            if let (_, Some(status)) = process.wait(&[], None, |_| false)? {
                return Ok(status);
            }
        },
        None => relay::pump(streams, process),
        Some(console) => terminal::pump(console, process),
    }
}
