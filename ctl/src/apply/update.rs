//! A container's system changes while it runs: its store paths are shown, then NixOS's own program
//! switches to it. What is not healthy afterwards goes back.

use super::{inside, live};
use crate::difference::{self, Change, Live};
use crate::generation::{Locked, Running};
use anyhow::{Context, Result, bail};
use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

/// NixOS's program, in each system.
const SWITCH: &str = "bin/switch-to-configuration";

/// Between two tries of a check.
const PAUSE: Duration = Duration::from_millis(500);

/// How long one run of a check may take where no time is given.
const CHECK_LIMIT: Duration = Duration::from_secs(60);

/// What a container has to be after an update; else the update is undone.
#[derive(Debug, Clone, Copy, Default)]
pub struct Health {
    /// The time in which it must become healthy. Without it units that fail are told, and undo nothing.
    pub limit: Option<Duration>,
}

/// What is wrong after a switch.
enum Fault {
    /// Units have failed, or the switch itself.
    Switch(String),
    /// The definition's check has failed.
    Check(String),
}

/// An update with a fault.
#[derive(Debug)]
pub struct UpdateFailed {
    container: String,
    fault: String,
    /// How the way back ended; `None`: the new system runs.
    undone: Option<Result<(), String>>,
}

impl UpdateFailed {
    /// Whether what ran before was to come back.
    pub fn is_undone(&self) -> bool {
        self.undone.is_some()
    }
}

impl fmt::Display for UpdateFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { container, fault, undone } = self;
        match undone {
            None => write!(f, "container {container}: updated, but {fault}"),
            Some(Ok(())) => write!(f, "container {container}: the update is undone: {fault}"),
            Some(Err(why)) => write!(f, "container {container}: the update has failed: {fault}; and going back: {why}"),
        }
    }
}

impl std::error::Error for UpdateFailed {}

/// Whether a system can be switched to while another one runs.
pub fn can_switch(system: &Path) -> bool {
    system.join(SWITCH).exists()
}

/// Changes to another system, and whatever else is changed live. Errors: [`UpdateFailed`].
pub fn apply(container: &Locked<'_>, running: &Running, wanted: Running, changes: &Live, health: Health) -> Result<()> {
    let system = wanted.system.clone().context("an update has a system")?;
    let check = wanted.definition.check.clone();
    let failed_before = inside::failed_units(container, running.system.as_deref())?;
    live::change(container, running, wanted, changes)?;
    let fault = match switch(container, &system, &failed_before)? {
        Some(said) => Some(Fault::Switch(said)),
        None => check_until(container, &system, &check, health.limit)?.map(Fault::Check),
    };
    let undoes = match &fault {
        None => false,
        Some(Fault::Check(_)) => true,
        Some(Fault::Switch(_)) => health.limit.is_some(),
    };
    let undone = undoes.then(|| {
        let back = good(container, running).and_then(|earlier| undo(container, &earlier));
        back.map_err(|error| format!("{error:#}"))
    });
    if undone.is_none() {
        live::record(container)?;
    }
    match fault {
        None => Ok(()),
        Some(Fault::Switch(fault) | Fault::Check(fault)) => {
            Err(UpdateFailed { container: container.name.clone(), fault, undone }.into())
        }
    }
}

/// What ran before, and was brought to its end: where an update is done again that was interrupted, the
/// generation before that.
fn good(container: &Locked<'_>, running: &Running) -> Result<Running> {
    if !running.is_changing {
        return Ok(running.clone());
    }
    let list = container.history().list()?;
    let last = list.into_iter().find(|generation| generation.number == running.generation);
    let run = last.context("what ran before is no generation any more")?.run;
    Ok(Running { first_id: running.first_id, ..run })
}

/// Changes back to what ran before.
fn undo(container: &Locked<'_>, earlier: &Running) -> Result<()> {
    let now = container.running()?.context("what runs is not recorded")?;
    let changes = match difference::between(&now, earlier, container.places().owner()) {
        Change::Live(live) | Change::Update { live, .. } => live,
        Change::Unchanged | Change::Restart(_) => Live::default(),
    };
    live::change(container, &now, earlier.clone(), &changes)?;
    if let Some(said) = switch_once(container, earlier.system.as_deref().context("what ran had a system")?)? {
        bail!(said);
    }
    // What ran before is no new generation.
    let now = container.running()?.context("what runs is not recorded")?;
    container.set_running(&Running { is_changing: false, ..now })
}

/// Switches; what is wrong afterwards.
fn switch(container: &Locked<'_>, system: &Path, failed_before: &[String]) -> Result<Option<String>> {
    let said = switch_once(container, system)?;
    let failed = inside::failed_units(container, Some(system))?;
    let new: Vec<String> = failed.into_iter().filter(|unit| !failed_before.contains(unit)).collect();
    match new.as_slice() {
        [] => Ok(said),
        _ => Ok(Some(format!("these units have failed: {}", new.join(", ")))),
    }
}

/// Runs the switch; what it has said, if it failed.
fn switch_once(container: &Locked<'_>, system: &Path) -> Result<Option<String>> {
    let program = system.join(SWITCH).to_str().context("a store path is no UTF-8")?.to_owned();
    // However long it takes: it starts and stops units.
    let answer = inside::run(container, Some(system), &[program, "test".into()], None)?;
    let Some(answer) = answer.filter(|answer| !answer.status.success()) else { return Ok(None) };
    let inside::Answer { status, stdout, stderr } = answer;
    Ok(Some(format!("switch-to-configuration has failed ({status}):\n{stdout}{}", stderr.trim_end())))
}

/// Runs the definition's check until it succeeds, or the time is over; what it has said last. Without a
/// time it has one try.
fn check_until(
    container: &Locked<'_>,
    system: &Path,
    check: &[String],
    limit: Option<Duration>,
) -> Result<Option<String>> {
    if check.is_empty() {
        return Ok(None);
    }
    let end = Instant::now() + limit.unwrap_or(CHECK_LIMIT);
    loop {
        let Some(answer) = inside::run(container, Some(system), check, Some(end))? else {
            return Ok(Some("its check has not ended in time".into()));
        };
        if answer.status.success() {
            return Ok(None);
        }
        if limit.is_none() || Instant::now() + PAUSE > end {
            let said = answer.stderr.trim_end();
            let colon = if said.is_empty() { "" } else { ": " };
            return Ok(Some(format!("its check has failed ({}){colon}{said}", answer.status)));
        }
        std::thread::sleep(PAUSE);
    }
}
