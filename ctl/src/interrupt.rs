//! Ctrl-C, SIGTERM and SIGHUP: the first one lets us end in order, a second Ctrl-C at once.

use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

/// Readable from the first signal on; it is never read.
static SIGNALS: OnceLock<UnixStream> = OnceLock::new();

/// Watches for signals from now on, in the whole process.
pub fn watch() -> Result<()> {
    let (ours, theirs) = UnixStream::pair().context("socketpair")?;
    let again = Arc::new(AtomicBool::new(false));
    let register = || -> std::io::Result<()> {
        // In this order: the second signal finds the flag of the first. 130 is what a shell shows.
        signal_hook::flag::register_conditional_shutdown(SIGINT, 130, Arc::clone(&again))?;
        signal_hook::flag::register(SIGINT, again)?;
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::low_level::pipe::register(signal, theirs.try_clone()?)?;
        }
        Ok(())
    };
    register().context("watch for signals")?;
    let _ = SIGNALS.set(ours);
    Ok(())
}

/// Readable when a signal has come; `None` where nobody watches.
pub fn fd() -> Option<BorrowedFd<'static>> {
    SIGNALS.get().map(AsFd::as_fd)
}

/// Whether a signal has come.
pub fn has_come() -> bool {
    let is_readable =
        |fd| poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], PollTimeout::ZERO).is_ok_and(|count| count > 0);
    fd().is_some_and(is_readable)
}

/// Waits until `other` is readable; false: a signal has come first.
pub fn wait_for(other: BorrowedFd<'_>) -> Result<bool> {
    let mut fds = vec![PollFd::new(other, PollFlags::POLLIN)];
    fds.extend(fd().map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
    loop {
        match poll(&mut fds, PollTimeout::NONE) {
            Err(nix::Error::EINTR) => {}
            result => {
                result.context("poll")?;
                return Ok(!fds.get(1).is_some_and(|fd| fd.any().unwrap_or(false)));
            }
        }
    }
}
