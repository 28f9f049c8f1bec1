//! What a definition asks of the unit.

use super::mounts;
use crate::definition::schema::Definition;
use crate::service::files::Requirements;

/// `containers`: those that it depends on.
pub fn requirements(definition: &Definition, containers: Vec<String>) -> Requirements {
    let binds = mounts::of(definition).into_iter().filter(|mount| mount.kind == "bind");
    // Layers that are no directories are images.
    let layers = definition.root_fs.iter().filter(|layer| layer.starts_with('/')).cloned();
    let mut paths: Vec<String> = binds.map(|mount| mount.source).chain(layers).collect();
    // systemd has no words for these in a path.
    paths.retain(|path| !path.contains(char::is_control));
    paths.sort();
    paths.dedup();
    Requirements { at_boot: definition.auto_start, containers, paths }
}
