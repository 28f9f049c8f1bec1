//! `delete`, and removal of a container after `run`, `checkpoint` or a failure.

use crate::create::{hooks, teardown};
use crate::error::{Context, Error, Kind, Result};
use crate::log::Log;
use crate::resctrl::Groups;
use crate::spec::hooks::Hook;
use crate::state::{self, Record, StateDir, Status};
use rustix::process::{Signal, pidfd_send_signal};
use std::path::Path;

/// Deletes a container that has stopped or was never started. `force`: kills a running one
/// first, and an absent one is no error. Errors: [`Kind::NotFound`], [`Kind::WrongState`].
pub fn delete(root: &Path, id: &str, force: bool, log: &Log) -> Result<()> {
    if force {
        kill_init(root, id);
    }
    let dir = match StateDir::find(root, id)? {
        Some(dir) => dir,
        // rm -f semantics.
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
    // After an interrupted create, config.json may be incomplete.
    let hooks = if record.pid == 0 && !record.hooks_begun { Vec::new() } else { Record::hooks(&dir)?.poststop };
    destroy(dir, &record, &hooks, log)
}

/// Kills init before the lock is taken: another command holds the lock while it waits for
/// a process of the container. Errors are ignored: they recur when the container is
/// removed.
fn kill_init(root: &Path, id: &str) {
    let Ok(dir) = StateDir::open_unlocked(root, id) else { return };
    let Ok(Some(record)) = Record::load(&dir) else { return };
    if let Ok(Some(init)) = state::process::open(record.pid, record.start_time) {
        let _ = record.cgroup.thaw_for_kill();
        let _ = pidfd_send_signal(&init, Signal::KILL);
    }
}

/// Loads the record. With `force`, one that can't be read is reported as a warning and
/// dropped: its resources are unknown.
fn record(dir: &StateDir, force: bool, log: &Log) -> Result<Option<Record>> {
    match Record::load(dir) {
        Err(error) if force => {
            log.warn(&format!("{}; its cgroup, if there is one, stays", error.chain()));
            Ok(None)
        }
        result => result,
    }
}

/// Kills all processes of the container and waits until they have ended.
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

/// Deletes the container after the foreground. `waited`: the wait's outcome; after an
/// error the container may still run, and is killed.
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

/// Removes cgroup, resctrl groups and state directory of a container whose init has ended,
/// then runs the poststop hooks.
pub fn destroy(dir: StateDir, record: &Record, poststop: &[Hook], log: &Log) -> Result<()> {
    // Without a pid namespace of its own, processes may outlive init; and after an
    // interrupted create it is unknown whether there are any.
    let outlived = !record.own_pid_namespace || record.pid == 0;
    let remove_groups = || record.resctrl.as_ref().map_or(Ok(()), Groups::remove);
    teardown::remove_container(&record.cgroup, outlived, remove_groups, Some(dir))?;
    hooks::run_poststop(poststop, record, log);
    Ok(())
}
