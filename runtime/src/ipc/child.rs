//! Children of this process: their end, their status, their death.
//!
//! waitid(2) reports the status of a traced child to its tracer first, and to the
//! parent only after that has taken it: ptrace(2), "Death under ptrace". Whoever is
//! in a container's pid namespace may trace what it sees there and never wait for it.
//! So nothing waits by waitid. The end of a process shows at its pidfd, traced or not
//! (`do_notify_pidfd` in kernel/signal.c), and a status that a tracer keeps back is
//! still in /proc/PID/stat.

use crate::bail;
use crate::error::{Context, Error, Result};
use crate::{state, sys};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid};

/// How a process has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Status(i32),
    Signal(i32),
}

impl Exit {
    /// As the kernel keeps it, wait(2).
    fn of(status: i32) -> Self {
        if libc::WIFSIGNALED(status) {
            Exit::Signal(libc::WTERMSIG(status))
        } else {
            Exit::Status(libc::WEXITSTATUS(status))
        }
    }

    /// As a shell's: the signal's number and 128.
    pub fn code(self) -> u8 {
        match self {
            Exit::Status(code) => code as u8,
            Exit::Signal(signal) => (128 + signal) as u8,
        }
    }
}

/// Waits until the child has ended, and reaps it unless its tracer has to first.
/// The child must be out of the reach of whoever could stop it for ever: else see
/// `ipc/watch.rs`.
pub fn wait(pid: Pid, pidfd: &OwnedFd) -> Result<()> {
    until_end(pidfd, None).doing(|| format!("wait for process {pid}"))?;
    reap(pid);
    Ok(())
}

/// Whether the process has ended within `limit`. It is not reaped.
pub fn until_end(pidfd: impl AsFd, limit: Option<&Timespec>) -> rustix::io::Result<bool> {
    loop {
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], limit) {
            Ok(count) => return Ok(count > 0),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Never waits.
fn reap(pid: Pid) {
    let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
}

/// How the child, which has ended, did so. It is reaped unless its tracer has to first.
pub fn exit(pid: Pid, pidfd: &OwnedFd) -> Result<Exit> {
    exit_by(pid, pidfd, WaitIdOptions::EXITED | WaitIdOptions::NOHANG)
}

/// The same, and the child stays to be reaped.
pub fn look_at_exit(pid: Pid, pidfd: &OwnedFd) -> Result<Exit> {
    exit_by(pid, pidfd, WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT)
}

fn exit_by(pid: Pid, pidfd: &OwnedFd, options: WaitIdOptions) -> Result<Exit> {
    match waitid(WaitId::Pid(pid), options).doing(|| format!("wait for process {pid}"))? {
        Some(status) => match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Ok(Exit::Status(code)),
            (_, Some(signal)) => Ok(Exit::Signal(signal)),
            _ => Err(Error::new(format!("process {pid} has ended, and in no way that waitid(2) knows"))),
        },
        None => kept_back(pid, pidfd),
    }
}

/// The status that a tracer has not taken yet.
fn kept_back(pid: Pid, pidfd: &OwnedFd) -> Result<Exit> {
    let number = pid.as_raw_nonzero().get();
    let stat = state::process::read(pidfd, number, "stat")?;
    stat.as_deref().and_then(exit_code).map(Exit::of).ok_or_else(|| {
        Error::new(format!("process {number} has ended, and the process that traces it keeps its status back"))
    })
}

/// Field 52 of proc_pid_stat(5); the first after the command's name is the third.
fn exit_code(stat: &str) -> Option<i32> {
    stat[stat.rfind(')')? + 1..].split_whitespace().nth(52 - 3)?.parse().ok()
}

/// Kills the child and reaps it. One that is frozen ends when it is thawed, and is
/// then reaped by whoever inherits it, as is one that a tracer keeps back: neither is
/// waited for.
pub fn kill(pid: Pid, pidfd: &OwnedFd) {
    const MOMENT: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };
    // It may be dead already; it is reaped either way.
    let _ = pidfd_send_signal(pidfd, Signal::KILL);
    if let Ok(true) = until_end(pidfd, Some(&MOMENT)) {
        reap(pid);
    }
}

/// Reaps the children that have ended, but for `pid`: orphans that came to a
/// subreaper. Those behind `pid` in the kernel's list wait for the next call.
pub fn reap_orphans(pid: Pid) -> Result<()> {
    loop {
        match sys::signal::ended_child() {
            Ok(Some(child)) if child != pid => reap(child),
            Ok(_) | Err(Errno::CHILD) => return Ok(()),
            Err(errno) => return Err(errno).doing(|| "wait for a child"),
        }
    }
}

/// The process that an intermediate one has made.
pub fn sibling(number: i32) -> Result<(Pid, OwnedFd)> {
    let Some(pid) = Pid::from_raw(number) else { bail!("the intermediate process made none") };
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).doing(|| "open the new process")?;
    // A process that is seen in a container may have had a hand in the number: a child of
    // this process's own is believed, whose number can't be reused yet.
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    let child = waitid(WaitId::PidFd(pidfd.as_fd()), look);
    child.doing(|| format!("the intermediate process named process {number}, which it has not made"))?;
    Ok((pid, pidfd))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn an_exit_is_told_by_wait_and_by_proc_alike() {
        for (script, expected, code) in [("exit 7", Exit::Status(7), 7), ("kill -9 $$", Exit::Signal(9), 137)] {
            #[expect(clippy::zombie_processes, reason = "what is tested reaps it")]
            let child = Command::new("/bin/sh").args(["-c", script]).spawn().unwrap();
            let pid = Pid::from_child(&child);
            let pidfd = pidfd_open(pid, PidfdFlags::empty()).unwrap();
            assert!(until_end(&pidfd, None).unwrap());
            assert_eq!(look_at_exit(pid, &pidfd).unwrap(), expected);
            assert_eq!(kept_back(pid, &pidfd).unwrap(), expected);
            assert_eq!(exit(pid, &pidfd).unwrap(), expected);
            assert_eq!(expected.code(), code);
            assert!(exit(pid, &pidfd).is_err(), "reaped");
        }
    }
}
