//! Removes what nothing refers to: blobs that no image of a layout leads to, and unpacked layers that
//! neither an image nor a bundle nor a mount uses.
//!
//! Both are done under a lock that excludes all who add or use: they hold it shared from the moment at which
//! they count on a blob or layer until there is an image, or the record of a bundle.

use super::layers::{LayerStore, PARENTS, StoreError, parents_name};
use super::layout::BLOBS;
use super::lock::DirectoryLock;
use super::mounted;
use super::reachable::{self, Reachable};
use super::staging::StagingDir;
use crate::oci::graph::GraphError;
use crate::source::oci_layout::{Layout, LayoutError};
use oci_spec::image::Digest;
use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Bytes of the path of a layer at most, so that mountinfo shows it on every kernel (the limit of
/// fsconfig(2); `set_layer_option` of the runtime).
const PATH_LIMIT: usize = 255;
/// Digits of a layer's name at least.
const DIGITS: usize = 64;

/// Something that nothing refers to.
#[derive(Debug)]
pub(crate) struct Garbage {
    pub(crate) kind: Kind,
    pub(crate) path: PathBuf,
    /// Bytes on the disk.
    pub(crate) size: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Blob,
    Layer,
    /// Of a bundle that is gone.
    Record,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Blob => "blob",
            Self::Layer => "layer",
            Self::Record => "record",
        }
    }
}

/// Why nothing was removed, or not all.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GcError {
    #[error("{operation} {path}")]
    Io { operation: &'static str, path: PathBuf, source: io::Error },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error("images of {layout}: run `firn-image verify`, and pull or remove what is broken")]
    Graph { layout: PathBuf, source: GraphError },
    #[error("layer store {0}: its path is too long for all kernels to show which of its layers are mounted")]
    TooLong(PathBuf),
}

/// Removes what the store, opened alone, has for nothing; with `dry_run`, only lists it.
pub(crate) fn collect_store(store: &LayerStore, dry_run: bool) -> Result<Vec<Garbage>, GcError> {
    if store.root().as_os_str().len() + DIGITS * 2 + 16 > PATH_LIMIT {
        return Err(GcError::TooLong(store.root().to_owned()));
    }
    let images = store.images();
    let lock = if images.join(BLOBS).is_dir() { Some(lock(&images)?) } else { None };
    let reachable = if lock.is_some() { read_layout(&images)? } else { Reachable::default() };
    let mut garbage = unused_layers(store, &reachable)?;
    if lock.is_some() {
        garbage.extend(unused_blobs(&images, &reachable)?);
    }
    if !dry_run {
        remove(&garbage, &store.root().join("layers"))?;
    }
    Ok(garbage)
}

/// Removes the blobs of a layout that no image leads to.
pub(crate) fn collect_layout(directory: &Path, dry_run: bool) -> Result<Vec<Garbage>, GcError> {
    let directory = fs::canonicalize(directory).map_err(io_error("open the image layout", directory))?;
    // Before the lock: what is no layout has none.
    read_layout(&directory)?;
    let _lock = lock(&directory)?;
    let garbage = unused_blobs(&directory, &read_layout(&directory)?)?;
    if !dry_run {
        remove(&garbage, &directory.join(BLOBS))?;
    }
    Ok(garbage)
}

fn lock(layout: &Path) -> Result<DirectoryLock, GcError> {
    let blobs = layout.join(BLOBS);
    DirectoryLock::alone(&blobs).map_err(io_error("lock", &blobs))
}

fn read_layout(directory: &Path) -> Result<Reachable, GcError> {
    let layout = Layout::new(directory);
    let graph = |source| GcError::Graph { layout: directory.to_owned(), source };
    reachable::find(&layout, &layout.index()?).map_err(graph)
}

fn unused_blobs(layout: &Path, reachable: &Reachable) -> Result<Vec<Garbage>, GcError> {
    let mut garbage = Vec::new();
    for algorithm in ["sha256", "sha512"] {
        for path in entries(&layout.join(BLOBS).join(algorithm))? {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let meta = fs::symlink_metadata(&path).map_err(io_error("look at", &path))?;
            if is_digits(&name) && meta.is_file() && !reachable.blobs.contains(&format!("{algorithm}:{name}")) {
                garbage.push(Garbage { kind: Kind::Blob, size: meta.blocks() * 512, path });
            }
        }
    }
    Ok(garbage)
}

/// Layers and records. The records are read before the mounts: a container that is being started has a
/// bundle now, or a mount then.
fn unused_layers(store: &LayerStore, reachable: &Reachable) -> Result<Vec<Garbage>, GcError> {
    let mut garbage = Vec::new();
    let mut used: HashSet<PathBuf> = HashSet::new();
    for bundle in store.bundles()? {
        match bundle.layers {
            Some(layers) => used.extend(layers),
            None => garbage.push(Garbage { kind: Kind::Record, path: bundle.file, size: 0 }),
        }
    }
    for diff_ids in &reachable.images {
        used.extend(diff_ids.iter().map(|diff_id| store.place(diff_id)));
        used.insert(store.root().join(PARENTS).join(parents_name(distinct(diff_ids).into_iter())));
    }
    let mounted = mounted::names().map_err(io_error("read the mounts of", Path::new("/proc")))?;
    for directory in ["sha256", "sha512", PARENTS] {
        let directory = store.root().join(directory);
        for path in entries(&directory)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let layer = match name.strip_prefix('.').and_then(|hidden| hidden.split_once('.')) {
                // A file beside a layer.
                Some((layer, _)) => layer,
                None => &name,
            };
            if is_digits(layer) && !used.contains(&directory.join(layer)) && !mounted.contains(layer) {
                // What has longer paths than the kernel takes at once is not counted.
                let size = size_of(&path).unwrap_or(0);
                garbage.push(Garbage { kind: Kind::Layer, path, size });
            }
        }
    }
    Ok(garbage)
}

/// Each once, as [`crate::oci::graph::Image::distinct_layers`] has them.
fn distinct(diff_ids: &[Digest]) -> Vec<&Digest> {
    let mut seen = HashSet::new();
    let mut ids: Vec<_> = diff_ids.iter().rev().filter(|id| seen.insert(*id)).collect();
    ids.reverse();
    ids
}

/// A layer is moved away first: one that is there is whole.
fn remove(garbage: &[Garbage], beside: &Path) -> Result<(), GcError> {
    let staging = StagingDir::beside(beside).map_err(io_error("make a directory beside", beside))?;
    for (number, Garbage { path, .. }) in garbage.iter().enumerate() {
        let gone = staging.path().join(number.to_string());
        fs::rename(path, &gone).map_err(io_error("remove", path))?;
    }
    Ok(())
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>, GcError> {
    let list = || -> io::Result<Vec<PathBuf>> {
        let mut paths = fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
        // The files beside a layer after it: where there is a layer, there is its list.
        paths.sort_by_key(|path| {
            (path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")), path.clone())
        });
        Ok(paths)
    };
    match list() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        result => result.map_err(io_error("read", directory)),
    }
}

fn is_digits(name: &str) -> bool {
    name.len() >= DIGITS && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Of a tree that nobody changes.
fn size_of(path: &Path) -> io::Result<u64> {
    let meta = fs::symlink_metadata(path)?;
    let mut size = meta.blocks() * 512;
    if meta.is_dir() {
        for entry in fs::read_dir(path)? {
            size += size_of(&entry?.path())?;
        }
    }
    Ok(size)
}

fn io_error(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> GcError + use<> {
    let path = path.to_owned();
    move |source| GcError::Io { operation, path, source }
}
