//! `firnctl list` and `firnctl status`.

use super::output::print;
use super::places::PlaceArgs;
use crate::generation::{self, Container};
use crate::host::must_be_root;
use crate::view::state::Seen;
use anyhow::{Result, bail};
use clap::Args;
use serde_json::Value;

/// List the containers that are installed.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Print only the names.
    #[arg(long, short, conflicts_with = "json")]
    quiet: bool,
}

/// Tell what a container does: `up`, `down`, or the state between; `gone` if there is none.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Name of the container.
    name: String,
    /// Print all that is known, as JSON.
    #[arg(long)]
    json: bool,
}

/// Prints the table.
pub fn list(arguments: &ListArgs, places: &PlaceArgs) -> Result<()> {
    must_be_root()?;
    let containers = generation::all(&places.places()?)?;
    if arguments.quiet {
        return print(&containers.iter().map(|container| format!("{}\n", container.name)).collect::<String>());
    }
    let seen: Vec<Seen> = containers.iter().map(Seen::look).collect();
    if arguments.json {
        return print(&format!("{:#}\n", Value::Array(seen.iter().map(Seen::json).collect())));
    }
    let mut rows = vec![["NAME", "STATE", "SINCE", "PENDING", "PROJECT"].map(String::from)];
    rows.extend(seen.iter().map(|seen| {
        let dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
        [
            seen.name.clone(),
            seen.state(),
            dash(seen.since().map(|time| time.split('.').next().unwrap_or(time).replace('T', " ") + "Z")),
            dash(seen.pending.as_ref().map(ToString::to_string)),
            dash(seen.project.clone()),
        ]
    }));
    print(&table(&rows))?;
    // The others are told all the same.
    match seen.iter().find_map(|seen| seen.broken.as_ref()) {
        Some(why) => bail!("{why}"),
        None => Ok(()),
    }
}

/// Columns as wide as their widest cell.
fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect::<Vec<_>>();
        text += cells.join("  ").trim_end();
        text.push('\n');
    }
    text
}

/// Prints the state.
pub fn status(arguments: &StatusArgs, places: &PlaceArgs) -> Result<()> {
    must_be_root()?;
    let container = Container::new(&arguments.name, &places.places()?);
    if container.wanted()?.is_none() {
        print("gone\n")?;
        bail!("container {}: there is none", arguments.name);
    }
    let seen = Seen::look(&container);
    if let Some(why) = &seen.broken {
        bail!("{why}");
    }
    print(&match arguments.json {
        true => format!("{:#}\n", seen.json()),
        false => format!("{}\n", seen.state()),
    })
}
