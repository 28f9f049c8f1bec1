//! `ps`: the processes of a container.

use crate::error::Result;
use crate::state::{Record, StateDir};
use std::path::Path;

/// Pids in the host's pid namespace, from the container's cgroup. Errors:
/// [`crate::error::Kind::NotFound`].
pub fn processes(root: &Path, id: &str) -> Result<Vec<i32>> {
    let dir = StateDir::open_unlocked(root, id)?;
    let record = Record::require(&dir)?;
    Ok(record.cgroup.processes().into_iter().map(|pid| pid.as_raw_nonzero().get()).collect())
}
