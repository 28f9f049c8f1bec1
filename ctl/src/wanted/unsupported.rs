//! Options that are understood, and that nothing does yet: a container that has one is not started,
//! rather than run without what was asked for.

use crate::definition::schema::{BindMount, Definition, Idmap};
use anyhow::{Result, bail};

/// Errors: an option of the definition that has no effect yet.
pub fn refuse(name: &str, definition: &Definition) -> Result<()> {
    let owners = |bind: &BindMount| matches!(bind.idmap, Some(Idmap::Rootidmap | Idmap::Owneridmap));
    let options = [
        ("bindMounts, idmap = rootidmap and owneridmap", definition.bind_mounts.values().any(owners)),
        ("linkJournal", definition.link_journal),
    ];
    match options.into_iter().find_map(|(option, is_set)| is_set.then_some(option)) {
        Some(option) => {
            bail!("container {name}: {option} has no effect yet, so the container is not started: leave it out")
        }
        None => Ok(()),
    }
}
