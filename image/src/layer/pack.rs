//! Packs file trees as layers: directories of overlayfs as they are, with their marks turned into
//! whiteouts (image-spec, "layer.md"), and store paths in the one form that Nix's archives know.
//!
//! By descriptors: each name is looked up in an open directory and not followed (openat2(2),
//! RESOLVE_NO_SYMLINKS), and what was opened is packed. So a tree whose files are replaced by links
//! meanwhile can't bring others of the host into the image.

use super::attributes::{self, AttributeError};
use super::tar_write::{Entry, Kind, TarWriter, Xattr};
use super::whiteout;
use crate::source::nix::store_path::{LOGICAL_STORE, StorePath};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, major, minor};
use rustix::io::Errno;
use std::collections::HashMap;
use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Times of store paths and of whiteouts: Nix's own. 0 is taken for "no time" by some programs.
const STORE_TIME: (i64, u32) = (1, 0);
const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// Why a tree can't be packed. Paths are in the image.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PackError {
    #[error("pack {path}")]
    Io { path: PathBuf, source: io::Error },
    #[error("write the end of the archive")]
    Finish(#[source] io::Error),
    #[error("pack {path}")]
    Attribute { path: PathBuf, source: AttributeError },
    #[error("pack {0}: a file system is mounted there, which is not of the layer: unmount it")]
    Mount(PathBuf),
    #[error("pack {0}: names that begin with .wh. are whiteouts in an image: rename it")]
    WhiteoutName(PathBuf),
    #[error(
        "pack {0}: a store path has files, directories and symbolic links only: nix-store --verify-path tells more"
    )]
    SpecialInStore(PathBuf),
    #[error("pack {0}: it was changed while it was read: try again")]
    Changed(PathBuf),
}

/// What becomes of attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rules {
    /// As Nix's archives have it: owned by root, one time, only the executable bit of a mode, no
    /// extended attributes, hard links as files of their own (an optimised store links files that
    /// have nothing to do with each other).
    StorePath,
    /// Likewise, and writable for its owner: an unprivileged user who unpacks it writes below
    /// directories that exist.
    Archive,
    /// As it is; times later than this many seconds since 1970 become this.
    Layer { latest: Option<i64> },
}

impl Rules {
    fn is_layer(self) -> bool {
        matches!(self, Self::Layer { .. })
    }
}

/// Packs trees into one archive.
pub(crate) struct Packer<W: Write> {
    tar: TarWriter<W>,
    rules: Rules,
    /// Files with several hard links, by device and inode: the path of the first.
    links: HashMap<(u64, u64), Vec<u8>>,
    /// Sockets, which archives have no entries for.
    left_out: Vec<PathBuf>,
}

impl<W: Write> Packer<W> {
    pub(crate) fn new(inner: W, rules: Rules) -> Self {
        Self { tar: TarWriter::new(inner), rules, links: HashMap::new(), left_out: Vec::new() }
    }

    /// Packs a directory as the root.
    pub(crate) fn pack_root(&mut self, root: &Path) -> Result<(), PackError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(CWD, root, flags, Mode::empty()).map_err(|errno| failed(b"")(errno.into()))?;
        let stat = rustix::fs::fstat(&opened).map_err(|errno| failed(b"")(errno.into()))?;
        self.directory(&opened, &stat, b"")
    }

    /// Packs paths of the store in directory `store`, with the directories above them, so that the
    /// layer can be unpacked alone.
    pub(crate) fn pack_store_paths(&mut self, store: &Path, paths: &[StorePath]) -> Result<(), PackError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let top = LOGICAL_STORE.trim_start_matches('/').as_bytes();
        let opened = rustix::fs::openat(CWD, store, flags, Mode::empty()).map_err(|errno| failed(top)(errno.into()))?;
        for directory in [&b"nix"[..], top] {
            self.tar.append(&own(directory, Kind::Directory, 0o755)).map_err(failed(directory))?;
        }
        for path in paths {
            let inside = join(top, path.base().as_bytes());
            let name = CString::new(path.base()).map_err(|error| failed(&inside)(error.into()))?;
            self.pack_entry(opened.as_fd(), &name, &inside)?;
        }
        Ok(())
    }

    /// Packs the entry `name` of the directory `from` at `path`.
    fn pack_entry(&mut self, from: BorrowedFd<'_>, name: &CStr, path: &[u8]) -> Result<(), PackError> {
        let node = open_entry(from, name, self.rules).map_err(|errno| match errno {
            Errno::XDEV => PackError::Mount(shown(path)),
            errno => failed(path)(errno.into()),
        })?;
        let stat = rustix::fs::fstat(&node).map_err(|errno| failed(path)(errno.into()))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => self.directory(&node, &stat, path),
            FileType::Socket if self.rules.is_layer() => {
                self.left_out.push(shown(path));
                Ok(())
            }
            _ if !self.rules.is_layer() => self.leaf(&node, &stat, path),
            _ if whiteout::is_whiteout(&magic_link(&node), &stat, &magic_link(&from)) => self.whiteout(path),
            _ if stat.st_nlink > 1 && self.link_known(&stat, path)? => Ok(()),
            _ => self.leaf(&node, &stat, path),
        }
    }

    /// Ends the archive; also the paths that are not in it.
    pub(crate) fn finish(self) -> Result<(W, Vec<PathBuf>), PackError> {
        Ok((self.tar.finish().map_err(PackError::Finish)?, self.left_out))
    }

    fn directory(&mut self, node: &OwnedFd, stat: &Stat, path: &[u8]) -> Result<(), PackError> {
        let xattrs = self.xattrs(node, path)?;
        self.tar.append(&self.entry(stat, path, Kind::Directory, &xattrs)).map_err(failed(path))?;
        if self.rules.is_layer() && whiteout::is_opaque(&magic_link(node)) {
            let opaque = join(path, OPAQUE);
            self.tar.append(&own(&opaque, Kind::File { size: 0 }, 0o644)).map_err(failed(path))?;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(node, ".", flags, Mode::empty()).map_err(|errno| failed(path)(errno.into()))?;
        for name in sorted_names(opened.as_fd()).map_err(failed(path))? {
            let inside = join(path, name.to_bytes());
            if self.rules.is_layer() && name.to_bytes().starts_with(WHITEOUT) {
                return Err(PackError::WhiteoutName(shown(&inside)));
            }
            self.pack_entry(opened.as_fd(), &name, &inside)?;
        }
        Ok(())
    }

    /// A name that hides one of a lower layer.
    fn whiteout(&mut self, path: &[u8]) -> Result<(), PackError> {
        let at = path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
        let name = [&path[..at], WHITEOUT, &path[at..]].concat();
        self.tar.append(&own(&name, Kind::File { size: 0 }, 0o644)).map_err(failed(path))
    }

    /// Writes a hard link, if the file was packed before under another name.
    fn link_known(&mut self, stat: &Stat, path: &[u8]) -> Result<bool, PackError> {
        let Some(first) = self.links.get(&(stat.st_dev, stat.st_ino)).cloned() else {
            self.links.insert((stat.st_dev, stat.st_ino), path.to_owned());
            return Ok(false);
        };
        // Attributes are those of the first name.
        let entry = self.entry(stat, path, Kind::HardLink { target: &first }, &[]);
        self.tar.append(&entry).map_err(failed(path))?;
        Ok(true)
    }

    /// Packs what is no directory.
    fn leaf(&mut self, node: &OwnedFd, stat: &Stat, path: &[u8]) -> Result<(), PackError> {
        let file_type = FileType::from_raw_mode(stat.st_mode);
        let special = !matches!(file_type, FileType::RegularFile | FileType::Symlink);
        if special && !self.rules.is_layer() {
            return Err(PackError::SpecialInStore(shown(path)));
        }
        let xattrs = self.xattrs(node, path)?;
        let target;
        let device = (major(stat.st_rdev), minor(stat.st_rdev));
        let kind = match (file_type, device) {
            (FileType::RegularFile, _) => return self.file(node, stat, path, &xattrs),
            (FileType::Symlink, _) => {
                target = rustix::fs::readlinkat(node, "", Vec::new()).map_err(|errno| failed(path)(errno.into()))?;
                Kind::Symlink { target: target.to_bytes() }
            }
            (FileType::CharacterDevice, (major, minor)) => Kind::CharacterDevice { major, minor },
            (FileType::BlockDevice, (major, minor)) => Kind::BlockDevice { major, minor },
            _ => Kind::Fifo,
        };
        self.tar.append(&self.entry(stat, path, kind, &xattrs)).map_err(failed(path))
    }

    /// Packs a regular file; holes are written as zeros.
    fn file(&mut self, node: &OwnedFd, stat: &Stat, path: &[u8], xattrs: &[Xattr]) -> Result<(), PackError> {
        let size = stat.st_size.cast_unsigned();
        let entry = self.entry(stat, path, Kind::File { size }, xattrs);
        // By its magic link, so that no name is looked up again.
        let file = File::open(magic_link(node)).map_err(failed(path))?;
        self.tar.append_file(&entry, size, &file).map_err(failed(path))?;
        if !self.rules.is_layer() {
            return Ok(());
        }
        let after = rustix::fs::fstat(&file).map_err(|errno| failed(path)(errno.into()))?;
        let state = |stat: &Stat| (stat.st_size, stat.st_mtime, stat.st_mtime_nsec);
        if state(stat) == state(&after) { Ok(()) } else { Err(PackError::Changed(shown(path))) }
    }

    fn xattrs(&self, node: &OwnedFd, path: &[u8]) -> Result<Vec<Xattr>, PackError> {
        if !self.rules.is_layer() {
            return Ok(Vec::new());
        }
        attributes::read(&magic_link(node)).map_err(|source| PackError::Attribute { path: shown(path), source })
    }

    /// The entry of a file, by the rules.
    fn entry<'a>(&self, stat: &Stat, path: &'a [u8], kind: Kind<'a>, xattrs: &'a [Xattr]) -> Entry<'a> {
        let symlink = matches!(kind, Kind::Symlink { .. });
        match self.rules {
            Rules::StorePath | Rules::Archive => {
                let executable = matches!(kind, Kind::Directory) || stat.st_mode & 0o100 != 0;
                let write = if self.rules == Rules::Archive { 0o200 } else { 0 };
                let mode = if symlink { 0o777 } else { 0o444 | write | if executable { 0o111 } else { 0 } };
                own(path, kind, mode)
            }
            Rules::Layer { latest } => Entry {
                path,
                kind,
                mode: if symlink { 0o777 } else { stat.st_mode & 0o7777 },
                uid: stat.st_uid,
                gid: stat.st_gid,
                mtime: clamp((stat.st_mtime, nanoseconds(stat)), latest),
                xattrs,
            },
        }
    }
}

/// An entry that is owned by root and has Nix's time.
fn own<'a>(path: &'a [u8], kind: Kind<'a>, mode: u32) -> Entry<'a> {
    Entry { path, kind, mode, uid: 0, gid: 0, mtime: STORE_TIME, xattrs: &[] }
}

fn nanoseconds(stat: &Stat) -> u32 {
    u32::try_from(stat.st_mtime_nsec).unwrap_or(0)
}

/// As https://reproducible-builds.org/specs/source-date-epoch/ asks: only later times are changed.
fn clamp(time: (i64, u32), latest: Option<i64>) -> (i64, u32) {
    match latest {
        Some(latest) if time > (latest, 0) => (latest, 0),
        _ => time,
    }
}

/// Opens the entry `name` of `dir`, not followed if it is a link. Errors: EXDEV for a mount point in
/// a layer; a store path may be one.
fn open_entry(dir: BorrowedFd<'_>, name: &CStr, rules: Rules) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let more = if rules.is_layer() { ResolveFlags::NO_XDEV } else { ResolveFlags::empty() };
    rustix::fs::openat2(dir, name, flags, Mode::empty(), resolve | more)
}

/// The path of an open file's magic link (symlink(7)), for system calls that take no O_PATH
/// descriptor. It leads to that file, also where that is a symbolic link.
fn magic_link(fd: &impl AsRawFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

fn sorted_names(dir: BorrowedFd<'_>) -> io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    names.sort();
    Ok(names)
}

fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    if path.is_empty() { name.to_vec() } else { [path, b"/", name].concat() }
}

/// For messages, absolute.
fn shown(path: &[u8]) -> PathBuf {
    Path::new("/").join(OsStr::from_bytes(path))
}

/// Turns the reason of a failure at `path` into an error.
fn failed(path: &[u8]) -> impl FnOnce(io::Error) -> PackError + use<> {
    let path = shown(path);
    move |source| PackError::Io { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_later_times_are_changed() {
        assert_eq!(clamp((5, 7), None), (5, 7));
        assert_eq!(clamp((5, 7), Some(6)), (5, 7));
        assert_eq!(clamp((5, 0), Some(5)), (5, 0));
        assert_eq!(clamp((5, 7), Some(5)), (5, 0));
        assert_eq!(clamp((9, 7), Some(5)), (5, 0));
    }
}
