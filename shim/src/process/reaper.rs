//! Children of the monitor. It is a subreaper (PR_SET_CHILD_SUBREAPER, prctl(2)): the container's
//! init becomes its child when the runtime's `create` ends, and so does whatever else the runtime
//! leaves behind.

use super::exit::Exit;
use crate::signal::Signal;
use crate::sys::signal_pidfd;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::process::{Pid, PidfdFlags, WaitOptions, pidfd_open};
use serde::{Deserialize, Serialize};
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

/// Reaps all children that have ended: their pids, and how they ended. Nothing else in the
/// monitor waits for children, so a pid is not reused before it was returned here.
pub(crate) fn reap_children() -> Vec<(i32, Exit)> {
    let mut ended = Vec::new();
    // rustix's and not nix's waitpid: that one has no value for a death by a real-time
    // signal, which is what a default-action SIGRTMIN+3 is.
    while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
        let exit = match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Exit::Status(u8::try_from(code).unwrap_or(u8::MAX)),
            (_, Some(number)) => Exit::Signal(Signal(number)),
            _ => continue,
        };
        ended.push((pid.as_raw_nonzero().get(), exit));
    }
    ended
}

/// Kills all children, once the container is deleted: what its runtime left, or the processes of
/// a container without a pid namespace of its own.
pub(crate) fn kill_own_children() {
    kill_listed("/proc/thread-self/children");
}

/// Kills the children of our child `pid`; whether it had any.
pub(crate) fn kill_children_of(pid: i32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return false;
    };
    let mut any = false;
    for thread in threads.flatten() {
        any |= kill_listed(thread.path().join("children"));
    }
    any
}

/// Kills the processes in a list of children, /proc/PID/task/TID/children. We don't reap a
/// child's children, so a pid in the list can be another process's by the time it is used.
/// Therefore each is opened first and must be listed again afterwards: then the pidfd is that
/// child's, or its process has ended and the signal goes nowhere.
fn kill_listed(path: impl AsRef<Path>) -> bool {
    let mut any = false;
    for pid in listed_pids(&path) {
        let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { continue };
        any |= listed_pids(&path).contains(&pid) && signal_pidfd(&pidfd, Signal::KILL.0).is_ok();
    }
    any
}

fn listed_pids(path: impl AsRef<Path>) -> Vec<Pid> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let pids = text.split_ascii_whitespace().filter_map(|pid| pid.parse().ok());
    pids.filter_map(Pid::from_raw).collect()
}

/// The identity of a process: pid and start time. From /proc/PID/stat, the reading of which
/// touches no memory of the process. /proc/PID/cmdline does, and blocks where the process has
/// mapped a file of its own FUSE file system there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pid: i32,
    /// In clock ticks since the boot.
    start_time: u64,
}

impl Identity {
    /// That of process `pid`, if there is one.
    pub(crate) fn of_pid(pid: i32) -> Option<Identity> {
        Identity::of(Pid::from_raw(pid)?)
    }

    fn of(pid: Pid) -> Option<Identity> {
        Identity::parse(&fs::read(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?)
    }

    /// Fields 1 and 22 of /proc/PID/stat. Field 2, the name in brackets, may hold anything, also
    /// brackets (proc_pid_stat(5)).
    fn parse(text: &[u8]) -> Option<Identity> {
        let text = String::from_utf8_lossy(text);
        let (pid, rest) = text.split_once(' ')?;
        let fields: Vec<&str> = rest.rsplit_once(") ")?.1.split(' ').collect();
        Some(Identity { pid: pid.parse().ok()?, start_time: fields.get(19)?.parse().ok()? })
    }
}

/// Waits for a command of a monitor that was killed. It goes on alone, and a container that it
/// is about to make could not be deleted before. It is killed only past `limit`, as a killed
/// runtime may leave something behind. `stat` is the text of /proc/PID/stat that it wrote down
/// of itself.
pub(crate) fn wait_for_recorded(stat: &[u8], limit: Duration) {
    let Some(recorded) = Identity::parse(stat) else { return };
    let Some(pid) = Pid::from_raw(recorded.pid) else { return };
    // The pidfd before the look, so that what is looked at is what the pidfd holds.
    let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else {
        return;
    };
    if Identity::of(pid) == Some(recorded) {
        wait_then_kill(&pidfd, limit);
    }
}

/// Waits for our child `pid`, and kills it past `limit`. It is not reaped.
pub(crate) fn wait_for_child(pid: u32, limit: Duration) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    if let Some(Ok(pidfd)) = pid.map(|pid| pidfd_open(pid, PidfdFlags::empty())) {
        wait_then_kill(&pidfd, limit);
    }
}

fn wait_then_kill(pidfd: &OwnedFd, limit: Duration) {
    let ended = |limit: Duration| {
        let millis = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
        let mut fds = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, millis).is_ok_and(|count| count > 0)
    };
    if !ended(limit) {
        let _ = signal_pidfd(pidfd, Signal::KILL.0);
        ended(limit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_may_have_any_name() {
        let rest = "S 7 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4242 1000 9";
        let identity = Identity { pid: 12, start_time: 4242 };
        for name in ["sh", "a) S 1 (b", ""] {
            assert_eq!(Identity::parse(format!("12 ({name}) {rest}").as_bytes()), Some(identity), "{name}");
        }
        for bad in ["", "12", "12 (sh) S 7", "x (sh) S"] {
            assert_eq!(Identity::parse(bad.as_bytes()), None, "{bad}");
        }
        let own = std::process::id().cast_signed();
        assert_eq!(Identity::of(Pid::from_raw(own).unwrap()).unwrap().pid, own);
    }
}
