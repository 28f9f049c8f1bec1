//! `stop` and `terminate`: the monitor is asked, and its end awaited.

use super::end::Ended;
use crate::generation::Container;
use crate::service::unit::Unit;
use crate::wanted::monitor::stop_timeout;
use anyhow::Result;
use firn_shim::control::protocol::Request;

/// How a container is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// By its stop signal, and SIGKILL after `timeoutStopSec`, or so many seconds.
    Stop(Option<u32>),
    /// By SIGKILL.
    Kill,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// It did not run.
    NotRunning,
    /// As it was asked.
    AsAsked,
    /// It did not stop in time, and was killed.
    Killed,
}

/// Ends a container, and waits until nothing of it runs.
pub fn stop(container: &Container, how: How) -> Result<Stopped> {
    let Some(mut monitor) = container.connect()? else { return Ok(Stopped::NotRunning) };
    let run = container.running()?;
    let timeout = run.map(|run| stop_timeout(&run.definition));
    monitor.call(Request::Subscribe)?;
    monitor.call(match how {
        How::Stop(given) => Request::Stop { timeout: given.or(timeout) },
        How::Kill => Request::Kill,
    })?;
    // Until it closes the connection: after it has told the end it still cleans up.
    while monitor.next_event()?.is_some() {}
    // Its monitor is about to exit: another start must not find it active.
    if let Some(unit) = Unit::of(&container.name, container.places()) {
        unit.stop()?;
    }
    let was_killed = Ended::read(container).is_some_and(|end| end.reason == "killed");
    Ok(if how != How::Kill && was_killed { Stopped::Killed } else { Stopped::AsAsked })
}
