//! The range of ids of a container with a user namespace. One that is picked is the container's for as
//! long as it is installed.

use crate::definition::schema::{Definition, PrivateUsers};
use crate::generation::{self, Container, Wanted};
use crate::wanted::users::{self, COUNT};
use anyhow::{Context, Result};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Ranges that are given to users of the host (subuid(5)).
const SUBORDINATE: [&str; 2] = ["/etc/subuid", "/etc/subgid"];

/// The first id on the host; `None` without a user namespace.
pub fn first_id(container: &Container, definition: &Definition) -> Result<Option<u32>> {
    let picked = if users::is_picked(definition) { Some(picked(container)?) } else { None };
    Ok(users::first_id(definition, picked))
}

fn picked(container: &Container) -> Result<u32> {
    if let Some(first) = read(container)? {
        return Ok(first);
    }
    // Two that pick at the same time would pick the same.
    let _lock = generation::lock(&container.places().lock_file())?;
    let mut taken = Vec::new();
    for other in generation::all(container.places())? {
        taken.extend(read(&other)?.map(|first| (first, COUNT)));
        if let Some(Wanted { definition: Definition { private_users: PrivateUsers::First(first), .. }, .. }) =
            other.wanted().ok().flatten()
        {
            taken.push((first, COUNT));
        }
    }
    for path in SUBORDINATE {
        taken.extend(std::fs::read_to_string(path).unwrap_or_default().lines().filter_map(range));
    }
    let first = users::pick(&container.name, &taken).context("privateUsers: no range of ids is free")?;
    let path = file(container);
    let new = path.with_extension("new");
    std::fs::write(&new, format!("{first}\n"))
        .and_then(|()| std::fs::rename(&new, &path))
        .with_context(|| format!("write {}", path.display()))?;
    Ok(first)
}

/// `NAME:FIRST:COUNT`.
fn range(line: &str) -> Option<(u32, u32)> {
    let mut fields = line.split(':').skip(1);
    Some((fields.next()?.parse().ok()?, fields.next()?.trim().parse().ok()?))
}

fn file(container: &Container) -> PathBuf {
    container.state_dir().join("first-id")
}

fn read(container: &Container) -> Result<Option<u32>> {
    let path: &Path = &file(container);
    let what = || format!("read {}", path.display());
    match std::fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        result => Ok(Some(result.with_context(what)?.trim().parse().with_context(what)?)),
    }
}
