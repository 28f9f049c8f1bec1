//! A directory for an image that only passes through, such as from one registry to another.

use super::staging::StagingDir;
use std::io;
use std::path::{Path, PathBuf};

/// Where it is without $TMPDIR: on a disk, which /tmp often is not.
const DEFAULT: &str = "/var/tmp";

/// A directory that is removed with all that is in it.
#[derive(Debug)]
pub(crate) struct Scratch(StagingDir);

/// Why there is none.
#[derive(Debug, thiserror::Error)]
#[error("make a directory in {directory}, or in another one that $TMPDIR names")]
pub(crate) struct ScratchError {
    directory: PathBuf,
    source: io::Error,
}

impl Scratch {
    /// Makes one, mode 0700, and removes those that killed runs have left.
    pub(crate) fn new() -> Result<Self, ScratchError> {
        let directory = place();
        let made = StagingDir::beside(&directory.join("image"));
        made.map(Self).map_err(|source| ScratchError { directory, source })
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// The place for an image layout in it.
    pub(crate) fn layout(&self) -> PathBuf {
        self.path().join("layout")
    }
}

/// $TMPDIR, or /var/tmp.
pub(crate) fn place() -> PathBuf {
    std::env::var_os("TMPDIR").filter(|value| !value.is_empty()).map_or_else(|| DEFAULT.into(), PathBuf::from)
}
