//! One container is brought to what is wanted of it, in the least way that does it.

use super::prepare::run_of;
use super::start;
use super::stop::{self, How, Stopped};
use super::update::{self, Health};
use super::{bundle, live, starting};
use crate::definition::schema::Definition;
use crate::difference::{self, Change};
use crate::generation::{Container, Locked, Running};
use crate::wanted::root;
use anyhow::{Context, Result};
use firn_shim::control::protocol::{Event, Request, State, Status};
use std::fmt;

/// What is to be done with a container.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// It does not run.
    Start,
    /// It runs, and is changed, or not.
    Change(Change),
    /// It would have to be restarted, and its definition says that nobody does that for a change.
    Pending(Change),
}

/// An action with what it leads to.
#[derive(Debug, Clone)]
pub struct Plan {
    pub action: Action,
    /// What runs; `None` if nothing does.
    pub running: Option<Running>,
    pub wanted: Running,
    /// A live change is not enough.
    pub restarts_always: bool,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Start => f.write_str("start"),
            Action::Change(change) => change.fmt(f),
            Action::Pending(change) => write!(f, "pending ({change})"),
        }
    }
}

/// What has to be done for a definition. Nothing is changed, and what can be wrong with it is found.
pub fn plan(container: &Container, definition: &Definition) -> Result<Plan> {
    let what = || format!("container {}", container.name);
    let wanted = run_of(definition, root::resolve(definition).with_context(what)?);
    bundle::check(container, &wanted).with_context(what)?;
    decide(container, wanted, false)
}

/// The same plan against what runs now.
pub fn again(container: &Container, plan: &Plan) -> Result<Plan> {
    decide(container, plan.wanted.clone(), plan.restarts_always)
}

/// Not where it has ended, and its monitor is about to. What is ending is waited for: its monitor may start it
/// again.
fn runs(container: &Container) -> Result<bool> {
    let Some(mut monitor) = container.connect()? else { return Ok(false) };
    let Ok((reply, _)) = monitor.call(Request::Subscribe) else { return Ok(false) };
    let mut state = reply.status.map(|status| status.state);
    loop {
        match state {
            None | Some(State::Done) => return Ok(false),
            Some(State::Stopping | State::Killed | State::Exited) => {}
            Some(_) => return Ok(true),
        }
        state = match monitor.next_event()? {
            Some(Event::Status(status)) => Some(status.state),
            Some(Event::ExecEnded { .. } | Event::Happened(_)) => state,
            Some(Event::Ended { .. }) | None => None,
        };
    }
}

fn decide(container: &Container, wanted: Running, restarts_always: bool) -> Result<Plan> {
    let running = if runs(container)? { container.running()? } else { None };
    let change = running.as_ref().map(|running| difference::between(running, &wanted, container.places().owner()));
    let action = match change {
        None => Action::Start,
        Some(Change::Live(_) | Change::Update { .. }) if restarts_always => {
            Action::Change(Change::Restart(vec!["--restart".into()]))
        }
        // What was interrupted was no switch, then.
        Some(Change::Update { from, to, live }) if from == to && !update::can_switch(&to) => {
            Action::Change(Change::Live(live))
        }
        Some(Change::Update { to, .. }) if !update::can_switch(&to) => {
            Action::Change(Change::Restart(vec!["path".into()]))
        }
        Some(change @ Change::Restart(_)) if !wanted.definition.restart_if_changed.0 && !restarts_always => {
            Action::Pending(change)
        }
        Some(change) => Action::Change(change),
    };
    Ok(Plan { action, running, wanted, restarts_always })
}

/// What is installed and does not run yet; `None` if it is what runs. A flake is not built for it.
pub fn pending(container: &Container, definition: &Definition) -> Option<Change> {
    let running = container.running().ok()??;
    let resolved = match definition.flake.is_some() {
        true => root::Resolved { system: running.system.clone(), layers: running.layers.clone() },
        // What it leads to is gone: that is told when it is started.
        false => root::resolve(definition).ok()?,
    };
    match difference::between(&running, &run_of(definition, resolved), container.places().owner()) {
        Change::Unchanged => None,
        change => Some(change),
    }
}

/// Carries a plan out; whether what ran had to be killed on the way.
pub fn apply(container: &Locked<'_>, plan: Plan, health: Health, tell: &dyn Fn(&Status)) -> Result<Stopped> {
    let Plan { action, running, wanted, .. } = plan;
    let running = running.unwrap_or_else(|| wanted.clone());
    match action {
        Action::Pending(_) | Action::Change(Change::Unchanged) => starting::wait_for_another(container, tell)?,
        Action::Start => start::start(container, wanted, tell)?,
        Action::Change(Change::Live(changes)) => {
            starting::wait_for_another(container, tell)?;
            live::apply(container, &running, wanted, &changes)?;
        }
        Action::Change(Change::Update { live, .. }) => {
            starting::wait_for_another(container, tell)?;
            update::apply(container, &running, wanted, &live, health)?;
        }
        Action::Change(Change::Restart(_)) => {
            let stopped = stop::stop(container, How::Stop(None))?;
            start::start(container, wanted, tell)?;
            return Ok(stopped);
        }
    }
    Ok(Stopped::AsAsked)
}
