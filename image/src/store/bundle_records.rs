//! Which bundles use layers of the store: a small file for each in `bundles/` of the store, with the
//! bundle's place. What the bundle's firn.json names is used as long as it is there.

use super::layers::{LayerStore, StoreError};
use crate::oci::hash_write::digest_of;
use firn::spec::firn_config;
use oci_spec::image::Digest;
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

const DIRECTORY: &str = "bundles";

/// A record.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct BundleRecord {
    pub(crate) bundle: PathBuf,
    /// As the caller has written it; empty if the bundle has no image.
    pub(crate) image: String,
    /// Of its manifest.
    pub(crate) digest: Option<Digest>,
    /// As they were when the bundle was made.
    pub(crate) layers: Vec<PathBuf>,
}

/// A bundle that a record names.
#[derive(Debug)]
pub(crate) struct UsedBy {
    /// The record's file.
    pub(crate) file: PathBuf,
    pub(crate) record: BundleRecord,
    /// What it uses; `None` if it is gone, or uses nothing of the store any more.
    pub(crate) layers: Option<Vec<PathBuf>>,
}

impl LayerStore {
    /// Records a bundle before it is made: one that was killed in between is gone for
    /// [`LayerStore::bundles`].
    pub(crate) fn record_bundle(&self, record: &BundleRecord) -> Result<(), StoreError> {
        let directory = self.root().join(DIRECTORY);
        let bundle = record.bundle.as_os_str().as_encoded_bytes();
        let write = || -> io::Result<()> {
            DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
            let place = directory.join(format!("{}.json", digest_of(bundle)?.0.digest()));
            let new = directory.join(format!(".new-{}", std::process::id()));
            let mut file = File::create(&new)?;
            file.write_all(serde_json::to_string(record)?.as_bytes())?;
            // It is what keeps the layers, after a crash too.
            file.sync_data()?;
            fs::rename(&new, place)?;
            File::open(&directory)?.sync_all()
        };
        write().map_err(|source| StoreError::Io { operation: "record a bundle in", path: directory.clone(), source })
    }

    /// The bundles that are recorded, and what they use.
    pub(crate) fn bundles(&self) -> Result<Vec<UsedBy>, StoreError> {
        let directory = self.root().join(DIRECTORY);
        let failed = |source| StoreError::Io { operation: "read", path: directory.clone(), source };
        let entries = match fs::read_dir(&directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            result => result.map_err(failed)?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let file = entry.map_err(failed)?.path();
            if file.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let failed = |source| StoreError::Io { operation: "read the record", path: file.clone(), source };
            let text = fs::read(&file).map_err(failed)?;
            let record: BundleRecord = serde_json::from_slice(&text).map_err(|error| failed(error.into()))?;
            let layers = self.used_by(&record);
            found.push(UsedBy { file, record, layers });
        }
        found.sort_by(|a, b| a.record.bundle.cmp(&b.record.bundle));
        Ok(found)
    }

    fn used_by(&self, record: &BundleRecord) -> Option<Vec<PathBuf>> {
        let layers = match firn_config::read(&record.bundle) {
            Ok(None) => return None,
            Ok(Some((config, _))) => config.root.unwrap_or_default().layers,
            // Whatever is wrong with it: it may be repaired.
            Err(_) => record.layers.clone(),
        };
        let ours: Vec<_> = layers.into_iter().filter(|layer| layer.starts_with(self.root())).collect();
        (!ours.is_empty()).then_some(ours)
    }
}

/// Those of the bundles that were made from the image and are there.
pub(crate) fn made_from<'a>(bundles: &'a [UsedBy], digest: &Digest) -> Vec<&'a Path> {
    let of_image = |used: &&UsedBy| used.layers.is_some() && used.record.digest.as_ref() == Some(digest);
    bundles.iter().filter(of_image).map(|used| &*used.record.bundle).collect()
}
