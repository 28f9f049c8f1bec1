//! `firnctl logs`: what containers have printed.

use super::output::print;
use super::places::{PlaceArgs, find};
use crate::generation::Container;
use crate::host::must_be_root;
use crate::interrupt;
use crate::log::read::tail;
use crate::view::output::{self, Shown};
use anyhow::{Context, Result};
use clap::Args;

/// Show what containers have printed.
#[derive(Debug, Args)]
pub struct LogsArgs {
    /// Names of containers.
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
    /// Go on with what they print, until they end.
    #[arg(long, short)]
    follow: bool,
    /// Begin with so many of the last lines; all if not given.
    #[arg(long, short = 'n', value_name = "N")]
    tail: Option<usize>,
    /// Show the time of each line.
    #[arg(long, short)]
    timestamps: bool,
}

/// Prints them.
pub fn run(arguments: &LogsArgs, places: &PlaceArgs) -> Result<()> {
    must_be_root()?;
    let places = places.places()?;
    let containers = arguments.names.iter().map(|name| find(&places, name)).collect::<Result<Vec<_>>>()?;
    let width = containers.iter().map(|container| container.name.len()).max().unwrap_or(0);
    let print_line = |container: &Container, text: &str, time: Option<&str>| {
        let name = if containers.len() > 1 { format!("{:width$} | ", container.name) } else { String::new() };
        let time = time.filter(|_| arguments.timestamps).map(|time| format!("{time} ")).unwrap_or_default();
        print(&format!("{name}{time}{text}\n"))
    };
    interrupt::watch()?;
    // From before the tail is read, which ends where this begins: no line falls between, and none comes
    // twice.
    let mut shown = match arguments.follow {
        true => containers.iter().map(Shown::begin).collect::<Result<Vec<_>>>()?,
        false => Vec::new(),
    };
    for (number, container) in containers.iter().enumerate() {
        let end = shown.get(number).map(|shown| shown.log.position().unwrap_or_default());
        let lines = tail(&container.log(), arguments.tail.unwrap_or(usize::MAX), end);
        for line in lines.with_context(|| format!("read the log of {}", container.name))? {
            print_line(container, &line.text, Some(&line.time))?;
        }
    }
    // The end of a container is told where several are shown.
    output::follow(&mut shown, &|container, text, time| match time {
        None if containers.len() == 1 => Ok(()),
        time => print_line(container, text, time),
    })
}
