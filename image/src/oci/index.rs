//! Which image of a layout is meant.

use super::graph::{Blobs, GraphError, Image, find_digest, find_image};
use super::platform::Platform;
use super::reference::ImageName;
use oci_spec::image::{Descriptor, Digest, ImageIndex};
use std::path::PathBuf;

/// The annotation with the name of an image (image-spec, "annotations.md").
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// Why no image is meant.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IndexError {
    #[error("{place}: no image {tag:?}: it has {known}")]
    NoTag { place: PathBuf, tag: String, known: String },
    #[error("{place}: no image {digest}")]
    NoDigest { place: PathBuf, digest: Digest },
    #[error("{place}: image {tag:?} is {actual} by now, and not {wanted}")]
    OtherDigest { place: PathBuf, tag: String, wanted: String, actual: String },
    #[error("{place}: it has several images: give the name of one: it has {known}")]
    Ambiguous { place: PathBuf, known: String },
    #[error("{0}: it has no image")]
    Empty(PathBuf),
    #[error(transparent)]
    Graph(#[from] GraphError),
}

/// The image of the index of a layout with this name, the only one if there is none; for `platform`, or for
/// this machine.
pub(crate) fn choose_image(
    blobs: &dyn Blobs,
    index: &ImageIndex,
    name: &ImageName,
    platform: Option<&Platform>,
) -> Result<Image, IndexError> {
    let place = || blobs.path();
    let descriptor = match (&name.tag, &name.digest) {
        (Some(tag), wanted) => {
            let found = by_tag(index, tag).ok_or_else(|| no_tag(place(), tag, index))?;
            if let Some(wanted) = wanted.as_ref().filter(|wanted| *wanted != found.digest()) {
                let (wanted, actual) = (wanted.to_string(), found.digest().to_string());
                return Err(IndexError::OtherDigest { place: place(), tag: tag.clone(), wanted, actual });
            }
            found.clone()
        }
        (None, Some(digest)) => find_digest(blobs, index, digest)?
            .ok_or_else(|| IndexError::NoDigest { place: place(), digest: digest.clone() })?,
        (None, None) => match &index.manifests()[..] {
            [] => return Err(IndexError::Empty(place())),
            [only] => only.clone(),
            _ => return Err(IndexError::Ambiguous { place: place(), known: known(index) }),
        },
    };
    Ok(find_image(blobs, &descriptor, platform)?)
}

fn by_tag<'a>(index: &'a ImageIndex, tag: &str) -> Option<&'a Descriptor> {
    index.manifests().iter().find(|descriptor| tag_of(descriptor) == Some(tag))
}

/// The name of an image in an index.
pub(crate) fn tag_of(descriptor: &Descriptor) -> Option<&str> {
    descriptor.annotations().as_ref()?.get(REF_NAME).map(String::as_str)
}

fn no_tag(place: PathBuf, tag: &str, index: &ImageIndex) -> IndexError {
    IndexError::NoTag { place, tag: tag.into(), known: known(index) }
}

fn known(index: &ImageIndex) -> String {
    let tags: Vec<&str> = index.manifests().iter().filter_map(tag_of).collect();
    if tags.is_empty() { "none with a name".into() } else { tags.join(", ") }
}
