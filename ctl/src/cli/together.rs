//! What several verbs do with many containers: in order, with progress, all errors told.

use crate::apply::change::{self, Action, Plan};
use crate::apply::end::NotReady;
use crate::apply::order::{self, Outcomes, Waits};
use crate::apply::stop::{self, How, Stopped};
use crate::apply::update::{Health, UpdateFailed};
use crate::difference::Change;
use crate::generation::Container;
use crate::interrupt;
use crate::view::progress::{Progress, Step};
use anyhow::{Context, Result, bail};
use std::collections::{BTreeMap, BTreeSet};

/// Containers and what each is to become.
pub type Plans = BTreeMap<String, (Container, Plan)>;

/// The plans of containers that are installed. Every error is found before anything is done.
pub fn plans(containers: &[Container]) -> Result<Plans> {
    let mut plans = Plans::new();
    let mut errors = Vec::new();
    for container in containers {
        let wanted = container.wanted()?.with_context(|| format!("container {}: is not installed", container.name))?;
        match change::plan(container, &wanted.definition) {
            Ok(plan) => drop(plans.insert(container.name.clone(), (container.clone(), plan))),
            Err(error) => errors.push(format!("{error:#}")),
        }
    }
    match errors.as_slice() {
        [] => Ok(plans),
        _ => bail!("{}", errors.join("\nfirnctl: ")),
    }
}

/// Who waits for whom, by name. A definition that makes several containers is waited for as a whole.
pub fn waits(containers: &[Container]) -> Waits {
    let mut of_definition: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut depends = Vec::new();
    for container in containers {
        // One that can't be read is an error where it is to be started, and of no concern to others.
        let Ok(Some(wanted)) = container.wanted() else { continue };
        let definition_name = wanted.origin.definition_name.unwrap_or_else(|| container.name.clone());
        of_definition.entry(definition_name).or_default().insert(container.name.clone());
        depends.push((container.name.clone(), wanted.definition.depends_on));
    }
    let meant = |name: String| of_definition.get(&name).cloned().unwrap_or_else(|| [name].into());
    depends.into_iter().map(|(name, others)| (name, others.into_iter().flat_map(meant).collect())).collect()
}

/// Carries plans out.
pub fn apply(plans: &Plans, waits: &Waits, health: Health) -> Result<()> {
    let progress = Progress::new(plans.keys().map(String::as_str));
    // One that waits for nobody may be in none of them.
    let mut all_waits: Waits = plans.keys().map(|name| (name.clone(), BTreeSet::new())).collect();
    all_waits.extend(waits.clone());
    let outcomes = order::run(&all_waits, starts_at_once(), |name| {
        let Some((container, plan)) = plans.get(name) else { return Ok(()) };
        if interrupt::has_come() {
            bail!("container {name}: interrupted before its start");
        }
        let step = progress.begin(name, words(&plan.action).0);
        let result = apply_one(container, plan, health, &step);
        step.end(match &result {
            Ok(action) => words(action).1,
            Err(_) => "failed",
        });
        result.map(drop)
    });
    all(outcomes)
}

/// What another firnctl has done since the plan was made counts.
fn apply_one(container: &Container, plan: &Plan, health: Health, step: &Step<'_>) -> Result<Action> {
    let locked = container.lock()?;
    let plan = change::again(&locked, plan)?;
    let action = plan.action.clone();
    let killed = change::apply(&locked, plan, health, &|status| step.tell(status))?;
    if killed == Stopped::Killed {
        step.warn("did not stop in time and was killed");
    }
    Ok(action)
}

/// Ends containers, those that others wait for last; those that had to be killed.
pub fn stop_all(containers: &[Container], waits: &Waits, how: How) -> Result<Vec<String>> {
    let by_name: BTreeMap<&str, &Container> =
        containers.iter().map(|container| (&*container.name, container)).collect();
    let running = containers.iter().filter(|container| !matches!(container.connect(), Ok(None)));
    let progress = Progress::new(running.map(|container| &*container.name));
    let outcomes = order::run(&order::reversed(waits), starts_at_once(), |name| {
        let Some(container) = by_name.get(name) else { return Ok(Ok(Stopped::NotRunning)) };
        // Those that it needs are stopped also where it fails.
        Ok(stop_one(container, how, &progress))
    });
    let mut killed = Vec::new();
    let mut errors = Vec::new();
    for (name, outcome) in outcomes {
        match outcome {
            Ok(Ok(Stopped::Killed)) => killed.push(name),
            Ok(Ok(_)) => {}
            Ok(Err(error)) | Err(error) => errors.push(error),
        }
    }
    told(errors).map(|()| killed)
}

fn stop_one(container: &Container, how: How, progress: &Progress) -> Result<Stopped> {
    let locked = container.lock()?;
    if locked.connect()?.is_none() {
        return Ok(Stopped::NotRunning);
    }
    let step = progress.begin(&container.name, "stopping");
    let result = stop::stop(&locked, how);
    step.end(match result {
        Ok(Stopped::Killed) => "killed",
        Ok(_) => "down",
        Err(_) => "failed",
    });
    result
}

/// An error where containers had to be killed that were to be stopped.
pub fn refuse_killed(killed: &[String]) -> Result<()> {
    let text = |name: &String| {
        anyhow::anyhow!(
            "container {name}: did not stop in time and was killed; `firnctl logs {name}` has its last lines"
        )
    };
    told(killed.iter().map(text).collect())
}

fn words(action: &Action) -> (&'static str, &'static str) {
    match action {
        Action::Start => ("starting", "up"),
        Action::Pending(_) => ("pending", "pending: restartIfChanged is false"),
        Action::Change(Change::Unchanged) => ("unchanged", "unchanged"),
        Action::Change(Change::Live(_)) => ("changing", "changed"),
        Action::Change(Change::Update { .. }) => ("updating", "updated"),
        Action::Change(Change::Restart(_)) => ("restarting", "restarted"),
    }
}

/// Booting keeps processors busy: more at a time would only make each of them late, and its
/// `timeoutStartSec` runs from its turn on.
pub fn starts_at_once() -> usize {
    std::thread::available_parallelism().map_or(4, |count| 2 * count.get())
}

fn all<T>(outcomes: Outcomes<T>) -> Result<()> {
    told(outcomes.into_values().filter_map(Result::err).collect())
}

/// The exit status where all that went wrong is units that have failed, as of switch-to-configuration.
const UNITS_FAILED: u8 = 4;
/// Where all that went wrong is starts that took too long.
const NOT_READY: u8 = 3;

/// What went wrong with several containers.
#[derive(Debug)]
pub struct Failures {
    text: String,
    /// The exit status.
    pub code: u8,
}

impl std::fmt::Display for Failures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Failures {}

/// All of them as one.
pub fn told(errors: Vec<anyhow::Error>) -> Result<()> {
    let texts: Vec<String> = errors.iter().map(|error| format!("{error:#}")).collect();
    if texts.is_empty() {
        return Ok(());
    }
    let units_failed =
        |error: &anyhow::Error| error.downcast_ref::<UpdateFailed>().is_some_and(|failed| !failed.is_undone());
    let code = match errors.as_slice() {
        all if all.iter().all(units_failed) => UNITS_FAILED,
        all if all.iter().all(|error| error.downcast_ref::<NotReady>().is_some()) => NOT_READY,
        _ => 1,
    };
    Err(Failures { text: texts.join("\nfirnctl: "), code }.into())
}
