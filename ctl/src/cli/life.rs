//! `firnctl start`, `stop`, `restart`, `terminate`: containers that are installed.

use super::health::HealthArgs;
use super::places::{PlaceArgs, find_all};
use super::together;
use crate::apply::stop::How;
use crate::apply::update::Health;
use crate::generation::Container;
use crate::host::must_be_root;
use crate::interrupt;
use anyhow::{Result, bail};
use clap::Args;

/// Which containers.
#[derive(Debug, Args)]
pub struct NameArgs {
    /// Names of containers.
    #[arg(value_name = "NAME", required_unless_present = "all")]
    names: Vec<String>,
    /// All that are installed.
    #[arg(long, conflicts_with = "names")]
    all: bool,
}

/// Stop containers: by their stop signal, then by SIGKILL.
#[derive(Debug, Args)]
pub struct StopArgs {
    #[command(flatten)]
    names: NameArgs,
    /// Seconds until they are killed; the definition's timeoutStopSec if not given.
    #[arg(long, short, value_name = "SECS")]
    timeout: Option<u32>,
}

/// Change containers that run to what is installed.
#[derive(Debug, Args)]
pub struct UpdateArgs {
    #[command(flatten)]
    names: NameArgs,
    #[command(flatten)]
    health: HealthArgs,
}

impl NameArgs {
    /// One.
    pub fn of(name: &str) -> Self {
        NameArgs { names: vec![name.into()], all: false }
    }

    pub fn find(&self, places: &PlaceArgs) -> Result<Vec<Container>> {
        must_be_root()?;
        find_all(&places.places()?, &self.names, self.all)
    }
}

/// Starts what does not run; with what it depends on.
pub fn start(arguments: &NameArgs, places: &PlaceArgs) -> Result<()> {
    interrupt::watch()?;
    let named = arguments.find(places)?;
    let containers = with_dependencies(named, places)?;
    let waits = together::waits(&containers)?;
    let plans = together::plans(&containers)?;
    // Those that run already stay as they are: `update` changes them.
    let plans = plans.into_iter().filter(|(_, (_, plan))| plan.action == crate::apply::change::Action::Start).collect();
    let waits = waits.into_iter().filter(|(name, _)| together::Plans::contains_key(&plans, name)).collect();
    together::apply(&plans, &waits, Health::default())
}

fn with_dependencies(named: Vec<Container>, places: &PlaceArgs) -> Result<Vec<Container>> {
    let all = crate::generation::all(&places.places()?)?;
    let waits = together::waits(&all)?;
    let mut chosen: Vec<Container> = Vec::new();
    let mut rest = named;
    while let Some(container) = rest.pop() {
        if chosen.iter().any(|other| other.name == container.name) {
            continue;
        }
        for other in waits.get(&container.name).into_iter().flatten() {
            match all.iter().find(|known| known.name == *other) {
                Some(other) => rest.push(other.clone()),
                None => bail!("container {}: depends on {other}, which is not installed", container.name),
            }
        }
        chosen.push(container);
    }
    Ok(chosen)
}

/// Changes those that run to what is installed.
pub fn update(arguments: &UpdateArgs, places: &PlaceArgs) -> Result<()> {
    update_to_installed(&arguments.names, places, arguments.health.health())
}

/// The same for other verbs.
pub fn update_to_installed(arguments: &NameArgs, places: &PlaceArgs, health: Health) -> Result<()> {
    interrupt::watch()?;
    let containers = arguments.find(places)?;
    let plans = together::plans(&containers)?;
    let plans = plans.into_iter().filter(|(_, (_, plan))| plan.action != crate::apply::change::Action::Start).collect();
    together::apply(&plans, &together::waits(&containers)?, health)
}

/// Stops containers.
pub fn stop(arguments: &StopArgs, places: &PlaceArgs) -> Result<()> {
    end(&arguments.names, places, How::Stop(arguments.timeout))
}

/// Kills containers.
pub fn terminate(arguments: &NameArgs, places: &PlaceArgs) -> Result<()> {
    end(arguments, places, How::Kill)
}

fn end(arguments: &NameArgs, places: &PlaceArgs, how: How) -> Result<()> {
    let containers = arguments.find(places)?;
    let waits = together::waits(&containers)?;
    together::stop_all(&containers, &waits, how)
}

/// Stops and starts containers.
pub fn restart(arguments: &StopArgs, places: &PlaceArgs) -> Result<()> {
    stop(arguments, places)?;
    start(&arguments.names, places)
}
