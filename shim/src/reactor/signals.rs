//! The signals to the monitor, read from a signalfd(2).

use crate::signal::Signal;
use nix::sys::signal::{self, SigSet};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// All that mean something to it; docs/shim.md, "Signals to the monitor".
const READ: [signal::Signal; 6] = [
    signal::Signal::SIGTERM,
    signal::Signal::SIGINT,
    signal::Signal::SIGHUP,
    signal::Signal::SIGUSR1,
    signal::Signal::SIGUSR2,
    signal::Signal::SIGCHLD,
];

/// The signalfd.
#[derive(Debug)]
pub(crate) struct Signals(SignalFd);

impl Signals {
    /// Blocks the signals: from here on they interrupt nothing and wait to be read.
    pub(crate) fn block() -> io::Result<Signals> {
        let set: SigSet = READ.into_iter().collect();
        set.thread_block()?;
        Ok(Signals(SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?))
    }

    /// The next pending signal, without waiting.
    pub(crate) fn next_pending(&self) -> Option<Signal> {
        let info = self.0.read_signal().ok()??;
        i32::try_from(info.ssi_signo).ok().map(Signal)
    }
}

impl AsFd for Signals {
    /// Readable while a signal is pending.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
