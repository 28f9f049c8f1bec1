//! `events`: resource usage of a container, and OOM kills.

use crate::cgroup::{oom, stats};
use crate::compat;
use crate::error::{Context, Error, Kind, Result};
use crate::resctrl;
use crate::state::{self, Record, StateDir, Status};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

/// One event.
#[derive(Debug)]
pub enum Event {
    /// Statistics in runc's schema (`runc events --stats`).
    Stats(Value),
    /// A process was killed because memory ran out.
    Oom,
}

/// Current statistics of a container, in runc's schema. Errors: [`Kind::NotRunning`].
pub fn statistics(root: &Path, id: &str) -> Result<Value> {
    Ok(collect(&running(root, id)?))
}

/// Reports statistics every `interval`, and each OOM kill, until init ends. Errors:
/// [`Kind::NotRunning`]; those of `on_event`.
pub fn watch(root: &Path, id: &str, interval: Duration, mut on_event: impl FnMut(Event) -> Result<()>) -> Result<()> {
    let record = running(root, id)?;
    let init = state::process::open(record.pid, record.start_time)?.ok_or_else(not_running)?;
    let mut watch = oom::watch(&record.cgroup)?;
    let mut next = Instant::now() + interval;
    loop {
        let mut left = next.saturating_duration_since(Instant::now());
        left = watch.as_ref().and_then(oom::Watch::look_again).map_or(left, |again| left.min(again));
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        let mut fds = vec![PollFd::new(&init, PollFlags::IN)];
        fds.extend(watch.as_ref().map(|watch| PollFd::new(&watch.fd, PollFlags::IN)));
        match poll(&mut fds, Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => continue,
            result => result.doing(|| "wait for events")?,
        };
        let ended = !fds[0].revents().is_empty();
        if watch.as_mut().is_some_and(oom::Watch::happened) {
            on_event(Event::Oom)?;
        }
        if ended {
            return Ok(());
        }
        if Instant::now() >= next {
            on_event(Event::Stats(collect(&record)))?;
            next += interval;
        }
    }
}

fn running(root: &Path, id: &str) -> Result<Record> {
    let dir = StateDir::open_unlocked(root, id)?;
    let record = Record::require(&dir)?;
    match Status::of(&dir, &record) {
        Status::Stopped | Status::Creating => Err(not_running()),
        _ => Ok(record),
    }
}

fn not_running() -> Error {
    Error::of_kind(Kind::NotRunning, compat::NOT_RUNNING)
}

fn collect(record: &Record) -> Value {
    let mut statistics = stats::collect(&record.cgroup);
    statistics["intel_rdt"] = record.resctrl.as_ref().map_or_else(|| json!({}), resctrl::stats::collect);
    statistics
}
