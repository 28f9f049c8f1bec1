//! `firnctl destroy`: a container goes, with all that it has written.

use super::install::tell_host;
use super::places::PlaceArgs;
use super::source::load_names;
use super::together::{starts_at_once, told};
use crate::apply::stop::{self, How};
use crate::apply::{first_root, live, network, order};
use crate::generation::{self, Container};
use crate::host::{Owner, Places};
use crate::service::files;
use anyhow::{Context, Result, bail};
use clap::Args;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Kill containers and remove them with all that they have written. What is mounted in their roots is
/// unmounted, and keeps its files.
#[derive(Debug, Args)]
pub struct DestroyArgs {
    /// Names of containers, one that is not there being no error; or a file or directory of definitions, whose
    /// name begins with . or /.
    #[arg(value_name = "NAME", required_unless_present = "all")]
    names: Vec<String>,
    /// All that are installed.
    #[arg(long, conflicts_with = "names")]
    all: bool,
}

/// Removes them.
pub fn run(arguments: &DestroyArgs, places: &PlaceArgs) -> Result<()> {
    places.become_owner()?;
    let all_places = places.places()?;
    let mut containers = Vec::new();
    for name in &arguments.names {
        if name.starts_with(['.', '/']) {
            let loaded = load_names(Path::new(name), places)?;
            containers.extend(loaded.instances.iter().map(|instance| Container::new(&instance.name, &all_places)));
        } else {
            checked(name)?;
            // Also what a start that was killed has left of one that is not installed.
            containers.push(Container::new(name, &all_places));
        }
    }
    if arguments.all {
        containers = generation::all(&all_places)?;
    }
    told(destroy_all(&containers, &all_places))
}

/// Ends all of them and removes them, several at a time; one that fails keeps none of the others. What has gone
/// wrong.
pub fn destroy_all(containers: &[Container], places: &Places) -> Vec<anyhow::Error> {
    let by_name: BTreeMap<&str, &Container> = containers.iter().map(|one| (&*one.name, one)).collect();
    let waits = by_name.keys().map(|name| ((*name).to_owned(), BTreeSet::new())).collect();
    let outcomes = order::run(&waits, starts_at_once(), |name| remove(by_name[name]));
    let host = tell_host(places);
    outcomes.into_values().chain([host]).filter_map(Result::err).collect()
}

/// Systemd's files of it go. Not beside others who tell systemd what is installed.
fn forget(container: &Container) -> Result<()> {
    if container.places().owner() == Owner::User {
        return Ok(());
    }
    let _lock = generation::lock(&container.places().hosts_lock())?;
    files::forget(&container.name, container.places())
}

/// A name is one of a directory of ours.
fn checked(name: &str) -> Result<()> {
    firn::state::check_id(name).with_context(|| format!("container {name}"))
}

/// Ends one and removes it.
pub fn destroy(container: &Container) -> Result<()> {
    remove(container)?;
    tell_host(container.places())
}

/// The same, of which the host is not told yet. It is killed before the lock is waited for: what holds that may be
/// waiting for a program inside.
fn remove(container: &Container) -> Result<()> {
    if !container.exists() {
        return Ok(());
    }
    // In the words of nixos-container.
    if container.wanted().ok().flatten().is_some_and(|wanted| wanted.origin.is_declared && !wanted.origin.is_gone()) {
        bail!(
            "container {}: cannot destroy declarative container (remove it from your configuration.nix instead)",
            container.name
        );
    }
    let what = || format!("container {}", container.name);
    let killed = stop::stop(container, How::Kill).map(drop);
    let locked = container.lock().with_context(what)?;
    let killed = killed.and_then(|()| stop::stop(&locked, How::Kill).map(drop));
    // With its monitor's record lost the runtime still knows it.
    match killed {
        Err(error) => live::delete(&locked).with_context(|| format!("{error:#}; and the runtime"))?,
        Ok(()) if live::is_known(&locked) => live::delete(&locked).with_context(what)?,
        Ok(()) => {}
    }
    network::take_down(&locked).with_context(what)?;
    forget(container).with_context(what)?;
    first_root::forget(&locked).with_context(what)?;
    locked.remove(&locked).with_context(what)?;
    // Another firnctl may have told systemd of it in between, for which it was installed still.
    forget(container).with_context(what)?;
    network::leave(container).with_context(what)
}
