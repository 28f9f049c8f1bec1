//! The state directory of a monitor that was killed: its container is deleted, and its files are
//! removed.

use super::dir::StateDir;
use super::owner;
use crate::process::exit::Exit;
use crate::process::reaper;
use crate::runtime::command::{Runtime, Verb};
use crate::runtime::errors::{CommandError, FailureKind};
use firn::error::{Context, Error, Result};
use std::fs;
use std::time::Duration;

/// How long a command of that monitor, and our `delete`, may take.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

/// Deletes the container that a killed monitor has left, with the runtime that it was made with,
/// and removes the files. Errors: `delete` failed, and not because there is no such container.
pub(crate) fn delete_left_over(dir: &StateDir, runtime: &Runtime) -> Result<()> {
    let Some(owner) = owner::read(dir, runtime) else {
        return dir.remove_files();
    };
    if let Ok(stat) = fs::read(&runtime.stat_file) {
        reaper::wait_for_recorded(&stat, COMMAND_TIMEOUT);
    }
    let operation = || format!("container {}: delete what an earlier monitor has left", owner.id);
    let status = owner
        .command_for(Verb::Delete)
        .and_then(|mut command| {
            let mut child = command.spawn()?;
            reaper::wait_for_child(child.id(), COMMAND_TIMEOUT);
            child.wait()
        })
        .doing(operation)?;
    let error = match status.code().and_then(|code| u8::try_from(code).ok()) {
        Some(0) => return dir.remove_files(),
        Some(code) => CommandError::of(&owner, Verb::Delete, Exit::Status(code), ""),
        None => return Err(Error::new(format!("delete: {status}"))).doing(operation),
    };
    match error.kind {
        FailureKind::NoSuchContainer => dir.remove_files(),
        FailureKind::Other => Err(Error::from(error)).doing(operation),
    }
}
