//! What layers of store paths became, from build to build, so that a layer that a layout has already
//! is not packed again.
//!
//! A record says what this program made of the paths; the blob is in the layout, and counts only if
//! its bytes have the recorded digest. Records are not kept in the layout: it may have images of
//! others, which could claim that a layer of theirs is one of well-known store paths.

use super::cache_dir::CacheDir;
use crate::layer::compress::Compression;
use crate::oci::hash_write::digest_of;
use crate::source::nix::store_path::{Store, StorePath};
use oci_spec::image::Digest;
use serde_json::{Value, json};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;

/// The form of records and of layers: to be raised with each change of either, such as another
/// compressor.
const FORM: u32 = 1;

/// The records.
#[derive(Debug, Clone, Default)]
pub(crate) struct LayerCache(CacheDir);

/// What a layer became.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KnownLayer {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    pub(crate) diff_id: Digest,
}

/// A layer's name in the cache, and the state of its paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LayerKey {
    name: String,
    state: String,
}

impl LayerKey {
    /// Of paths of a store. A path's contents don't change, but it may be collected and built again,
    /// not always to the same bytes: its inode and change time are part of the state. Errors: a path
    /// does not exist.
    pub(crate) fn new(store: &Store, paths: &[StorePath], compression: Compression) -> io::Result<Self> {
        let mut name = format!("{}\n{}\n", store.dir().display(), compression.name());
        let mut state = String::new();
        for path in paths {
            let meta = fs::symlink_metadata(store.locate(path))?;
            name += &format!("{path}\n");
            state += &format!("{} {}.{}\n", meta.ino(), meta.ctime(), meta.ctime_nsec());
        }
        let hex = |text: &str| Ok::<_, io::Error>(digest_of(text.as_bytes())?.0.digest().to_owned());
        Ok(Self { name: hex(&name)?, state: hex(&state)? })
    }
}

impl LayerCache {
    /// The cache of the user.
    pub(crate) fn of_user() -> Self {
        let (version, architecture) = (env!("CARGO_PKG_VERSION"), std::env::consts::ARCH);
        Self(CacheDir::of_user(&format!("layers-{FORM}-{version}-{architecture}")))
    }

    /// What the layer became when it was packed last.
    pub(crate) fn find(&self, key: &LayerKey) -> Option<KnownLayer> {
        let record: Value = serde_json::from_slice(&self.0.find(&key.name)?).ok()?;
        let digest = |key: &str| record[key].as_str()?.parse::<Digest>().ok();
        let (digest, diff_id) = (digest("digest")?, digest("diffId")?);
        let known = KnownLayer { digest, size: record["size"].as_u64()?, diff_id };
        // A record that the disk has damaged is none.
        (record == to_record(key, &known)?).then_some(known)
    }

    /// Keeps what the layer became. That it can't is no error: the next build packs it again.
    pub(crate) fn keep(&self, key: &LayerKey, layer: &KnownLayer) {
        if let Some(record) = to_record(key, layer) {
            self.0.keep(&key.name, &record.to_string());
        }
    }
}

/// With a checksum over the rest.
fn to_record(key: &LayerKey, layer: &KnownLayer) -> Option<Value> {
    let (digest, size, diff_id) = (&layer.digest, layer.size, &layer.diff_id);
    let text = format!("{}\n{}\n{digest}\n{size}\n{diff_id}\n", key.name, key.state);
    let (check, _) = digest_of(text.as_bytes()).ok()?;
    Some(json!({ "state": key.state, "digest": digest, "size": size, "diffId": diff_id, "check": check }))
}
