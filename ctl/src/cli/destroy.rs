//! `firnctl destroy`: a container goes, with all that it has written.

use super::places::PlaceArgs;
use crate::apply::stop::{self, How};
use crate::generation::{self, Container};
use crate::host::must_be_root;
use anyhow::{Context, Result};
use clap::Args;

/// Remove containers with all that they have written. What is mounted in their roots is not touched.
#[derive(Debug, Args)]
pub struct DestroyArgs {
    /// Names of containers; one that is not there is no error.
    #[arg(value_name = "NAME", required_unless_present = "all")]
    names: Vec<String>,
    /// All that are installed.
    #[arg(long, conflicts_with = "names")]
    all: bool,
}

/// Removes them.
pub fn run(arguments: &DestroyArgs, places: &PlaceArgs) -> Result<()> {
    must_be_root()?;
    let places = places.places()?;
    let containers = match arguments.all {
        true => generation::all(&places)?,
        // Also what a start that was killed has left of one that is not installed.
        false => arguments
            .names
            .iter()
            .map(|name| checked(name).map(|()| Container::new(name, &places)))
            .collect::<Result<_>>()?,
    };
    containers.iter().try_for_each(destroy)
}

/// A name is one of a directory of ours.
fn checked(name: &str) -> Result<()> {
    firn::state::check_id(name).with_context(|| format!("container {name}"))
}

/// Ends one and removes it.
pub fn destroy(container: &Container) -> Result<()> {
    if !container.exists() {
        return Ok(());
    }
    let what = || format!("container {}", container.name);
    let locked = container.lock().with_context(what)?;
    stop::stop(&locked, How::Kill).with_context(what)?;
    container.remove().with_context(what)
}
