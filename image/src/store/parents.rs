//! The directories that a layer's entries are in, but that have no entry of their own, such as `tmp`
//! where the layer has `tmp/.wh.file` alone (umoci writes those). Applied to one tree, such a directory
//! stays as it is; in an overlay the layer's would hide mode, owner and times of the one below.
//!
//! The directories with what they should have are a further layer on top, made for the layers of an
//! image as a whole.

use crate::layer::entry::{Attributes, LayerPath};
use crate::layer::error::ApplyError;
use crate::layer::metadata::{read_open, set_open};
use crate::layer::whiteout;
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

/// An unpacked layer.
pub(super) struct Unpacked {
    directory: OwnedFd,
    /// Directories without an entry.
    implicit: BTreeSet<LayerPath>,
}

/// What a layer says of a directory.
enum Said {
    Nothing,
    /// Its attributes count.
    Directory(OwnedFd),
    /// What lower layers say is hidden.
    Hidden,
}

impl Unpacked {
    /// The layer at `directory`, with the list that was written of it.
    pub(super) fn open(directory: &Path, list: &[u8]) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let paths = list.split_inclusive(|byte| *byte == 0).map(|path| LayerPath::parse(&path[..path.len() - 1]));
        Ok(Self {
            directory: rustix::fs::openat(CWD, directory, flags, Mode::empty())?,
            implicit: paths.collect::<Result<_, _>>().map_err(io::Error::other)?,
        })
    }

    /// What this layer says of a directory, as overlayfs would take it.
    fn says(&self, path: &LayerPath) -> io::Result<Said> {
        let mut opaque = false;
        let prefixes = path.prefixes();
        for prefix in std::iter::once(&LayerPath::root()).chain(&prefixes) {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
            let found = rustix::fs::openat2(&self.directory, prefix.relative(), flags, Mode::empty(), resolve);
            let found = match found {
                Err(Errno::NOENT) if opaque => return Ok(Said::Hidden),
                Err(Errno::NOENT) => return Ok(Said::Nothing),
                result => result?,
            };
            if FileType::from_raw_mode(rustix::fs::fstat(&found)?.st_mode) != FileType::Directory {
                return Ok(Said::Hidden);
            }
            if prefix == path && !self.implicit.contains(path) {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                return Ok(Said::Directory(rustix::fs::openat(&found, ".", flags, Mode::empty())?));
            }
            opaque |= whiteout::is_opaque(&format!("/proc/self/fd/{}", found.as_raw_fd()));
        }
        Ok(if opaque { Said::Hidden } else { Said::Nothing })
    }
}

/// Directories of the layers, lowest first, that the overlay would show otherwise than one tree would
/// have them, and those above them.
pub(super) fn find(layers: &[Unpacked]) -> io::Result<BTreeMap<LayerPath, Attributes>> {
    let mut wanted = BTreeSet::new();
    for path in layers.iter().flat_map(|layer| &layer.implicit).collect::<BTreeSet<_>>() {
        if let Some((_, false)) = attributes(layers, path)? {
            wanted.extend(path.prefixes());
            wanted.insert(LayerPath::root());
        }
    }
    let mut all = BTreeMap::new();
    for path in wanted {
        let found = attributes(layers, &path)?;
        let fresh = || Attributes { mode: 0o755, ..Attributes::default() };
        all.insert(path, found.map_or_else(fresh, |(attributes, _)| attributes));
    }
    Ok(all)
}

/// The attributes of a directory, and whether they are those of the highest layer that has it.
fn attributes(layers: &[Unpacked], path: &LayerPath) -> io::Result<Option<(Attributes, bool)>> {
    let mut shown = true;
    for layer in layers.iter().rev() {
        match layer.says(path)? {
            Said::Directory(directory) => return Ok(Some((read_open(&directory)?, shown))),
            Said::Hidden => return Ok(None),
            Said::Nothing => shown &= !layer.implicit.contains(path),
        }
    }
    Ok(None)
}

/// Makes the directories in the empty directory `top`.
pub(super) fn make(top: impl AsFd, directories: &BTreeMap<LayerPath, Attributes>) -> Result<(), ApplyError> {
    let top = top.as_fd();
    let failed = |path: &LayerPath| {
        let path = path.to_path();
        move |errno: Errno| ApplyError::Io { path, source: errno.into() }
    };
    // Those above come first.
    for path in directories.keys().filter(|path| path.split().is_some()) {
        rustix::fs::mkdirat(top, path.relative(), Mode::RWXU).map_err(failed(path))?;
    }
    for (path, attributes) in directories.iter().rev() {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(top, path.relative(), flags, Mode::empty()).map_err(failed(path))?;
        set_open(&directory, attributes, &path.to_path())?;
    }
    Ok(())
}

/// The list of a layer's directories without an entry, as [`Unpacked::open`] takes it.
pub(super) fn list(paths: &[LayerPath]) -> Vec<u8> {
    paths.iter().flat_map(|path| path.as_bytes().iter().copied().chain([0])).collect()
}
