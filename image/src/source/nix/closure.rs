//! A closure: a store path and all that it refers to.
//!
//! It is queried from Nix, or read from a list of store paths, one a line, as `nix-store --query
//! --requisites` prints it and `closureInfo` of nixpkgs writes it to its file `store-paths`. With a
//! list no Nix is needed on the machine.

use super::cli::{self, NixError};
use super::store_path::{Store, StorePath, StorePathError};
use std::io;
use std::path::{Path, PathBuf};

/// A closure, which the container sees at /nix/store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Closure {
    /// The store path that was given.
    pub(crate) path: StorePath,
    /// All of it, `path` included: sorted, each once.
    pub(crate) paths: Vec<StorePath>,
    /// Nix's garbage collector may delete from the store, so that the closure needs a root there.
    pub(crate) is_collected: bool,
}

/// Why there is no closure.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClosureError {
    #[error("closure {given}")]
    Resolve { given: PathBuf, source: StorePathError },
    #[error(transparent)]
    Nix(#[from] NixError),
    #[error("read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{list}:{line}")]
    Line { list: PathBuf, line: usize, source: StorePathError },
    #[error("{list}:{line}: {path} is not in the store {store}: copy the closure there first")]
    Absent { list: PathBuf, line: usize, path: StorePath, store: PathBuf },
    #[error("{list} does not list {path} itself: is it the list of another closure?")]
    Unlisted { list: PathBuf, path: StorePath },
}

impl Closure {
    /// The closure of what a user has given: a store path or a link to one. From `list`, else from
    /// Nix.
    pub(crate) fn find(given: &Path, list: Option<&Path>, store: &Store) -> Result<Self, ClosureError> {
        let path = store.resolve(given).map_err(|source| ClosureError::Resolve { given: given.to_owned(), source })?;
        let paths = match list {
            Some(list) => read_list(list, store, &path)?,
            None => cli::query_closure(store, &path)?,
        };
        // With a list, the store may be one that Nix does not manage.
        let is_collected = list.is_none() || store.has_database();
        Ok(Closure { path, paths, is_collected })
    }
}

/// The store paths in `list`, sorted, each once. Errors: one does not exist; `path` is not among
/// them.
fn read_list(list: &Path, store: &Store, path: &StorePath) -> Result<Vec<StorePath>, ClosureError> {
    let text = std::fs::read_to_string(list).map_err(|source| ClosureError::Read { path: list.into(), source })?;
    let mut paths = Vec::new();
    for (index, text) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let line = index + 1;
        let listed =
            StorePath::parse(text.trim()).map_err(|source| ClosureError::Line { list: list.into(), line, source })?;
        if std::fs::symlink_metadata(store.locate(&listed)).is_err() {
            let (list, store) = (list.into(), store.dir().into());
            return Err(ClosureError::Absent { list, line, path: listed, store });
        }
        paths.push(listed);
    }
    paths.sort();
    paths.dedup();
    if paths.binary_search(path).is_err() {
        return Err(ClosureError::Unlisted { list: list.into(), path: path.clone() });
    }
    Ok(paths)
}
