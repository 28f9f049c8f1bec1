//! `ps`: the processes of a container.

use crate::error::Result;
use crate::state::{Record, StateDir, process};
use std::path::Path;

/// Pids in the host's pid namespace, from the container's cgroup; of an unprivileged user's without one, from its pid
/// namespace. Errors: [`crate::error::Kind::NotFound`].
pub fn processes(root: &Path, id: &str) -> Result<Vec<i32>> {
    let dir = StateDir::open_unlocked(root, id)?;
    let record = Record::require(&dir)?;
    let pids: Vec<i32> = record.cgroup.processes().into_iter().map(|pid| pid.as_raw_nonzero().get()).collect();
    let is_known_by_namespace = pids.is_empty() && record.own_pid_namespace;
    Ok(match is_known_by_namespace && process::is_alive(record.pid, record.start_time) {
        true => process::in_pid_namespace_of(record.pid),
        false => pids,
    })
}
