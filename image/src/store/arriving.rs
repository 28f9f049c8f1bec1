//! Unpacks layers of an image that is being fetched, each while its blob comes.

use super::layers::{LayerStore, Ready};
use crate::oci::file_range::FileRange;
use crate::oci::graph::{Blobs, Image, parse_document, read_bytes};
use crate::source::oci_layout::Layout;
use oci_spec::image::{Digest, ImageManifest};
use std::sync::mpsc::{Receiver, Sender, channel};

/// What comes of an image.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// The manifest, verified.
    Manifest(Box<ImageManifest>),
    /// A blob that can be read. Its bytes are verified when all of them are there: until then it may be
    /// another one.
    Begun(Digest, FileRange),
    /// A blob that was verified and is in the layout.
    Whole(Digest),
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
        let (mut manifest, mut begun, mut whole) = (None, Vec::new(), Vec::new());
        let manifest: Box<ImageManifest> = loop {
            match arrivals.recv().ok()? {
                // Of several places that have the image the first one counts.
                Arrival::Manifest(new) => drop(manifest.get_or_insert(new)),
                Arrival::Begun(digest, blob) => begun.push((digest, blob)),
                Arrival::Whole(digest) => whole.push(digest),
            }
            match manifest.take() {
                Some(known) if whole.contains(known.config().digest()) => break known,
                other => manifest = other,
            }
        };
        let layers = read_image(&blobs, &manifest)?.distinct_layers();
        let later = arrivals.into_iter().filter_map(|arrival| match arrival {
            Arrival::Begun(digest, blob) => Some((digest, blob)),
            Arrival::Manifest(_) | Arrival::Whole(_) => None,
        });
        self.unpack_ready(&blobs, &layers, Ready::Arriving(&mut begun.into_iter().chain(later))).ok()
    }
}

fn read_image(blobs: &dyn Blobs, manifest: &ImageManifest) -> Option<Image> {
    let bytes = read_bytes(blobs, manifest.config(), "image config").ok()?;
    let config = parse_document(&bytes, manifest.config(), "image config").ok()?;
    Image::new(config, manifest.layers().iter().cloned().map(Some).collect()).ok()
}
