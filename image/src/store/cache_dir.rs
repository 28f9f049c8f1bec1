//! The directory of what can be made anew at any time: $XDG_CACHE_HOME/firn, for root without that
//! variable /var/cache/firn.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

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
    match rustix::process::geteuid().is_root() {
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
