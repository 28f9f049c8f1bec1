//! All that an image is made from, looked up.

use super::options::Options;
use crate::layer::compress::Compression;
use crate::layer::generated::GeneratedFile;
use crate::oci::platform::Platform;
use crate::oci::target::Target;
use crate::source::nix::store_path::{Store, StorePath};
use crate::store::layer_cache::LayerCache;
use std::fmt;
use std::path::PathBuf;

/// An image to build.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) target: Target,
    /// Lowest first.
    pub(crate) layers: Vec<LayerSource>,
    pub(crate) store: Store,
    /// Store paths that must not be collected until the image is built.
    pub(crate) roots: Vec<StorePath>,
    /// What its programs are for.
    pub(crate) platform: Platform,
    pub(crate) options: Options,
    pub(crate) compression: Compression,
    /// What layers became in earlier builds.
    pub(crate) cache: LayerCache,
    /// Layers that are written at the same time.
    pub(crate) jobs: usize,
    /// Seconds since 1970: of the image, and the latest of a directory's files
    /// (SOURCE_DATE_EPOCH).
    pub(crate) epoch: Option<i64>,
}

/// What becomes a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LayerSource {
    Directory(PathBuf),
    /// Sorted.
    StorePaths(Vec<StorePath>),
    /// Files that are made here, and what they are.
    Generated {
        what: &'static str,
        files: Vec<GeneratedFile>,
    },
}

/// For messages.
impl fmt::Display for LayerSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(directory) => write!(f, "{}", directory.display()),
            Self::Generated { what, .. } => write!(f, "of {what}"),
            Self::StorePaths(paths) => match &paths[..] {
                [path] => write!(f, "of {path}"),
                paths => write!(f, "of {} store paths", paths.len()),
            },
        }
    }
}
