//! `checkpoint`: dumps a container to images with CRIU.

use super::{delete, prepare};
use crate::criu::dump::{self, Dump};
use crate::criu::{self, hierarchy};
use crate::error::{Error, Kind, Result};
use crate::log::Log;
use crate::state::{Record, StateDir, Status};
use std::path::Path;

/// Dumps a container, and deletes it unless `dump` leaves it running. Errors:
/// [`Kind::WrongState`]; what CRIU reports.
pub fn checkpoint(root: &Path, id: &str, dump: &Dump, log: &Log) -> Result<()> {
    criu::require_root()?;
    super::require_single_thread()?;
    let dir = StateDir::open(root, id)?;
    let record = Record::require(&dir)?;
    match Status::of(&dir, &record) {
        Status::Running | Status::Paused => {}
        status => {
            let text = format!("container {id} can't be checkpointed: it is {}", status.name());
            return Err(Error::of_kind(Kind::WrongState, text));
        }
    }
    let plan = prepare::plan_of(&dir, &record)?;
    hierarchy::preserve_options(log, || dump::dump(&record, &plan, dump))?;
    if dump.leaves_running() {
        return Ok(());
    }
    let poststop = Record::hooks(&dir)?.poststop;
    delete::kill(&record)?;
    delete::destroy(dir, &record, &poststop, log)
}
