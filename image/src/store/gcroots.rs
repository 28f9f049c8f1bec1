//! Garbage collector roots of Nix: links in a bundle, for as long as which its store paths are not
//! collected; and in a staging directory, while an image is built.

use crate::source::nix::closure::Closure;
use crate::source::nix::store_path::{Store, StorePath};
use crate::source::nix::{NixError, add_root};
use std::path::{Path, PathBuf};

/// The name of the closure's root; those of further closures and of layers begin with it.
pub(crate) const NAME: &str = "gcroot";

/// Makes roots in `directory`, for as long as that exists.
pub(crate) fn hold(directory: &Path, store: &Store, paths: &[StorePath]) -> Result<(), NixError> {
    paths
        .iter()
        .enumerate()
        .try_for_each(|(number, path)| add_root(store, path, &directory.join(format!("{NAME}-{number}"))))
}

/// Makes roots in the bundle at `bundle` for a closure that may be collected, and for layers in the
/// store. Whether there are any. Layers without Nix need none, as nothing collects then.
pub(crate) fn add_roots(
    bundle: &Path,
    store: &Store,
    closure: Option<&Closure>,
    layers: &[PathBuf],
) -> Result<bool, NixError> {
    let mut any = false;
    if let Some(closure) = closure.filter(|closure| closure.is_collected) {
        for (number, path) in closure.roots().enumerate() {
            let name = if number == 0 { NAME.into() } else { format!("{NAME}-{number}") };
            add_root(store, path, &bundle.join(name))?;
        }
        any = true;
    }
    let in_store = layers.iter().filter_map(|layer| store.resolve(layer).ok());
    for (number, path) in in_store.enumerate() {
        match add_root(store, &path, &bundle.join(format!("{NAME}-layer-{number}"))) {
            Ok(()) => any = true,
            Err(NixError::Missing) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(any)
}
