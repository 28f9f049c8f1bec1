//! Writes image layouts (image-spec, "image-layout.md"). A blob is there as a whole or not at all,
//! and the index, which makes images of blobs, is replaced in one step after all that it leads to:
//! whenever the writer is killed, the layout is valid and has the images of before. When the machine
//! stops, blobs that no image has may be left without their bytes; one is read before it is used.

use super::lock::DirectoryLock;
use super::staging::StagingDir;
use crate::oci::file_range::{FileRange, GrowingFile};
use crate::oci::hash_write::{HashingWriter, digest_of};
use oci_spec::image::Digest;
use rustix::fs::{CWD, FlockOperation, Mode, OFlags, flock, openat, syncfs};
use serde_json::{Value, json};
use std::fs::{self, DirBuilder, File};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// The annotation with the name of an image in an index (image-spec, "annotations.md").
const REF_NAME: &str = "org.opencontainers.image.ref.name";
const INDEX: &str = "index.json";
const MARKER: &str = "oci-layout";
pub(super) const BLOBS: &str = "blobs";
const SUMS: &str = "blobs/sha256";
/// Bytes of index.json at most.
const INDEX_LIMIT: u64 = 4 << 20;
const BUFFER: usize = 128 << 10;

/// Why a layout was not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LayoutError {
    #[error("{operation} {path}")]
    Io { operation: &'static str, path: PathBuf, source: io::Error },
    #[error("{0}: neither an image layout nor empty: give a new directory")]
    Foreign(PathBuf),
    #[error("{0}: not the index of an image layout")]
    Index(PathBuf),
    #[error("parse {path}")]
    Parse { path: PathBuf, source: serde_json::Error },
}

/// A layout that gets blobs and images.
#[derive(Debug)]
pub(crate) struct LayoutWriter {
    directory: PathBuf,
    /// In the layout, so that a rename moves a blob.
    staging: StagingDir,
    /// Not read after firn-image has ended.
    is_temporary: bool,
    /// Held so that no blob is removed that this one counts on.
    _lock: DirectoryLock,
    next: AtomicU64,
}

/// A blob that is being written.
pub(crate) type BlobWriter = HashingWriter<BufWriter<GrowingFile>>;

/// A blob that was written, and is not in its place yet.
#[derive(Debug)]
pub(crate) struct NewBlob {
    path: PathBuf,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
}

impl LayoutWriter {
    /// The layout at `directory`, made if there is none. Errors: the directory is another one's.
    pub(crate) fn open(directory: &Path) -> Result<Self, LayoutError> {
        Self::open_as(directory, false)
    }

    /// One that is removed before firn-image ends: nothing of it has to be on the disk.
    pub(crate) fn temporary(directory: &Path) -> Result<Self, LayoutError> {
        Self::open_as(directory, true)
    }

    fn open_as(directory: &Path, is_temporary: bool) -> Result<Self, LayoutError> {
        DirBuilder::new().recursive(true).create(directory).map_err(io_error("make the image layout", directory))?;
        let directory = fs::canonicalize(directory).map_err(io_error("open the image layout", directory))?;
        if !is_layout(&directory).map_err(io_error("read", &directory))? {
            return Err(LayoutError::Foreign(directory));
        }
        let staging =
            StagingDir::beside(&directory.join(BLOBS)).map_err(io_error("make a directory in", &directory))?;
        let sums = directory.join(SUMS);
        DirBuilder::new().mode(0o755).recursive(true).create(&sums).map_err(io_error("make", &sums))?;
        let blobs = directory.join(BLOBS);
        let lock = DirectoryLock::shared(&blobs).map_err(io_error("lock", &blobs))?;
        let writer = Self { directory, staging, is_temporary, _lock: lock, next: AtomicU64::new(0) };
        writer.begin()?;
        Ok(writer)
    }

    /// Makes what a layout has beside its images. The index comes before the marker, so that what is
    /// marked as a layout has one.
    fn begin(&self) -> Result<(), LayoutError> {
        let _lock = self.lock()?;
        if !self.directory.join(INDEX).exists() {
            self.replace(INDEX, &json!({ "schemaVersion": 2, "manifests": [] }))?;
        }
        if !self.directory.join(MARKER).exists() {
            self.replace(MARKER, &json!({ "imageLayoutVersion": "1.0.0" }))?;
        }
        Ok(())
    }

    /// Begins a blob.
    pub(crate) fn new_blob(&self) -> Result<(BlobWriter, PathBuf), LayoutError> {
        let (file, path) = self.new_file()?;
        Ok((buffered(file), path))
    }

    /// Begins a blob of `size` bytes that is read while it is written.
    pub(crate) fn new_shared_blob(&self, size: u64) -> Result<(BlobWriter, PathBuf, FileRange), LayoutError> {
        let (mut file, path) = self.new_file()?;
        let reader = file.reader(&path, size).map_err(io_error("open", &path))?;
        Ok((buffered(file), path, reader))
    }

    fn new_file(&self) -> Result<(GrowingFile, PathBuf), LayoutError> {
        let path = self.new_path();
        Ok((GrowingFile::create(&path).map_err(io_error("make", &path))?, path))
    }

    /// Ends a blob. Its bytes are on the disk when an image has it ([`Self::set_image`]).
    pub(crate) fn end_blob(&self, blob: BlobWriter, path: PathBuf) -> Result<NewBlob, LayoutError> {
        let end = || -> io::Result<(Digest, u64)> {
            let (buffered, digest, size) = blob.finish()?;
            buffered.into_inner().map_err(io::IntoInnerError::into_error)?;
            Ok((digest, size))
        };
        let (digest, size) = end().map_err(io_error("write", &path))?;
        Ok(NewBlob { path, digest, size })
    }

    /// Moves a blob to its place, unless it is there already.
    pub(crate) fn keep(&self, blob: &NewBlob) -> Result<(), LayoutError> {
        if self.has_blob(&blob.digest, blob.size) {
            return fs::remove_file(&blob.path).map_err(io_error("remove", &blob.path));
        }
        let place = self.place(&blob.digest);
        fs::rename(&blob.path, &place).map_err(io_error("make", &place))
    }

    /// Writes a document as a blob.
    pub(crate) fn add_document(&self, document: &Value) -> Result<NewBlob, LayoutError> {
        self.add_bytes(&to_bytes(document))
    }

    /// Writes these bytes as a blob.
    pub(crate) fn add_bytes(&self, bytes: &[u8]) -> Result<NewBlob, LayoutError> {
        let (mut writer, path) = self.new_blob()?;
        writer.write_all(bytes).map_err(io_error("write", &path))?;
        let blob = self.end_blob(writer, path)?;
        self.keep(&blob)?;
        Ok(blob)
    }

    /// Whether the blob is there: its bytes are read, so that a corrupt one is written anew.
    pub(crate) fn has_blob(&self, digest: &Digest, size: u64) -> bool {
        self.find_blob(digest, size).is_some()
    }

    /// The blob, if it is there, compared with its digest.
    pub(crate) fn find_blob(&self, digest: &Digest, size: u64) -> Option<FileRange> {
        let check = || -> io::Result<Option<FileRange>> {
            let file = File::open(self.place(digest))?;
            let meta = file.metadata()?;
            let is_whole = meta.is_file() && meta.len() == size && digest_of(&file)? == (digest.clone(), size);
            is_whole.then(|| FileRange::whole(file)).transpose()
        };
        check().ok().flatten()
    }

    /// Makes `manifest` (a descriptor) the image with this tag; other images stay. What the index
    /// leads to is on the disk before, all of it by one call: also blobs that another process has
    /// left, and no fetch waits for the disk.
    pub(crate) fn set_image(&self, manifest: Value, tag: Option<&str>) -> Result<(), LayoutError> {
        if !self.is_temporary {
            // By a descriptor from before the blobs were written: errors since then are reported.
            let written = syncfs(self.staging.lock());
            written.map_err(|errno| io_error("write to the disk", &self.directory)(errno.into()))?;
        }
        self.change_index(|manifests| set_entry(manifests, manifest, tag))
    }

    /// Takes the images with this tag, or of this digest, out of the index; their blobs stay. The digests of
    /// their manifests.
    pub(crate) fn remove_images(&self, tag: Option<&str>, digest: Option<&Digest>) -> Result<Vec<String>, LayoutError> {
        let is_meant = |entry: &Value| {
            tag.is_none_or(|tag| entry["annotations"][REF_NAME] == tag)
                && digest.is_none_or(|digest| entry["digest"] == digest.to_string())
        };
        self.change_index(|manifests| {
            let gone = manifests.extract_if(.., |entry| is_meant(entry));
            gone.map(|entry| entry["digest"].as_str().unwrap_or_default().to_owned()).collect()
        })
    }

    /// Replaces the index by one with other descriptors.
    fn change_index<T>(&self, change: impl FnOnce(&mut Vec<Value>) -> T) -> Result<T, LayoutError> {
        let _lock = self.lock()?;
        let path = self.directory.join(INDEX);
        let mut text = Vec::new();
        let read = File::open(&path).and_then(|file| file.take(INDEX_LIMIT).read_to_end(&mut text));
        read.map_err(io_error("read", &path))?;
        let mut index: Value =
            serde_json::from_slice(&text).map_err(|source| LayoutError::Parse { path: path.clone(), source })?;
        let Some(manifests) = index.get_mut("manifests").and_then(Value::as_array_mut) else {
            return Err(LayoutError::Index(path));
        };
        let changed = change(manifests);
        self.replace(INDEX, &index)?;
        Ok(changed)
    }

    /// Replaces a file at the layout's top in one step.
    fn replace(&self, name: &str, document: &Value) -> Result<(), LayoutError> {
        let path = self.new_path();
        let write = || -> io::Result<()> {
            let mut file = File::create_new(&path)?;
            file.write_all(&to_bytes(document))?;
            if self.is_temporary { Ok(()) } else { file.sync_data() }
        };
        write().map_err(io_error("write", &path))?;
        let place = self.directory.join(name);
        fs::rename(&path, &place).map_err(io_error("make", &place))?;
        if self.is_temporary { Ok(()) } else { sync_directory(&self.directory) }
    }

    /// Held while the index is read and replaced, so that of two writers neither loses the other's
    /// image.
    fn lock(&self) -> Result<rustix::fd::OwnedFd, LayoutError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let lock = || -> io::Result<rustix::fd::OwnedFd> {
            let directory = openat(CWD, &self.directory, flags, Mode::empty())?;
            flock(&directory, FlockOperation::LockExclusive)?;
            Ok(directory)
        };
        lock().map_err(io_error("lock", &self.directory))
    }

    /// A directory that goes with the writer.
    pub(crate) fn staging(&self) -> &Path {
        self.staging.path()
    }

    fn new_path(&self) -> PathBuf {
        self.staging.path().join(self.next.fetch_add(1, Ordering::Relaxed).to_string())
    }

    fn blobs(&self) -> PathBuf {
        self.directory.join(SUMS)
    }

    fn place(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(digest.digest())
    }
}

fn buffered(file: GrowingFile) -> BlobWriter {
    HashingWriter::new(BufWriter::with_capacity(BUFFER, file))
}

/// Makes `manifest` the one with this tag.
fn set_entry(manifests: &mut Vec<Value>, mut manifest: Value, tag: Option<&str>) {
    let same = |known: &Value| match tag {
        Some(tag) => known["annotations"][REF_NAME] == tag,
        None => known["digest"] == manifest["digest"] && known["annotations"][REF_NAME].is_null(),
    };
    let place = manifests.iter().position(same);
    if let Some(tag) = tag {
        manifest["annotations"] = json!({ REF_NAME: tag });
    }
    match place {
        Some(at) => manifests[at] = manifest,
        None => manifests.push(manifest),
    }
}

/// Whether a directory is a layout or may become one: one that is empty, or was begun.
fn is_layout(directory: &Path) -> io::Result<bool> {
    if directory.join(MARKER).is_file() {
        return Ok(true);
    }
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        let ours = name == INDEX || name == BLOBS || name.to_string_lossy().starts_with(".blobs.firn-image-");
        if !ours {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The bytes of a document: the same for the same document, whatever the order of its keys.
pub(crate) fn to_bytes(document: &Value) -> Vec<u8> {
    sorted(document).to_string().into_bytes()
}

/// With the keys of each object sorted, also where serde_json keeps them in another order.
pub(crate) fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(key, _)| *key);
            Value::Object(fields.into_iter().map(|(key, value)| (key.clone(), sorted(value))).collect())
        }
        Value::Array(values) => Value::Array(values.iter().map(sorted).collect()),
        other => other.clone(),
    }
}

fn sync_directory(path: &Path) -> Result<(), LayoutError> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(io_error("write", path))
}

fn io_error(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LayoutError + use<> {
    let path = path.to_owned();
    move |source| LayoutError::Io { operation, path, source }
}
