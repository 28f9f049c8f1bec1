//! The foreground process: signals are forwarded to it, and its exit status is awaited.

use crate::error::{Context, Result};
use crate::ipc::child;
use crate::sys::signal;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::process::Pid;

/// Signals that ask a program to terminate.
const TERMINATING: [libc::c_int; 4] = [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM];

/// A child process; the caller has blocked all signals.
#[derive(Debug)]
pub struct Foreground<'a> {
    pid: Pid,
    pidfd: &'a OwnedFd,
    signals: OwnedFd,
    /// A terminating signal arrived after the process had ended.
    was_asked_to_end: bool,
}

impl<'a> Foreground<'a> {
    /// A child to forward signals to. Errors: those of signalfd(2).
    pub fn new(pid: Pid, pidfd: &'a OwnedFd) -> Result<Self> {
        let signals = signal::signalfd().doing(|| "signalfd")?;
        Ok(Foreground { pid, pidfd, signals, was_asked_to_end: false })
    }

    /// Waits until the process ends, a descriptor of `more` is ready, a signal arrives, or
    /// `limit` passes. Returns which of `more` are ready, in order, and the exit status if
    /// the process has ended. Signals are forwarded unless `keeps` returns true.
    pub fn wait(
        &self,
        more: &[PollFd<'_>],
        limit: Option<&Timespec>,
        mut keeps: impl FnMut(i32) -> bool,
    ) -> Result<(Vec<bool>, Option<u8>)> {
        let mut fds = Vec::with_capacity(more.len() + 2);
        fds.extend([PollFd::new(&self.signals, PollFlags::IN), PollFd::new(self.pidfd, PollFlags::IN)]);
        fds.extend_from_slice(more);
        match poll(&mut fds, limit) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno).doing(|| "wait for the container"),
        }
        let mut ready = fds.iter().map(|fd| !fd.revents().is_empty());
        let (signalled, ended) = (ready.next() == Some(true), ready.next() == Some(true));
        let ready = ready.collect();
        // By pidfd, not SIGCHLD: a tracer gets that instead of us (ptrace(2)).
        if ended {
            return Ok((ready, Some(child::reap_exit(self.pid, self.pidfd)?.code())));
        }
        while signalled && let Some(number) = next_signal(&self.signals) {
            if number == libc::SIGCHLD {
                child::reap_orphans(self.pid)?;
            } else if !keeps(number) {
                self.forward_signal(number)?;
            }
        }
        Ok((ready, None))
    }

    fn forward_signal(&self, number: i32) -> Result<()> {
        if matches!(number, libc::SIGPIPE | libc::SIGURG) {
            return Ok(());
        }
        match signal::pidfd_send_signal(self.pidfd.as_fd(), number) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(errno) => Err(errno).doing(|| format!("forward signal {number} to the container")),
        }
    }

    /// After the process's end: waits until `fd` is ready for its last output. False after
    /// `limit`, or at a terminating signal: the user may have stopped the terminal (Ctrl-S).
    pub fn wait_for_last(&mut self, fd: PollFd<'_>, limit: Option<&Timespec>) -> bool {
        const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
        loop {
            let limit = if self.was_asked_to_end { Some(&NOW) } else { limit };
            let mut fds = [fd.clone(), PollFd::new(&self.signals, PollFlags::IN)];
            match poll(&mut fds, limit) {
                Ok(0) => return false,
                Ok(_) if !fds[0].revents().is_empty() => return true,
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(_) => return false,
            }
            while let Some(number) = next_signal(&self.signals) {
                self.was_asked_to_end |= TERMINATING.contains(&number);
            }
        }
    }
}

/// Reads the signalfd without blocking.
fn next_signal(signals: &OwnedFd) -> Option<i32> {
    signal::read_signalfd(signals.as_fd()).ok()
}
