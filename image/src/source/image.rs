//! An image, wherever its reference says that it is.

use super::archive::{ArchiveError, DockerArchive, LayoutArchive};
use super::oci_layout::{Layout, LayoutError};
use crate::oci::graph::{Blobs, GraphError, Image, parse_document, read_bytes};
use crate::oci::platform::Platform;
use crate::oci::reference::{Reference, RegistryName};
use oci_spec::image::{Descriptor, ImageManifest};
use std::path::Path;

/// An image and what has its blobs.
pub(crate) struct ImageSource {
    pub(crate) image: Image,
    blobs: Box<dyn Blobs>,
    /// Of an image without a manifest: the bytes of its config.
    config: Option<Vec<u8>>,
}

/// A manifest, as it is and as it was understood.
pub(crate) struct Manifest {
    pub(crate) descriptor: Descriptor,
    pub(crate) bytes: Vec<u8>,
    pub(crate) document: ImageManifest,
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
    /// Reads the manifest and the config of the image, for `platform` or, of an index, for this machine. A compressed archive is unpacked into a file without a
    /// name in the directory `scratch`.
    pub(crate) fn open(
        reference: &Reference,
        platform: Option<&Platform>,
        scratch: &Path,
    ) -> Result<Self, SourceError> {
        match reference {
            Reference::Layout { directory, name } => {
                let layout = Layout::new(directory);
                Ok(Self { image: layout.image(name, platform)?, blobs: Box::new(layout), config: None })
            }
            Reference::LayoutArchive { file, name } => {
                let archive = LayoutArchive::open(file, scratch)?;
                Ok(Self { image: archive.image(name, platform)?, blobs: Box::new(archive), config: None })
            }
            Reference::Registry(name) => Err(SourceError::Registry(name.clone())),
            Reference::DockerArchive { file, name } => {
                let (archive, image, config) = DockerArchive::open(file, name.as_deref(), platform, scratch)?;
                Ok(Self { image, blobs: Box::new(archive), config: Some(config) })
            }
        }
    }

    pub(crate) fn blobs(&self) -> &dyn Blobs {
        &*self.blobs
    }

    /// The image's manifest; `None` where it has none.
    pub(crate) fn manifest(&self) -> Result<Option<Manifest>, GraphError> {
        let read = |descriptor: &Descriptor| {
            let bytes = read_bytes(self.blobs(), descriptor, "manifest")?;
            let document = parse_document(&bytes, descriptor, "manifest")?;
            Ok(Manifest { descriptor: descriptor.clone(), bytes, document })
        };
        self.image.manifest.as_ref().map(read).transpose()
    }

    /// The bytes of the config of an image that has no manifest.
    pub(crate) fn config(&self) -> Option<&[u8]> {
        self.config.as_deref()
    }
}
