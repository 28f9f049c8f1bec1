//! Children of the monitor. It is a subreaper, so that the container's init
//! becomes its child when the runtime's `create` ends, and so does whatever
//! else the runtime leaves.

use crate::policy::Exit;
use crate::signals::Signal;
use nix::sys::signal;
use nix::unistd::Pid;
use rustix::process::WaitOptions;
use std::fs;

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
    let text = fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
    for pid in text
        .split_ascii_whitespace()
        .filter_map(|pid| pid.parse().ok())
    {
        let _ = signal::kill(Pid::from_raw(pid), signal::Signal::SIGKILL);
    }
}
