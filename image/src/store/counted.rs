//! Blobs whose bytes are counted for a progress bar as they are unpacked.

use crate::oci::graph::{Blobs, Layer};
use crate::progress::Progress;
use oci_spec::image::{Descriptor, Digest};
use std::io::{self, Read};
use std::path::PathBuf;

/// The blobs of some layers.
pub(super) struct CountedBlobs<'a> {
    blobs: &'a dyn Blobs,
    progress: Progress,
}

impl<'a> CountedBlobs<'a> {
    pub(super) fn new(blobs: &'a dyn Blobs, layers: &[&Layer]) -> Self {
        let total = layers.iter().filter_map(|layer| layer.blob.as_ref()).map(Descriptor::size).sum();
        Self { blobs, progress: Progress::of_bytes("unpack", total) }
    }
}

impl Blobs for CountedBlobs<'_> {
    fn open(&self, digest: &Digest) -> io::Result<Box<dyn Read + '_>> {
        Ok(Box::new(self.progress.count(self.blobs.open(digest)?)))
    }

    fn path(&self) -> PathBuf {
        self.blobs.path()
    }
}
