//! What a start needs before there is a monitor: the bundle, and the record of what runs.

use super::{bundle, first_root, ids, network, state_version};
use crate::definition::schema::Definition;
use crate::generation::{Locked, Running, Start, VERSION};
use crate::wanted::root::Resolved;
use anyhow::{Context, Result};

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
        is_changing: false,
    }
}

/// Makes all that the monitor needs, and records what runs from now on.
pub fn prepare(container: &Locked<'_>, mut run: Running) -> Result<Running> {
    let what = || format!("container {}", container.name);
    let mut start = Start::begin();
    network::take_down(container).with_context(what)?;
    container.forget_run().with_context(what)?;
    // A start that fails before its monitor begins has none.
    container.forget_end().with_context(what)?;
    start.step("clean up");
    run.first_id = ids::first_id(container, &run.definition).with_context(what)?;
    first_root::take(container, &run.definition, run.first_id).with_context(what)?;
    state_version::record(container, &run.definition, run.system.as_deref()).with_context(what)?;
    let made = bundle::make(container, &run).with_context(what)?;
    start.step("bundle");
    network::write(container, &run.definition).with_context(what)?;
    container.use_bundle(&made).with_context(what)?;
    start.step("network prepared");
    // Before it runs: a firnctl that is killed here has said what it started.
    let run = container.history().record(run).with_context(what)?;
    container.set_running(&run).with_context(what)?;
    start.step("generation");
    container.set_start(&start).with_context(what)?;
    Ok(run)
}
