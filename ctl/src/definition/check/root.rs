//! What a container is made of: one of `path`, `flake` and `rootFS`.

use super::report::Container;
use crate::definition::document::Step;
use crate::definition::paths;
use crate::definition::schema::Definition;

pub fn check(definition: &Definition, container: &mut Container<'_>) {
    let Definition { path, flake, root_fs, store_paths, .. } = definition;
    let is_native = path.is_some() || flake.is_some();
    match (path, flake, root_fs.as_slice()) {
        (None, None, []) => container.tell("", "nothing to run: give path (a NixOS system), flake or rootFS (layers)"),
        // NixOS's own words.
        (Some(_), Some(_), _) => container.tell("flake", "the options path and flake cannot both be set"),
        (_, _, [_, ..]) if is_native => {
            let other = if path.is_some() { "path" } else { "flake" };
            container
                .tell("rootFS", format!("{other} is set too: a container is native (path, flake) or foreign (rootFS)"));
        }
        _ => {}
    }
    if store_paths.is_some() && path.is_none() {
        container.tell("storePaths", "needs path, whose closure it lists");
    }
    if definition.persistent && definition.ephemeral {
        container.tell("persistent", "ephemeral is set too: what is gone at each start can't be kept for good");
    }
    if definition.persistent && is_native {
        container.tell("persistent", "is for rootFS: a native container keeps its root unless it is ephemeral");
    }
    if definition.root_from.is_some() && (definition.ephemeral || !is_native && !definition.persistent) {
        let other = if definition.ephemeral { "ephemeral is set too" } else { "needs persistent = true" };
        container.tell("rootFrom", format!("{other}: it becomes what the container keeps"));
    }
    if definition.nix_daemon && !is_native {
        container.tell("nixDaemon", "needs path or flake: a foreign container has no Nix store");
    }
    for (index, layer) in root_fs.iter().enumerate() {
        if layer.is_empty() {
            container.within("rootFS", Step::Index(index)).tell("", "a layer is a directory: its path is empty");
        }
        if root_fs[..index].contains(layer) {
            container.within("rootFS", Step::Index(index)).tell("", format!("{layer} is a layer already"));
        }
    }
    for (option, text) in [("path", path), ("flake", flake), ("storePaths", store_paths)] {
        if text.as_deref() == Some("") {
            container.tell(option, "is empty");
        }
    }
    if let Some(index) = root_fs.iter().skip(1).position(|layer| paths::is_image(layer)) {
        let message = "an image is the lowest layer: write it first, and give one at most";
        container.within("rootFS", Step::Index(index + 1)).tell("", message);
    }
    if let Some(hostname) = &definition.hostname {
        container.keep("hostname", host_name(hostname));
    }
}

/// sethostname(2), and the letters of a host name (hostname(7)).
fn host_name(name: &str) -> Result<(), String> {
    let is_label = |label: &str| {
        let is_good = |c: char| c.is_ascii_alphanumeric() || c == '-';
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(is_good)
    };
    if name.len() <= 64 && name.split('.').all(is_label) {
        return Ok(());
    }
    Err(format!("{name:?} is no host name: letters, digits and '-', at most 64"))
}
