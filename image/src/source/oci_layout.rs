//! An image layout in a directory (image-spec, "image-layout.md").

use crate::oci::file_range::FileRange;
use crate::oci::graph::{Blobs, Image};
use crate::oci::index::{IndexError, choose_image};
use crate::oci::platform::Platform;
use crate::oci::reference::ImageName;
use oci_spec::image::{Digest, ImageIndex};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Bytes of index.json at most.
pub(super) const INDEX_LIMIT: u64 = 4 << 20;

/// A directory of blobs.
#[derive(Debug)]
pub(crate) struct Layout {
    directory: PathBuf,
}

/// Why an image can't be read from a layout.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LayoutError {
    #[error("read {path}: is its directory an image layout?")]
    Read { path: PathBuf, source: io::Error },
    #[error("parse {path}")]
    Parse { path: PathBuf, source: serde_json::Error },
    #[error(transparent)]
    Index(#[from] IndexError),
}

impl Layout {
    pub(crate) fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    /// The image of this name, the only one if none is given; for `platform`, or for this machine.
    pub(crate) fn image(&self, name: &ImageName, platform: Option<&Platform>) -> Result<Image, LayoutError> {
        Ok(choose_image(self, &self.index()?, name, platform)?)
    }

    /// What the layout has.
    pub(crate) fn index(&self) -> Result<ImageIndex, LayoutError> {
        let path = self.directory.join("index.json");
        let mut text = Vec::new();
        let read = open_file(&path).and_then(|file| file.take(INDEX_LIMIT).read_to_end(&mut text));
        read.map_err(|source| LayoutError::Read { path: path.clone(), source })?;
        serde_json::from_slice(&text).map_err(|source| LayoutError::Parse { path, source })
    }
}

impl Blobs for Layout {
    fn open(&self, digest: &Digest) -> io::Result<FileRange> {
        // Both parts of a digest were checked when it was parsed: neither has a slash.
        let blobs = self.directory.join("blobs");
        FileRange::whole(open_file(&blobs.join(digest.algorithm().as_ref()).join(digest.digest()))?)
    }

    fn path(&self) -> PathBuf {
        self.directory.clone()
    }
}

/// Opens a regular file; without waiting, if it is a FIFO.
pub(super) fn open_file(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(CWD, path, flags, Mode::empty())?;
    match FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) {
        FileType::RegularFile => Ok(file.into()),
        _ => Err(io::Error::other("not a regular file")),
    }
}
