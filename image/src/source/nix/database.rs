//! Nix's database of an image, by which Nix in the container knows its store paths.

use super::cli::{NixError, dump_registration};
use super::store_path::{Store, StorePath};
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};

/// Sets what depends on when the database was made, and writes it anew from the start.
const NORMALIZE: &str = "UPDATE ValidPaths SET registrationTime = 1; PRAGMA journal_mode = DELETE; VACUUM;";

/// Why there is no database.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DatabaseError {
    #[error(transparent)]
    Nix(#[from] NixError),
    #[error("{program} is not installed: install it (Debian: apt install {package})")]
    Missing { program: &'static str, package: &'static str },
    #[error("run {program}")]
    Run { program: &'static str, source: io::Error },
    #[error("make Nix's database: {program}: {message}")]
    Failed { program: &'static str, message: String },
    #[error("read Nix's database")]
    Read(#[source] io::Error),
}

/// The files of `/nix/var/nix/db` for these store paths: their names and bytes. It is made in the empty
/// directory `scratch`.
pub(crate) fn files(
    store: &Store,
    paths: &[StorePath],
    scratch: &Path,
) -> Result<[(&'static str, Vec<u8>); 2], DatabaseError> {
    let registration = dump_registration(store, paths)?;
    let mut load = Command::new("nix-store");
    // Not the daemon's, which belongs to the host's store.
    load.arg("--load-db").env("NIX_REMOTE", "").env("NIX_STATE_DIR", scratch);
    run("nix-store", "nix-bin", load, registration.as_bytes())?;
    let database = scratch.join("db/db.sqlite");
    let mut normalize = Command::new("sqlite3");
    normalize.arg(&database).arg(NORMALIZE);
    run("sqlite3", "sqlite3", normalize, b"")?;
    let read = |name: &'static str| Ok((name, std::fs::read(scratch.join("db").join(name))?));
    Ok([read("db.sqlite").map_err(DatabaseError::Read)?, read("schema").map_err(DatabaseError::Read)?])
}

fn run(program: &'static str, package: &'static str, mut command: Command, input: &[u8]) -> Result<(), DatabaseError> {
    let started = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let mut child = started.map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => DatabaseError::Missing { program, package },
        _ => DatabaseError::Run { program, source },
    })?;
    // One that fails early does not read; its message says more.
    let written = child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(input));
    let output = child.wait_with_output().map_err(|source| DatabaseError::Run { program, source })?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
        return Err(DatabaseError::Failed { program, message });
    }
    written.map_err(|source| DatabaseError::Run { program, source })
}
