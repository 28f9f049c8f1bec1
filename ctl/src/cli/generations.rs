//! `firnctl generations` and `firnctl rollback`.

use super::install::tell_host;
use super::life::NameArgs;
use super::output::print;
use super::places::{PlaceArgs, find};
use crate::apply::keys;
use crate::apply::update::Health;
use crate::definition::paths;
use crate::generation::{Generation, Wanted};
use crate::host::must_be_root;
use anyhow::{Context, Result, bail};
use clap::Args;

/// List what has run as a container; the last ten are kept.
#[derive(Debug, Args)]
pub struct GenerationsArgs {
    /// Name of the container.
    name: String,
}

/// Go back to what ran before, or to a generation. What the container has written is not changed.
#[derive(Debug, Args)]
pub struct RollbackArgs {
    /// Name of the container.
    name: String,
    /// Number of the generation; the one before that which runs, or ran last, if not given.
    generation: Option<u32>,
}

/// Prints them.
pub fn list(arguments: &GenerationsArgs, places: &PlaceArgs) -> Result<()> {
    must_be_root()?;
    let container = find(&places.places()?, &arguments.name)?;
    let current = container.running()?.map(|run| run.generation);
    let mut text = String::new();
    for Generation { number, run, since } in container.history().list()? {
        let root = match &run.system {
            Some(system) => system.display().to_string(),
            None => run.definition.root_fs.join(", "),
        };
        let mark = if current == Some(number) { " (current)" } else { "" };
        let since = firn::state::rfc3339(since);
        let since = since.split('.').next().unwrap_or_default().trim_end_matches('Z').replace('T', " ") + "Z";
        text += &format!("{number:4}  {since}  {root}{mark}\n");
    }
    print(&text)
}

/// Installs an earlier generation, and changes the container to it if it runs.
pub fn rollback(arguments: &RollbackArgs, places: &PlaceArgs) -> Result<()> {
    must_be_root()?;
    let container = find(&places.places()?, &arguments.name)?;
    let list = container.history().list()?;
    let current = container.running()?.map(|run| run.generation).or_else(|| list.last().map(|last| last.number));
    let found = match arguments.generation {
        Some(number) => list.iter().find(|generation| generation.number == number),
        None => list.iter().rev().find(|generation| current.is_none_or(|current| generation.number < current)),
    };
    let Some(generation) = found else {
        match arguments.generation {
            Some(number) => {
                bail!("container {}: has no generation {number}; `firnctl generations` lists them", arguments.name)
            }
            None => bail!("container {}: has no earlier generation", arguments.name),
        }
    };
    let mut definition = generation.run.definition.clone();
    // The link may lead elsewhere by now: what ran is meant.
    if let Some(system) = &generation.run.system {
        definition.path = Some(system.to_str().context("a store path is no UTF-8")?.to_owned());
        definition.flake = None;
    }
    // So may links among the layers. Images are the lowest.
    if !generation.run.layers.is_empty() {
        definition.root_fs.retain(|layer| paths::is_image(layer));
        for layer in &generation.run.layers {
            definition.root_fs.push(layer.to_str().context("a layer's path is no UTF-8")?.to_owned());
        }
    }
    keys::check(container.places(), [(&*container.name, &definition)])?;
    let origin = container.wanted()?.map(|wanted| wanted.origin).unwrap_or_default();
    {
        let locked = container.lock()?;
        locked.install(&Wanted::new(definition, origin))?;
    }
    tell_host(std::slice::from_ref(&container), container.places())?;
    super::life::update_to_installed(&NameArgs::of(&container.name), places, Health::default())?;
    print(&format!("{}: generation {}\n", container.name, generation.number))
}
