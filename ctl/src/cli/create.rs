//! `firnctl create` and `firnctl plan`: definitions are installed, or looked at.

use super::health::HealthArgs;
use super::install::install;
use super::places::PlaceArgs;
use super::source::SourceArgs;
use super::together::{self, Plans};
use crate::apply::change::{self, Action};
use crate::definition::nix::Depth;
use crate::difference::Change;
use crate::generation::{Container, Origin};
use crate::interrupt;
use crate::view::answer::{Form, print};
use anyhow::{Result, bail};
use clap::Args;
use serde_json::{Value, json};
use std::fmt;

const EXAMPLES: &str = "\
Examples:
  firnctl create web.toml         install what the file defines; nothing is started
  firnctl create -s web.toml      and start it; what runs is changed, live where that is possible
  firnctl create -u web.toml      change what runs; start nothing
  firnctl create -s -E '{ containers.web.rootFS = [ ./root ]; }'
  firnctl create -s -E '{ containers.web.config = { services.nginx.enable = true; }; }' --nixpkgs-path '<nixpkgs>'
  generate | firnctl create -s -  from standard input
";

/// Install containers from definitions.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct CreateArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// Start those that do not run, and change those that run.
    #[arg(long, short)]
    start: bool,
    /// Change those that run; start none.
    #[arg(long, short, conflicts_with = "start")]
    update: bool,
    /// Restart those that run and have changed, whatever has changed.
    #[arg(long, short)]
    restart: bool,
    #[command(flatten)]
    health: HealthArgs,
}

/// Tell what `up` would do, a line for each container; nothing is changed.
///
/// Exit status: 0 where nothing would be done, 10 where something would.
#[derive(Debug, Args)]
pub struct PlanArgs {
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    form: Form,
}

/// Installs, and does what the options say.
pub fn create(arguments: &CreateArgs, places: &PlaceArgs) -> Result<()> {
    places.become_owner()?;
    interrupt::watch()?;
    let loaded = arguments.source.load_for(Depth::Built, places)?;
    let containers = install(&loaded, &places.places()?)?;
    if !(arguments.start || arguments.update || arguments.restart) {
        return print(&containers.iter().map(|container| format!("{}\n", container.name)).collect::<String>());
    }
    let mut plans = together::plans(&containers)?;
    let unchanged = plans.values().filter(|(_, plan)| plan.action == Action::Change(Change::Unchanged));
    print(&unchanged.map(|(container, _)| format!("{} (unchanged, skipped)\n", container.name)).collect::<String>())?;
    plans.retain(|_, (_, plan)| plan.action != Action::Start || arguments.start);
    if arguments.restart {
        plans.values_mut().for_each(|(_, plan)| plan.restarts_always = true);
    }
    together::apply(&plans, &waits_of(&plans, &containers)?, arguments.health.health())
}

fn waits_of(plans: &Plans, containers: &[Container]) -> Result<crate::apply::order::Waits> {
    let waits = together::waits(containers);
    Ok(waits.into_iter().filter(|(name, _)| plans.contains_key(name)).collect())
}

/// Tells what would be done; the exit status.
pub fn plan(arguments: &PlanArgs, places: &PlaceArgs) -> Result<u8> {
    places.become_owner()?;
    let loaded = arguments.source.load_for(Depth::Built, places)?;
    let places = places.places()?;
    let mut lines = Vec::new();
    let mut errors = Vec::new();
    for instance in &loaded.instances {
        let container = Container::new(&instance.name, &places);
        let wanted = container.with_overrides(instance.definition.clone(), Origin::default())?;
        match change::plan(&container, &wanted.definition) {
            Ok(plan) => lines.push(Line {
                overridden: wanted.overridden().into_iter().map(String::from).collect(),
                name: container.name,
                action: plan.action,
            }),
            Err(error) => errors.push(format!("{error:#}")),
        }
    }
    arguments.form.answer(
        || Ok(Value::Array(lines.iter().map(Line::json).collect())),
        || lines.iter().map(Line::to_string).collect(),
    )?;
    if !errors.is_empty() {
        bail!("{}", errors.join("\nfirnctl: "));
    }
    let changes = lines.iter().any(|line| line.action != Action::Change(Change::Unchanged));
    Ok(if changes { CHANGES } else { 0 })
}

/// The exit status of `plan` where there is something to do.
const CHANGES: u8 = 10;

/// What is told of a container.
struct Line {
    name: String,
    action: Action,
    /// Options that verbs have changed, and which the file does not bring back.
    overridden: Vec<String>,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.action)?;
        match self.overridden.as_slice() {
            [] => writeln!(f),
            options => writeln!(f, " (changed by hand: {}; `firnctl reset` undoes that)", options.join(", ")),
        }
    }
}

impl Line {
    fn json(&self) -> Value {
        let word = match &self.action {
            Action::Start => "start",
            Action::Pending(_) => "pending",
            Action::Change(change) => change.word(),
        };
        json!({"name": self.name, "action": word, "why": self.action.to_string(), "overridden": self.overridden})
    }
}
