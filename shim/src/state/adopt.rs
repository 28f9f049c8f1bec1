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
use std::process::Stdio;
use std::time::Duration;

/// How long a command of that monitor, and our `delete`, may take.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

/// Deletes the container that a killed monitor has left, with the runtime that it was made with,
/// and removes the files. Errors: `delete` failed, and not because there is no such container.
pub(crate) fn delete_left_over(dir: &StateDir, runtime: &Runtime) -> Result<()> {
    if let Some(owner) = owner::read(dir, runtime) {
        wait_for_last_command(runtime);
        delete_container(&owner)?;
    }
    dir.remove_files()
}

/// Waits for the command that a killed monitor has left.
pub(crate) fn wait_for_last_command(runtime: &Runtime) {
    if let Ok(stat) = fs::read(&runtime.stat_file) {
        reaper::wait_for_recorded(&stat, COMMAND_TIMEOUT);
    }
}

/// Deletes the container, if there is one.
pub(crate) fn delete_container(runtime: &Runtime) -> Result<()> {
    let operation = || format!("container {}: delete what an earlier monitor has left", runtime.id);
    let status = runtime
        .command_for(Verb::Delete)
        .and_then(|mut command| {
            let mut child = command.spawn()?;
            reaper::wait_for_child(child.id(), COMMAND_TIMEOUT);
            child.wait()
        })
        .doing(operation)?;
    let error = match status.code().and_then(|code| u8::try_from(code).ok()) {
        Some(0) => return Ok(()),
        Some(code) => CommandError::of(runtime, Verb::Delete, Exit::Status(code), ""),
        None => return Err(Error::new(format!("delete: {status}"))).doing(operation),
    };
    match error.kind {
        FailureKind::NoSuchContainer => Ok(()),
        FailureKind::Other | FailureKind::Exists => Err(Error::from(error)).doing(operation),
    }
}

/// Whether the container's program was started: the runtime's `state` has another status than
/// `created` (runtime-spec, "State").
pub(crate) fn was_started(runtime: &Runtime) -> Result<bool> {
    let operation = || format!("container {}: what has an earlier monitor left", runtime.id);
    let mut command = runtime.command_for(Verb::State).doing(operation)?;
    let child = command.stdout(Stdio::piped()).spawn().doing(operation)?;
    reaper::wait_for_child(child.id(), COMMAND_TIMEOUT);
    let output = child.wait_with_output().doing(operation)?;
    let state: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let status = state.get("status").and_then(serde_json::Value::as_str);
    Ok(status.is_some_and(|status| !matches!(status, "creating" | "created")))
}
