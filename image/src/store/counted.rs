//! A progress bar of layers that are unpacked, by the bytes of their blobs.

use crate::oci::graph::Layer;
use crate::progress::Progress;
use oci_spec::image::Descriptor;

/// The bar. Layers are unpacked by other processes, so each counts when it is done.
pub(super) struct CountedLayers {
    progress: Progress,
}

impl CountedLayers {
    pub(super) fn new(layers: &[&Layer]) -> Self {
        let total = layers.iter().map(|layer| size(layer)).sum();
        Self { progress: Progress::of_bytes("unpack", total) }
    }

    pub(super) fn is_done(&self, layer: &Layer) {
        self.progress.add(size(layer));
    }
}

fn size(layer: &Layer) -> u64 {
    layer.blob.as_ref().map_or(0, Descriptor::size)
}
