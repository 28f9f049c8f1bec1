//! `firn list`.

use super::context::{Context, print};
use crate::error::{Context as _, Result};
use crate::lifecycle::state;
use crate::state::oci_state::State;
use clap::ValueEnum;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(short, long, value_enum, default_value = "table", value_name = "FORMAT")]
    format: Format,
    /// Print ids only
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Table,
    Json,
}

pub fn run(args: &Args, context: &Context) -> Result<u8> {
    let states = state::list(&context.root, &context.log)?;
    if args.quiet {
        print(&states.iter().map(|state| state.id.clone() + "\n").collect::<String>())?;
    } else if args.format == Format::Json {
        let text = serde_json::to_string(&states).doing(|| "write the list")?;
        print(&(text + "\n"))?;
    } else {
        print(&table(&states))?;
    }
    Ok(0)
}

/// Columns are at least 12 wide and 3 apart, as in runc's output.
fn table(states: &[State]) -> String {
    const HEAD: [&str; 6] = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"];
    let mut rows = vec![HEAD.map(String::from)];
    rows.extend(states.iter().map(|s| {
        [
            s.id.clone(),
            s.pid.to_string(),
            s.status.into(),
            s.bundle.display().to_string(),
            s.created.clone(),
            s.owner.clone(),
        ]
    }));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0).max(9) + 3;
    let widths: Vec<usize> = (0..HEAD.len()).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let line: String = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text += line.trim_end();
        text.push('\n');
    }
    text
}
