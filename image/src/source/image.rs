//! An image, wherever its reference says that it is.

use super::archive::{ArchiveError, DockerArchive, LayoutArchive};
use super::oci_layout::{Layout, LayoutError};
use crate::oci::graph::{Blobs, Image};
use crate::oci::reference::{Reference, RegistryName};
use std::path::Path;

/// An image and what has its blobs.
pub(crate) struct ImageSource {
    pub(crate) image: Image,
    blobs: Box<dyn Blobs>,
}

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceError {
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error("docker://{0}: copy it into a layout first: firn-image copy docker://{0} oci:DIR:TAG")]
    Registry(RegistryName),
}

impl ImageSource {
    /// Reads the image's manifest and config. A compressed archive is unpacked into a file without a
    /// name in the directory `scratch`.
    pub(crate) fn open(reference: &Reference, scratch: &Path) -> Result<Self, SourceError> {
        match reference {
            Reference::Layout { directory, name } => {
                let layout = Layout::new(directory);
                Ok(Self { image: layout.image(name)?, blobs: Box::new(layout) })
            }
            Reference::LayoutArchive { file, name } => {
                let archive = LayoutArchive::open(file, scratch)?;
                Ok(Self { image: archive.image(name)?, blobs: Box::new(archive) })
            }
            Reference::Registry(name) => Err(SourceError::Registry(name.clone())),
            Reference::DockerArchive { file, name } => {
                let (archive, image) = DockerArchive::open(file, name.as_deref(), scratch)?;
                Ok(Self { image, blobs: Box::new(archive) })
            }
        }
    }

    pub(crate) fn blobs(&self) -> &dyn Blobs {
        &*self.blobs
    }
}
