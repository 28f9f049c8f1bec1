//! The image's documents: configuration and manifest (image-spec 1.1).

use super::layers::WrittenLayer;
use super::options;
use super::plan::{LayerSource, Plan};
use serde_json::{Value, json};
use std::time::{Duration, UNIX_EPOCH};

pub(super) const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
pub(super) const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
/// Without SOURCE_DATE_EPOCH: the time that store paths have.
const DEFAULT_TIME: i64 = 1;

/// The configuration. It says nothing of the machine, nor of when the image was built.
pub(super) fn config(plan: &Plan, layers: &[WrittenLayer]) -> Value {
    let seconds = plan.epoch.unwrap_or(DEFAULT_TIME);
    let created = firn::time::rfc3339(UNIX_EPOCH + Duration::from_secs(seconds.max(0).unsigned_abs()));
    let history: Vec<Value> = plan.layers.iter().map(|layer| history(layer, &created)).collect();
    let diff_ids: Vec<String> = layers.iter().map(|layer| layer.blob.diff_id.to_string()).collect();
    let mut config = json!({
        "created": created,
        "architecture": plan.platform.architecture(),
        "os": "linux",
        "config": options::config(&plan.options),
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
        "history": history,
    });
    if let Some(variant) = plan.platform.variant_given() {
        config["variant"] = json!(variant);
    }
    config
}

fn history(layer: &LayerSource, created: &str) -> Value {
    let mut entry = json!({ "created": created, "created_by": "firn-image build" });
    // Not a directory's name, which is the building machine's.
    match layer {
        LayerSource::Directory(_) => {}
        LayerSource::Generated { what, .. } => entry["comment"] = json!(what),
        LayerSource::StorePaths(paths) => match &paths[..] {
            [path] => entry["comment"] = json!(path.to_string()),
            paths => entry["comment"] = json!(format!("{} store paths", paths.len())),
        },
    }
    entry
}

/// The manifest.
pub(super) fn manifest(plan: &Plan, config: Value, layers: &[WrittenLayer]) -> Value {
    let media_type = plan.compression.media_type();
    let layers: Vec<Value> =
        layers.iter().map(|layer| descriptor(media_type, layer.blob.digest.as_ref(), layer.blob.size)).collect();
    json!({ "schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": config, "layers": layers })
}

/// A descriptor (image-spec, "descriptor.md").
pub(super) fn descriptor(media_type: &str, digest: &str, size: u64) -> Value {
    json!({ "mediaType": media_type, "digest": digest, "size": size })
}
