//! `firnctl show-ip`: the address of a container.

use super::output::print;
use super::places::{PlaceArgs, find};
use crate::host::must_be_root;
use crate::wanted::network::main_link;
use anyhow::{Context, Result};
use clap::Args;

/// Print the address of a container: its localAddress, else its localAddress6.
#[derive(Debug, Args)]
pub struct ShowIpArgs {
    /// Name of the container.
    name: String,
}

/// Prints it without its prefix.
pub fn run(arguments: &ShowIpArgs, places: &PlaceArgs) -> Result<()> {
    must_be_root()?;
    let container = find(&places.places()?, &arguments.name)?;
    let wanted = container.wanted()?.context("it is not installed")?;
    let link = main_link(&wanted.definition);
    let address = link.local_address.as_ref().or(link.local_address6.as_ref());
    // nixos-container's own words.
    let address = address.with_context(|| format!("container {}: cannot get IP address", container.name))?;
    print(&format!("{}\n", address.split('/').next().unwrap_or_default()))
}
