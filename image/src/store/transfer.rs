//! What became of the blobs of an image on their way to or from a registry.

use oci_spec::image::{Descriptor, Digest};

/// An image that is where it was to go.
#[derive(Debug)]
pub(crate) struct Transfer {
    /// Of its manifest.
    pub(crate) digest: Digest,
    pub(crate) blobs: Vec<MovedBlob>,
}

/// A blob of it.
#[derive(Debug)]
pub(crate) struct MovedBlob {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    pub(crate) way: Way,
}

/// How a blob came there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// It was fetched or sent.
    Moved,
    /// The registry took it from another repository of its own.
    Mounted,
    /// It was there.
    Present,
}

impl Way {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Moved => "moved",
            Self::Mounted => "mounted",
            Self::Present => "present",
        }
    }
}

impl MovedBlob {
    pub(crate) fn new(blob: &Descriptor, way: Way) -> Self {
        Self { digest: blob.digest().clone(), size: blob.size(), way }
    }
}

/// Each once: an image may have a layer several times.
pub(crate) fn distinct<'a>(blobs: impl Iterator<Item = &'a Descriptor>) -> Vec<&'a Descriptor> {
    let mut seen = std::collections::HashSet::new();
    blobs.filter(|blob| seen.insert(blob.digest().to_string())).collect()
}
