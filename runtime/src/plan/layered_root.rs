//! firn.json: layers and the upper layer of the root, and the closure that is shown at
//! /nix/store.

use crate::bail;
use crate::error::Result;
use crate::spec::firn_config::{FirnConfig, Root};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// The default of `store`.
pub const DEFAULT_STORE: &str = "/nix/store";

/// The root of a firn.json, validated.
#[derive(Debug)]
pub struct LayeredRootPlan {
    /// Lowest first; empty if the root is `upper` alone.
    pub layers: Vec<PathBuf>,
    pub upper: Upper,
    pub closure: Option<Closure>,
}

/// The writable layer.
#[derive(Debug, PartialEq, Eq)]
pub enum Upper {
    /// A tmpfs with these options, such as `size=64m,mode=755`.
    Tmpfs(String),
    Directory(PathBuf),
}

/// A closure.
#[derive(Debug)]
pub struct Closure {
    pub store: PathBuf,
    /// An EROFS image of their metadata over the store.
    pub image: Option<PathBuf>,
    /// Names of the store paths below the store, sorted, without duplicates.
    pub names: Vec<OsString>,
}

/// `list`: the text of the file `closure`. Errors: a relative path; a path that is not directly
/// in the store.
pub fn plan(config: &FirnConfig, list: Option<&[u8]>) -> Result<Option<LayeredRootPlan>> {
    let Some(root) = &config.root else { return Ok(None) };
    for layer in &root.layers {
        if !layer.is_absolute() {
            bail!("firn.json: layer {} must be an absolute path", layer.display());
        }
    }
    Ok(Some(LayeredRootPlan {
        layers: root.layers.clone(),
        upper: upper(root)?,
        closure: list.map(|list| closure(root, list)).transpose()?,
    }))
}

fn upper(root: &Root) -> Result<Upper> {
    match root.upper.as_deref() {
        None | Some("tmpfs") => Ok(Upper::Tmpfs(String::new())),
        Some(text) => match text.strip_prefix("tmpfs:") {
            Some(options) => Ok(Upper::Tmpfs(options.to_owned())),
            None if text.starts_with('/') => Ok(Upper::Directory(PathBuf::from(text))),
            None => bail!("firn.json: upper {text:?} is neither tmpfs[:OPTIONS] nor an absolute path"),
        },
    }
}

fn closure(root: &Root, list: &[u8]) -> Result<Closure> {
    let store = root.store.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_STORE));
    if !store.is_absolute() {
        bail!("firn.json: store {} must be an absolute path", store.display());
    }
    if let Some(image) = root.closure_image.as_ref().filter(|image| !image.is_absolute()) {
        bail!("firn.json: closureImage {} must be an absolute path", image.display());
    }
    let mut names = Vec::new();
    for line in list.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
        names.push(store_name(&store, Path::new(OsStr::from_bytes(line)))?);
    }
    names.sort();
    names.dedup();
    Ok(Closure { store, image: root.closure_image.clone(), names })
}

/// The name of a store path, which must be directly in the store; it may be written with the
/// store's path or with /nix/store.
fn store_name(store: &Path, path: &Path) -> Result<OsString> {
    let below = path.strip_prefix(store).or_else(|_| path.strip_prefix(DEFAULT_STORE));
    let mut parts = below.map(Path::components).into_iter().flatten();
    match (parts.next(), parts.next()) {
        (Some(Component::Normal(name)), None) => Ok(name.to_owned()),
        _ => {
            bail!("firn.json: the closure has {}, which is not a path of the store {}", path.display(), store.display())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(json: &str, list: Option<&[u8]>) -> Result<LayeredRootPlan> {
        plan(&serde_json::from_str(json).unwrap(), list).map(Option::unwrap)
    }

    #[test]
    fn the_upper_is_a_tmpfs_unless_it_is_a_directory() {
        let upper = |json| root(json, None).unwrap().upper;
        assert_eq!(upper(r#"{"root":{}}"#), Upper::Tmpfs(String::new()));
        assert_eq!(upper(r#"{"root":{"upper":"tmpfs:size=1m"}}"#), Upper::Tmpfs("size=1m".into()));
        assert_eq!(upper(r#"{"root":{"upper":"/run/u"}}"#), Upper::Directory("/run/u".into()));
        assert!(root(r#"{"root":{"upper":"u"}}"#, None).is_err());
        assert!(root(r#"{"root":{"layers":["l"]}}"#, None).is_err());
    }

    #[test]
    fn a_closure_names_paths_of_the_store_only() {
        let names = root(r#"{"root":{}}"#, Some(b"/nix/store/b\n/nix/store/a\n/nix/store/b\n")).unwrap();
        assert_eq!(names.closure.unwrap().names, ["a", "b"]);
        for bad in ["/nix/store/a/b", "/etc", "/nix/store/..", "/nix/store", "a"] {
            assert!(root(r#"{"root":{}}"#, Some(bad.as_bytes())).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_mistyped_field_is_an_error() {
        assert!(serde_json::from_str::<FirnConfig>(r#"{"root":{"layer":[]}}"#).is_err());
    }
}
