//! `start`: what it needs, the monitor or its unit, READY.

use super::prepare::prepare;
use super::starting::Starting;
use super::{network, unit};
use crate::generation::{Locked, Running};
use crate::service::unit::Unit;
use anyhow::Result;
use firn_shim::control::protocol::Status;

/// Starts a container that does not run, and waits until it is ready. On failure nothing of the start
/// stays but what the container has written, and its log.
pub fn start(container: &Locked<'_>, run: Running, tell: &dyn Fn(&Status)) -> Result<()> {
    let started = begin(container, run, tell);
    let Err(error) = started else {
        network::tell_blocked(container);
        return Ok(());
    };
    let cleaned =
        network::take_down(container).and_then(|()| network::leave(container)).and_then(|()| container.forget_run());
    match cleaned {
        Ok(()) => Err(error),
        Err(left) => Err(error.context(format!("container {}: {left:#}; and before that", container.name))),
    }
}

fn begin(container: &Locked<'_>, run: Running, tell: &dyn Fn(&Status)) -> Result<()> {
    let run = prepare(container, run)?;
    match Unit::of(&container.name, container.places()) {
        Some(unit) => unit::start(container, &unit),
        None => Starting::begin(container, &run.definition)?.wait(tell),
    }
}
