//! `start`: what it needs, the monitor or its unit, READY.

use super::prepare::prepare;
use super::starting::Starting;
use super::{network, unit};
use crate::generation::{Locked, Running};
use crate::service::unit::Unit;
use crate::wanted::unsupported;
use anyhow::{Context, Result};
use firn_shim::control::protocol::Status;

/// Starts a container that does not run, and waits until it is ready. On failure nothing of the start
/// stays but what the container has written, and its log.
pub fn start(container: &Locked<'_>, run: Running, tell: &dyn Fn(&Status)) -> Result<()> {
    unsupported::refuse(&container.name, &run.definition)?;
    let what = || format!("container {}", container.name);
    let started = begin(container, run, tell);
    if started.is_err() {
        network::take_down(container).with_context(what)?;
        container.forget_run().with_context(what)?;
    }
    started
}

fn begin(container: &Locked<'_>, run: Running, tell: &dyn Fn(&Status)) -> Result<()> {
    let run = prepare(container, run)?;
    match Unit::of(&container.name, container.places()) {
        Some(unit) => unit::start(container, &unit),
        None => Starting::begin(container, &run.definition)?.wait(tell),
    }
}
