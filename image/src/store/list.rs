//! The images of a layout.

use super::text::with_sources;
use crate::oci::index::tag_of;
use crate::oci::reference::{ImageName, Reference};
use crate::source::image::ImageSource;
use crate::source::oci_layout::{Layout, LayoutError};
use oci_spec::image::{Descriptor, Digest};
use std::path::Path;

/// An image that the index names.
#[derive(Debug)]
pub(crate) struct ListedImage {
    pub(crate) tag: Option<String>,
    /// Of what the index names.
    pub(crate) digest: Digest,
    /// `Err`: why it can't be read.
    pub(crate) facts: Result<Facts, String>,
}

/// What is said of it.
#[derive(Debug)]
pub(crate) struct Facts {
    /// Of its manifest, which is another one than the index names where that is an index.
    pub(crate) manifest: Option<Digest>,
    /// Bytes of its blobs.
    pub(crate) size: u64,
    pub(crate) created: Option<String>,
    pub(crate) layers: Vec<Digest>,
}

impl ListedImage {
    /// As the caller would write it.
    pub(crate) fn reference(&self, directory: &Path) -> Reference {
        let name = ImageName { tag: self.tag.clone(), digest: Some(self.digest.clone()) };
        Reference::Layout { directory: directory.to_owned(), name }
    }
}

/// The images in the order of the index.
pub(crate) fn list(directory: &Path) -> Result<Vec<ListedImage>, LayoutError> {
    let index = Layout::new(directory).index()?;
    let listed = |descriptor: &Descriptor| {
        let (tag, digest) = (tag_of(descriptor).map(str::to_owned), descriptor.digest().clone());
        let mut image = ListedImage { tag, digest, facts: Err(String::new()) };
        image.facts = facts(&image.reference(directory), directory);
        image
    };
    Ok(index.manifests().iter().map(listed).collect())
}

fn facts(reference: &Reference, scratch: &Path) -> Result<Facts, String> {
    let source = ImageSource::open(reference, None, scratch).map_err(|error| with_sources(&error))?;
    let manifest = source.manifest().map_err(|error| with_sources(&error))?;
    let blobs = manifest.iter().flat_map(|manifest| {
        std::iter::once(manifest.document.config()).chain(manifest.document.layers()).map(Descriptor::size)
    });
    Ok(Facts {
        size: blobs.sum(),
        manifest: manifest.as_ref().map(|manifest| manifest.descriptor.digest().clone()),
        created: source.image.config.created().clone(),
        layers: source.image.layers.iter().map(|layer| layer.diff_id.clone()).collect(),
    })
}
