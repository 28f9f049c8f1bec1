//! `firn list`.

use super::state::State;
use super::{Context, print};
use crate::error::{Context as _, Result};
use crate::state::dir::default_root;
use crate::state::{Record, StateDir};
use clap::ValueEnum;
use std::io::ErrorKind;
use std::path::Path;

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

/// The names of all containers' directories, in order.
pub fn ids(root: &Path) -> Result<Vec<String>> {
    let entries = match std::fs::read_dir(root) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        result => result.doing(|| format!("list {}", root.display()))?,
    };
    let mut ids: Vec<String> = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    ids.sort();
    Ok(ids)
}

/// All containers under the root, by name. One that goes away meanwhile is
/// left out.
fn states(context: &Context) -> Result<Vec<State>> {
    let ids = ids(&context.root)?;
    let mut states = Vec::with_capacity(ids.len());
    for id in ids {
        let Ok(dir) = StateDir::look(&context.root, &id) else { continue };
        match Record::load(&dir) {
            Ok(Some(record)) => states.push(State::of(&dir, record)),
            Ok(None) => {}
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
