//! `kill`: sends a signal to a container.

use crate::compat;
use crate::error::{Context, Error, Kind, Result};
use crate::state::{self, Record, StateDir, Status};
use crate::sys;
use rustix::fd::AsFd;
use rustix::io::Errno;
use std::path::Path;

/// Sends `signal` to init, or with `all` to every process in the cgroup. Errors:
/// [`Kind::NotRunning`].
pub fn kill(root: &Path, id: &str, signal: i32, all: bool) -> Result<()> {
    let dir = StateDir::open_unlocked(root, id)?;
    let record = Record::require(&dir)?;
    // Without a pid namespace of its own, processes do not die with init, and may have
    // outlived it: SIGKILL then reaches all, as under runc.
    let outlive = signal == libc::SIGKILL && !record.own_pid_namespace;
    if all || (outlive && !record.cgroup.processes().is_empty()) {
        // The lock: another command that holds it may be about to pause the container.
        record.cgroup.signal_all(signal, dir.try_lock())?;
        return thaw_after(signal, &record);
    }
    let not_running = || Error::of_kind(Kind::NotRunning, compat::NOT_RUNNING);
    let init = match Status::of(&dir, &record) {
        Status::Creating | Status::Stopped => None,
        _ => state::process::open(record.pid, record.start_time)?,
    };
    let init = init.ok_or_else(not_running)?;
    match sys::signal::pidfd_send_signal(init.as_fd(), signal) {
        Err(Errno::SRCH) => return Err(not_running()),
        result => result.doing(|| format!("send signal {signal} to process {}", record.pid))?,
    }
    thaw_after(signal, &record)
}

/// On cgroup v1 a frozen process does not die of SIGKILL before it is thawed.
fn thaw_after(signal: i32, record: &Record) -> Result<()> {
    if signal == libc::SIGKILL {
        record.cgroup.thaw_for_kill()?;
    }
    Ok(())
}
