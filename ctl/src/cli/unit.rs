//! `firnctl unit`: what the unit `firn@.service` and the hooks of its containers call.

use super::places::{PlaceArgs, find};
use super::{install, together};
use crate::apply::change::Action;
use crate::apply::unit;
use crate::apply::update::Health;
use crate::difference::Change;
use crate::generation::remove_tree;
use crate::host::must_be_root;
use crate::service::machine;
use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use std::collections::BTreeMap;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct UnitArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Become the monitor of a container: `ExecStart=`.
    Run { name: String },
    /// Change what runs to what is installed, live: `ExecReload=`.
    Reload { name: String },
    /// Install what the host's configuration declares, a JSON file for each definition; what it declares no
    /// longer is not installed any more. Nothing that runs is changed.
    Declare { directory: PathBuf },
    /// Register a container with machined: a hook, with its state on stdin.
    Register,
    /// Remove it from machined.
    Unregister,
    /// Remove a directory, in the user namespace of its files.
    RemoveTree { directory: PathBuf },
}

pub fn run(arguments: &UnitArgs, places: &PlaceArgs) -> Result<()> {
    // In a user namespace the caller is root too.
    must_be_root()?;
    match &arguments.verb {
        Verb::RemoveTree { directory } => remove_tree(directory),
        Verb::Run { name } => unit::run(&find(&places.places()?, name)?).map(|never| match never {}),
        Verb::Reload { name } => reload(name, places),
        Verb::Declare { directory } => install::declare(directory, &places.places()?),
        Verb::Register => {
            machine::register();
            Ok(())
        }
        Verb::Unregister => {
            machine::unregister();
            Ok(())
        }
    }
}

/// A restart is another job of systemd's, which would wait for this one.
fn reload(name: &str, places: &PlaceArgs) -> Result<()> {
    let container = find(&places.places()?, name)?;
    let plans = together::plans(std::slice::from_ref(&container))?;
    match plans.get(name).map(|(_, plan)| &plan.action) {
        Some(action @ Action::Change(Change::Restart(_))) => {
            bail!("container {name}: {action}: `systemctl restart` does it")
        }
        // As its definition asks for. A rebuild of NixOS's, which reloads it, has not failed then.
        Some(action @ Action::Pending(_)) => {
            eprintln!("firnctl: container {name}: {action}: `systemctl restart` does it");
            Ok(())
        }
        Some(Action::Start) => bail!("container {name}: does not run"),
        _ => together::apply(&plans, &BTreeMap::new(), Health::default()),
    }
}
