//! `firn events`: one JSON object a line, of what a container uses and that it
//! ran out of memory.

use super::{Context, compat, print};
use crate::bail;
use crate::cgroup::{oom, stats};
use crate::error::{Context as _, Result};
use crate::resctrl;
use crate::state::{self, Record, StateDir, Status};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  firn events --stats web            once\n  firn events --interval 10s web     until it ends"
)]
pub struct Args {
    #[arg(value_name = "ID")]
    id: String,
    /// Time between statistics, as in 500ms, 5s or 1m
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = interval)]
    interval: Duration,
    /// Print statistics once, and end
    #[arg(long)]
    stats: bool,
}

pub fn run(args: &Args, context: &Context) -> Result<u8> {
    let dir = StateDir::look(&context.root, &args.id)?;
    let record = Record::need(&dir)?;
    if matches!(Status::of(&dir, &record), Status::Stopped | Status::Creating) {
        bail!("{}", compat::NOT_RUNNING);
    }
    // In runc's order, for callers that match its text.
    let tell = |kind: &str, data: Value| {
        let data = if data.is_null() { String::new() } else { format!(",\"data\":{data}") };
        print(&format!("{{\"type\":\"{kind}\",\"id\":{}{data}}}\n", json!(args.id)))
    };
    if args.stats {
        tell("stats", statistics(&record))?;
        return Ok(0);
    }
    let Some(init) = state::process::open(record.pid, record.start_time)? else { bail!("{}", compat::NOT_RUNNING) };
    let mut watch = oom::watch(&record.cgroup)?;
    let mut next = Instant::now() + args.interval;
    loop {
        let left = next.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        let mut fds = vec![PollFd::new(&init, PollFlags::IN)];
        fds.extend(watch.as_ref().map(|watch| PollFd::new(&watch.fd, PollFlags::IN)));
        match poll(&mut fds, Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => continue,
            result => result.doing(|| "wait for events")?,
        };
        let ended = !fds[0].revents().is_empty();
        if watch.as_mut().is_some_and(oom::Watch::happened) {
            tell("oom", Value::Null)?;
        }
        if ended {
            return Ok(0);
        }
        if Instant::now() >= next {
            tell("stats", statistics(&record))?;
            next += args.interval;
        }
    }
}

fn statistics(record: &Record) -> Value {
    let mut statistics = stats::collect(&record.cgroup);
    statistics["intel_rdt"] = record.resctrl.as_ref().map_or_else(|| json!({}), resctrl::stats::collect);
    statistics
}

/// As Go writes durations, with one unit.
fn interval(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a time: 500ms, 5s, 1m");
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..end].parse().map_err(|_| wrong())?;
    let seconds = match &text[end..] {
        "ms" => number / 1000.0,
        "s" => number,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        _ => return Err(wrong()),
    };
    let interval = Duration::try_from_secs_f64(seconds).map_err(|_| wrong())?;
    if interval.is_zero() { Err("the interval must be more than 0".into()) } else { Ok(interval) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_have_a_unit() {
        assert_eq!(interval("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(interval("20ms"), Ok(Duration::from_millis(20)));
        for wrong in ["5", "0s", "s", "-1s", "1e99h"] {
            assert!(interval(wrong).is_err(), "{wrong}");
        }
    }
}
