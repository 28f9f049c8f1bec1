//! Keys of containers' users in the host's authorized_keys file, in a marked block.

use super::block::{Block, Written};
use crate::access::keys::{logins, shared};
use crate::definition::schema::Definition;
use crate::generation::{self, Container, Origin};
use crate::host::Places;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;

/// Errors: with these containers a key would log in as two users; sshd takes the first.
pub fn check<'a>(places: &Places, more: impl IntoIterator<Item = (&'a str, &'a Definition)>) -> Result<()> {
    let mut all = installed(places)?;
    all.extend(more.into_iter().map(|(name, definition)| (name.to_owned(), definition.clone())));
    match shared(all.iter().flat_map(|(name, definition)| logins(name, definition))) {
        Some((one, other)) => bail!(
            "container {}: sshKeys.{}: {one} has this key already; a key logs in as one user: make another one",
            other.container,
            other.user
        ),
        None => Ok(()),
    }
}

/// Writes the lines of the containers that are installed; the block goes with the last of them. Those of the host's
/// configuration are in what that writes.
pub fn write(places: &Places) -> Result<()> {
    let file = places.authorized_keys();
    let (lock, table) = (places.hosts_lock(), places.table());
    let is_ours = |line: &[u8]| line.starts_with(b"restrict,pty,command=");
    let block = Block { file, lock: &lock, owner: &table, is_ours, mode: 0o600 };
    let mut are_some = false;
    let written = block.write(|| {
        let lines = lines(places, |origin| !origin.is_declared)?;
        are_some = !lines.is_empty();
        if let Some(parent) = file.parent().filter(|parent| are_some && !parent.exists()) {
            DirBuilder::new().mode(0o700).create(parent).with_context(|| parent.display().to_string())?;
        }
        Ok(lines)
    })?;
    if written == Written::Link {
        eprintln!(
            "firnctl: {} is a symbolic link, and not changed: have sshd call `firnctl ssh-keys` (AuthorizedKeysCommand)",
            file.display()
        );
    }
    Ok(())
}

/// The lines of all.
pub fn all_lines(places: &Places) -> Result<Vec<String>> {
    lines(places, |_| true)
}

fn lines(places: &Places, is_meant: impl Fn(&Origin) -> bool) -> Result<Vec<String>> {
    let call = places.call()?;
    let all = of_installed(places, is_meant)?;
    let logins = all.iter().flat_map(|(name, definition)| logins(name, definition));
    Ok(logins.map(|login| login.line(&call)).collect())
}

fn installed(places: &Places) -> Result<BTreeMap<String, Definition>> {
    of_installed(places, |_| true)
}

fn of_installed(places: &Places, is_meant: impl Fn(&Origin) -> bool) -> Result<BTreeMap<String, Definition>> {
    let definition = |container: &Container| {
        // One that can't be read is told where it is used.
        let wanted = container.wanted().ok()??;
        is_meant(&wanted.origin).then_some(wanted.definition)
    };
    let all = generation::all(places)?.into_iter();
    Ok(all.filter_map(|container| Some((container.name.clone(), definition(&container)?))).collect())
}
