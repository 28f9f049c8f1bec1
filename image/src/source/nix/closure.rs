//! A closure: a store path and all that it refers to.
//!
//! It is queried from Nix, or read from a list of store paths, as `nix-store --query --requisites`
//! prints it and `closureInfo` of nixpkgs writes it (see `registration`). With a list no Nix is needed
//! on the machine.

use super::cli::{self, NixError};
use super::registration::{self, ListError, Listed};
use super::store_path::{Store, StorePath, StorePathError};
use std::collections::{BTreeMap, BTreeSet};
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
    #[error("{list}")]
    List { list: PathBuf, source: ListError },
    #[error("{path} refers to {reference}, which is not listed: is the list cut off?")]
    Dangling { path: StorePath, reference: StorePath },
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
    let mut paths: Vec<_> = read_entries(list, store)?.into_iter().map(|entry| entry.path).collect();
    paths.sort();
    paths.dedup();
    if paths.binary_search(path).is_err() {
        return Err(ClosureError::Unlisted { list: list.into(), path: path.clone() });
    }
    Ok(paths)
}

/// The entries of `list`, whose paths all exist.
fn read_entries(list: &Path, store: &Store) -> Result<Vec<Listed>, ClosureError> {
    let text = std::fs::read_to_string(list).map_err(|source| ClosureError::Read { path: list.into(), source })?;
    let entries = registration::parse(&text).map_err(|error| match error {
        ListError::Path { line, source } => ClosureError::Line { list: list.into(), line, source },
        source => ClosureError::List { list: list.into(), source },
    })?;
    let absent = entries.iter().find(|entry| std::fs::symlink_metadata(store.locate(&entry.path)).is_err());
    match absent {
        None => Ok(entries),
        Some(entry) => {
            let (list, store) = (list.into(), store.dir().into());
            Err(ClosureError::Absent { list, line: entry.line, path: entry.path.clone(), store })
        }
    }
}

/// One or more closures together, with what each path refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Graph {
    /// The store paths that were given, in their order.
    pub(crate) roots: Vec<StorePath>,
    /// Of each path of the closures; no sets have members where they are not known.
    pub(crate) references: BTreeMap<StorePath, BTreeSet<StorePath>>,
    /// As of a [`Closure`].
    pub(crate) is_collected: bool,
}

impl Graph {
    /// The closures of what a user has given. From `list`, else from Nix.
    pub(crate) fn find(given: &[PathBuf], list: Option<&Path>, store: &Store) -> Result<Self, ClosureError> {
        let resolve = |given: &PathBuf| {
            store.resolve(given).map_err(|source| ClosureError::Resolve { given: given.to_owned(), source })
        };
        let roots = given.iter().map(resolve).collect::<Result<Vec<_>, _>>()?;
        let entries = match list {
            Some(list) => read_entries(list, store)?,
            None => query_entries(store, &roots)?,
        };
        let mut references: BTreeMap<StorePath, BTreeSet<StorePath>> = BTreeMap::new();
        for entry in entries {
            references.entry(entry.path).or_default().extend(entry.references.unwrap_or_default());
        }
        if let Some(path) = roots.iter().find(|path| !references.contains_key(path)) {
            return Err(ClosureError::Unlisted {
                list: list.unwrap_or(Path::new("nix-store")).into(),
                path: path.clone(),
            });
        }
        for (path, needed) in &references {
            if let Some(reference) = needed.iter().find(|needed| !references.contains_key(needed)) {
                return Err(ClosureError::Dangling { path: path.clone(), reference: reference.clone() });
            }
        }
        Ok(Self { roots, references, is_collected: list.is_none() || store.has_database() })
    }
}

/// The closures of `roots`, from Nix.
fn query_entries(store: &Store, roots: &[StorePath]) -> Result<Vec<Listed>, ClosureError> {
    let mut paths = BTreeSet::new();
    for root in roots {
        paths.extend(cli::query_closure(store, root)?);
    }
    let paths: Vec<StorePath> = paths.into_iter().collect();
    let text = cli::dump_registration(store, &paths)?;
    registration::parse(&text)
        .map_err(|source| ClosureError::List { list: "output of nix-store --dump-db".into(), source })
}
