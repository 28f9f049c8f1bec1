//! Names of containers on the host: `NAME.containers`, in a marked block of hosts(5).

use crate::generation::{self, lock};
use crate::host::Places;
use crate::wanted::network::{is_private, main_link};
use anyhow::{Context, Result};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// Writes the addresses of all containers that are installed; the block goes with the last of them. A file
/// that is a link is somebody else's making, as on NixOS, and stays.
pub fn write(places: &Places) -> Result<()> {
    let path = places.hosts_file();
    let what = || path.display().to_string();
    let _lock = lock(&places.hosts_lock())?;
    let old = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        result => result.with_context(what)?,
    };
    let new = with_block(&old, &places.table(), &lines(places)?);
    let is_link = std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink());
    if new == old || is_link {
        return Ok(());
    }
    replace(path, &new).with_context(what)
}

fn lines(places: &Places) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for container in generation::all(places)? {
        // One that can't be read is told where it is used.
        let Some(wanted) = container.wanted().ok().flatten() else { continue };
        if !is_private(&wanted.definition) {
            continue;
        }
        let link = main_link(&wanted.definition);
        let addresses = [&link.local_address, &link.local_address6].into_iter().flatten();
        let bare = addresses.map(|address| address.split('/').next().unwrap_or_default());
        lines.extend(bare.map(|address| format!("{address} {}.containers", container.name)));
    }
    Ok(lines)
}

/// The text with these lines between our marks, and all others as they were.
fn with_block(text: &str, owner: &str, lines: &[String]) -> String {
    let (begin, end) = (format!("# {owner} containers: begin"), format!("# {owner} containers: end"));
    let mut rest = String::with_capacity(text.len());
    let mut is_ours = false;
    for line in text.split_inclusive('\n') {
        is_ours |= line.trim_end() == begin;
        if !is_ours {
            rest.push_str(line);
        }
        is_ours &= line.trim_end() != end;
    }
    if lines.is_empty() {
        return rest;
    }
    if !rest.is_empty() && !rest.ends_with('\n') {
        rest.push('\n');
    }
    rest + &format!("{begin}\n{}\n{end}\n", lines.join("\n"))
}

/// At once, where the file is no mount of its own, as it is in a container.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let new = path.with_extension("firn-new");
    std::fs::write(&new, text)?;
    let moved = match std::fs::metadata(path) {
        Ok(old) => std::fs::set_permissions(&new, PermissionsExt::from_mode(old.mode() & 0o7777))
            .and_then(|()| std::os::unix::fs::chown(&new, Some(old.uid()), Some(old.gid()))),
        Err(_) => Ok(()),
    };
    match moved.and_then(|()| std::fs::rename(&new, path)) {
        Err(error) if error.kind() == ErrorKind::ResourceBusy => {
            std::fs::remove_file(&new)?;
            std::fs::write(path, text)
        }
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_block_is_replaced_and_nothing_else() {
        let lines = ["10.1.1.2 web.containers".to_owned()];
        let made = with_block("127.0.0.1 localhost", "firn", &lines);
        assert_eq!(
            made,
            "127.0.0.1 localhost\n# firn containers: begin\n10.1.1.2 web.containers\n# firn containers: end\n"
        );
        let others = format!("{made}::1 localhost\n");
        assert_eq!(with_block(&others, "firn", &[]), "127.0.0.1 localhost\n::1 localhost\n");
        assert_eq!(
            with_block(&others, "firn", &lines),
            with_block(&with_block(&others, "firn", &lines), "firn", &lines)
        );
        assert_eq!(with_block(&others, "firn-2", &[]), others);
    }
}
