//! `firnctl generations` and `firnctl rollback`.

use super::install::tell_host;
use super::life::NameArgs;
use super::places::{PlaceArgs, find};
use crate::apply::keys;
use crate::apply::update::Health;
use crate::definition::paths;
use crate::difference::options_between;
use crate::generation::{Generation, Wanted};
use crate::view::answer::{Form, dash, print, seconds, table};
use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::{Value, json};

/// List what has run as a container; the last ten are kept.
#[derive(Debug, Args)]
pub struct GenerationsArgs {
    /// Name of the container.
    name: String,
    #[command(flatten)]
    form: Form,
}

/// Go back to what ran before, or to a generation. What the container has written is not changed.
#[derive(Debug, Args)]
pub struct RollbackArgs {
    /// Name of the container.
    name: String,
    /// Number of the generation; the one before that which runs, or ran last, if not given.
    generation: Option<u32>,
}

/// A generation, and the options that have made it another one than that before.
type Row<'a> = (&'a Generation, Option<Vec<String>>);

/// Prints them.
pub fn list(arguments: &GenerationsArgs, places: &PlaceArgs) -> Result<()> {
    places.become_owner()?;
    let container = find(&places.places()?, &arguments.name)?;
    let current = container.running()?.map(|run| run.generation);
    let list = container.history().list()?;
    // What has made it another one.
    let changes = list.windows(2).map(|pair| Some(options_between(&pair[0].run, &pair[1].run)));
    let rows: Vec<Row<'_>> = list.iter().zip([None].into_iter().chain(changes)).collect();
    let is_current = |generation: &Generation| current == Some(generation.number);
    let cells = |(generation, changed): &Row<'_>| {
        let run = &generation.run;
        let root = run.system.as_ref().map_or_else(|| run.definition.root_fs.join(", "), |it| it.display().to_string());
        [
            generation.number.to_string(),
            seconds(&firn::state::rfc3339(generation.since)),
            dash(changed.as_ref().map(|options| options.join(", "))),
            root + if is_current(generation) { " (current)" } else { "" },
        ]
    };
    let json = |(generation, changed): &Row<'_>| {
        json!({
            "generation": generation.number,
            "since": firn::state::rfc3339(generation.since),
            "current": is_current(generation),
            "changed": changed,
            "system": generation.run.system,
            "rootFS": generation.run.definition.root_fs,
        })
    };
    arguments.form.answer(
        || Ok(Value::Array(rows.iter().map(json).collect())),
        || table(["GENERATION", "SINCE", "CHANGED", "ROOT"], rows.iter().map(cells).collect()),
    )
}

/// Installs an earlier generation, and changes the container to it if it runs.
pub fn rollback(arguments: &RollbackArgs, places: &PlaceArgs) -> Result<()> {
    places.become_owner()?;
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
    tell_host(container.places())?;
    super::life::update_to_installed(&NameArgs::of(&container.name), places, Health::default())?;
    print(&format!("{}: generation {}\n", container.name, generation.number))
}
