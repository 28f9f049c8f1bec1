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
    let old = match std::fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
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
fn with_block(text: &[u8], owner: &str, lines: &[String]) -> Vec<u8> {
    let (begin, end) = (format!("# {owner} containers: begin"), format!("# {owner} containers: end"));
    let all: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
    let is = |line: &[u8], mark: &str| line.trim_ascii_end() == mark.as_bytes();
    let mut new = Vec::with_capacity(text.len());
    let mut rest = all.as_slice();
    while let Some((line, after)) = rest.split_first() {
        rest = after;
        if is(line, &begin) {
            // Without its end, which somebody has removed, only what is surely ours goes.
            let is_name = |line: &&[u8]| line.trim_ascii_end().ends_with(b".containers");
            let names = after.iter().take_while(|line| is_name(line)).count();
            let length = after.iter().position(|line| is(line, &end)).map_or(names, |at| at + 1);
            rest = &after[length..];
        } else {
            new.extend_from_slice(line);
        }
    }
    if !lines.is_empty() {
        if new.last().is_some_and(|byte| *byte != b'\n') {
            new.push(b'\n');
        }
        new.extend_from_slice(format!("{begin}\n{}\n{end}\n", lines.join("\n")).as_bytes());
    }
    new
}

/// At once, where the file is no mount of its own, as it is in a container.
fn replace(path: &Path, text: &[u8]) -> std::io::Result<()> {
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
        let with = |text: &str, owner: &str, lines: &[String]| {
            String::from_utf8(with_block(text.as_bytes(), owner, lines)).unwrap()
        };
        let made = with("127.0.0.1 localhost", "firn", &lines);
        assert_eq!(
            made,
            "127.0.0.1 localhost\n# firn containers: begin\n10.1.1.2 web.containers\n# firn containers: end\n"
        );
        let others = format!("{made}::1 localhost\n");
        assert_eq!(with(&others, "firn", &[]), "127.0.0.1 localhost\n::1 localhost\n");
        assert_eq!(with(&others, "firn", &lines), with(&with(&others, "firn", &lines), "firn", &lines));
        assert_eq!(with(&others, "firn-2", &[]), others);
        // Without its end.
        let cut = made.replace("# firn containers: end\n", "192.0.2.7 important\n");
        assert_eq!(with(&cut, "firn", &[]), "127.0.0.1 localhost\n192.0.2.7 important\n");
        assert_eq!(with_block(b"\xff\n", "firn", &[]), b"\xff\n");
    }
}
