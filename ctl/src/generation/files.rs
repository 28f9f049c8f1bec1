//! JSON files that are replaced as a whole: a reader sees the old one or the new one, also after a
//! crash of the host.

use super::record::{VERSION, Versioned};
use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// `None` if there is no such file.
pub fn read<T: DeserializeOwned + Versioned>(path: &Path) -> Result<Option<T>> {
    let what = || format!("read {}", path.display());
    let text = match std::fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        result => result.with_context(what)?,
    };
    let record: T = serde_json::from_slice(&text).with_context(what)?;
    if record.version() > VERSION {
        bail!("{}: was written by a newer firnctl (version {} of the format)", path.display(), record.version());
    }
    Ok(Some(record))
}

/// Replaces the file, or makes it with its directory. Mode 0600: environments hold secrets.
pub fn write<T: Serialize>(path: &Path, record: &T) -> Result<()> {
    let what = || format!("write {}", path.display());
    let directory = path.parent().context("a file has a directory")?;
    make_directory(directory)?;
    let temporary = path.with_extension("new");
    let text = serde_json::to_vec_pretty(record).with_context(what)?;
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .with_context(|| temporary.display().to_string())?;
    file.write_all(&text).and_then(|()| file.sync_all()).with_context(what)?;
    std::fs::rename(&temporary, path).with_context(what)?;
    File::open(directory).and_then(|directory| directory.sync_all()).with_context(what)
}

/// A directory of root's alone, with those above it.
pub fn make_directory(path: &Path) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.with_context(|| format!("create directory {}", path.display()))
}

/// A directory through which the users of containers may pass, as to a bundle's root: it can't be listed.
pub fn make_passable(path: &Path) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o711).create(path);
    made.with_context(|| format!("create directory {}", path.display()))
}

/// Removes a file, if it is there.
pub fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
