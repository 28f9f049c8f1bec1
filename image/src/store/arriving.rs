//! Unpacks layers of an image that is being fetched, each when its blob is there.

use super::layers::{LayerStore, Ready};
use crate::oci::graph::{Blobs, Image, parse_document, read_bytes};
use crate::source::oci_layout::Layout;
use oci_spec::image::{Digest, ImageManifest};
use std::sync::mpsc::{Receiver, Sender, channel};

/// What has come of an image, and was verified.
#[derive(Debug)]
pub(crate) enum Arrival {
    Manifest(Box<ImageManifest>),
    Blob(Digest),
}

impl LayerStore {
    /// Runs `fetch`, which fetches into the layout of images, and unpacks meanwhile. What can't be unpacked is
    /// tried again by [`LayerStore::unpack`], which says why; of an image that could not be fetched, what is
    /// whole is kept, until gc.
    pub(crate) fn unpack_while<T>(&self, fetch: impl FnOnce(&Sender<Arrival>) -> T) -> T {
        let (sender, arrivals) = channel();
        std::thread::scope(|scope| {
            scope.spawn(move || self.unpack_arriving(arrivals));
            let fetched = fetch(&sender);
            // The end of what arrives.
            drop(sender);
            fetched
        })
    }

    fn unpack_arriving(&self, arrivals: Receiver<Arrival>) -> Option<()> {
        let blobs = Layout::new(&self.images());
        let (mut manifest, mut there) = (None, Vec::new());
        let manifest: Box<ImageManifest> = loop {
            match arrivals.recv().ok()? {
                // Of several places that have the image the first one counts.
                Arrival::Manifest(new) => drop(manifest.get_or_insert(new)),
                Arrival::Blob(digest) => there.push(digest),
            }
            match manifest.take() {
                Some(whole) if there.contains(whole.config().digest()) => break whole,
                other => manifest = other,
            }
        };
        let layers = read_image(&blobs, &manifest)?.distinct_layers();
        let later = arrivals.into_iter().filter_map(|arrival| match arrival {
            Arrival::Blob(digest) => Some(digest),
            Arrival::Manifest(_) => None,
        });
        self.unpack_ready(&blobs, &layers, Ready::Arriving(&mut there.into_iter().chain(later))).ok()
    }
}

fn read_image(blobs: &dyn Blobs, manifest: &ImageManifest) -> Option<Image> {
    let bytes = read_bytes(blobs, manifest.config(), "image config").ok()?;
    let config = parse_document(&bytes, manifest.config(), "image config").ok()?;
    Image::new(config, manifest.layers().iter().cloned().map(Some).collect()).ok()
}
