//! The parts of docs/BENCHMARKS.md that runs of their own write: they stand at its end, in this order.

use crate::Result;
use std::path::Path;

/// The first line of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Monitors,
    Network,
    Images,
}

const ALL: [Part; 3] = [Part::Monitors, Part::Network, Part::Images];

impl Part {
    fn heading(self) -> &'static str {
        match self {
            Part::Monitors => "\n## Idle monitors\n",
            Part::Network => "\n## The network of a container\n",
            Part::Images => "\n## Images\n",
        }
    }

    /// What it is in a document, after its heading; none if it is not there.
    fn text(self, document: &str) -> Option<&str> {
        let (_, after) = document.split_once(self.heading())?;
        let end = ALL.iter().filter_map(|part| after.find(part.heading())).min();
        Some(&after[..end.unwrap_or(after.len())])
    }
}

/// Replaces one part.
pub fn write(part: Part, text: &str, docs: &Path) -> Result<()> {
    let file = docs.join("BENCHMARKS.md");
    let old = std::fs::read_to_string(&file)?;
    let first = ALL.iter().filter_map(|part| old.find(part.heading())).min().unwrap_or(old.len());
    let mut new = old[..first].to_owned();
    for known in ALL {
        if let Some(text) = if known == part { Some(text) } else { known.text(&old) } {
            new += known.heading();
            new += text;
        }
    }
    std::fs::write(file, new)?;
    Ok(())
}

/// Replaces everything but the parts.
pub fn write_rest(rest: &str, docs: &Path) -> Result<()> {
    let file = docs.join("BENCHMARKS.md");
    let old = std::fs::read_to_string(&file).unwrap_or_default();
    let parts = ALL.iter().filter_map(|part| Some(format!("{}{}", part.heading(), part.text(&old)?)));
    std::fs::write(file, rest.to_owned() + &parts.collect::<String>())?;
    Ok(())
}
