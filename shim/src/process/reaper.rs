//! Children of the monitor. It is a subreaper, so that the container's init
//! becomes its child when the runtime's `create` ends, and so does whatever
//! else the runtime leaves.

use crate::container::policy::Exit;
use crate::signal::Signal;
use crate::sys::signal_pidfd;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::process::{Pid, PidfdFlags, WaitOptions, pidfd_open};
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

/// Collects all children that have ended. This is the only place that waits,
/// so a pid stays its process's own until it was handed out here.
pub fn reap() -> Vec<(i32, Exit)> {
    let mut ended = Vec::new();
    // waitpid and not nix's: that one has no value for a death by a real-time
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

/// Kills what is left once a container is deleted: its runtime's remains, or
/// processes of a container without a pid namespace of its own.
pub fn kill_the_rest() {
    kill_listed("/proc/thread-self/children");
}

/// Kills the children of our child `pid`; whether it had any.
pub fn kill_those_of(pid: i32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return false;
    };
    let mut any = false;
    for thread in threads.flatten() {
        any |= kill_listed(thread.path().join("children"));
    }
    any
}

/// The file has numbers, and those of our child's children can be another's by the
/// time that one is used, for it is not us who wait for them. So each process is
/// held first and must be listed again then: what is listed is the one that is
/// held, or that has ended, and a signal to it goes nowhere.
fn kill_listed(path: impl AsRef<Path>) -> bool {
    let mut any = false;
    for pid in listed(&path) {
        let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { continue };
        any |= listed(&path).contains(&pid) && signal_pidfd(&pidfd, Signal::KILL.0).is_ok();
    }
    any
}

fn listed(path: impl AsRef<Path>) -> Vec<Pid> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let pids = text.split_ascii_whitespace().filter_map(|pid| pid.parse().ok());
    pids.filter_map(Pid::from_raw).collect()
}

/// What tells a process from all others. From /proc/PID/stat, the reading of which
/// touches no memory of the process (as that of its command line does, and can hang
/// where the process has mapped a file of its own file system there).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    pid: i32,
    /// In clock ticks since the boot.
    started: u64,
}

impl Stat {
    fn of(pid: Pid) -> Option<Stat> {
        Stat::parse(&fs::read(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?)
    }

    /// The name in brackets may hold anything, also brackets (proc(5)).
    fn parse(text: &[u8]) -> Option<Stat> {
        let text = String::from_utf8_lossy(text);
        let (pid, rest) = text.split_once(' ')?;
        let fields: Vec<&str> = rest.rsplit_once(") ")?.1.split(' ').collect();
        Some(Stat { pid: pid.parse().ok()?, started: fields.get(19)?.parse().ok()? })
    }
}

/// Waits for a command that an earlier monitor started and then was killed: it
/// goes on alone, and what it is about to make can't be deleted before. Killed
/// only when it takes too long, as a runtime may leave something behind then.
/// `mark` is what it wrote down of itself.
pub fn wait_for_earlier(mark: &[u8], limit: Duration) {
    let Some(earlier) = Stat::parse(mark) else { return };
    let Some(pid) = Pid::from_raw(earlier.pid) else { return };
    // First the pidfd, then the look: what is looked at is what the fd holds.
    let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else {
        return;
    };
    if Stat::of(pid).is_some_and(|now| now.started == earlier.started) {
        end_within(&pidfd, limit);
    }
}

/// Waits for our child `pid`, and kills it when it takes too long; its status
/// is still to be collected.
pub fn wait_or_kill(pid: u32, limit: Duration) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    if let Some(Ok(pidfd)) = pid.map(|pid| pidfd_open(pid, PidfdFlags::empty())) {
        end_within(&pidfd, limit);
    }
}

fn end_within(pidfd: &OwnedFd, limit: Duration) {
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
        let stat = Stat { pid: 12, started: 4242 };
        for name in ["sh", "a) S 1 (b", ""] {
            assert_eq!(Stat::parse(format!("12 ({name}) {rest}").as_bytes()), Some(stat), "{name}");
        }
        for bad in ["", "12", "12 (sh) S 7", "x (sh) S"] {
            assert_eq!(Stat::parse(bad.as_bytes()), None, "{bad}");
        }
        let own = std::process::id().cast_signed();
        assert_eq!(Stat::of(Pid::from_raw(own).unwrap()).unwrap().pid, own);
    }
}
