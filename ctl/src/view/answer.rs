//! What a verb answers: text for people, or JSON.

use anyhow::{Context, Result};
use clap::Args;
use serde::Serialize;
use serde_json::Value;
use std::io::Write;

/// How a verb that reads answers.
#[derive(Debug, Clone, Copy, Args)]
pub struct Form {
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

impl Form {
    /// Prints the answer in this form.
    pub fn answer(self, json: impl FnOnce() -> Result<Value>, text: impl FnOnce() -> String) -> Result<()> {
        match self.json {
            true => print_json(&json()?),
            false => print(&text()),
        }
    }
}

/// Prints to standard output; a reader that has enough may close it.
pub fn print(text: &str) -> Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Prints a piece of what has no end of its own: where nobody reads it any more, neither do we go on.
pub fn stream(text: &str) {
    if std::io::stdout().write_all(text.as_bytes()).is_err() {
        // As if we were asked to end (interrupt.rs).
        let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGTERM);
    }
}

/// Prints one document.
pub fn print_json(value: &Value) -> Result<()> {
    print(&format!("{value:#}\n"))
}

/// A record as JSON.
pub fn json_of<T: Serialize>(record: &T) -> Result<Value> {
    serde_json::to_value(record).context("write JSON")
}

/// Columns as wide as their widest cell.
pub fn table<const N: usize>(head: [&str; N], rows: Vec<[String; N]>) -> String {
    let rows: Vec<[String; N]> = [head.map(String::from)].into_iter().chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect::<Vec<_>>();
        text += cells.join("  ").trim_end();
        text.push('\n');
    }
    text
}

/// A cell that may be empty.
pub fn dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".into(), |value| value.to_string())
}

/// A time of RFC 3339, UTC, as tables have it: to the second.
pub fn seconds(time: &str) -> String {
    time.split('.').next().unwrap_or(time).trim_end_matches('Z').replace('T', " ") + "Z"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_as_wide_as_they_need() {
        let rows = vec![["a".into(), "1".into()], ["longer".into(), dash::<u8>(None)]];
        assert_eq!(table(["NAME", "N"], rows), "NAME    N\na       1\nlonger  -\n");
        assert_eq!(seconds("2026-11-24T22:45:46.370376680Z"), "2026-11-24 22:45:46Z");
        assert_eq!(seconds("2026-11-24T22:45:46Z"), "2026-11-24 22:45:46Z");
    }
}
