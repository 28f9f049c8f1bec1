//! From an index or a manifest to one image: its config and its layers, each checked against the
//! descriptor that names it.

use super::blob::{BlobError, VerifyingReader, parse_digest};
use super::file_range::FileRange;
use super::platform::{NoPlatform, Platform, choose};
use oci_spec::image::{Descriptor, Digest, ImageConfiguration, ImageIndex, ImageManifest, MediaType, Os};
use serde::de::DeserializeOwned;
use std::collections::HashSet;
use std::io::{self, Read};
use std::path::PathBuf;

/// Bytes of a manifest, index or config at most, as in containerd and registries.
pub(crate) const DOCUMENT_LIMIT: u64 = 4 << 20;
/// Indexes within indexes at most.
const DEPTH_LIMIT: usize = 8;
/// Indexes that are read to find a digest, at most.
const INDEX_LIMIT: usize = 1000;
/// Layers of an image at most: overlayfs takes 500 lower directories.
const LAYER_LIMIT: usize = 490;

/// What has blobs: a layout, an archive. Several threads read from it.
pub(crate) trait Blobs: Sync {
    /// Opens the blob. Errors: it is missing.
    fn open(&self, digest: &Digest) -> io::Result<FileRange>;
    /// For messages.
    fn path(&self) -> PathBuf;
}

/// An image of one platform.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    /// `None` where it has none, as in a docker archive.
    pub(crate) manifest: Option<Descriptor>,
    pub(crate) config: ImageConfiguration,
    /// Lowest first.
    pub(crate) layers: Vec<Layer>,
}

/// A layer of an image.
#[derive(Debug, Clone)]
pub(crate) struct Layer {
    /// `None` where it is known by its diff id alone, as in a docker archive.
    pub(crate) blob: Option<Descriptor>,
    /// Of its uncompressed bytes.
    pub(crate) diff_id: Digest,
}

impl Layer {
    /// By which its bytes are asked for.
    pub(crate) fn digest(&self) -> &Digest {
        self.blob.as_ref().map_or(&self.diff_id, Descriptor::digest)
    }
}

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GraphError {
    #[error("blob {digest} in {place}")]
    Read { digest: Digest, place: PathBuf, source: io::Error },
    #[error("blob {digest}: {size} bytes are too many for a {kind}: {DOCUMENT_LIMIT} at most")]
    TooLarge { digest: Digest, kind: &'static str, size: u64 },
    #[error("{kind} {digest}")]
    Parse { kind: &'static str, digest: Digest, source: serde_json::Error },
    #[error("index {digest}: its indexes are nested more than {DEPTH_LIMIT} deep")]
    TooDeep { digest: Digest },
    #[error("{place}")]
    NoPlatform { place: PathBuf, source: NoPlatform },
    #[error("blob {digest}: {media_type} is no image")]
    NoImage { digest: Digest, media_type: MediaType },
    #[error("{layers} layers, but {diff_ids} diff ids in the image's config")]
    Uneven { layers: usize, diff_ids: usize },
    #[error("{0} layers are too many: {LAYER_LIMIT} at most")]
    TooManyLayers(usize),
    #[error("an image for {0}: only those for linux can run")]
    NotLinux(Os),
    #[error(transparent)]
    Blob(#[from] BlobError),
}

/// The image that `top` leads to. Of an index the one for `platform`, or for this machine; any other
/// image must be for `platform` where there is one.
pub(crate) fn find_image(
    blobs: &dyn Blobs,
    top: &Descriptor,
    platform: Option<&Platform>,
) -> Result<Image, GraphError> {
    let mut descriptor = top.clone();
    let mut unsure = platform;
    let wrong = |source| GraphError::NoPlatform { place: blobs.path(), source };
    for _ in 0..DEPTH_LIMIT {
        match descriptor.media_type() {
            _ if is_index(&descriptor) => {
                let index = read_document(blobs, &descriptor, "index")?;
                descriptor = choose(&index, platform).cloned().map_err(wrong)?;
                // Else it has one image, and names no platform.
                if descriptor.platform().is_some() {
                    unsure = None;
                }
            }
            other if is_manifest(other) => {
                let image = read_image(blobs, &descriptor)?;
                return unsure.map_or(Ok(()), |wanted| wanted.check(&image.config)).map_err(wrong).map(|()| image);
            }
            other => {
                return Err(GraphError::NoImage { digest: descriptor.digest().clone(), media_type: other.clone() });
            }
        }
    }
    Err(GraphError::TooDeep { digest: top.digest().clone() })
}

const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

fn read_image(blobs: &dyn Blobs, descriptor: &Descriptor) -> Result<Image, GraphError> {
    let manifest: ImageManifest = read_document(blobs, descriptor, "manifest")?;
    let config: ImageConfiguration = read_document(blobs, manifest.config(), "image config")?;
    let image = Image::new(config, manifest.layers().iter().cloned().map(Some).collect())?;
    Ok(Image { manifest: Some(descriptor.clone()), ..image })
}

impl Image {
    /// From the parts of an image, its layers lowest first.
    pub(crate) fn new(config: ImageConfiguration, blobs: Vec<Option<Descriptor>>) -> Result<Self, GraphError> {
        let diff_ids = config.rootfs().diff_ids();
        if blobs.len() != diff_ids.len() {
            return Err(GraphError::Uneven { layers: blobs.len(), diff_ids: diff_ids.len() });
        }
        if blobs.len() > LAYER_LIMIT {
            return Err(GraphError::TooManyLayers(blobs.len()));
        }
        if *config.os() != Os::Linux {
            return Err(GraphError::NotLinux(config.os().clone()));
        }
        let layers = blobs.into_iter().zip(diff_ids).map(|(blob, id)| Ok(Layer { blob, diff_id: parse_digest(id)? }));
        Ok(Self { manifest: None, layers: layers.collect::<Result<_, BlobError>>()?, config })
    }
}

impl Image {
    /// The layers, lowest first, each once: overlayfs refuses the same directory twice. Of a layer that
    /// comes again, the highest counts, as it has everything that the lower one has.
    pub(crate) fn distinct_layers(&self) -> Vec<Layer> {
        let mut seen = HashSet::new();
        let mut layers: Vec<_> =
            self.layers.iter().rev().filter(|layer| seen.insert(layer.diff_id.to_string())).cloned().collect();
        layers.reverse();
        layers
    }
}

/// Descriptors of an index and of the indexes in it with this digest: the first one.
pub(crate) fn find_digest(
    blobs: &dyn Blobs,
    index: &ImageIndex,
    digest: &Digest,
) -> Result<Option<Descriptor>, GraphError> {
    let mut todo: Vec<(usize, Descriptor)> = index.manifests().iter().rev().map(|found| (0, found.clone())).collect();
    let mut seen = HashSet::new();
    while let Some((depth, descriptor)) = todo.pop() {
        if descriptor.digest() == digest {
            return Ok(Some(descriptor));
        }
        let nested = is_index(&descriptor) && depth < DEPTH_LIMIT && seen.len() < INDEX_LIMIT;
        if nested && seen.insert(descriptor.digest().to_string()) {
            let inner: ImageIndex = read_document(blobs, &descriptor, "index")?;
            todo.extend(inner.manifests().iter().rev().map(|found| (depth + 1, found.clone())));
        }
    }
    Ok(None)
}

fn is_manifest(media_type: &MediaType) -> bool {
    match media_type {
        MediaType::ImageManifest => true,
        MediaType::Other(name) => name == DOCKER_MANIFEST,
        _ => false,
    }
}

fn is_index(descriptor: &Descriptor) -> bool {
    match descriptor.media_type() {
        MediaType::ImageIndex => true,
        MediaType::Other(name) => name == DOCKER_LIST,
        _ => false,
    }
}

/// A JSON document, verified before it is parsed.
fn read_document<T: DeserializeOwned>(
    blobs: &dyn Blobs,
    descriptor: &Descriptor,
    kind: &'static str,
) -> Result<T, GraphError> {
    parse_document(&read_bytes(blobs, descriptor, kind)?, descriptor, kind)
}

/// Parses a document that was read.
pub(crate) fn parse_document<T: DeserializeOwned>(
    bytes: &[u8],
    descriptor: &Descriptor,
    kind: &'static str,
) -> Result<T, GraphError> {
    let digest = descriptor.digest().clone();
    serde_json::from_slice(bytes).map_err(|source| GraphError::Parse { kind, digest, source })
}

/// The verified bytes of a document.
pub(crate) fn read_bytes(
    blobs: &dyn Blobs,
    descriptor: &Descriptor,
    kind: &'static str,
) -> Result<Vec<u8>, GraphError> {
    let digest = descriptor.digest();
    if descriptor.size() > DOCUMENT_LIMIT {
        return Err(GraphError::TooLarge { digest: digest.clone(), kind, size: descriptor.size() });
    }
    let failed = |source| GraphError::Read { digest: digest.clone(), place: blobs.path(), source };
    let mut reader = VerifyingReader::of_descriptor(blobs.open(digest).map_err(failed)?, descriptor)?;
    let mut text = Vec::new();
    reader.read_to_end(&mut text).and_then(|_| reader.finish()).map_err(failed)?;
    Ok(text)
}
