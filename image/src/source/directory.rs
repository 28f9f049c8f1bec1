//! Layers that are directories.

use std::io;
use std::path::{Path, PathBuf};

/// Directories for an overlay: lowest first, absolute, without symbolic links, none inside another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Layers(Vec<PathBuf>);

/// Why directories can't be layers.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LayerError {
    #[error("layer {path}")]
    Open { path: PathBuf, source: io::Error },
    #[error("layer {0}: not a directory: unpack it first")]
    NotDirectory(PathBuf),
    #[error("layer {0:?}: its path is not valid UTF-8, as JSON requires: rename it")]
    NotUtf8(PathBuf),
    #[error("layer {inner}: is inside layer {outer}, which overlayfs refuses")]
    Overlap { inner: PathBuf, outer: PathBuf },
}

impl Layers {
    /// Checks the directories that a user has given. Symbolic links are resolved now, so that the
    /// container shows what was checked.
    pub(crate) fn open(given: &[PathBuf]) -> Result<Self, LayerError> {
        let layers = given.iter().map(|path| open(path)).collect::<Result<Vec<_>, _>>()?;
        check_apart(&layers)?;
        Ok(Self(layers))
    }

    /// The directories, lowest first.
    pub(crate) fn paths(&self) -> &[PathBuf] {
        &self.0
    }
}

fn open(given: &Path) -> Result<PathBuf, LayerError> {
    let error = |source| LayerError::Open { path: given.to_owned(), source };
    let path = std::fs::canonicalize(given).map_err(error)?;
    if !std::fs::metadata(&path).map_err(error)?.is_dir() {
        return Err(LayerError::NotDirectory(given.to_owned()));
    }
    if path.to_str().is_none() {
        return Err(LayerError::NotUtf8(path));
    }
    Ok(path)
}

/// Overlayfs refuses layers inside each other when it is mounted (ELOOP).
fn check_apart(layers: &[PathBuf]) -> Result<(), LayerError> {
    for (i, inner) in layers.iter().enumerate() {
        for (j, outer) in layers.iter().enumerate() {
            if i != j && inner.starts_with(outer) {
                let (inner, outer) = (inner.clone(), outer.clone());
                return Err(LayerError::Overlap { inner, outer });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_lie_apart() {
        let check = |paths: &[&str]| check_apart(&paths.iter().map(PathBuf::from).collect::<Vec<_>>()).is_ok();
        assert!(check(&["/a", "/b", "/ab"]));
        assert!(!check(&["/a", "/b", "/a"]));
        assert!(!check(&["/a/b", "/a"]));
        assert!(!check(&["/a", "/c", "/a/b"]));
    }

    #[test]
    fn only_directories_are_layers() {
        let open = |path: &str| Layers::open(&[path.into()]);
        assert_eq!(open("/tmp/../etc").expect("a layer").paths(), [PathBuf::from("/etc")]);
        assert!(matches!(open("/etc/passwd"), Err(LayerError::NotDirectory(_))));
        assert!(matches!(open("/no/such"), Err(LayerError::Open { .. })));
    }
}
