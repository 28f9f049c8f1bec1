//! `ps`: the processes of a container.

use crate::error::Result;
use crate::state::{Record, StateDir};
use std::path::Path;

/// Their pids as the host counts, from the container's cgroup.
pub fn processes(root: &Path, id: &str) -> Result<Vec<i32>> {
    let dir = StateDir::look(root, id)?;
    let record = Record::need(&dir)?;
    Ok(record.cgroup.processes().into_iter().map(|pid| pid.as_raw_nonzero().get()).collect())
}
