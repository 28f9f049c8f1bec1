//! The release of NixOS with which a container began to write: `system.stateVersion` of systems that don't say one.
//! Without it a new nixpkgs would change it, and with it what services take their files for.

use crate::definition::schema::Definition;
use crate::generation::{Locked, make_directory};
use anyhow::{Context, Result};
use std::path::Path;

/// Records it at the first start. That of a root that was taken over is not known.
pub fn record(container: &Locked<'_>, definition: &Definition, system: Option<&Path>) -> Result<()> {
    let path = container.state_version_file();
    let keeps = container.upper(definition).is_some_and(|upper| upper.starts_with(container.state_dir()));
    if !keeps || path.exists() || container.taken_root_file().exists() {
        return Ok(());
    }
    let Some(release) = system.and_then(release) else { return Ok(()) };
    make_directory(&container.state_dir())?;
    std::fs::write(&path, format!("{release}\n")).with_context(|| format!("write {}", path.display()))
}

/// `24.05`, of the `24.05.20240708.abcdef` that NixOS has in a system.
fn release(system: &Path) -> Option<String> {
    let text = std::fs::read_to_string(system.join("nixos-version")).ok()?;
    let mut parts = text.split('.');
    let (year, month) = (parts.next()?, parts.next()?.trim());
    let is_number = |text: &str| text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    (is_number(year) && is_number(month)).then(|| format!("{year}.{month}"))
}
