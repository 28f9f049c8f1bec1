//! A running container, for processes that join it.

use super::{Record, StateDir, Status, process};
use crate::error::{Error, Kind, Result};
use crate::spec::Spec;
use rustix::fd::OwnedFd;

/// A running container, for processes that join it.
#[derive(Debug)]
pub struct Container {
    pub record: Record,
    pub spec: Spec,
    /// pidfd of init.
    pub init: OwnedFd,
}

impl Container {
    /// Loads the container. Errors: [`Kind::NotRunning`]; [`Kind::WrongState`] where it is
    /// paused, unless `ignore_paused`.
    pub fn find(dir: &StateDir, ignore_paused: bool) -> Result<Self> {
        let record = Record::require(dir)?;
        let mut status = Status::of(dir, &record);
        if status == Status::Paused && !ignore_paused {
            // `kill --all` freezes the cgroup for a moment too, while it holds the lock.
            dir.relock()?;
            status = Status::of(dir, &record);
            dir.unlock()?;
        }
        match status {
            Status::Running | Status::Created => {}
            Status::Paused if ignore_paused => {}
            Status::Paused => {
                let text = "cannot exec in a paused container (use --ignore-paused to override)";
                return Err(Error::of_kind(Kind::WrongState, text));
            }
            Status::Creating | Status::Stopped => return Err(stopped()),
        }
        let init = process::open(record.pid, record.start_time)?.ok_or_else(stopped)?;
        let spec = Record::require_config(dir)?;
        Ok(Container { record, spec, init })
    }
}

/// The error for a container, or an init, that has ended.
pub fn stopped() -> Error {
    Error::of_kind(Kind::NotRunning, "cannot exec in a stopped container")
}
