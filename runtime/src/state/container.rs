//! A container that runs, for whoever joins it.

use super::{Record, StateDir, Status, process};
use crate::error::{Error, Kind, Result};
use crate::spec::Spec;
use rustix::fd::OwnedFd;

/// What a container that runs is, for those who join it.
#[derive(Debug)]
pub struct Container {
    pub record: Record,
    pub spec: Spec,
    /// A pidfd.
    pub init: OwnedFd,
}

impl Container {
    /// Finds the container and checks that it can be joined. Errors: [`Kind::NotRunning`],
    /// and [`Kind::WrongState`] where it is paused and may not be.
    pub fn find(dir: &StateDir, ignore_paused: bool) -> Result<Self> {
        let record = Record::need(dir)?;
        let mut status = Status::of(dir, &record);
        if status == Status::Paused && !ignore_paused {
            // `kill --all` freezes it too, for a moment, and holds the lock meanwhile.
            dir.lock_again()?;
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
        let spec = Record::need_config(dir)?;
        Ok(Container { record, spec, init })
    }
}

/// The container, or its init, does not run any more.
pub fn stopped() -> Error {
    Error::of_kind(Kind::NotRunning, "cannot exec in a stopped container")
}
