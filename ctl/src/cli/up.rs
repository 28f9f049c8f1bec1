//! `firnctl up` and `firnctl down`: the containers of a project.

use super::config::SourceArgs;
use super::health::HealthArgs;
use super::install::install;
use super::output::print;
use super::places::PlaceArgs;
use super::together::{self, Plans};
use crate::apply::change::Action;
use crate::apply::order::Waits;
use crate::apply::stop::How;
use crate::generation::Container;
use crate::host::must_be_root;
use crate::interrupt;
use crate::log::follow::{Follower, wait};
use anyhow::{Context, Result, bail};
use clap::Args;
use firn_shim::control::client::Client;
use firn_shim::control::protocol::{Event, Request};
use std::os::fd::{AsFd, BorrowedFd};

const EXAMPLES: &str = "\
Examples:
  firnctl up                  start what the firn.toml here or above defines, with all output, until Ctrl-C
  firnctl up -d               return when all are ready; changes what runs, where the file has changed
  firnctl up -d --only web    only web, and what it depends on
  firnctl plan                tell what `up` would do
  firnctl down                stop them
";

/// Start the containers of a project, and change those that run where their definition has changed.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct UpArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// Return when all are ready; else their output is shown until Ctrl-C, which stops what was
    /// started.
    #[arg(long, short)]
    detach: bool,
    /// Only these, and what they depend on.
    #[arg(long = "only", value_name = "NAME")]
    names: Vec<String>,
    #[command(flatten)]
    health: HealthArgs,
}

/// Stop the containers of a project. What they have written stays.
#[derive(Debug, Args)]
pub struct DownArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// Only these.
    #[arg(long = "only", value_name = "NAME")]
    names: Vec<String>,
    /// Seconds until they are killed; the definition's timeoutStopSec if not given.
    #[arg(long, short, value_name = "SECS")]
    timeout: Option<u32>,
    /// Remove the containers too, with what they have written.
    #[arg(long)]
    destroy: bool,
}

/// Brings the project up.
pub fn up(arguments: &UpArgs, places: &PlaceArgs) -> Result<()> {
    must_be_root()?;
    // From here on Ctrl-C is ours.
    interrupt::watch()?;
    let loaded = arguments.source.load()?;
    let containers = install(&loaded, &places.places()?)?;
    let waits = together::waits(&containers)?;
    let chosen = choose(containers, &waits, &arguments.names)?;
    let plans = together::plans(&chosen)?;
    let waits = waits.into_iter().filter(|(name, _)| plans.contains_key(name)).collect();
    let applied = together::apply(&plans, &waits, arguments.health.health());
    if arguments.detach && !interrupt::has_come() {
        return applied;
    }
    let followed = applied.and_then(|()| follow(&plans));
    stop_started(&plans, &waits)?;
    followed
}

/// Stops the project's containers.
pub fn down(arguments: &DownArgs, places: &PlaceArgs) -> Result<()> {
    must_be_root()?;
    let loaded = arguments.source.load()?;
    let places = places.places()?;
    let containers = loaded.instances.iter().map(|instance| Container::new(&instance.name, &places));
    let containers: Vec<Container> = containers
        .filter(|container| arguments.names.is_empty() || arguments.names.contains(&container.name))
        .collect();
    let waits = together::waits(&containers)?;
    together::stop_all(&containers, &waits, How::Stop(arguments.timeout))?;
    if arguments.destroy {
        for container in &containers {
            super::destroy::destroy(container)?;
        }
    }
    Ok(())
}

/// The containers of these names, and all that they wait for; all without a name.
fn choose(containers: Vec<Container>, waits: &Waits, names: &[String]) -> Result<Vec<Container>> {
    if names.is_empty() {
        return Ok(containers);
    }
    let mut chosen: Vec<String> = Vec::new();
    let mut rest: Vec<String> = names.to_vec();
    while let Some(name) = rest.pop() {
        if !containers.iter().any(|container| container.name == name) {
            bail!("container {name}: the definitions make none of this name");
        }
        if !chosen.contains(&name) {
            rest.extend(waits.get(&name).into_iter().flatten().cloned());
            chosen.push(name);
        }
    }
    Ok(containers.into_iter().filter(|container| chosen.contains(&container.name)).collect())
}

/// Shows the output of all until a signal comes, or all have ended.
fn follow(plans: &Plans) -> Result<()> {
    let width = plans.keys().map(String::len).max().unwrap_or(0);
    let mut shown = Vec::new();
    for (name, (container, _)) in plans {
        let log = Follower::at_end(&container.log())?;
        let monitor = container.connect()?;
        shown.push(Shown { name: format!("{name:width$} | "), log, monitor });
    }
    for container in &mut shown {
        if let Some(monitor) = &mut container.monitor {
            monitor.call(Request::Subscribe)?;
        }
    }
    while shown.iter().any(|container| container.monitor.is_some()) {
        let mut fds: Vec<BorrowedFd<'_>> = interrupt::fd().into_iter().collect();
        fds.extend(shown.iter().map(|container| container.log.as_fd()));
        let monitors = shown.iter().filter_map(|container| container.monitor.as_ref());
        fds.extend(monitors.map(AsFd::as_fd));
        wait(&fds)?;
        if interrupt::has_come() {
            return Ok(());
        }
        for container in &mut shown {
            container.go_on()?;
        }
    }
    Ok(())
}

/// A container whose output is shown.
struct Shown {
    /// What stands before each line.
    name: String,
    log: Follower,
    /// `None`: it has ended.
    monitor: Option<Client>,
}

impl Shown {
    fn go_on(&mut self) -> Result<()> {
        let has_ended = match &mut self.monitor {
            Some(monitor) => {
                let is_ready = |monitor: &Client| Ok::<_, anyhow::Error>(monitor.has_events() || is_readable(monitor)?);
                let mut ended = false;
                while !ended && is_ready(monitor)? {
                    ended = matches!(monitor.next_event(), Ok(Some(Event::Ended { .. }) | None) | Err(_));
                }
                ended
            }
            None => false,
        };
        let mut text = String::new();
        for line in self.log.read()? {
            text += &format!("{}{}\n", self.name, line.text);
        }
        if has_ended {
            self.monitor = None;
            text += &format!("{}(has ended)\n", self.name);
        }
        print(&text)
    }
}

fn is_readable(monitor: &Client) -> Result<bool> {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let mut fds = [PollFd::new(monitor.as_fd(), PollFlags::POLLIN)];
    Ok(poll(&mut fds, PollTimeout::ZERO).context("poll")? > 0)
}

/// Stops what this `up` has started.
fn stop_started(plans: &Plans, waits: &Waits) -> Result<()> {
    let started = plans.values().filter(|(_, plan)| plan.action == Action::Start);
    let started: Vec<Container> = started.map(|(container, _)| container.clone()).collect();
    let waits = waits
        .iter()
        .filter(|(name, _)| started.iter().any(|container| container.name == **name))
        .map(|(name, others)| (name.clone(), others.clone()))
        .collect();
    together::stop_all(&started, &waits, How::Stop(None))
}
