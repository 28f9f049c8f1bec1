//! `firnctl start`, `stop`, `restart`, `terminate`: containers that are installed.

use super::health::HealthArgs;
use super::places::{PlaceArgs, find_all};
use super::together;
use crate::apply::change::Action;
use crate::apply::stop::How;
use crate::apply::update::Health;
use crate::generation::Container;
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
        places.become_owner()?;
        find_all(&places.places()?, &self.names, self.all)
    }
}

/// Starts what does not run; with what it depends on.
pub fn start(arguments: &NameArgs, places: &PlaceArgs) -> Result<()> {
    interrupt::watch()?;
    let named = arguments.find(places)?;
    let names: Vec<String> = named.iter().map(|container| container.name.clone()).collect();
    let containers = with_dependencies(named, places)?;
    let waits = together::waits(&containers);
    let mut plans = together::plans(&containers)?;
    // Those that run already stay as they are: `update` changes them.
    plans.retain(|name, (_, plan)| {
        let starts = plan.action == Action::Start;
        if !starts && names.contains(name) {
            eprintln!("{name}  already up");
        }
        starts
    });
    let waits = waits.into_iter().filter(|(name, _)| plans.contains_key(name)).collect();
    together::apply(&plans, &waits, Health::default())
}

fn with_dependencies(named: Vec<Container>, places: &PlaceArgs) -> Result<Vec<Container>> {
    let all = crate::generation::all(&places.places()?)?;
    let waits = together::waits(&all);
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
    let mut plans = together::plans(&containers)?;
    plans.retain(|name, (_, plan)| {
        let runs = plan.action != Action::Start;
        if !runs && !arguments.all {
            eprintln!("{name}  not running");
        }
        runs
    });
    together::apply(&plans, &together::waits(&containers), health)
}

/// Stops containers.
pub fn stop(arguments: &StopArgs, places: &PlaceArgs) -> Result<()> {
    let killed = end(&arguments.names, places, How::Stop(arguments.timeout), true)?;
    together::refuse_killed(&killed)
}

/// Kills containers.
pub fn terminate(arguments: &NameArgs, places: &PlaceArgs) -> Result<()> {
    end(arguments, places, How::Kill, true).map(drop)
}

/// Those that had to be killed. `tells`: those that do not run are told.
fn end(arguments: &NameArgs, places: &PlaceArgs, how: How, tells: bool) -> Result<Vec<String>> {
    let containers = arguments.find(places)?;
    for container in containers.iter().filter(|_| tells && !arguments.all) {
        if container.connect()?.is_none() {
            eprintln!("{}  not running", container.name);
        }
    }
    let waits = together::waits(&containers);
    together::stop_all(&containers, &waits, how)
}

/// Stops and starts containers. One that had to be killed is started all the same.
pub fn restart(arguments: &StopArgs, places: &PlaceArgs) -> Result<()> {
    end(&arguments.names, places, How::Stop(arguments.timeout), false)?;
    start(&arguments.names, places)
}
