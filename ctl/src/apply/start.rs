//! `start`: bundle, record, monitor, READY.

use super::starting::Starting;
use super::{bundle, ids};
use crate::definition::schema::Definition;
use crate::generation::{Locked, Running, VERSION};
use crate::wanted::root::Resolved;
use crate::wanted::unsupported;
use anyhow::{Context, Result};
use firn_shim::control::protocol::Status;

/// What a definition with what it leads to would run as.
pub fn run_of(definition: &Definition, resolved: Resolved) -> Running {
    let Resolved { system, layers } = resolved;
    Running {
        version: VERSION,
        definition: definition.clone(),
        system,
        earlier_systems: Vec::new(),
        layers,
        first_id: None,
        generation: 0,
    }
}

/// Starts a container that does not run, and waits until it is ready. On failure nothing of the start
/// stays but what the container has written, and its log.
pub fn start(container: &Locked<'_>, run: Running, tell: &dyn Fn(&Status)) -> Result<()> {
    unsupported::refuse(&container.name, &run.definition)?;
    let what = || format!("container {}", container.name);
    let started = begin(container, run, tell);
    if started.is_err() {
        container.forget_run().with_context(what)?;
    }
    started
}

fn begin(container: &Locked<'_>, mut run: Running, tell: &dyn Fn(&Status)) -> Result<()> {
    let what = || format!("container {}", container.name);
    container.forget_run().with_context(what)?;
    run.first_id = ids::first_id(container, &run.definition).with_context(what)?;
    let made = bundle::make(container, &run).with_context(what)?;
    container.use_bundle(&made).with_context(what)?;
    // Before it runs: a firnctl that is killed here has said what it started.
    let run = container.history().record(run).with_context(what)?;
    container.set_running(&run).with_context(what)?;
    Starting::begin(container, &run.definition)?.wait(tell)
}
