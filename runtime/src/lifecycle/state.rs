//! `state` and `list`, without the container's lock.

use crate::error::{Context, Result};
use crate::log::Log;
use crate::state::dir::{check_id, default_root};
use crate::state::oci_state::State;
use crate::state::{Record, StateDir, StateRoot};
use std::path::Path;

/// The state of container `id`. Errors: `Kind::NotFound`; a record that is not trusted.
pub fn state(root: &Path, id: &str) -> Result<State> {
    let dir = StateDir::open_unlocked(root, id)?;
    let record = Record::require(&dir)?;
    Ok(State::of(&dir, record))
}

/// The states of all containers below `root`, sorted by id. One that disappears meanwhile is
/// left out; one whose record is not trusted is logged as a warning. Errors: `root` does
/// not exist, except for the default root, which the first container creates.
pub fn list(root: &Path, log: &Log) -> Result<Vec<State>> {
    if root != default_root() {
        // As runc does since 1.5.
        std::fs::metadata(root).doing(|| format!("--root {}", root.display()))?;
    }
    let Some(state_root) = StateRoot::open(root)? else { return Ok(Vec::new()) };
    let ids = state_root.ids()?;
    let mut states = Vec::with_capacity(ids.len());
    for id in ids.iter().filter(|id| check_id(id).is_ok()) {
        let loaded = state_root.open_unlocked(id).and_then(|dir| match dir {
            Some(dir) => Ok(Record::load(&dir)?.map(|record| State::of(&dir, record))),
            None => Ok(None),
        });
        match loaded {
            Ok(state) => states.extend(state),
            Err(error) => log.warn(&error.chain()),
        }
    }
    Ok(states)
}

/// The ids of all containers below `root`.
pub fn ids(root: &Path) -> Result<Vec<String>> {
    StateRoot::open(root)?.map_or(Ok(Vec::new()), |root| root.ids())
}
