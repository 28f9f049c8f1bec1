//! Nix, by its command line `nix-store`: neither the daemon's protocol nor the format of the
//! database is a stable interface.

use super::store_path::{Store, StorePath, StorePathError};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What nix-store could not do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NixError {
    #[error("nix-store is not installed: install Nix (Debian: apt install nix-bin), or give a root with --layer")]
    Missing,
    #[error("run nix-store")]
    Run(#[source] io::Error),
    #[error("query the closure of {path}: {message}")]
    Query { path: StorePath, message: String },
    #[error("query the references of {count} store paths: {message}")]
    References { count: usize, message: String },
    #[error("make {link} a garbage collector root of {path}: {message}")]
    Root { path: StorePath, link: PathBuf, message: String },
    #[error("read the closure of {path}")]
    Output { path: StorePath, source: StorePathError },
}

/// The store paths of the closure of `path`, itself included: sorted, each once.
pub(super) fn query_closure(store: &Store, path: &StorePath) -> Result<Vec<StorePath>, NixError> {
    let output = run_nix_store(store, |command| {
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

/// The registration of store paths, with what each refers to: nix-store --dump-db.
pub(super) fn dump_registration(store: &Store, paths: &[StorePath]) -> Result<String, NixError> {
    /// Paths in one call: far below the limit of a command line (execve(2)).
    const AT_ONCE: usize = 4096;
    let mut text = String::new();
    for paths in paths.chunks(AT_ONCE) {
        let output = run_nix_store(store, |command| {
            command.arg("--dump-db").args(paths.iter().map(StorePath::to_string));
        })?;
        text += &output.map_err(|message| NixError::References { count: paths.len(), message })?;
    }
    Ok(text)
}

/// Makes `link` a garbage collector root: a symbolic link to `path`, which is not collected for as
/// long as the link exists.
pub(crate) fn add_root(store: &Store, path: &StorePath, link: &Path) -> Result<(), NixError> {
    run_nix_store(store, |command| {
        // Before Nix 2.4 a root outside its gcroots directory needs --indirect.
        command.arg("--realise").arg(path.to_string()).arg("--add-root").arg(link).arg("--indirect");
    })?
    .map_err(|message| NixError::Root { path: path.clone(), link: link.to_owned(), message })?;
    Ok(())
}

/// Runs nix-store: its output, or the message with which it failed.
fn run_nix_store(store: &Store, arguments: impl FnOnce(&mut Command)) -> Result<Result<String, String>, NixError> {
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
    Ok(Err(error_message(&stderr).unwrap_or_else(|| output.status.to_string())))
}

/// The last line `error: …` of stderr, without that word.
fn error_message(stderr: &str) -> Option<String> {
    let line = stderr.lines().rev().find(|line| line.starts_with("error:"))?;
    Some(line.trim_start_matches("error:").trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_is_found_among_warnings() {
        let stderr = "warning: the group 'nixbld' does not exist\nerror: path 'x' is not valid\n";
        assert_eq!(error_message(stderr).as_deref(), Some("path 'x' is not valid"));
        assert_eq!(error_message("killed"), None);
    }
}
