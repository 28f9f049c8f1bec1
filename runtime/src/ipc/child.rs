//! Children of this process: waiting, exit status, killing.
//!
//! waitid(2) reports a traced child to its tracer first, and to its parent only after the
//! tracer has taken the status (ptrace(2), "Death under ptrace"). A process in a
//! container's pid namespace may trace others there and never wait. So nothing blocks in
//! waitid(2): a pidfd polls as readable when the process ends, traced or not
//! (`do_notify_pidfd`, kernel/signal.c), and the status that the tracer has not taken is
//! in /proc/PID/stat.

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
    /// From a wait status, wait(2).
    fn of(status: i32) -> Self {
        if libc::WIFSIGNALED(status) {
            Exit::Signal(libc::WTERMSIG(status))
        } else {
            Exit::Status(libc::WEXITSTATUS(status))
        }
    }

    /// As a shell's `$?`: the status, or 128 + the signal's number.
    pub fn code(self) -> u8 {
        match self {
            Exit::Status(code) => code as u8,
            Exit::Signal(signal) => (128 + signal) as u8,
        }
    }
}

/// Waits until the child has ended, and reaps it unless a tracer has to first. No time
/// limit: only for a child that the container can neither stop nor freeze; else
/// `ipc/watch.rs`. Errors: those of poll(2).
pub fn wait(pid: Pid, pidfd: &OwnedFd) -> Result<()> {
    wait_exited(pidfd, None).doing(|| format!("wait for process {pid}"))?;
    reap(pid);
    Ok(())
}

/// Whether the process ends within `limit`; without `limit` it waits. Does not reap.
pub fn wait_exited(pidfd: impl AsFd, limit: Option<&Timespec>) -> rustix::io::Result<bool> {
    loop {
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], limit) {
            Ok(count) => return Ok(count > 0),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// waitid(2) with WNOHANG; errors are ignored.
fn reap(pid: Pid) {
    let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
}

/// Exit status of a child that has ended. Reaps it, unless a tracer has to first.
pub fn reap_exit(pid: Pid, pidfd: &OwnedFd) -> Result<Exit> {
    exit_with(pid, pidfd, WaitIdOptions::EXITED | WaitIdOptions::NOHANG)
}

/// The same with WNOWAIT: the child stays a zombie.
pub fn peek_exit(pid: Pid, pidfd: &OwnedFd) -> Result<Exit> {
    exit_with(pid, pidfd, WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT)
}

fn exit_with(pid: Pid, pidfd: &OwnedFd, options: WaitIdOptions) -> Result<Exit> {
    match waitid(WaitId::Pid(pid), options).doing(|| format!("wait for process {pid}"))? {
        Some(status) => match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Ok(Exit::Status(code)),
            (_, Some(signal)) => Ok(Exit::Signal(signal)),
            _ => Err(Error::new(format!("wait for process {pid}: waitid(2) returned neither a status nor a signal"))),
        },
        None => exit_from_proc(pid, pidfd),
    }
}

/// The status of a zombie whose tracer has not taken it yet.
fn exit_from_proc(pid: Pid, pidfd: &OwnedFd) -> Result<Exit> {
    let number = pid.as_raw_nonzero().get();
    let stat = state::process::read(pidfd, number, "stat")?;
    stat.as_deref().and_then(parse_exit_code).map(Exit::of).ok_or_else(|| {
        Error::new(format!(
            "process {number} has ended, but its tracer has not taken its exit status (ptrace(2)): end the tracer"
        ))
    })
}

/// Field 52 (parse_exit_code) of proc_pid_stat(5). The name in field 2 may have spaces and `)`.
fn parse_exit_code(stat: &str) -> Option<i32> {
    stat[stat.rfind(')')? + 1..].split_whitespace().nth(52 - 3)?.parse().ok()
}

/// Sends SIGKILL and reaps. Waits one second at most: a frozen child ends when it is
/// thawed, and is reaped, as one whose tracer does not wait, by the process that
/// inherits it.
pub fn kill(pid: Pid, pidfd: &OwnedFd) {
    const MOMENT: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };
    // ESRCH: it has ended already, and is reaped below.
    let _ = pidfd_send_signal(pidfd, Signal::KILL);
    if let Ok(true) = wait_exited(pidfd, Some(&MOMENT)) {
        reap(pid);
    }
}

/// Reaps children that have ended, except `pid`: orphans that a subreaper inherits. Stops
/// where the kernel reports `pid`; the remaining ones are reaped by the next call.
pub fn reap_orphans(pid: Pid) -> Result<()> {
    loop {
        match sys::signal::exited_child() {
            Ok(Some(child)) if child != pid => reap(child),
            Ok(_) | Err(Errno::CHILD) => return Ok(()),
            Err(errno) => return Err(errno).doing(|| "wait for a child"),
        }
    }
}

/// Opens the sibling (CLONE_PARENT) that an intermediate process has made: pid and pidfd.
/// Errors: `number` is no child of the caller.
pub fn open_sibling(number: i32) -> Result<(Pid, OwnedFd)> {
    let Some(pid) = Pid::from_raw(number) else { bail!("the intermediate process could not make the final process") };
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).doing(|| "pidfd_open of the new process")?;
    // A process that is visible in the container may have been made to send another
    // number. Only a child of the caller is accepted; its pid is not reused before it is
    // reaped.
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    let child = waitid(WaitId::PidFd(pidfd.as_fd()), options);
    child.doing(|| {
        format!("process {number} is not a child of the runtime: the intermediate process sent a wrong pid")
    })?;
    Ok((pid, pidfd))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn waitid_and_proc_give_the_same_exit_status() {
        for (script, expected, code) in [("exit 7", Exit::Status(7), 7), ("kill -9 $$", Exit::Signal(9), 137)] {
            #[expect(clippy::zombie_processes, reason = "what is tested reaps it")]
            let child = Command::new("/bin/sh").args(["-c", script]).spawn().unwrap();
            let pid = Pid::from_child(&child);
            let pidfd = pidfd_open(pid, PidfdFlags::empty()).unwrap();
            assert!(wait_exited(&pidfd, None).unwrap());
            assert_eq!(peek_exit(pid, &pidfd).unwrap(), expected);
            assert_eq!(exit_from_proc(pid, &pidfd).unwrap(), expected);
            assert_eq!(reap_exit(pid, &pidfd).unwrap(), expected);
            assert_eq!(expected.code(), code);
            assert!(reap_exit(pid, &pidfd).is_err(), "reaped");
        }
    }
}
