//! Asks Nix, through its own command line: the daemon and the database's format
//! stay its own affair.

use super::store_path::{Store, StorePath, StorePathError};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What Nix could not do.
#[derive(Debug, thiserror::Error)]
pub enum NixError {
    #[error("nix-store is not installed: install Nix (Debian: apt install nix-bin), or show a root with --layer")]
    Missing,
    #[error("run nix-store")]
    Run(#[source] io::Error),
    #[error("ask Nix for the closure of {path}: {message}")]
    Query { path: StorePath, message: String },
    #[error("protect {path} from garbage collection at {link}: {message}")]
    Root { path: StorePath, link: PathBuf, message: String },
    #[error("read the closure of {path}")]
    Output { path: StorePath, source: StorePathError },
}

/// Everything that `path` needs, itself included, sorted.
pub fn closure(store: &Store, path: &StorePath) -> Result<Vec<StorePath>, NixError> {
    let output = nix_store(store, |command| {
        command.args(["--query", "--requisites"]).arg(path.to_string());
    })?
    .map_err(|message| NixError::Query { path: path.clone(), message })?;
    let mut closure = output
        .lines()
        .map(StorePath::parse)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| NixError::Output { path: path.clone(), source })?;
    closure.sort();
    closure.dedup();
    Ok(closure)
}

/// Makes `link` a link to `path` that Nix's garbage collector honours for as
/// long as it exists.
pub fn add_root(store: &Store, path: &StorePath, link: &Path) -> Result<(), NixError> {
    nix_store(store, |command| {
        // --indirect is the only kind since Nix 2.4, and has to be asked for before.
        command.arg("--realise").arg(path.to_string()).arg("--add-root").arg(link).arg("--indirect");
    })?
    .map_err(|message| NixError::Root { path: path.clone(), link: link.to_owned(), message })?;
    Ok(())
}

/// Its output, or what it said on failing.
fn nix_store(store: &Store, arguments: impl FnOnce(&mut Command)) -> Result<Result<String, String>, NixError> {
    let mut command = Command::new("nix-store");
    arguments(&mut command);
    if let Some(root) = store.root() {
        command.arg("--store").arg(root);
    }
    let output = command.output().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => NixError::Missing,
        _ => NixError::Run(error),
    })?;
    if output.status.success() {
        return Ok(Ok(String::from_utf8_lossy(&output.stdout).into_owned()));
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Ok(Err(reason(&stderr).unwrap_or_else(|| output.status.to_string())))
}

/// The error among Nix's warnings.
fn reason(stderr: &str) -> Option<String> {
    let line = stderr.lines().rev().find(|line| line.starts_with("error:"))?;
    Some(line.trim_start_matches("error:").trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_is_found_among_warnings() {
        let said = "warning: the group 'nixbld' does not exist\nerror: path 'x' is not valid\n";
        assert_eq!(reason(said).as_deref(), Some("path 'x' is not valid"));
        assert_eq!(reason("killed"), None);
    }
}
