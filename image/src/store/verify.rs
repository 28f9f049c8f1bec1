//! Finds what is broken in images and in unpacked layers.

use super::compare;
use super::layers::{LayerStore, StoreError};
use super::staging::StagingDir;
use super::text::with_sources;
use super::transfer::distinct;
use crate::oci::blob::{BlobError, VerifyingReader};
use crate::oci::graph::{Blobs, Layer};
use crate::progress::Progress;
use crate::sandbox::decoder::Decoder;
use crate::source::image::ImageSource;
use oci_spec::image::{Descriptor, Digest};
use std::collections::HashSet;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

/// Uncompressed bytes of a layer at most.
const BYTE_LIMIT: u64 = 128 << 30;

/// What was looked at, and what is wrong with it.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) blobs: usize,
    pub(crate) layers: usize,
    /// Unpacked layers whose archives are not in the store.
    pub(crate) unknown: Vec<PathBuf>,
    /// What is broken, and how.
    pub(crate) broken: Vec<(String, String)>,
    seen: HashSet<String>,
}

impl Findings {
    /// Something that is broken, as an error says.
    pub(crate) fn add(&mut self, what: String, error: &dyn std::error::Error) {
        self.broken.push((what, with_sources(error)));
    }

    /// Reads all blobs of an image, each once.
    pub(crate) fn check_image(&mut self, name: &str, source: &ImageSource) {
        match source.manifest() {
            Ok(Some(manifest)) => {
                let wanted = distinct(std::iter::once(manifest.document.config()).chain(manifest.document.layers()));
                let progress = Progress::of_bytes("verify", wanted.iter().map(|blob| blob.size()).sum());
                for blob in wanted {
                    self.check(blob.digest(), |digest| check_blob(source.blobs(), digest, blob, &progress));
                }
            }
            // Its layers are known by their uncompressed bytes.
            Ok(None) => {
                for layer in &source.image.layers {
                    self.check(&layer.diff_id, |digest| check_layer(source.blobs(), digest));
                }
            }
            Err(error) => self.add(format!("image {name}"), &error),
        }
    }

    fn check(&mut self, digest: &Digest, check: impl FnOnce(&Digest) -> io::Result<()>) {
        if self.seen.insert(digest.to_string()) {
            self.blobs += 1;
            if let Err(error) = check(digest) {
                self.add(format!("blob {digest}"), &error);
            }
        }
    }

    /// Unpacks a layer anew beside the store's, and compares them.
    pub(crate) fn check_unpacked(
        &mut self,
        store: &LayerStore,
        blobs: &dyn Blobs,
        layer: &Layer,
    ) -> Result<(), StoreError> {
        let place = store.place(&layer.diff_id);
        if !place.is_dir() || !self.seen.insert(place.display().to_string()) {
            return Ok(());
        }
        self.layers += 1;
        let staging = StagingDir::beside(&store.root().join("layers"));
        let made = staging.and_then(|staging| {
            let directory = staging.path().join("layer");
            DirBuilder::new().mode(0o700).create(&directory).map(|()| (staging, directory))
        });
        let failed =
            |source| StoreError::Io { operation: "make a directory in", path: store.root().to_owned(), source };
        let (staging, directory) = made.map_err(failed)?;
        let what = format!("layer {}", place.display());
        match store.unpack_at(&directory, blobs, layer, &staging) {
            Ok(()) => match compare::difference(&directory, &place) {
                Ok(None) => {}
                Ok(Some((path, how))) => self.broken.push((what, format!("{}: {how}", path.display()))),
                Err(error) => self.add(what, &error),
            },
            Err(error) => self.add(format!("{what}: can't be compared"), &error),
        }
        Ok(())
    }

    /// The layers of the store that were not compared with anything.
    pub(crate) fn add_unknown(&mut self, store: &LayerStore) -> Result<(), StoreError> {
        for algorithm in ["sha256", "sha512"] {
            let directory = store.root().join(algorithm);
            let list = || -> io::Result<Vec<PathBuf>> {
                fs::read_dir(&directory)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()
            };
            let mut paths = match list() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                result => result.map_err(|source| StoreError::Io { operation: "read", path: directory, source })?,
            };
            paths.retain(|path| path.is_dir() && !self.seen.contains(&path.display().to_string()));
            paths.sort();
            self.unknown.append(&mut paths);
        }
        Ok(())
    }
}

fn check_blob(blobs: &dyn Blobs, digest: &Digest, blob: &Descriptor, progress: &Progress) -> io::Result<()> {
    let reader = progress.count(blobs.open(digest)?);
    VerifyingReader::of_descriptor(reader, blob).map_err(other)?.finish()
}

fn check_layer(blobs: &dyn Blobs, diff_id: &Digest) -> io::Result<()> {
    let plain = Decoder::start(blobs.open(diff_id)?, BYTE_LIMIT)?;
    VerifyingReader::of_digest(plain, diff_id).map_err(other)?.finish()
}

fn other(error: BlobError) -> io::Error {
    io::Error::other(error)
}
