//! Processes: those of the container, and the children of the monitor.

pub(crate) mod exit;
pub(crate) mod listener;
pub(crate) mod pipes;
pub(crate) mod pty;
pub(crate) mod reaper;

use crate::signal::Signal;
use crate::sys::{has_its_pid, signal_pidfd, wait_status_of_reaped};
use exit::Exit;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open, waitid};
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A process of the container that has not been reaped, held by its pidfd.
#[derive(Debug)]
pub(crate) struct Process {
    pid: i32,
    pidfd: OwnedFd,
}

impl Process {
    /// Opens the process `pid`. Errors: ESRCH if there is none.
    pub(crate) fn open(pid: i32) -> io::Result<Process> {
        let number = Pid::from_raw(pid).ok_or(rustix::io::Errno::SRCH)?;
        Ok(Process { pid, pidfd: pidfd_open(number, PidfdFlags::NONBLOCK)? })
    }

    /// The process of a pidfd.
    pub(crate) fn of_pidfd(pid: i32, pidfd: OwnedFd) -> Process {
        Process { pid, pidfd }
    }

    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    /// Sends it a signal; that it has ended meanwhile is no error.
    pub(crate) fn send_signal(&self, signal: Signal) {
        let _ = signal_pidfd(&self.pidfd, signal.0);
    }

    /// Whether a signal that is sent now has an effect; see [`is_caught_or_blocked`]. It is not
    /// reaped while its pidfd is here, so the pid is still its own.
    pub(crate) fn takes(&self, signal: Signal) -> bool {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        is_caught_or_blocked(&status, signal)
    }

    /// Whether it has ended, reaped or not.
    pub(crate) fn has_ended(&self) -> bool {
        poll(&mut [PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO).is_ok_and(|count| count > 0)
    }

    /// Whether it, whose pidfd is readable, is no child of ours, so that its wait status goes to
    /// another process (ECHILD).
    pub(crate) fn is_reaped_elsewhere(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        matches!(waitid(WaitId::PidFd(self.pidfd.as_fd()), options), Err(rustix::io::Errno::CHILD))
    }

    /// How it ended, if its parent, another process, has reaped it; from Linux 6.15 on.
    pub(crate) fn exit_if_reaped(&self) -> Option<Exit> {
        wait_status_of_reaped(self.pidfd.as_fd()).map(Exit::of_wait_status)
    }

    /// How it ended, while its parent, another process, has not reaped it: the last field of
    /// /proc/PID/stat. That is 0 too for those who may not know it (proc_pid_stat(5)).
    pub(crate) fn exit_of_zombie(&self) -> Option<Exit> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).ok()?;
        let fields = stat.rsplit_once(") ")?.1;
        let status: i32 = fields.split_ascii_whitespace().last()?.parse().ok()?;
        // After it was read, so that it was not another process's.
        let is_its_own = fields.starts_with('Z') && has_its_pid(self.pidfd.as_fd());
        is_its_own.then(|| Exit::of_wait_status(status))
    }
}

impl AsFd for Process {
    /// Readable once the process has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

/// Whether a process has a handler for the signal, or blocks it (as one that uses a signalfd
/// does). A pid namespace's init loses any other signal without a trace (pid_namespaces(7)),
/// also one that arrives a moment before it installs its handler. `status` is the text of
/// /proc/PID/status.
fn is_caught_or_blocked(status: &str, signal: Signal) -> bool {
    ["SigCgt:", "SigBlk:"].iter().any(|field| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(field))
            .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
            .is_some_and(|mask| mask >> (signal.0 - 1) & 1 == 1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_taken_when_it_is_caught_or_blocked() {
        let mask = |n: i32| format!("{:016x}", 1u64 << (n - 1));
        let zero = "0000000000000000";
        for (blocked, caught, taken) in
            [(mask(37), zero.to_string(), true), (zero.to_string(), mask(37), true), (mask(36), mask(38), false)]
        {
            let status = format!("Name:\tinit\nSigBlk:\t{blocked}\nSigIgn:\t{zero}\nSigCgt:\t{caught}\n");
            assert_eq!(is_caught_or_blocked(&status, Signal::HALT), taken, "{status}");
        }
        assert!(!is_caught_or_blocked("", Signal::HALT));
    }
}
