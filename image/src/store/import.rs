//! Copies an image of a layout or an archive into another layout.

use super::layout::{LayoutError, LayoutWriter};
use super::transfer::{MovedBlob, Transfer, Way, distinct};
use crate::layer::compress::{Compression, Encoder};
use crate::oci::blob::{BlobError, VerifyingReader};
use crate::oci::graph::{GraphError, Layer};
use crate::progress::Progress;
use crate::sandbox::decoder::Decoder;
use crate::source::image::{ImageSource, Manifest};
use oci_spec::image::{Descriptor, Digest, MediaType};
use serde_json::json;
use std::io;

/// Uncompressed bytes of a layer at most.
const BYTE_LIMIT: u64 = 128 << 30;

/// Why an image was not copied.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImportError {
    #[error(transparent)]
    Graph(#[from] GraphError),
    #[error(transparent)]
    Blob(#[from] BlobError),
    #[error("copy blob {digest}")]
    Copy { digest: Digest, source: io::Error },
    #[error("make the manifest")]
    Manifest(#[source] serde_json::Error),
    #[error(transparent)]
    Layout(#[from] LayoutError),
}

/// Copies the image into `layout`, in which it gets the tag `tag`: as it is; one that has no manifest (of a
/// docker archive) with its layers compressed by gzip.
pub(crate) fn import(source: &ImageSource, layout: &LayoutWriter, tag: Option<&str>) -> Result<Transfer, ImportError> {
    let (manifest, blobs) = match source.manifest()? {
        Some(manifest) => (manifest.descriptor.clone(), copy(source, &manifest, layout)?),
        None => convert(source, layout)?,
    };
    let value = serde_json::to_value(&manifest).map_err(ImportError::Manifest)?;
    layout.set_image(value, tag)?;
    Ok(Transfer { digest: manifest.digest().clone(), blobs })
}

fn copy(source: &ImageSource, manifest: &Manifest, layout: &LayoutWriter) -> Result<Vec<MovedBlob>, ImportError> {
    let wanted = distinct(std::iter::once(manifest.document.config()).chain(manifest.document.layers()));
    let progress = Progress::of_bytes("copy", wanted.iter().map(|blob| blob.size()).sum());
    let mut moved = Vec::new();
    for blob in wanted {
        let digest = blob.digest();
        if layout.has_blob(digest, blob.size()) {
            progress.add(blob.size());
            moved.push(MovedBlob::new(blob, Way::Present));
            continue;
        }
        let failed = |source| ImportError::Copy { digest: digest.clone(), source };
        let bytes = source.blobs().open(digest).map_err(failed)?;
        let mut bytes = VerifyingReader::of_descriptor(progress.count(bytes), blob)?;
        let (mut writer, path) = layout.new_blob()?;
        io::copy(&mut bytes, &mut writer).and_then(|_| bytes.finish()).map_err(failed)?;
        layout.keep(&layout.end_blob(writer, path)?)?;
        moved.push(MovedBlob::new(blob, Way::Moved));
    }
    // After what it leads to.
    layout.add_bytes(&manifest.bytes)?;
    Ok(moved)
}

/// Makes a manifest. The config stays as it is.
fn convert(source: &ImageSource, layout: &LayoutWriter) -> Result<(Descriptor, Vec<MovedBlob>), ImportError> {
    let added = layout.add_bytes(source.config().unwrap_or_default())?;
    let config = Descriptor::new(MediaType::ImageConfig, added.size, added.digest);
    let mut layers = Vec::new();
    for layer in &source.image.layers {
        layers.push(compress(source, layer, layout)?);
    }
    let moved = std::iter::once(&config).chain(&layers).map(|blob| MovedBlob::new(blob, Way::Moved)).collect();
    let media_type = MediaType::ImageManifest;
    let manifest = json!({ "schemaVersion": 2, "mediaType": media_type, "config": config, "layers": layers });
    let added = layout.add_document(&manifest)?;
    Ok((Descriptor::new(media_type, added.size, added.digest), moved))
}

/// Of its uncompressed bytes the digest is known.
fn compress(source: &ImageSource, layer: &Layer, layout: &LayoutWriter) -> Result<Descriptor, ImportError> {
    let failed = |source| ImportError::Copy { digest: layer.diff_id.clone(), source };
    let blob = source.blobs().open(layer.digest()).map_err(failed)?;
    let plain = Decoder::start(blob, BYTE_LIMIT).map_err(failed)?;
    let mut plain = VerifyingReader::of_digest(plain, &layer.diff_id)?;
    let (writer, path) = layout.new_blob()?;
    let mut encoder = Encoder::new(writer, Compression::Gzip).map_err(failed)?;
    io::copy(&mut plain, &mut encoder).and_then(|_| plain.finish()).map_err(failed)?;
    let blob = layout.end_blob(encoder.finish().map_err(failed)?, path)?;
    layout.keep(&blob)?;
    Ok(Descriptor::new(MediaType::ImageLayerGzip, blob.size, blob.digest))
}
