//! Unpacked layers, each once for all bundles, by their diff id. A directory is there as a whole or
//! not at all: it is made in a staging directory, written to the disk, and renamed to its place.

use super::counted::CountedBlobs;
use super::lock::DirectoryLock;
use super::parents::{self, Unpacked};
use super::staging::StagingDir;
use crate::layer::apply::Extraction;
use crate::layer::entry::{Attributes, LayerPath};
use crate::layer::error::ApplyError;
use crate::oci::blob::{BlobError, VerifyingReader};
use crate::oci::graph::{Blobs, Layer};
use crate::tar::decompress::decompress;
use oci_spec::image::Digest;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, FlockOperation, Mode, OFlags, RenameFlags, flock, fsync, openat, renameat_with, syncfs};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Where the layers are unless an option says otherwise.
pub(crate) const DEFAULT: &str = "/var/lib/firn/layers";
/// The directory of the layers of directories.
pub(super) const PARENTS: &str = "parents";
/// Layers that are unpacked at the same time. Each takes a core for its decompression, and memory
/// for its buffers and the decoder's window.
const THREADS: usize = 2;
/// Uncompressed bytes and entries of a layer at most. Far more than layers have; a bomb ends here
/// if the disk has not been full before.
const BYTE_LIMIT: u64 = 128 << 30;
const ENTRY_LIMIT: u64 = 10_000_000;

/// A store of layers. As long as this exists nothing is removed from it by others.
#[derive(Debug)]
pub(crate) struct LayerStore {
    root: PathBuf,
    _lock: DirectoryLock,
}

/// Why a layer is not in the store.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error(
        "use the layer store: an ordinary user can't give files to the users of an image, nor mark directories for overlayfs: run firn-image as root"
    )]
    NotRoot,
    #[error(
        "layer store {0}: it must belong to root and be writable by nobody else, or others could change what containers run"
    )]
    Unsafe(PathBuf),
    #[error("{operation} {path}")]
    Io { operation: &'static str, path: PathBuf, source: io::Error },
    #[error("unpack layer {digest}")]
    Apply { digest: Digest, source: ApplyError },
    #[error("make the directories above the layers in {store}")]
    Parents { store: PathBuf, source: ApplyError },
    #[error("read layer {digest}")]
    Read { digest: Digest, source: io::Error },
    #[error(transparent)]
    Blob(#[from] BlobError),
}

impl LayerStore {
    /// The store at `root`. Made if it is missing, mode 0700: layers hold
    /// setuid programs, which other users of the host must not reach.
    pub(crate) fn open(root: &Path) -> Result<Self, StoreError> {
        Self::open_locked(root, DirectoryLock::shared)
    }

    /// The same, when nobody else uses it, so that things may be removed. Waits for those who do.
    pub(crate) fn open_alone(root: &Path) -> Result<Self, StoreError> {
        Self::open_locked(root, DirectoryLock::alone)
    }

    fn open_locked(root: &Path, lock: impl FnOnce(&Path) -> io::Result<DirectoryLock>) -> Result<Self, StoreError> {
        if !rustix::process::geteuid().is_root() {
            return Err(StoreError::NotRoot);
        }
        let make = || -> io::Result<PathBuf> {
            if let Some(parent) = root.parent() {
                DirBuilder::new().recursive(true).create(parent)?;
            }
            DirBuilder::new().mode(0o700).recursive(true).create(root)?;
            fs::canonicalize(root)
        };
        let root = make().map_err(io_error("make the layer store", root))?;
        let meta = fs::metadata(&root).map_err(io_error("look at the layer store", &root))?;
        match meta.uid() == 0 && meta.mode() & 0o022 == 0 {
            true => Ok(Self { _lock: lock(&root).map_err(io_error("lock the layer store", &root))?, root }),
            false => Err(StoreError::Unsafe(root)),
        }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The image layout with what was fetched.
    pub(crate) fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    /// The directories of an image's layers, in their order, and one more on top if it needs one (see
    /// [`parents`]). What is missing is unpacked, several layers at a time.
    pub(crate) fn unpack(&self, blobs: &dyn Blobs, layers: &[Layer]) -> Result<Vec<PathBuf>, StoreError> {
        // Removes what a run that was killed has left, whatever its image was.
        let staging =
            || StagingDir::beside(&self.root.join("layers")).map_err(io_error("make a directory in", &self.root));
        let missing: Vec<&Layer> = layers.iter().filter(|layer| !self.place(&layer.diff_id).is_dir()).collect();
        if !missing.is_empty() {
            self.unpack_missing(&CountedBlobs::new(blobs, &missing), &missing, staging()?.path())?;
        }
        let mut places: Vec<_> = layers.iter().map(|layer| self.place(&layer.diff_id)).collect();
        let found = || parents::find(&layers.iter().map(|layer| self.unpacked(layer)).collect::<io::Result<Vec<_>>>()?);
        let directories = found().map_err(io_error("compare the layers in", &self.root))?;
        if !directories.is_empty() {
            places.push(self.make_parents(layers, &directories, staging)?);
        }
        Ok(places)
    }

    fn unpacked(&self, layer: &Layer) -> io::Result<Unpacked> {
        let place = self.place(&layer.diff_id);
        Unpacked::open(&place, &fs::read(hidden(&place, "implicit"))?)
    }

    /// Makes the layer of directories, named by the layers that it belongs to.
    fn make_parents(
        &self,
        layers: &[Layer],
        directories: &BTreeMap<LayerPath, Attributes>,
        staging: impl Fn() -> Result<StagingDir, StoreError>,
    ) -> Result<PathBuf, StoreError> {
        let place = self.root.join(PARENTS).join(parents_name(layers.iter().map(|layer| &layer.diff_id)));
        if place.is_dir() {
            return Ok(place);
        }
        let staging = staging()?;
        self.publish(&place, staging.path(), |top| {
            let apply = |source| StoreError::Parents { store: self.root.clone(), source };
            parents::make(top, directories).map(|()| Vec::new()).map_err(apply)
        })?;
        Ok(place)
    }

    fn unpack_missing(&self, blobs: &dyn Blobs, layers: &[&Layer], staging: &Path) -> Result<(), StoreError> {
        let next = AtomicUsize::new(0);
        let failed = Mutex::new(None);
        let work = || {
            while let Some(layer) = layers.get(next.fetch_add(1, Ordering::Relaxed)) {
                if let Err(error) = self.unpack_one(blobs, layer, staging) {
                    // The other one ends with its layer.
                    next.store(layers.len(), Ordering::Relaxed);
                    failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get_or_insert(error);
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..THREADS.min(layers.len()) {
                scope.spawn(work);
            }
            work();
        });
        failed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).map_or(Ok(()), Err)
    }

    /// Where a layer is, or would be.
    pub(crate) fn place(&self, diff_id: &Digest) -> PathBuf {
        self.root.join(diff_id.algorithm().as_ref()).join(diff_id.digest())
    }

    fn unpack_one(&self, blobs: &dyn Blobs, layer: &Layer, staging: &Path) -> Result<(), StoreError> {
        self.publish(&self.place(&layer.diff_id), staging, |top| {
            unpack_into(top, blobs, layer).map(|implicit| parents::list(&implicit))
        })
    }

    /// Makes the directory `place`, with what `make` has put into an empty one, and the list that it
    /// returns. Of several processes that want the same one, one makes it, and the others wait.
    fn publish(
        &self,
        place: &Path,
        staging: &Path,
        make: impl FnOnce(&OwnedFd) -> Result<Vec<u8>, StoreError>,
    ) -> Result<(), StoreError> {
        let directory = place.parent().unwrap_or(&self.root);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(io_error("make directory", directory))?;
        let _lock = lock(&hidden(place, "lock"))?;
        if place.is_dir() {
            return Ok(());
        }
        let unpacked = staging.join(place.file_name().unwrap_or_default());
        DirBuilder::new().mode(0o700).create(&unpacked).map_err(io_error("make directory", &unpacked))?;
        let top = open_directory(&unpacked)?;
        let list = make(&top)?;
        let written = unpacked.with_extension("implicit");
        fs::write(&written, list).map_err(io_error("write", &written))?;
        // All files of the layer by one call, before its name.
        syncfs(&top).map_err(|errno| io_error("write to the disk", &unpacked)(errno.into()))?;
        // The list first: where there is a layer, there is its list.
        fs::rename(&written, hidden(place, "implicit")).map_err(io_error("make the list of", place))?;
        match renameat_with(CWD, &unpacked, CWD, place, RenameFlags::NOREPLACE) {
            Ok(()) => fsync(open_directory(directory)?)
                .map_err(|errno| io_error("write to the disk", directory)(errno.into())),
            Err(errno) => Err(io_error("make", place)(errno.into())),
        }
    }
}

/// The name of the layer of directories that belongs to these layers, lowest first.
pub(super) fn parents_name<'a>(diff_ids: impl Iterator<Item = &'a Digest>) -> String {
    let ids: String = diff_ids.map(|diff_id| format!("{diff_id}\n")).collect();
    Sha256::digest(ids).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Unpacks a layer into an empty directory.
pub(super) fn unpack_at(directory: &Path, blobs: &dyn Blobs, layer: &Layer) -> Result<(), StoreError> {
    unpack_into(&open_directory(directory)?, blobs, layer).map(drop)
}

/// The path of a file beside a layer.
fn hidden(place: &Path, kind: &str) -> PathBuf {
    place.with_file_name(format!(".{}.{kind}", place.file_name().unwrap_or_default().to_string_lossy()))
}

/// Both digests are checked: of the blob as it is, and of its uncompressed bytes.
fn unpack_into(directory: &OwnedFd, blobs: &dyn Blobs, layer: &Layer) -> Result<Vec<LayerPath>, StoreError> {
    let digest = layer.digest();
    let read = |source| StoreError::Read { digest: digest.clone(), source };
    let blob = blobs.open(digest).map_err(read)?;
    match &layer.blob {
        Some(descriptor) => {
            let mut blob = VerifyingReader::of_descriptor(blob, descriptor)?;
            let implicit = apply(directory, &mut blob, layer)?;
            blob.finish().map_err(read)?;
            Ok(implicit)
        }
        None => apply(directory, blob, layer),
    }
}

fn apply(directory: &OwnedFd, blob: impl io::Read, layer: &Layer) -> Result<Vec<LayerPath>, StoreError> {
    let read = |source| StoreError::Read { digest: layer.digest().clone(), source };
    let plain = decompress(blob, BYTE_LIMIT).map_err(read)?;
    let mut plain = VerifyingReader::of_digest(plain, &layer.diff_id)?;
    let extraction = Extraction::new(directory.as_fd(), ENTRY_LIMIT);
    let apply = |source| StoreError::Apply { digest: layer.digest().clone(), source };
    let implicit = extraction.run(&mut plain).map_err(apply)?;
    plain.finish().map_err(read)?;
    Ok(implicit)
}

fn open_directory(path: &Path) -> Result<OwnedFd, StoreError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty()).map_err(|errno| io_error("open", path)(errno.into()))
}

/// Waits for whoever unpacks the layer now. The file stays: removing it would let two hold locks of
/// two files.
fn lock(path: &Path) -> Result<OwnedFd, StoreError> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let lock = || {
        let file = openat(CWD, path, flags, Mode::RUSR | Mode::WUSR)?;
        loop {
            match flock(&file, FlockOperation::LockExclusive) {
                Err(Errno::INTR) => {}
                result => return result.map(|()| file),
            }
        }
    };
    lock().map_err(|errno: Errno| io_error("lock", path)(errno.into()))
}

fn io_error(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io { operation, path, source }
}
