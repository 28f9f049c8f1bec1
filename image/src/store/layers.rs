//! Unpacked layers, each once for all bundles, by their diff id. A directory is there as a whole or
//! not at all: it is made in a staging directory, written to the disk, and renamed to its place.

use super::counted::CountedLayers;
use super::lock::DirectoryLock;
use super::parents::{self, Unpacked};
use super::staging::StagingDir;
use super::unpacker::{Bytes, Unpacker};
use crate::caller::{self, CallerError};
use crate::layer::entry::{Attributes, LayerPath};
use crate::layer::error::ApplyError;
use crate::layer::whiteout::Marks;
use crate::oci::file_range::FileRange;
use crate::oci::graph::{Blobs, Layer};
use oci_spec::image::Digest;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, FlockOperation, Mode, OFlags, RenameFlags, flock, fsync, openat, renameat_with, syncfs};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

/// Where the layers of root are unless an option says otherwise.
const DEFAULT: &str = "/var/lib/firn/layers";
/// The directory of the layers of directories.
pub(super) const PARENTS: &str = "parents";
/// Layers that are unpacked at the same time, at most: one for each core. Each takes memory for its
/// buffers and the decoder's window.
const THREADS: usize = 8;

/// Where the caller's layers are unless an option says otherwise.
pub(crate) fn default_place() -> PathBuf {
    caller::data_directory().map_or_else(|| DEFAULT.into(), |data| data.join("layers"))
}

/// Which layers of an image can be unpacked.
pub(super) enum Ready<'a> {
    All,
    /// Those whose blobs come; it waits for the next one. The bytes are compared with the digest by who
    /// fetches them; a layer is what its diff id says, whatever has come.
    Arriving(&'a mut (dyn Iterator<Item = (Digest, FileRange)> + Send)),
}

/// A layer, and its bytes if they are known.
type Job<'a> = (&'a Layer, Option<Bytes>);

impl<'a> Ready<'a> {
    /// In their order.
    fn queue(self, mut layers: Vec<&'a Layer>) -> Box<dyn Iterator<Item = Job<'a>> + Send + 'a> {
        match self {
            Self::All => Box::new(layers.into_iter().map(|layer| (layer, None))),
            // Two layers may have one blob, if the config says so: the second one fails by its diff id.
            Self::Arriving(blobs) => Box::new(blobs.flat_map(move |(digest, blob)| {
                let bytes = Bytes { blob, is_compared: true };
                let meant = layers.extract_if(.., |layer| *layer.digest() == digest);
                meant.map(|layer| (layer, Some(bytes.clone()))).collect::<Vec<_>>()
            })),
        }
    }
}

/// A store of layers. As long as this exists nothing is removed from it by others.
#[derive(Debug)]
pub(crate) struct LayerStore {
    root: PathBuf,
    unpacker: Unpacker,
    _lock: DirectoryLock,
}

/// Why a layer is not in the store.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("use the layer store")]
    Caller(#[from] CallerError),
    #[error(
        "layer store {0}: it must belong to root and be writable by nobody else, or others could change what containers run"
    )]
    Unsafe(PathBuf),
    #[error("{operation} {path}")]
    Io { operation: &'static str, path: PathBuf, source: io::Error },
    /// What the process that unpacks has said.
    #[error("{0}")]
    Unpack(String),
    #[error("unpack layer {digest}")]
    Process { digest: Digest, source: io::Error },
    #[error("start the process that unpacks layers")]
    Start(#[source] io::Error),
    #[error("make the directories above the layers in {store}")]
    Parents { store: PathBuf, source: ApplyError },
    #[error("read layer {digest}")]
    Read { digest: Digest, source: io::Error },
}

impl LayerStore {
    /// The store at `root`. Made if it is missing, mode 0700: layers hold setuid programs, which other
    /// users of the host must not reach. An ordinary user enters a user namespace. Before firn-image has
    /// threads.
    pub(crate) fn open(root: &Path) -> Result<Self, StoreError> {
        Self::open_locked(root, DirectoryLock::shared)
    }

    /// The same, when nobody else uses it, so that things may be removed. Waits for those who do.
    pub(crate) fn open_alone(root: &Path) -> Result<Self, StoreError> {
        Self::open_locked(root, DirectoryLock::alone)
    }

    fn open_locked(root: &Path, lock: impl FnOnce(&Path) -> io::Result<DirectoryLock>) -> Result<Self, StoreError> {
        caller::enter()?;
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
            true => {
                // Before the lock, which the process would hold too.
                let unpacker = Unpacker::start().map_err(StoreError::Start)?;
                Ok(Self { unpacker, _lock: lock(&root).map_err(io_error("lock the layer store", &root))?, root })
            }
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
        self.unpack_ready(blobs, layers, Ready::All)?;
        let mut places: Vec<_> = layers.iter().map(|layer| self.place(&layer.diff_id)).collect();
        let found = || parents::find(&layers.iter().map(|layer| self.unpacked(layer)).collect::<io::Result<Vec<_>>>()?);
        let directories = found().map_err(io_error("compare the layers in", &self.root))?;
        if !directories.is_empty() {
            places.push(self.make_parents(layers, &directories)?);
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
    ) -> Result<PathBuf, StoreError> {
        let place = self.root.join(PARENTS).join(parents_name(layers.iter().map(|layer| &layer.diff_id)));
        if place.is_dir() {
            return Ok(place);
        }
        let staging = self.staging()?;
        let _lock = self.lock(&place)?;
        if place.is_dir() {
            return Ok(place);
        }
        make_staged(&place, &staging, |top| {
            let apply = |source| StoreError::Parents { store: self.root.clone(), source };
            parents::make(top, directories).map(|()| Vec::new()).map_err(apply)
        })?;
        self.publish(std::slice::from_ref(&place), &staging)?;
        Ok(place)
    }

    /// Removes what a run that was killed has left, whatever its image was.
    fn staging(&self) -> Result<StagingDir, StoreError> {
        StagingDir::beside(&self.root.join("layers")).map_err(io_error("make a directory in", &self.root))
    }

    /// Unpacks those of the layers that are missing, several at a time. The locks of all of them are taken
    /// first, in one order everywhere: two processes with the same layers would else wait for each other.
    pub(super) fn unpack_ready<'a>(
        &self,
        blobs: &dyn Blobs,
        layers: &'a [Layer],
        ready: Ready<'a>,
    ) -> Result<(), StoreError> {
        let is_missing = |layer: &&Layer| !self.place(&layer.diff_id).is_dir();
        let layers: Vec<&Layer> = layers.iter().filter(is_missing).collect();
        if layers.is_empty() {
            return Ok(());
        }
        let staging = &self.staging()?;
        let mut places: Vec<PathBuf> = layers.iter().map(|layer| self.place(&layer.diff_id)).collect();
        places.sort_unstable();
        places.dedup();
        let _locks = places.iter().map(|place| self.lock(place)).collect::<Result<Vec<_>, _>>()?;
        let missing: Vec<_> = layers.into_iter().filter(is_missing).collect();
        let count = missing.len();
        // While an image is fetched, that is what is shown.
        let progress = matches!(ready, Ready::All).then(|| CountedLayers::new(&missing));
        let queue = Mutex::new(ready.queue(missing));
        let (done, failed) = (Mutex::new(Vec::new()), Mutex::new(None));
        let next = || guard(&queue).next().filter(|_| guard(&failed).is_none());
        let work = || {
            while let Some((layer, bytes)) = next() {
                let bytes = bytes.map_or_else(|| open_layer(blobs, layer), Ok);
                match bytes.and_then(|bytes| self.unpack_one(&bytes, layer, staging)) {
                    Ok(()) => {
                        progress.iter().for_each(|progress| progress.is_done(layer));
                        guard(&done).push(self.place(&layer.diff_id));
                    }
                    // The others end with their layers.
                    Err(error) => drop(guard(&failed).get_or_insert(error)),
                }
            }
        };
        std::thread::scope(|scope| {
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            for _ in 1..THREADS.min(cores).min(count) {
                scope.spawn(work);
            }
            work();
        });
        // Those that are whole are kept, whatever became of the others.
        self.publish(&guard(&done), staging)?;
        guard(&failed).take().map_or(Ok(()), Err)
    }

    /// Where a layer is, or would be.
    pub(crate) fn place(&self, diff_id: &Digest) -> PathBuf {
        self.root.join(diff_id.algorithm().as_ref()).join(diff_id.digest())
    }

    fn unpack_one(&self, bytes: &Bytes, layer: &Layer, staging: &StagingDir) -> Result<(), StoreError> {
        make_staged(&self.place(&layer.diff_id), staging, |top| self.unpack_into(top, bytes, layer, staging))
    }

    /// Unpacks a layer into an empty directory, which is in `staging`. The list of its directories
    /// without an entry.
    fn unpack_into(
        &self,
        top: &OwnedFd,
        bytes: &Bytes,
        layer: &Layer,
        staging: &StagingDir,
    ) -> Result<Vec<u8>, StoreError> {
        let failed = |source| StoreError::Process { digest: layer.digest().clone(), source };
        let answer = self.unpacker.unpack(bytes, layer, Marks::of_caller(), top.as_fd(), staging.lock());
        answer.map_err(failed)?.map_err(StoreError::Unpack)
    }

    /// Unpacks a layer into an empty directory, which is in `staging`.
    pub(super) fn unpack_at(
        &self,
        directory: &Path,
        blobs: &dyn Blobs,
        layer: &Layer,
        staging: &StagingDir,
    ) -> Result<(), StoreError> {
        self.unpack_into(&open_directory(directory)?, &open_layer(blobs, layer)?, layer, staging).map(drop)
    }

    /// Waits for another process that makes the directory `place` now.
    fn lock(&self, place: &Path) -> Result<OwnedFd, StoreError> {
        let directory = place.parent().unwrap_or(&self.root);
        let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
        made.map_err(io_error("make directory", directory))?;
        lock(&hidden(place, "lock"))
    }

    /// Moves directories from where they were made to their places, when they are on the disk: all of
    /// their files by one call.
    fn publish(&self, places: &[PathBuf], staging: &StagingDir) -> Result<(), StoreError> {
        let Some(first) = places.first() else { return Ok(()) };
        // By a descriptor from before the files were written: errors since then are reported.
        syncfs(staging.lock()).map_err(|errno| io_error("write to the disk", staging.path())(errno.into()))?;
        for place in places {
            let (unpacked, list) = staged(place, staging);
            // The list first: where there is a layer, there is its list.
            fs::rename(&list, hidden(place, "implicit")).map_err(io_error("make the list of", place))?;
            renameat_with(CWD, &unpacked, CWD, place, RenameFlags::NOREPLACE)
                .map_err(|errno| io_error("make", place)(errno.into()))?;
        }
        let directories: BTreeSet<_> = places.iter().map(|place| place.parent().unwrap_or(first)).collect();
        directories.into_iter().try_for_each(|directory| {
            let written = fsync(open_directory(directory)?);
            written.map_err(|errno| io_error("write to the disk", directory)(errno.into()))
        })
    }
}

fn open_layer(blobs: &dyn Blobs, layer: &Layer) -> Result<Bytes, StoreError> {
    let digest = layer.digest();
    let blob = blobs.open(digest).map_err(|source| StoreError::Read { digest: digest.clone(), source })?;
    Ok(Bytes { blob, is_compared: false })
}

/// Makes the directory that is to be at `place`, with what `make` puts into an empty one, and the list
/// that it returns.
fn make_staged(
    place: &Path,
    staging: &StagingDir,
    make: impl FnOnce(&OwnedFd) -> Result<Vec<u8>, StoreError>,
) -> Result<(), StoreError> {
    let (unpacked, list) = staged(place, staging);
    DirBuilder::new().mode(0o700).create(&unpacked).map_err(io_error("make directory", &unpacked))?;
    let content = make(&open_directory(&unpacked)?)?;
    fs::write(&list, content).map_err(io_error("write", &list))
}

/// Where a directory and its list are made.
fn staged(place: &Path, staging: &StagingDir) -> (PathBuf, PathBuf) {
    let unpacked = staging.path().join(place.file_name().unwrap_or_default());
    let list = unpacked.with_extension("implicit");
    (unpacked, list)
}

fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The name of the layer of directories that belongs to these layers, lowest first.
pub(super) fn parents_name<'a>(diff_ids: impl Iterator<Item = &'a Digest>) -> String {
    let ids: String = diff_ids.map(|diff_id| format!("{diff_id}\n")).collect();
    Sha256::digest(ids).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The path of a file beside a layer.
fn hidden(place: &Path, kind: &str) -> PathBuf {
    place.with_file_name(format!(".{}.{kind}", place.file_name().unwrap_or_default().to_string_lossy()))
}

fn open_directory(path: &Path) -> Result<OwnedFd, StoreError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty()).map_err(|errno| io_error("open", path)(errno.into()))
}

/// Waits for another process that unpacks the layer now. The file stays: removing it would let two hold locks of
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
