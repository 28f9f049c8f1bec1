//! `firnctl analyze`: where the time of a start went.

use super::places::{PlaceArgs, find};
use crate::apply::end::Ended;
use crate::generation::Container;
use crate::view::analyze::{Marks, Timeline};
use crate::view::answer::{Form, print};
use anyhow::{Context, Result};
use clap::Args;
use firn_shim::control::protocol::Request;

const EXAMPLES: &str = "\
Examples:
  firnctl analyze web                    a line for each step
  firnctl analyze web --svg > web.svg    as a picture, for a browser
  firnctl run web systemd-analyze blame  what a systemd inside did meanwhile
";

/// Tell where the time of a container's last start went: firnctl, the runtime, the network, its init until it
/// was ready.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct AnalyzeArgs {
    /// Name of the container.
    name: String,
    #[command(flatten)]
    form: Form,
    /// Print a picture of it, as SVG.
    #[arg(long, conflicts_with = "json")]
    svg: bool,
}

/// Prints it.
pub fn run(arguments: &AnalyzeArgs, places: &PlaceArgs) -> Result<()> {
    places.become_owner()?;
    let container = find(&places.places()?, &arguments.name)?;
    let marks = marks(&container)?.with_context(|| format!("container {}: has not been started", container.name))?;
    // A monitor that has started it again by itself has needed nothing of firnctl.
    let start = if marks.restarts == 0 { container.start()? } else { None };
    let timeline = Timeline::new(&container.name, start.as_ref(), container.network_times(), &marks)?;
    match arguments.svg {
        true => print(&timeline.svg()),
        false => arguments.form.answer(|| Ok(timeline.json()), || timeline.text()),
    }
}

/// What its monitor knows, or has known at its end.
fn marks(container: &Container) -> Result<Option<Marks>> {
    if let Some(mut monitor) = container.connect()?
        && let Some(status) = monitor.call(Request::Status)?.0.status
    {
        return Ok(Some(Marks {
            started: status.started_at,
            created: status.created_at,
            init: status.init_at,
            ready: status.ready_at,
            ended: None,
            restarts: status.restarts,
        }));
    }
    Ok(Ended::read(container).map(|end| Marks {
        started: end.started_at,
        created: end.created_at,
        init: end.init_at,
        ready: end.ready_at,
        ended: end.exited_at,
        restarts: end.restarts,
    }))
}
