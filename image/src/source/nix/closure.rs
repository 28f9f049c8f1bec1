//! A closure as a list of its store paths, one a line, as `nix-store --query --requisites`
//! prints it and as `closureInfo` of nixpkgs leaves it in its file `store-paths`. With it
//! no Nix is needed where the bundle is made.

use super::store_path::{Store, StorePath, StorePathError};
use std::io;
use std::path::{Path, PathBuf};

/// Why a list is no closure.
#[derive(Debug, thiserror::Error)]
pub enum PathListError {
    #[error("read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{list}:{line}")]
    Line { list: PathBuf, line: usize, source: StorePathError },
    #[error("{list}:{line}: {path} is not in the store {store}: copy the closure there first")]
    Absent { list: PathBuf, line: usize, path: StorePath, store: PathBuf },
    #[error("{list} does not list {path} itself: is it the list of another closure?")]
    Unlisted { list: PathBuf, path: StorePath },
}

/// The store paths that the file lists, sorted, each once; each exists, and `path` is
/// one of them.
pub fn read(list: &Path, store: &Store, path: &StorePath) -> Result<Vec<StorePath>, PathListError> {
    let text = std::fs::read_to_string(list).map_err(|source| PathListError::Read { path: list.into(), source })?;
    let mut paths = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let line_number = number + 1;
        let listed = StorePath::parse(line.trim()).map_err(|source| PathListError::Line {
            list: list.into(),
            line: line_number,
            source,
        })?;
        if std::fs::symlink_metadata(store.locate(&listed)).is_err() {
            let (list, store) = (list.into(), store.dir().into());
            return Err(PathListError::Absent { list, line: line_number, path: listed, store });
        }
        paths.push(listed);
    }
    paths.sort();
    paths.dedup();
    if paths.binary_search(path).is_err() {
        return Err(PathListError::Unlisted { list: list.into(), path: path.clone() });
    }
    Ok(paths)
}
