//! `firnctl logs`: what containers have printed.

use super::output::print;
use super::places::{PlaceArgs, find};
use crate::generation::Container;
use crate::host::must_be_root;
use crate::log::follow::{Follower, wait};
use crate::log::read::{Line, tail};
use anyhow::{Context, Result};
use clap::Args;
use std::os::fd::AsFd;

/// Show what containers have printed.
#[derive(Debug, Args)]
pub struct LogsArgs {
    /// Names of containers.
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
    /// Go on with what they print, until Ctrl-C.
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
    let show = |container: &Container, lines: &[Line]| {
        let mut text = String::new();
        for line in lines {
            if containers.len() > 1 {
                text += &format!("{:width$} | ", container.name);
            }
            if arguments.timestamps {
                text += &format!("{} ", line.time);
            }
            text += &line.text;
            text.push('\n');
        }
        print(&text)
    };
    // From before the tail is read: no line falls between.
    let mut followers = match arguments.follow {
        true => containers.iter().map(|container| Follower::at_end(&container.log())).collect::<Result<_>>()?,
        false => Vec::new(),
    };
    for container in &containers {
        let lines = tail(&container.log(), arguments.tail.unwrap_or(usize::MAX));
        show(container, &lines.with_context(|| format!("read the log of {}", container.name))?)?;
    }
    if !arguments.follow {
        return Ok(());
    }
    loop {
        wait(&followers.iter().map(AsFd::as_fd).collect::<Vec<_>>())?;
        for (container, follower) in containers.iter().zip(&mut followers) {
            show(container, &follower.read()?)?;
        }
    }
}
