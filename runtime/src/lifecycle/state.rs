//! `state` and `list`: what is known of containers, without a lock.

use crate::error::{Context, Result};
use crate::log::Log;
use crate::state::dir::{check_id, default_root};
use crate::state::oci_state::State;
use crate::state::{Record, StateDir, StateRoot};
use std::path::Path;

/// The state of one container.
pub fn state(root: &Path, id: &str) -> Result<State> {
    let dir = StateDir::look(root, id)?;
    let record = Record::need(&dir)?;
    Ok(State::of(&dir, record))
}

/// The states of all containers under `root`, by id. One that goes away meanwhile is left
/// out; of one whose record is not trusted the log gets a warning. Errors: a root that is
/// missing, but for the default one, which the first container makes.
pub fn list(root: &Path, log: &Log) -> Result<Vec<State>> {
    if root != default_root() {
        // As since runc 1.5.
        std::fs::metadata(root).doing(|| format!("--root {}", root.display()))?;
    }
    let Some(state_root) = StateRoot::open(root)? else { return Ok(Vec::new()) };
    let ids = state_root.ids()?;
    let mut states = Vec::with_capacity(ids.len());
    for id in ids.iter().filter(|id| check_id(id).is_ok()) {
        let loaded = state_root.look(id).and_then(|dir| match dir {
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

/// The ids of all containers under `root`.
pub fn ids(root: &Path) -> Result<Vec<String>> {
    StateRoot::open(root)?.map_or(Ok(Vec::new()), |root| root.ids())
}
