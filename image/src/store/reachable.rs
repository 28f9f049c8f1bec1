//! What the index of a layout leads to.

use crate::oci::graph::{Blobs, DOCUMENT_LIMIT, GraphError, read_bytes};
use oci_spec::image::{Descriptor, Digest, ImageIndex};
use serde_json::Value;
use std::collections::HashSet;
use std::io;

/// Blobs, and the layers that images have.
#[derive(Debug, Default)]
pub(super) struct Reachable {
    /// Digests.
    pub(super) blobs: HashSet<String>,
    /// The diff ids of each image, lowest first.
    pub(super) images: Vec<Vec<Digest>>,
}

/// Follows all descriptors of the index, also those of documents of unknown kinds, of signatures for
/// instance. What is missing leads to nothing. Errors: a document that is there is corrupt, so that nothing
/// may be said of what it leads to.
pub(super) fn find(blobs: &dyn Blobs, index: &ImageIndex) -> Result<Reachable, GraphError> {
    let mut found = Reachable::default();
    let mut todo: Vec<Descriptor> = index.manifests().clone();
    while let Some(descriptor) = todo.pop() {
        let is_new = found.blobs.insert(descriptor.digest().to_string());
        if !is_new || descriptor.size() > DOCUMENT_LIMIT {
            continue;
        }
        let Some(document) = read(blobs, &descriptor, "manifest")? else { continue };
        todo.extend(descriptors(&document["manifests"]));
        let parts = ["config", "subject"].map(|key| descriptor_of(&document[key])).into_iter().flatten();
        let parts = parts.chain(descriptors(&document["layers"])).chain(descriptors(&document["blobs"]));
        found.blobs.extend(parts.map(|part| part.digest().to_string()));
        if let Some(config) = descriptor_of(&document["config"])
            && config.size() <= DOCUMENT_LIMIT
            && let Some(config) = read(blobs, &config, "image config")?
            && let Some(ids) = config["rootfs"]["diff_ids"].as_array()
        {
            found.images.push(ids.iter().filter_map(|id| id.as_str()?.parse().ok()).collect());
        }
    }
    Ok(found)
}

/// A document; `None` where it is missing, or is not JSON.
fn read(blobs: &dyn Blobs, descriptor: &Descriptor, kind: &'static str) -> Result<Option<Value>, GraphError> {
    match read_bytes(blobs, descriptor, kind) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
        Err(GraphError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn descriptors(value: &Value) -> impl Iterator<Item = Descriptor> {
    value.as_array().into_iter().flatten().filter_map(descriptor_of)
}

fn descriptor_of(value: &Value) -> Option<Descriptor> {
    serde_json::from_value(value.clone()).ok()
}
