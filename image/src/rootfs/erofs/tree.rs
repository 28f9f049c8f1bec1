//! The tree that an image shows, read from the store.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, openat, readlinkat, statat};
use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// Why a closure can't be read.
#[derive(Debug, thiserror::Error)]
#[error("read {path} in the store")]
pub(crate) struct ReadError {
    /// In the store.
    path: PathBuf,
    source: io::Error,
}

/// A file of the tree. The first one is the root; a directory comes before what is in it.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) kind: Kind,
    /// Permissions, without the type.
    pub(super) mode: u16,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Seconds since 1970 and nanoseconds.
    pub(super) mtime: (u64, u32),
}

#[derive(Debug)]
pub(super) enum Kind {
    /// Its parent, and names with their nodes in the order of their bytes.
    Directory {
        parent: usize,
        entries: Vec<(CString, usize)>,
        subdirectories: u32,
    },
    /// Its path in the store, absolute.
    File {
        size: u64,
        path: Vec<u8>,
    },
    Symlink {
        target: Vec<u8>,
    },
}

/// Reads the entries `names` of the store, and all below. `None`: one is a socket, a FIFO or a device.
pub(super) fn read<'a>(
    store: BorrowedFd<'_>,
    names: impl Iterator<Item = &'a OsStr>,
) -> Result<Option<Vec<Node>>, ReadError> {
    // As Nix has its store.
    let kind = Kind::Directory { parent: 0, entries: Vec::new(), subdirectories: 0 };
    let mut nodes = vec![Node { kind, mode: 0o755, uid: 0, gid: 0, mtime: (1, 0) }];
    let names = names.map(|name| CString::new(name.as_bytes())).collect::<Result<Vec<_>, _>>();
    let names = names.map_err(|error| failed(b"/", error))?;
    let is_complete = read_entries(&mut nodes, 0, store, b"", names)?;
    Ok(is_complete.then_some(nodes))
}

/// Adds the entries `names` of `directory`, whose node is `parent`. False where one has no node.
fn read_entries(
    nodes: &mut Vec<Node>,
    parent: usize,
    directory: BorrowedFd<'_>,
    path: &[u8],
    mut names: Vec<CString>,
) -> Result<bool, ReadError> {
    names.sort();
    names.dedup();
    let mut below = Vec::new();
    let mut entries = Vec::with_capacity(names.len());
    for name in names {
        let path = [path, b"/", name.as_bytes()].concat();
        let stat = statat(directory, &name, AtFlags::SYMLINK_NOFOLLOW).map_err(|errno| failed(&path, errno))?;
        let number = nodes.len();
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                below.push((number, name.clone(), path));
                Kind::Directory { parent, entries: Vec::new(), subdirectories: 0 }
            }
            FileType::RegularFile => Kind::File { size: u64::try_from(stat.st_size).unwrap_or(0), path },
            FileType::Symlink => {
                let target = readlinkat(directory, &name, Vec::new()).map_err(|errno| failed(&path, errno))?;
                Kind::Symlink { target: target.into_bytes() }
            }
            _ => return Ok(false),
        };
        nodes.push(node(kind, &stat));
        entries.push((name, number));
    }
    if let Kind::Directory { entries: of_parent, subdirectories, .. } = &mut nodes[parent].kind {
        *of_parent = entries;
        *subdirectories = below.len() as u32;
    }
    for (number, name, path) in below {
        let (directory, names) = open_and_list(directory, &name).map_err(|error| failed(&path, error))?;
        if !read_entries(nodes, number, directory.as_fd(), &path, names)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn node(kind: Kind, stat: &Stat) -> Node {
    let mtime = (u64::try_from(stat.st_mtime).unwrap_or(0), u32::try_from(stat.st_mtime_nsec).unwrap_or(0));
    Node { kind, mode: (stat.st_mode & 0o7777) as u16, uid: stat.st_uid, gid: stat.st_gid, mtime }
}

fn failed(path: &[u8], source: impl Into<io::Error>) -> ReadError {
    ReadError { path: PathBuf::from(OsStr::from_bytes(path)), source: source.into() }
}

/// A directory, and the names in it.
fn open_and_list(parent: BorrowedFd<'_>, name: &CStr) -> io::Result<(OwnedFd, Vec<CString>)> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = openat(parent, name, flags, Mode::empty())?;
    let mut names = Vec::new();
    for entry in Dir::read_from(&directory)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    Ok((directory, names))
}
