//! The directory of what can be made anew at any time: $XDG_CACHE_HOME/firn, for root without that
//! variable /var/cache/firn.

use crate::caller;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Bytes of a record at most.
const LIMIT: u64 = 4096;

/// A directory of records of one form; without one nothing is known and nothing is kept.
#[derive(Debug, Clone, Default)]
pub(super) struct CacheDir(Option<PathBuf>);

impl CacheDir {
    /// The one of the user with this name; one that can't be made, or that other users can write, is none.
    pub(super) fn of_user(name: &str) -> Self {
        Self(of_user(name))
    }

    /// The record's text.
    pub(super) fn find(&self, name: &str) -> Option<Vec<u8>> {
        let file = File::open(self.0.as_ref()?.join(name)).ok()?;
        let mut text = Vec::new();
        file.take(LIMIT).read_to_end(&mut text).ok()?;
        Some(text)
    }

    /// Writes a record, all of it or nothing. That it can't is no error.
    pub(super) fn keep(&self, name: &str, text: &str) {
        let Some(directory) = &self.0 else { return };
        let new = directory.join(format!("{name}.new-{}", std::process::id()));
        let write = || -> io::Result<()> {
            File::create(&new)?.write_all(text.as_bytes())?;
            fs::rename(&new, directory.join(name))
        };
        if write().is_err() {
            let _ = fs::remove_file(&new);
        }
    }
}

/// The directory `name` of the user's cache. `None`: it can't be made, or other users can write it.
pub(super) fn of_user(name: &str) -> Option<PathBuf> {
    let directory = default_place()?.join(name);
    make(&directory).is_ok_and(|safe| safe).then_some(directory)
}

fn default_place() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(cache) = variable("XDG_CACHE_HOME").filter(|cache| cache.is_absolute()) {
        return Some(cache.join("firn"));
    }
    match caller::is_host_root() {
        true => Some("/var/cache/firn".into()),
        false => Some(variable("HOME")?.join(".cache/firn")),
    }
}

/// Makes the directory, mode 0700; whether only its owner, who is the caller or root, can write it.
fn make(directory: &Path) -> io::Result<bool> {
    if let Some(parent) = directory.parent() {
        DirBuilder::new().recursive(true).create(parent)?;
    }
    DirBuilder::new().mode(0o700).recursive(true).create(directory)?;
    let meta = fs::symlink_metadata(directory)?;
    let owned = meta.uid() == rustix::process::geteuid().as_raw() || meta.uid() == 0;
    Ok(meta.is_dir() && owned && meta.mode() & 0o022 == 0)
}
