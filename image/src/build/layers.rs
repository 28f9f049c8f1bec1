//! Writes the layers of an image, several at a time. What a layer becomes does not depend on which
//! others are written beside it, nor on their number.

use super::plan::{LayerSource, Plan};
use crate::layer::compress::Encoder;
use crate::layer::generated;
use crate::layer::pack::{PackError, Packer, Rules};
use crate::oci::hash_write::HashingWriter;
use crate::progress::Progress;
use crate::store::layer_cache::{KnownLayer, LayerKey};
use crate::store::layout::{LayoutError, LayoutWriter};
use oci_spec::image::Digest;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// A layer in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WrittenLayer {
    pub(crate) blob: KnownLayer,
    /// It was where the image goes before, and was not packed.
    pub(crate) reused: bool,
    /// Sockets of a directory, for which archives have no entries.
    pub(crate) left_out: Vec<PathBuf>,
}

/// Why a layer was not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LayerError {
    #[error("layer {layer}")]
    Pack { layer: String, source: PackError },
    #[error("layer {layer}: compress")]
    Compress { layer: String, source: io::Error },
    #[error(transparent)]
    Layout(#[from] LayoutError),
}

/// Writes all layers of the plan; the result has their order.
pub(super) fn write_all(
    plan: &Plan,
    layout: &LayoutWriter,
    present: &[Digest],
) -> Result<Vec<WrittenLayer>, LayerError> {
    let count = plan.layers.len();
    let written: Vec<_> = (0..count).map(|_| Mutex::new(None)).collect();
    let progress = Progress::of_layers(count);
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let work = || {
        // The last layer of a closure is mostly the largest: it is not left for the end.
        while !failed.load(Ordering::Relaxed)
            && let Some(at) = count.checked_sub(1 + next.fetch_add(1, Ordering::Relaxed))
        {
            let result = write_layer(plan, &plan.layers[at], layout, present, &progress);
            progress.layer_done();
            failed.fetch_or(result.is_err(), Ordering::Relaxed);
            *written[at].lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..plan.jobs.min(count) {
            scope.spawn(work);
        }
        work();
    });
    let results = written.into_iter().filter_map(|slot| slot.into_inner().unwrap_or_else(PoisonError::into_inner));
    results.collect()
}

/// What the layers of the plan became in earlier builds, as far as that is known.
pub(super) fn known_layers(plan: &Plan) -> Vec<Digest> {
    plan.layers.iter().filter_map(|layer| Some(plan.cache.find(&cache_key(plan, layer)?)?.digest)).collect()
}

/// `None` for a directory, whose contents may change at any time.
fn cache_key(plan: &Plan, layer: &LayerSource) -> Option<LayerKey> {
    match layer {
        LayerSource::Directory(_) | LayerSource::Generated { .. } => None,
        LayerSource::StorePaths(paths) => LayerKey::new(&plan.store, paths, plan.compression).ok(),
    }
}

/// Writes a layer, unless the layout has what it became in an earlier build, or it is present where the
/// image goes.
fn write_layer(
    plan: &Plan,
    layer: &LayerSource,
    layout: &LayoutWriter,
    present: &[Digest],
    progress: &Progress,
) -> Result<WrittenLayer, LayerError> {
    let key = cache_key(plan, layer);
    let known = key.as_ref().and_then(|key| plan.cache.find(key));
    let is_there = |known: &KnownLayer| present.contains(&known.digest) || layout.has_blob(&known.digest, known.size);
    if let Some(blob) = known.filter(is_there) {
        return Ok(WrittenLayer { blob, reused: true, left_out: Vec::new() });
    }
    let written = pack_layer(plan, layer, layout, progress)?;
    if let Some(key) = &key {
        plan.cache.keep(key, &written.blob);
    }
    Ok(written)
}

fn pack_layer(
    plan: &Plan,
    layer: &LayerSource,
    layout: &LayoutWriter,
    progress: &Progress,
) -> Result<WrittenLayer, LayerError> {
    let compress = |source| LayerError::Compress { layer: layer.to_string(), source };
    let (blob, path) = layout.new_blob()?;
    let archive = HashingWriter::new(Encoder::new(blob, plan.compression).map_err(compress)?);
    let packed = pack(plan, layer, progress.count(archive));
    let (archive, left_out) = packed.map_err(|source| LayerError::Pack { layer: layer.to_string(), source })?;
    let (encoder, diff_id, _) = archive.inner.finish().map_err(compress)?;
    let blob = layout.end_blob(encoder.finish().map_err(compress)?, path)?;
    layout.keep(&blob)?;
    let blob = KnownLayer { digest: blob.digest, size: blob.size, diff_id };
    Ok(WrittenLayer { blob, reused: false, left_out })
}

/// Writes a layer's archive; also what is not in it.
fn pack<W: Write>(plan: &Plan, layer: &LayerSource, archive: W) -> Result<(W, Vec<PathBuf>), PackError> {
    match layer {
        LayerSource::Directory(directory) => {
            let mut packer = Packer::new(archive, Rules::Layer { latest: plan.epoch });
            packer.pack_root(directory)?;
            packer.finish()
        }
        LayerSource::Generated { files, .. } => {
            Ok((generated::pack(files, archive).map_err(PackError::Finish)?, Vec::new()))
        }
        LayerSource::StorePaths(paths) => {
            let mut packer = Packer::new(archive, Rules::StorePath);
            packer.pack_store_paths(plan.store.dir(), paths)?;
            packer.finish()
        }
    }
}
