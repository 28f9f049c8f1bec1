//! `firnctl events`: what happens to containers, as it happens.

use super::places::{PlaceArgs, find};
use crate::interrupt;
use crate::view::answer::{Form, stream};
use crate::view::events;
use anyhow::Result;
use clap::Args;

/// Tell what happens to containers, as it happens, until Ctrl-C; as JSON an object a line.
///
/// First the state of those that run; then start, init, ready, stopping, kill, exit, restart, down; exec and exec-exit of programs that are run in them;
/// oom where memory ran out; lost where a monitor was killed.
#[derive(Debug, Args)]
pub struct EventsArgs {
    /// Names of containers; all, also those that come, if not given.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    #[command(flatten)]
    form: Form,
}

/// Prints them.
pub fn run(arguments: &EventsArgs, places: &PlaceArgs) -> Result<()> {
    places.become_owner()?;
    let places = places.places()?;
    for name in &arguments.names {
        find(&places, name)?;
    }
    interrupt::watch()?;
    let form = arguments.form;
    events::watch(&places, &arguments.names.iter().cloned().collect(), move |told| {
        let line = if form.json { told.json().map(|json| json.to_string()) } else { Ok(told.text()) };
        match line {
            Ok(line) => stream(&(line + "\n")),
            Err(error) => eprintln!("firnctl: {error:#}"),
        }
    })
}
