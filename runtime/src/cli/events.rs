//! `firn events`: statistics and OOM kills, one JSON object per line.

use super::context::{Context, print};
use crate::error::Result;
use crate::lifecycle::events::{self, Event};
use serde_json::{Value, json};
use std::time::Duration;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  firn events --stats web            once\n  firn events --interval 10s web     until it ends"
)]
pub struct Args {
    #[arg(value_name = "ID")]
    id: String,
    /// Interval of statistics, such as 500ms, 5s or 1m
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = interval)]
    interval: Duration,
    /// Print statistics once and exit
    #[arg(long)]
    stats: bool,
}

pub fn run(args: &Args, context: &Context) -> Result<u8> {
    let print_event = |event| match event {
        Event::Stats(statistics) => print(&line("stats", &args.id, &statistics)),
        Event::Oom => print(&line("oom", &args.id, &Value::Null)),
    };
    match args.stats {
        true => print_event(Event::Stats(events::statistics(&context.root, &args.id)?))?,
        false => events::watch(&context.root, &args.id, args.interval, print_event)?,
    }
    Ok(0)
}

/// One event, with the fields in runc's order, for callers that match its text.
fn line(kind: &str, id: &str, data: &Value) -> String {
    let data = if data.is_null() { String::new() } else { format!(",\"data\":{data}") };
    format!("{{\"type\":\"{kind}\",\"id\":{}{data}}}\n", json!(id))
}

/// Parses a duration of Go with one unit.
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
