//! `start`: runs the program of a created container.

use super::delete;
use crate::bail;
use crate::create::hooks;
use crate::error::{Context, Result};
use crate::ipc::notify;
use crate::log::Log;
use crate::spec::hooks::Hooks;
use crate::state::oci_state::state_json;
use crate::state::{self, Record, StateDir, Status};
use std::path::Path;

/// Returns when the program runs, and with NOTIFY_SOCKET when it is ready. Errors: the
/// container is not in state created; the program could not be executed; a poststart hook
/// failed, after which the container is deleted.
pub fn start(root: &Path, id: &str, log: &Log) -> Result<()> {
    let dir = StateDir::open(root, id)?;
    let record = Record::require(&dir)?;
    match Status::of(&dir, &record) {
        Status::Created => {}
        Status::Stopped => bail!("cannot start a container that has stopped"),
        Status::Running => bail!("cannot start an already running container"),
        other => bail!("cannot start a container in the {} state", other.name()),
    }
    let spec = Record::config(&dir)?.unwrap_or_default();
    let proxy = notify::Proxy::listen(&dir)?;
    let reader = state::start::signal(&dir)?;
    state::start::wait_for_exec(&reader)?;
    let hooks = spec.hooks.unwrap_or_default();
    if let Err(error) = run_poststart(&hooks, &record) {
        delete::destroy(dir, &record, &hooks.poststop, log).doing(|| error.chain())?;
        return Err(error);
    }
    if let (Some(proxy), Some(init)) = (proxy, state::process::open(record.pid, record.start_time)?) {
        // Unlocked: pause and delete must work meanwhile.
        dir.unlock()?;
        proxy.forward_ready(&init, record.pid)?;
    }
    Ok(())
}

/// Runs the poststart hooks; if one fails, kills the container (runtime-spec, runtime.md,
/// "Lifecycle" step 9).
pub fn run_poststart(hooks: &Hooks, record: &Record) -> Result<()> {
    let state = state_json(record, Status::Running, record.pid);
    hooks::run("poststart", &hooks.poststart, record.hooks_directory(), &state).inspect_err(|_| {
        // The hook's error takes precedence.
        let _ = delete::kill(record);
    })
}
