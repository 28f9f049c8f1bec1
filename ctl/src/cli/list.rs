//! `firnctl list` and `firnctl status`.

use super::places::PlaceArgs;
use crate::generation::{self, Container};
use crate::view::answer::{Form, dash, print, seconds, table};
use crate::view::state::Seen;
use anyhow::{Result, bail};
use clap::Args;
use serde_json::Value;

/// List the containers that are installed.
#[derive(Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    form: Form,
    /// Print only the names.
    #[arg(long, short, conflicts_with = "json")]
    quiet: bool,
}

/// Tell what a container does: `up`, `down`, or the state between; `gone` if there is none.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Name of the container.
    name: String,
    #[command(flatten)]
    form: Form,
}

/// Prints the table.
pub fn list(arguments: &ListArgs, places: &PlaceArgs) -> Result<()> {
    places.become_owner()?;
    let containers = generation::all(&places.places()?)?;
    if arguments.quiet {
        return print(&containers.iter().map(|container| format!("{}\n", container.name)).collect::<String>());
    }
    let seen: Vec<Seen> = containers.iter().map(Seen::look).collect();
    let row = |seen: &Seen| {
        [
            seen.name.clone(),
            seen.state(),
            dash(seen.since().map(seconds)),
            dash(seen.generation),
            dash(seen.pending.as_ref()),
            dash(seen.project.as_ref()),
        ]
    };
    let head = ["NAME", "STATE", "SINCE", "GENERATION", "PENDING", "PROJECT"];
    arguments.form.answer(
        || Ok(Value::Array(seen.iter().map(Seen::json).collect())),
        || table(head, seen.iter().map(row).collect()),
    )?;
    // The others are told all the same.
    match seen.iter().find_map(|seen| seen.broken.as_ref()) {
        Some(why) => bail!("{why}"),
        None => Ok(()),
    }
}

/// Prints the state.
pub fn status(arguments: &StatusArgs, places: &PlaceArgs) -> Result<()> {
    places.become_owner()?;
    let container = Container::new(&arguments.name, &places.places()?);
    if container.wanted()?.is_none() {
        print("gone\n")?;
        bail!("container {}: there is none", arguments.name);
    }
    let seen = Seen::look(&container);
    if let Some(why) = &seen.broken {
        bail!("{why}");
    }
    arguments.form.answer(|| Ok(seen.json()), || format!("{}\n", seen.state()))
}
