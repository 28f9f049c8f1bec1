//! `firnctl show-ip`: the address of a container.

use super::places::{PlaceArgs, find};
use crate::view::answer::Form;
use crate::wanted::network::main_link;
use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;

/// Print the address of a container: its localAddress, else its localAddress6.
#[derive(Debug, Args)]
pub struct ShowIpArgs {
    /// Name of the container.
    name: String,
    #[command(flatten)]
    form: Form,
}

/// Prints it without its prefix.
pub fn run(arguments: &ShowIpArgs, places: &PlaceArgs) -> Result<()> {
    places.become_owner()?;
    let container = find(&places.places()?, &arguments.name)?;
    let wanted = container.wanted()?.context("it is not installed")?;
    let link = main_link(&wanted.definition);
    let address = link.local_address.as_ref().or(link.local_address6.as_ref());
    // nixos-container's own words.
    let address = address.with_context(|| format!("container {}: cannot get IP address", container.name))?;
    let without_prefix = |address: &str| address.split('/').next().unwrap_or_default().to_owned();
    let both = [&link.local_address, &link.local_address6].map(|address| address.as_deref().map(without_prefix));
    arguments.form.answer(
        || Ok(json!({"name": container.name, "localAddress": both[0], "localAddress6": both[1]})),
        || without_prefix(address) + "\n",
    )
}
