//! `stop` and `terminate`: the monitor is asked, and its end awaited.

use super::end::Ended;
use crate::generation::Container;
use crate::wanted::monitor::stop_timeout;
use anyhow::{Result, bail};
use firn_shim::control::protocol::{Event, Request};

/// How a container is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// By its stop signal, and SIGKILL after `timeoutStopSec`, or so many seconds.
    Stop(Option<u32>),
    /// By SIGKILL.
    Kill,
}

/// Ends a container, and waits until nothing of it runs. Whether it ran. Errors: it had to be killed
/// although it was to be stopped; then it is ended all the same.
pub fn stop(container: &Container, how: How) -> Result<bool> {
    let Some(mut monitor) = container.connect()? else { return Ok(false) };
    let run = container.running()?;
    let timeout = run.map(|run| stop_timeout(&run.definition));
    monitor.call(Request::Subscribe)?;
    monitor.call(match how {
        How::Stop(given) => Request::Stop { timeout: given.or(timeout) },
        How::Kill => Request::Kill,
    })?;
    let mut code = None;
    while let Some(event) = monitor.next_event()? {
        if let Event::Ended { code: ended } = event {
            code = Some(ended);
        }
    }
    let was_killed = code == Some(137) || Ended::read(container).is_some_and(|end| end.reason == "killed");
    match how {
        How::Stop(_) if was_killed => {
            bail!(
                "container {}: did not stop in time and was killed; `firnctl logs {}` has its last words",
                container.name,
                container.name
            )
        }
        _ => Ok(true),
    }
}
