//! Makes a tar file of an image layout.

use super::layout::{LayoutError, LayoutWriter};
use super::staging::StagingDir;
use crate::layer::pack::{PackError, Packer, Rules};
use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

/// Why there is no archive.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArchiveError {
    #[error("write archive {path}")]
    Pack { path: PathBuf, source: PackError },
    #[error("{operation} {path}")]
    Io { operation: &'static str, path: PathBuf, source: io::Error },
    #[error(transparent)]
    Layout(#[from] LayoutError),
}

/// Makes the archive `file` of the layout that `fill` gives an image, in a directory beside it; all of it
/// or nothing.
pub(crate) fn make_archive<T, E: From<ArchiveError>>(
    file: &Path,
    fill: impl FnOnce(&LayoutWriter) -> Result<T, E>,
) -> Result<T, E> {
    let file = &std::path::absolute(file).map_err(io_error("find", file))?;
    let staging = StagingDir::beside(file).map_err(io_error("make a directory beside", file))?;
    let directory = staging.path().join("layout");
    let filled = fill(&LayoutWriter::temporary(&directory).map_err(ArchiveError::from)?)?;
    let archive = staging.path().join("archive");
    pack(&directory, &archive)?;
    fs::rename(&archive, file).map_err(io_error("make", file))?;
    Ok(filled)
}

/// The layout as an archive: the same bytes for the same image.
fn pack(layout: &Path, archive: &Path) -> Result<(), ArchiveError> {
    let failed = |source| ArchiveError::Pack { path: archive.to_owned(), source };
    let file = File::create_new(archive).map_err(io_error("make", archive))?;
    let mut packer = Packer::new(BufWriter::with_capacity(128 << 10, file), Rules::Archive);
    packer.pack_root(layout).map_err(failed)?;
    let (file, _) = packer.finish().map_err(failed)?;
    let file = file.into_inner().map_err(io::IntoInnerError::into_error).map_err(io_error("write", archive))?;
    file.sync_all().map_err(io_error("write", archive))
}

fn io_error(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ArchiveError + use<> {
    let path = path.to_owned();
    move |source| ArchiveError::Io { operation, path, source }
}
