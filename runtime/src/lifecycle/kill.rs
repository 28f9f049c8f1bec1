//! `kill`: a signal for a container.

use crate::compat;
use crate::error::{Context, Error, Kind, Result};
use crate::state::{self, Record, StateDir, Status};
use crate::sys;
use rustix::fd::AsFd;
use rustix::io::Errno;
use std::path::Path;

/// Sends `signal` to init, or to every process of the container. Errors:
/// [`Kind::NotRunning`].
pub fn kill(root: &Path, id: &str, signal: i32, all: bool) -> Result<()> {
    let dir = StateDir::look(root, id)?;
    let record = Record::need(&dir)?;
    // Where init is no process 1, the others do not end with it; and they may have
    // outlived it, as under runc.
    let outlive = signal == libc::SIGKILL && !record.own_pid_namespace;
    if all || (outlive && !record.cgroup.processes().is_empty()) {
        // Not while another command holds the lock, which may be about to pause it.
        record.cgroup.signal_all(signal, dir.try_lock())?;
        return thaw_after(signal, &record);
    }
    let not_running = || Error::of_kind(Kind::NotRunning, compat::NOT_RUNNING);
    let init = match Status::of(&dir, &record) {
        Status::Creating | Status::Stopped => None,
        _ => state::process::open(record.pid, record.start_time)?,
    };
    let init = init.ok_or_else(not_running)?;
    match sys::signal::send(init.as_fd(), signal) {
        Err(Errno::SRCH) => return Err(not_running()),
        result => result.doing(|| format!("send signal {signal} to process {}", record.pid))?,
    }
    thaw_after(signal, &record)
}

/// A frozen process of cgroup v1 does not even die.
fn thaw_after(signal: i32, record: &Record) -> Result<()> {
    if signal == libc::SIGKILL {
        record.cgroup.thaw_for_kill()?;
    }
    Ok(())
}
