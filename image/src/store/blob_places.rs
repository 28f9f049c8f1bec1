//! Which repositories of a registry have which blobs, as far as this user has sent or fetched them:
//! a blob that another repository has need not be sent, as the registry can take it from there. A
//! record is a hint: the registry decides, and knows blobs by digest.

use super::cache_dir::CacheDir;
use crate::oci::hash_write::digest_of;
use oci_spec::image::Digest;
use serde_json::{Value, json};

/// Repositories of a record at most, newest first.
const LIMIT: usize = 4;

/// The records.
#[derive(Debug, Clone)]
pub(crate) struct BlobPlaces(CacheDir);

impl BlobPlaces {
    pub(crate) fn of_user() -> Self {
        Self(CacheDir::of_user("blobs-1"))
    }

    /// Repositories of the registry that had the blob.
    pub(crate) fn find(&self, registry: &str, digest: &Digest) -> Vec<String> {
        let find = || -> Option<Vec<String>> {
            let record: Value = serde_json::from_slice(&self.0.find(&name(registry, digest)?)?).ok()?;
            let is_ours = record["registry"] == registry && record["digest"] == digest.to_string();
            let names = record["repositories"].as_array().filter(|_| is_ours)?;
            Some(names.iter().filter_map(|name| Some(name.as_str()?.to_owned())).take(LIMIT).collect())
        };
        find().unwrap_or_default()
    }

    /// Keeps that the repository has the blob.
    pub(crate) fn keep(&self, registry: &str, repository: &str, digest: &Digest) {
        let mut names = self.find(registry, digest);
        if names.first().is_some_and(|first| first == repository) {
            return;
        }
        names.retain(|name| name != repository);
        names.insert(0, repository.to_owned());
        names.truncate(LIMIT);
        if let Some(name) = name(registry, digest) {
            let record = json!({ "registry": registry, "digest": digest, "repositories": names });
            self.0.keep(&name, &record.to_string());
        }
    }
}

fn name(registry: &str, digest: &Digest) -> Option<String> {
    Some(digest_of(format!("{registry}\n{digest}\n").as_bytes()).ok()?.0.digest().to_owned())
}
