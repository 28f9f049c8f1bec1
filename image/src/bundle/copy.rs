//! Copies layers and store paths into a root for runtimes that can't overlay.
//!
//! The target lies in a folder that only the caller can enter, and no link in it
//! is ever followed: each name is looked at before it is used. So a layer can't
//! make the copy write anywhere else.

use crate::source::view;
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};
use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// What could not be copied.
#[derive(Debug, thiserror::Error)]
#[error("copy {path}")]
pub struct CopyError {
    path: PathBuf,
    source: io::Error,
}

/// Lays a layer over what `to` holds already, as overlayfs would show it.
pub fn layer(from: &Path, to: &Path) -> Result<(), CopyError> {
    Copy { links: HashMap::new(), overlays: true }.directory(from, to)
}

/// Copies one tree to a name that doesn't exist yet.
pub fn tree(from: &Path, to: &Path) -> Result<(), CopyError> {
    Copy { links: HashMap::new(), overlays: false }.entry(from, to)
}

/// Makes a directory of whatever lies there.
pub fn ensure_dir(path: &Path) -> Result<(), CopyError> {
    let what = |source| CopyError { path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => return Ok(()),
        Ok(_) => fs::remove_file(path).map_err(what)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(what(error)),
    }
    fs::create_dir(path).map_err(what)
}

struct Copy {
    /// Files with several names, by device and inode, and where the first lies.
    links: HashMap<(u64, u64), PathBuf>,
    /// Marks of overlayfs mean what they mean to it.
    overlays: bool,
}

impl Copy {
    fn entry(&mut self, from: &Path, to: &Path) -> Result<(), CopyError> {
        let what = |source| CopyError { path: from.to_owned(), source };
        let meta = fs::symlink_metadata(from).map_err(what)?;
        if meta.is_dir() {
            ensure_dir(to)?;
            return self.directory(from, to);
        }
        remove(to).map_err(what)?;
        let kind = meta.file_type();
        if self.overlays && view::is_whiteout(&meta) {
            return Ok(());
        }
        if meta.nlink() > 1 {
            if let Some(first) = self.links.get(&(meta.dev(), meta.ino())) {
                return fs::hard_link(first, to).map_err(what);
            }
            self.links.insert((meta.dev(), meta.ino()), to.to_owned());
        }
        if kind.is_symlink() {
            fs::read_link(from).and_then(|target| symlink(target, to)).map_err(what)?;
        } else if kind.is_file() {
            fs::copy(from, to).map_err(what)?;
        } else if kind.is_socket() {
            // Nobody listens on a copy.
            return Ok(());
        } else {
            let kind = FileType::from_raw_mode(meta.mode());
            rustix::fs::mknodat(CWD, to, kind, Mode::from(0o600), meta.rdev()).map_err(|error| what(error.into()))?;
        }
        attributes(from, to, &meta).map_err(what)
    }

    fn directory(&mut self, from: &Path, to: &Path) -> Result<(), CopyError> {
        let what = |source| CopyError { path: from.to_owned(), source };
        // A lower layer may have made it read-only; its final mode comes last.
        fs::set_permissions(to, fs::Permissions::from_mode(0o700)).map_err(what)?;
        if self.overlays && view::is_opaque(from) {
            clear(to).map_err(what)?;
        }
        for entry in fs::read_dir(from).map_err(what)? {
            let entry = entry.map_err(what)?;
            self.entry(&entry.path(), &to.join(entry.file_name()))?;
        }
        let meta = fs::symlink_metadata(from).map_err(what)?;
        attributes(from, to, &meta).map_err(what)
    }
}

fn clear(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        remove(&entry?.path())?;
    }
    Ok(())
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Owner, extended attributes, mode, times. In this order: a change of owner
/// drops setuid bits and file capabilities, and every change sets the time.
fn attributes(from: &Path, to: &Path, meta: &Metadata) -> io::Result<()> {
    let new = fs::symlink_metadata(to)?;
    if (new.uid(), new.gid()) != (meta.uid(), meta.gid()) {
        let (uid, gid) = (Uid::from_raw(meta.uid()), Gid::from_raw(meta.gid()));
        rustix::fs::chownat(CWD, to, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    for name in xattrs(from)? {
        let Some(value) = xattr(from, &name)? else {
            continue;
        };
        rustix::fs::lsetxattr(to, &*name, &value, XattrFlags::empty())?;
    }
    if !meta.is_symlink() {
        fs::set_permissions(to, fs::Permissions::from_mode(meta.mode() & 0o7777))?;
    }
    let times = Timestamps {
        last_access: Timespec { tv_sec: meta.atime(), tv_nsec: meta.atime_nsec() },
        last_modification: Timespec { tv_sec: meta.mtime(), tv_nsec: meta.mtime_nsec() },
    };
    rustix::fs::utimensat(CWD, to, &times, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(())
}

/// The names of a file's attributes, without those by which overlayfs marks layers.
fn xattrs(path: &Path) -> io::Result<Vec<CString>> {
    // 64 KiB is the kernel's limit for the list (XATTR_LIST_MAX).
    let mut list = vec![0_u8; 1 << 16];
    let length = match rustix::fs::llistxattr(path, &mut list) {
        Ok(length) => length,
        Err(rustix::io::Errno::OPNOTSUPP) => 0,
        Err(error) => return Err(error.into()),
    };
    let names = list[..length].split_inclusive(|&byte| byte == 0);
    Ok(names
        .filter_map(|name| CStr::from_bytes_with_nul(name).ok())
        .filter(|name| {
            let name = name.to_bytes();
            !name.starts_with(b"trusted.overlay.") && !name.starts_with(b"user.overlay.")
        })
        .map(CStr::to_owned)
        .collect())
}

/// An attribute's value, unless it has gone meanwhile.
fn xattr(path: &Path, name: &CStr) -> io::Result<Option<Vec<u8>>> {
    // 64 KiB is the kernel's limit for a value (XATTR_SIZE_MAX).
    let mut value = vec![0_u8; 1 << 16];
    match rustix::fs::lgetxattr(path, name, &mut value) {
        Ok(length) => {
            value.truncate(length);
            Ok(Some(value))
        }
        Err(rustix::io::Errno::NODATA) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
