//! Closures: store paths and all that they refer to.
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

/// One or more closures together, which the container sees at /nix/store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Closure {
    /// The store path that was given first: the system or program.
    pub(crate) path: StorePath,
    /// Those that were given after it.
    pub(crate) others: Vec<StorePath>,
    /// All of them with what they refer to: sorted, each once.
    pub(crate) paths: Vec<StorePath>,
    /// Nix's garbage collector may delete from the store, so that the closure needs roots there.
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
    /// The closures of what a user has given: store paths or links to them. From `list`, else from
    /// Nix.
    pub(crate) fn find(
        given: &Path,
        others: &[PathBuf],
        list: Option<&Path>,
        store: &Store,
    ) -> Result<Self, ClosureError> {
        let path = resolve(given, store)?;
        let others = others.iter().map(|other| resolve(other, store)).collect::<Result<Vec<_>, _>>()?;
        let mut closure = Closure { path, others, paths: Vec::new(), is_collected: list.is_none() };
        match list {
            Some(list) => {
                closure.paths = read_list(list, store, closure.roots())?;
                // With a list, the store may be one that Nix does not manage.
                closure.is_collected = store.has_database();
            }
            None => {
                let all = closure.roots().map(|path| cli::query_closure(store, path));
                closure.paths = all.collect::<Result<Vec<_>, _>>()?.concat();
            }
        }
        closure.paths.sort();
        closure.paths.dedup();
        Ok(closure)
    }

    /// The store paths that were given.
    pub(crate) fn roots(&self) -> impl Iterator<Item = &StorePath> {
        std::iter::once(&self.path).chain(&self.others)
    }
}

fn resolve(given: &Path, store: &Store) -> Result<StorePath, ClosureError> {
    store.resolve(given).map_err(|source| ClosureError::Resolve { given: given.into(), source })
}

/// The store paths in `list`. Errors: one does not exist; one of `roots` is not among them.
fn read_list<'a>(
    list: &Path,
    store: &Store,
    mut roots: impl Iterator<Item = &'a StorePath>,
) -> Result<Vec<StorePath>, ClosureError> {
    let paths: Vec<_> = read_entries(list, store)?.into_iter().map(|entry| entry.path).collect();
    match roots.find(|root| !paths.contains(root)) {
        None => Ok(paths),
        Some(path) => Err(ClosureError::Unlisted { list: list.into(), path: path.clone() }),
    }
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
        let roots = given.iter().map(|given| resolve(given, store)).collect::<Result<Vec<_>, _>>()?;
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
