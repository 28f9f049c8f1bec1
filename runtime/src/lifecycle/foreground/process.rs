//! The process in the foreground: it gets the signals that firn gets, and firn its
//! exit status.

use crate::error::{Context, Result};
use crate::ipc::child;
use crate::sys::signal;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::process::Pid;

/// What asks a program to end.
const ENDING: [libc::c_int; 4] = [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM];

/// A child, for a caller that has blocked all signals.
#[derive(Debug)]
pub struct Foreground<'a> {
    pid: Pid,
    pidfd: &'a OwnedFd,
    signals: OwnedFd,
    /// By a signal that came when there was no process any more to pass it on to.
    asked_to_end: bool,
}

impl<'a> Foreground<'a> {
    pub fn new(pid: Pid, pidfd: &'a OwnedFd) -> Result<Self> {
        let signals = signal::signalfd().doing(|| "wait for signals")?;
        Ok(Foreground { pid, pidfd, signals, asked_to_end: false })
    }

    /// Waits until something comes from it, from `more`, or until `limit`. Says what of
    /// `more` is ready, in its order, and the exit status if the process has ended.
    /// Signals are passed on, but for those that `takes` keeps.
    pub fn wait(
        &self,
        more: &[PollFd<'_>],
        limit: Option<&Timespec>,
        mut takes: impl FnMut(i32) -> bool,
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
        // Not by SIGCHLD, which a tracer gets in our place: ptrace(2).
        if ended {
            return Ok((ready, Some(child::exit(self.pid, self.pidfd)?.code())));
        }
        while signalled && let Some(number) = next_signal(&self.signals) {
            if number == libc::SIGCHLD {
                child::reap_orphans(self.pid)?;
            } else if !takes(number) {
                self.pass_on(number)?;
            }
        }
        Ok((ready, None))
    }

    fn pass_on(&self, number: i32) -> Result<()> {
        if matches!(number, libc::SIGPIPE | libc::SIGURG) {
            return Ok(());
        }
        match signal::send(self.pidfd.as_fd(), number) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(errno) => Err(errno).doing(|| format!("pass signal {number} on")),
        }
    }

    /// After the process's end: waits for `fd`, which takes or has its last output.
    /// False after `limit`, or when a signal asks firn to end: who stopped the terminal
    /// (Ctrl-S) may want no more of it.
    pub fn wait_for_last(&mut self, fd: PollFd<'_>, limit: Option<&Timespec>) -> bool {
        const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
        loop {
            let limit = if self.asked_to_end { Some(&NOW) } else { limit };
            let mut fds = [fd.clone(), PollFd::new(&self.signals, PollFlags::IN)];
            match poll(&mut fds, limit) {
                Ok(0) => return false,
                Ok(_) if !fds[0].revents().is_empty() => return true,
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(_) => return false,
            }
            while let Some(number) = next_signal(&self.signals) {
                self.asked_to_end |= ENDING.contains(&number);
            }
        }
    }
}

/// The next signal that a signalfd has, if there is one.
fn next_signal(signals: &OwnedFd) -> Option<i32> {
    signal::next_of(signals.as_fd()).ok()
}
