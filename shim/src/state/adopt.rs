//! What comes before the first start: the runtime, and what an earlier monitor
//! left when it was killed.

use crate::cli::Options;
use crate::container::policy::Exit;
use crate::error::{Context, Error, Result};
use crate::process::reaper as children;
use crate::runtime::command::{Runtime, Verb};
use crate::state::dir::StateDir;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

const OWNER: &str = "owner";

/// What a command of an earlier monitor may take to its end.
const COMMAND_TIME: Duration = Duration::from_secs(30);

/// The runtime as the options name it.
pub fn runtime(options: &Options, dir: &StateDir, id: &str) -> Result<Runtime> {
    let root = options.runtime_root.as_ref().map(std::path::absolute).transpose();
    Ok(Runtime {
        program: options.runtime_program()?,
        root: root.context(|| "--runtime-root".into())?,
        id: id.to_owned(),
        log: dir.file("runtime.log"),
        mark: dir.file("command"),
        stderr: dir.file("runtime.err"),
    })
}

/// Notes with which runtime the container is made, for a monitor that comes
/// after this one was killed.
pub fn mark(dir: &StateDir, runtime: &Runtime) -> Result<()> {
    let path = dir.file(OWNER);
    let text = serde_json::json!({"program": runtime.program, "root": runtime.root}).to_string();
    fs::write(&path, text).context(|| format!("write {}", path.display()))
}

/// Deletes a container whose monitor was killed, and sweeps its folder. A
/// monitor that ended by itself has left no mark.
pub fn clean_up(dir: &StateDir, runtime: &Runtime) -> Result<()> {
    let Ok(text) = fs::read(dir.file(OWNER)) else {
        return dir.sweep();
    };
    // Cut short by a crash, it tells nothing: then the runtime is the same one.
    let noted: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
    let text = |name: &str| noted.get(name).and_then(|value| value.as_str()).map(PathBuf::from);
    let earlier = Runtime {
        program: text("program").unwrap_or_else(|| runtime.program.clone()),
        root: match noted.is_object() {
            true => text("root"),
            false => runtime.root.clone(),
        },
        id: runtime.id.clone(),
        log: runtime.log.clone(),
        mark: runtime.mark.clone(),
        stderr: runtime.stderr.clone(),
    };
    wait_for_command(runtime);
    let failed = || format!("clean up after an earlier monitor of {}", earlier.id);
    let status = earlier
        .other(Verb::Delete)
        .and_then(|mut command| {
            let mut child = command.spawn()?;
            children::wait_or_kill(child.id(), COMMAND_TIME);
            child.wait()
        })
        .context(failed)?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    let error = match code {
        Some(0) => None,
        Some(code) => Some(earlier.failure(Verb::Delete, Exit::Status(code), "")),
        None => Some(Error::new(format!("delete: {status}"))),
    };
    match error {
        // crun and others call it an error that there is nothing to delete.
        Some(error) if !error.chain().contains("does not exist") => Err(error).context(failed),
        _ => dir.sweep(),
    }
}

fn wait_for_command(runtime: &Runtime) {
    if let Ok(mark) = fs::read(&runtime.mark) {
        children::wait_for_earlier(&mark, COMMAND_TIME);
    }
}
