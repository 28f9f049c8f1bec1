//! A container's system changes while it runs: its store paths are shown, then NixOS's own program
//! switches to it. What is not healthy afterwards goes back.

use super::{inside, live};
use crate::difference::Live;
use crate::generation::{Locked, Running};
use anyhow::{Context, Result};
use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

/// NixOS's program, in each system.
const SWITCH: &str = "bin/switch-to-configuration";

/// Between two tries of a check.
const PAUSE: Duration = Duration::from_millis(500);

/// What a container has to be after a change; else the change is undone.
#[derive(Debug, Clone, Copy, Default)]
pub struct Health {
    /// The time in which it must become healthy. Without it units that fail are told, and undo nothing.
    pub limit: Option<Duration>,
}

/// The new system runs, with units that have failed. It is the exit status 4, as of
/// switch-to-configuration.
#[derive(Debug)]
pub struct UnitsFailed {
    container: String,
    /// Their names, or what the switch has said.
    what: String,
    /// The change was undone.
    undone: bool,
}

impl fmt::Display for UnitsFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let undone = if self.undone { "; went back to what ran before" } else { "" };
        write!(f, "container {}: updated, but {}{undone}", self.container, self.what)
    }
}

impl std::error::Error for UnitsFailed {}

/// Whether a system can be switched to while another one runs.
pub fn can_switch(system: &Path) -> bool {
    system.join(SWITCH).exists()
}

/// Changes to another system, and whatever else is changed live. Errors: [`UnitsFailed`].
pub fn apply(container: &Locked<'_>, running: &Running, wanted: Running, changes: &Live, health: Health) -> Result<()> {
    let system = wanted.system.clone().context("an update has a system")?;
    let check = wanted.definition.check.clone();
    let failed_before = inside::failed_units(container, running.system.as_deref());
    live::apply(container, running, wanted, changes)?;
    let Some(what) = switch(container, &system, &failed_before, &check, health)? else { return Ok(()) };
    let undone = health.limit.is_some() || !check.is_empty();
    if undone {
        let back = container.running()?.with_context(|| format!("container {}: is not recorded", container.name))?;
        let earlier = running.system.as_deref().context("what ran had a system")?;
        live::apply(container, &back, running.clone(), &reversed(&back, running))?;
        switch_once(container, earlier)?;
    }
    Err(UnitsFailed { container: container.name.clone(), what, undone }.into())
}

fn reversed(from: &Running, to: &Running) -> Live {
    match crate::difference::between(from, to) {
        crate::difference::Change::Live(live) | crate::difference::Change::Update { live, .. } => live,
        _ => Live::default(),
    }
}

/// Switches; what is wrong afterwards.
fn switch(
    container: &Locked<'_>,
    system: &Path,
    failed_before: &[String],
    check: &[String],
    health: Health,
) -> Result<Option<String>> {
    let said = switch_once(container, system)?;
    let failed = inside::failed_units(container, Some(system));
    let new: Vec<String> = failed.into_iter().filter(|unit| !failed_before.contains(unit)).collect();
    if !new.is_empty() {
        return Ok(Some(format!("these units have failed: {}", new.join(", "))));
    }
    if said.is_some() {
        return Ok(said);
    }
    check_until(container, system, check, health.limit.unwrap_or_default())
}

/// Runs the switch; what it has said, if it failed.
fn switch_once(container: &Locked<'_>, system: &Path) -> Result<Option<String>> {
    let program = system.join(SWITCH).to_str().context("a store path is no UTF-8")?.to_owned();
    let output = inside::run(container, Some(system), &[program, "test".into()])?;
    if output.status.success() {
        return Ok(None);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let printed = String::from_utf8_lossy(&output.stdout);
    Ok(Some(format!("switch-to-configuration has failed ({}):\n{}{}", output.status, printed, said.trim_end())))
}

/// Runs the definition's check until it succeeds, or the time is over; what it has said last.
fn check_until(container: &Locked<'_>, system: &Path, check: &[String], limit: Duration) -> Result<Option<String>> {
    if check.is_empty() {
        return Ok(None);
    }
    let begin = Instant::now();
    loop {
        let output = inside::run(container, Some(system), check)?;
        if output.status.success() {
            return Ok(None);
        }
        if begin.elapsed() + PAUSE > limit {
            let said = String::from_utf8_lossy(&output.stderr);
            let said = said.trim_end();
            let colon = if said.is_empty() { "" } else { ": " };
            return Ok(Some(format!("its check has failed ({}){colon}{said}", output.status)));
        }
        std::thread::sleep(PAUSE);
    }
}
