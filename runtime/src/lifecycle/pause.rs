//! `pause` and `resume`: the cgroup freezer.

use crate::error::{Error, Kind, Result};
use crate::state::{Record, StateDir, Status};
use std::path::Path;

/// Freezes all processes. Errors: [`Kind::WrongState`] unless running or created.
pub fn pause(root: &Path, id: &str) -> Result<()> {
    let (dir, record) = open(root, id)?;
    match Status::of(&dir, &record) {
        Status::Running | Status::Created => record.cgroup.set_frozen(true),
        status => Err(wrong_state("container not running or created", status)),
    }
}

/// Thaws all processes. Errors: [`Kind::WrongState`] unless paused.
pub fn resume(root: &Path, id: &str) -> Result<()> {
    let (dir, record) = open(root, id)?;
    match Status::of(&dir, &record) {
        Status::Paused => record.cgroup.set_frozen(false),
        status => Err(wrong_state("container not paused", status)),
    }
}

fn open(root: &Path, id: &str) -> Result<(StateDir, Record)> {
    let dir = StateDir::open(root, id)?;
    let record = Record::require(&dir)?;
    Ok((dir, record))
}

fn wrong_state(text: &str, status: Status) -> Error {
    Error::of_kind(Kind::WrongState, format!("{text}: {}", status.name()))
}
