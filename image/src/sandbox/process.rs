//! A child process, which ends with its parent.

use crate::sys;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::process::{Pid, WaitOptions, waitpid};
use std::io;

/// A child process that is waited for when this is dropped.
#[derive(Debug)]
pub(crate) struct Child(Option<Pid>);

impl Child {
    /// Runs `work` in a child that has the descriptors `kept` and standard error.
    pub(crate) fn start(kept: &[BorrowedFd<'_>], work: impl FnOnce() -> u8) -> io::Result<Self> {
        Ok(Self(Some(sys::fork(kept, work)?)))
    }

    /// Waits for its end. By which signal it was killed.
    pub(crate) fn wait(&mut self) -> io::Result<Option<i32>> {
        let Some(pid) = self.0.take() else { return Ok(None) };
        loop {
            match waitpid(Some(pid), WaitOptions::empty()) {
                Err(rustix::io::Errno::INTR) => {}
                result => return Ok(result?.and_then(|(_, status)| status.terminating_signal())),
            }
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.wait();
    }
}

/// An error with all its reasons, to be sent to another process.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let reasons = std::iter::successors(error.source(), |error| error.source());
    reasons.fold(error.to_string(), |text, reason| format!("{text}: {reason}"))
}

/// Without a copy of the descriptor, which [`std::fs::File`] would take.
pub(crate) fn write_all(pipe: impl AsFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        bytes = &bytes[rustix::io::retry_on_intr(|| rustix::io::write(&pipe, bytes))?..];
    }
    Ok(())
}
