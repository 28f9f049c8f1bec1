//! `firn list`.

use super::state::State;
use super::{Context, print};
use crate::error::{Context as _, Result};
use crate::state::dir::{check_id, default_root};
use crate::state::{Record, StateRoot};
use clap::ValueEnum;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(short, long, value_enum, default_value = "table", value_name = "FORMAT")]
    format: Format,
    /// Ids only
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Table,
    Json,
}

pub fn run(args: &Args, context: &Context) -> Result<u8> {
    // The default one is made by the first container; another that is missing is a
    // mistake, as since runc 1.5.
    if context.root != default_root() {
        std::fs::metadata(&context.root).doing(|| format!("--root {}", context.root.display()))?;
    }
    let states = states(context)?;
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

/// All containers under the root, by name. One that goes away meanwhile is left
/// out, and one whose record is not trusted is told of.
fn states(context: &Context) -> Result<Vec<State>> {
    let Some(root) = StateRoot::open(&context.root)? else { return Ok(Vec::new()) };
    let ids = root.ids()?;
    let mut states = Vec::with_capacity(ids.len());
    for id in ids.iter().filter(|id| check_id(id).is_ok()) {
        let loaded = root.look(id).and_then(|dir| match dir {
            Some(dir) => Ok(Record::load(&dir)?.map(|record| State::of(&dir, record))),
            None => Ok(None),
        });
        match loaded {
            Ok(state) => states.extend(state),
            Err(error) => context.log.warn(&error.chain()),
        }
    }
    Ok(states)
}

/// Columns of at least 12 characters, three more between them, as runc prints.
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
