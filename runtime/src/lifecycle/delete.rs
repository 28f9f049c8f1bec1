//! `delete`, and the end of a container however it comes.

use crate::create::{hooks, teardown};
use crate::error::{Context, Error, Kind, Result};
use crate::log::Log;
use crate::resctrl::Groups;
use crate::spec::hooks::Hook;
use crate::state::{self, Record, StateDir, Status};
use rustix::process::{Signal, pidfd_send_signal};
use std::path::Path;

/// Removes a container that has stopped, or was never started. `force`: kills it first
/// if it runs, and an absent one is no error.
pub fn delete(root: &Path, id: &str, force: bool, log: &Log) -> Result<()> {
    if force {
        kill_init(root, id);
    }
    let dir = match StateDir::find(root, id)? {
        Some(dir) => dir,
        // Absent: that is what was wanted.
        None if force => return Ok(()),
        None => return Err(state::dir::absent(id)),
    };
    let Some(record) = record(&dir, force, log)? else { return dir.remove() };
    match Status::of(&dir, &record) {
        Status::Stopped => {}
        Status::Created => kill(&record)?,
        _ if force => kill(&record)?,
        other => {
            let text = format!("cannot delete container {id} that is not stopped: {}", other.name());
            return Err(Error::of_kind(Kind::WrongState, text));
        }
    }
    // A create that was cut off may have left half a config.
    let hooks = if record.pid == 0 && !record.hooks_begun { Vec::new() } else { Record::hooks(&dir)?.poststop };
    destroy(dir, &record, &hooks, log)
}

/// Before the lock, which another command holds as long as it waits for something
/// in the container. What goes wrong here shows again when all is cleared up.
fn kill_init(root: &Path, id: &str) {
    let Ok(dir) = StateDir::look(root, id) else { return };
    let Ok(Some(record)) = Record::load(&dir) else { return };
    if let Ok(Some(init)) = state::process::open(record.pid, record.start_time) {
        let _ = record.cgroup.thaw_for_kill();
        let _ = pidfd_send_signal(&init, Signal::KILL);
    }
}

/// With `force` also a record that can't be read gives way: nothing better can be done
/// with it.
fn record(dir: &StateDir, force: bool, log: &Log) -> Result<Option<Record>> {
    match Record::load(dir) {
        Err(error) if force => {
            log.warn(&format!("{}; its cgroup, if there is one, stays", error.chain()));
            Ok(None)
        }
        result => result,
    }
}

/// Kills everything in the container, and waits until it is gone.
pub fn kill(record: &Record) -> Result<()> {
    if let Some(init) = state::process::open(record.pid, record.start_time)? {
        record.cgroup.thaw_for_kill()?;
        match pidfd_send_signal(&init, Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(errno) => return Err(errno).doing(|| format!("kill process {}", record.pid)),
        }
        record
            .cgroup
            .wait_killed(&init)
            .doing(|| format!("container init still running: wait for process {}", record.pid))?;
    }
    record.cgroup.kill_all()
}

/// When the foreground is over. A container that can't be waited for may run on.
pub fn after_foreground(
    waited: &Result<u8>,
    dir: StateDir,
    record: &Record,
    poststop: &[Hook],
    log: &Log,
) -> Result<()> {
    if waited.is_err() {
        kill(record)?;
    }
    destroy(dir, record, poststop, log)
}

/// Removes all that is left of a container whose init is gone.
pub fn destroy(dir: StateDir, record: &Record, poststop: &[Hook], log: &Log) -> Result<()> {
    // Other processes did not end with its init, or that is not known.
    let outlived = !record.own_pid_namespace || record.pid == 0;
    let remove_groups = || record.resctrl.as_ref().map_or(Ok(()), Groups::remove);
    teardown::remove(&record.cgroup, outlived, remove_groups, Some(dir))?;
    hooks::run_poststop(poststop, record, log);
    Ok(())
}
