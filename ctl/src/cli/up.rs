//! `firnctl up` and `firnctl down`: the containers of a project.

use super::health::HealthArgs;
use super::install::{check_owner, install, orphans};
use super::places::PlaceArgs;
use super::source::SourceArgs;
use super::together::{self, Plans};
use crate::apply::change::Action;
use crate::apply::order::Waits;
use crate::apply::stop::How;
use crate::definition::Loaded;
use crate::definition::mistake::hint;
use crate::definition::nix::Depth;
use crate::generation::Container;
use crate::host::Places;
use crate::interrupt;
use crate::view::answer::print;
use crate::view::output::{self, Said, Shown};
use anyhow::{Result, bail};
use clap::Args;

const EXAMPLES: &str = "\
Examples:
  firnctl up                  start what the firn.toml here or above defines, with all output, until Ctrl-C
  firnctl up -d               return when all are ready; changes what runs, where the file has changed
  firnctl up -d --only web    only web, and what it depends on
  firnctl plan                tell what `up` would do
  firnctl down                stop them
";

/// Start the containers of a project, and change those that run where their definition has changed.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct UpArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// Return when all are ready; else their output is shown until Ctrl-C, which stops what was
    /// started.
    #[arg(long, short)]
    detach: bool,
    /// Only these, and what they depend on.
    #[arg(long = "only", value_name = "NAME")]
    names: Vec<String>,
    /// Destroy containers that the file made once, and no longer defines.
    #[arg(long)]
    remove_orphans: bool,
    #[command(flatten)]
    health: HealthArgs,
}

/// Stop the containers of a project. What they have written stays.
#[derive(Debug, Args)]
pub struct DownArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// Only these.
    #[arg(long = "only", value_name = "NAME")]
    names: Vec<String>,
    /// Seconds until they are killed; the definition's timeoutStopSec if not given.
    #[arg(long, short, value_name = "SECS")]
    timeout: Option<u32>,
    /// Remove the containers too, with what they have written.
    #[arg(long)]
    destroy: bool,
    /// Destroy containers that the file made once, and no longer defines.
    #[arg(long)]
    remove_orphans: bool,
}

/// Brings the project up.
pub fn up(arguments: &UpArgs, places: &PlaceArgs) -> Result<()> {
    places.become_owner()?;
    // From here on Ctrl-C is ours.
    interrupt::watch()?;
    let loaded = arguments.source.load_for(Depth::Built, places)?;
    let places = places.places()?;
    let containers = install(&loaded, &places)?;
    care_for_orphans(&loaded, &places, arguments.remove_orphans)?;
    let waits = together::waits(&containers);
    let chosen = choose(containers, &waits, &arguments.names)?;
    let plans = together::plans(&chosen)?;
    let waits = waits.into_iter().filter(|(name, _)| plans.contains_key(name)).collect();
    let shown = plans.values().filter(|_| !arguments.detach).map(|(container, _)| Shown::begin(container));
    let mut shown = shown.collect::<Result<Vec<_>>>()?;
    let applied = together::apply(&plans, &waits, arguments.health.health());
    if arguments.detach && !interrupt::has_come() {
        return applied;
    }
    let followed = applied.and_then(|()| follow(&mut shown));
    stop_started(&plans, &waits)?;
    followed
}

/// Stops the project's containers.
pub fn down(arguments: &DownArgs, places: &PlaceArgs) -> Result<()> {
    places.become_owner()?;
    let loaded = arguments.source.load_for(Depth::Names, places)?;
    let places = places.places()?;
    let all = loaded.instances.iter().map(|instance| Container::new(&instance.name, &places));
    let mut containers: Vec<Container> = all.collect();
    known(&containers, &arguments.names)?;
    containers.retain(|container| arguments.names.is_empty() || arguments.names.contains(&container.name));
    containers.iter().try_for_each(|container| check_owner(container, &loaded))?;
    care_for_orphans(&loaded, &places, arguments.remove_orphans)?;
    let waits = together::waits(&containers);
    let killed = together::stop_all(&containers, &waits, How::Stop(arguments.timeout))?;
    if !arguments.destroy {
        return together::refuse_killed(&killed);
    }
    together::told(super::destroy::destroy_all(&containers, &places))
}

/// Destroys them, or tells of them.
fn care_for_orphans(loaded: &Loaded, places: &Places, removes: bool) -> Result<()> {
    for orphan in orphans(loaded, places)? {
        match removes {
            true => super::destroy::destroy(&orphan)?,
            false => eprintln!("{}  is no longer defined: --remove-orphans destroys it", orphan.name),
        }
    }
    Ok(())
}

/// Errors: the project has no container of such a name.
fn known(containers: &[Container], names: &[String]) -> Result<()> {
    match names.iter().find(|name| !containers.iter().any(|container| container.name == **name)) {
        Some(name) => {
            let hint = hint(name, containers.iter().map(|container| &*container.name));
            bail!("container {name}: the definitions make none of this name{hint}")
        }
        None => Ok(()),
    }
}

/// The containers of these names, and all that they wait for; all without a name.
fn choose(containers: Vec<Container>, waits: &Waits, names: &[String]) -> Result<Vec<Container>> {
    if names.is_empty() {
        return Ok(containers);
    }
    known(&containers, names)?;
    let mut chosen: Vec<String> = Vec::new();
    let mut rest: Vec<String> = names.to_vec();
    while let Some(name) = rest.pop() {
        if !chosen.contains(&name) {
            rest.extend(waits.get(&name).into_iter().flatten().cloned());
            chosen.push(name);
        }
    }
    Ok(containers.into_iter().filter(|container| chosen.contains(&container.name)).collect())
}

/// Shows the output of all, from before they were started.
fn follow(shown: &mut [Shown]) -> Result<()> {
    let width = shown.iter().map(|one| one.container.name.len()).max().unwrap_or(0);
    output::follow(shown, &|container, said| {
        let name = format!("{:width$}", container.name);
        match said {
            Said::Line(line) => print(&format!("{name} | {}\n", line.text)),
            Said::End(how) => print(&format!("{name} | ({how})\n")),
        }
    })
}

/// Stops what this `up` has started.
fn stop_started(plans: &Plans, waits: &Waits) -> Result<()> {
    let started = plans.values().filter(|(_, plan)| plan.action == Action::Start);
    let started: Vec<Container> = started.map(|(container, _)| container.clone()).collect();
    let waits = waits
        .iter()
        .filter(|(name, _)| started.iter().any(|container| container.name == **name))
        .map(|(name, others)| (name.clone(), others.clone()))
        .collect();
    let killed = together::stop_all(&started, &waits, How::Stop(None))?;
    together::refuse_killed(&killed)
}
