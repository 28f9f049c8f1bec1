//! Copies a tree: data with its holes, hard and symbolic links, device nodes, owners, modes, times,
//! and extended attributes, so ACLs and file capabilities too.
//!
//! By descriptors. Each name is looked up in an open directory and not followed (openat2(2),
//! RESOLVE_NO_SYMLINKS), what was opened is copied, and all names in the target are new
//! (O_EXCL). So a source whose files and directories are replaced by links while it is copied can
//! neither lead the copy out of the tree nor make it write elsewhere.

use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, SeekFrom, Stat, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;
use std::collections::HashMap;
use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Bytes of a list of extended attributes and of the value of one at most (XATTR_LIST_MAX,
/// XATTR_SIZE_MAX; xattr(7)).
const ATTRIBUTE_LIMIT: usize = 1 << 16;
/// Bytes; room for a list and a value.
const BUFFER: usize = 256 << 10;

/// Why a file was not copied. Paths are in the tree.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CopyError {
    #[error("copy {path}")]
    Io { path: PathBuf, source: io::Error },
    /// EPERM: overlayfs does not follow a file that an overlay with metacopy=on has made.
    #[error(
        "copy {0}: its data is in another layer, which overlayfs does not follow without metacopy=on (EPERM): mount the layers so, and give the mount as --layer"
    )]
    Refused(PathBuf),
}

/// A copy of one or more trees into a directory.
#[derive(Debug)]
pub(crate) struct TreeCopy<'a> {
    /// The directory.
    top: BorrowedFd<'a>,
    /// Files with several hard links, by device and inode: the path of the first below `top`.
    links: HashMap<(u64, u64), PathBuf>,
    buffer: Vec<u8>,
    /// copy_file_range(2) works between the two file systems.
    in_kernel: bool,
}

impl<'a> TreeCopy<'a> {
    /// A copy into the directory `top`.
    pub(crate) fn new(top: BorrowedFd<'a>) -> Self {
        Self { top, links: HashMap::new(), buffer: vec![0; BUFFER], in_kernel: true }
    }

    /// Copies all entries of the directory `from`.
    pub(crate) fn copy_contents(&mut self, from: &OwnedFd) -> Result<(), CopyError> {
        let top = self.top;
        self.copy_directory(from.as_fd(), top, Path::new(""))
    }

    /// Copies the entry `name` of the directory `from`.
    pub(crate) fn copy_entry(&mut self, from: &OwnedFd, name: &OsStr) -> Result<(), CopyError> {
        let name = CString::new(name.as_bytes()).map_err(|error| failed(Path::new(name))(error.into()))?;
        let top = self.top;
        self.copy_at(from.as_fd(), top, &name, Path::new(""))
    }

    /// Copies all entries of `from` to `to`, which is at `inside` below the top.
    fn copy_directory(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, inside: &Path) -> Result<(), CopyError> {
        // All names first, so that the listing is read in one go.
        for name in entry_names(from).map_err(failed(inside))? {
            self.copy_at(from, to, &name, inside)?;
        }
        Ok(())
    }

    fn copy_at(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &CStr,
        inside: &Path,
    ) -> Result<(), CopyError> {
        let path = inside.join(OsStr::from_bytes(name.to_bytes()));
        let source = open_entry(from, name).map_err(|errno| match errno {
            Errno::PERM => CopyError::Refused(Path::new("/").join(&path)),
            errno => failed(&path)(errno.into()),
        })?;
        self.copy_node(&source, to, name, &path)
    }

    /// Copies the file `source` to the new name `name` in `to`, which is at `path` below the top.
    fn copy_node(&mut self, source: &OwnedFd, to: BorrowedFd<'_>, name: &CStr, path: &Path) -> Result<(), CopyError> {
        let what = failed(path);
        let stat = rustix::fs::fstat(source).map_err(|errno| what(errno.into()))?;
        let what = failed(path);
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Directory {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let open = || -> io::Result<(OwnedFd, OwnedFd)> {
                rustix::fs::mkdirat(to, name, Mode::RWXU)?;
                Ok((
                    rustix::fs::openat(source, ".", flags, Mode::empty())?,
                    rustix::fs::openat(to, name, flags, Mode::empty())?,
                ))
            };
            let (from, made) = open().map_err(what)?;
            self.copy_directory(from.as_fd(), made.as_fd(), path)?;
        } else if stat.st_nlink > 1 && self.link_known(&stat, to, name, path).map_err(what)? {
            return Ok(());
        } else {
            self.copy_leaf(source, &stat, kind, to, name).map_err(failed(path))?;
        }
        self.copy_attributes(source, &stat, to, name).map_err(failed(path))
    }

    /// Makes a hard link, if the file was copied before under another name.
    fn link_known(&mut self, stat: &Stat, to: BorrowedFd<'_>, name: &CStr, path: &Path) -> io::Result<bool> {
        let Some(first) = self.links.get(&(stat.st_dev, stat.st_ino)) else {
            self.links.insert((stat.st_dev, stat.st_ino), path.to_owned());
            return Ok(false);
        };
        let (dir, first) = (first.parent().unwrap_or(Path::new("")), first.file_name().unwrap_or_default());
        let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let dir = rustix::fs::openat2(self.top, dir, flags, Mode::empty(), resolve)?;
        rustix::fs::linkat(dir, first, to, name, AtFlags::empty())?;
        Ok(true)
    }

    /// Copies what is no directory.
    fn copy_leaf(
        &mut self,
        source: &OwnedFd,
        stat: &Stat,
        kind: FileType,
        to: BorrowedFd<'_>,
        name: &CStr,
    ) -> io::Result<()> {
        match kind {
            FileType::RegularFile => {
                // By its magic link, so that no name is looked up again.
                let from =
                    rustix::fs::openat(CWD, magic_link(source), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let to = rustix::fs::openat(to, name, flags, Mode::RUSR | Mode::WUSR)?;
                self.copy_data(&from, &to)
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(source, "", Vec::new())?;
                Ok(rustix::fs::symlinkat(target.as_c_str(), to, name)?)
            }
            // Device nodes, FIFOs, and sockets, of which only the name is copied.
            kind => Ok(rustix::fs::mknodat(to, name, kind, Mode::RUSR | Mode::WUSR, stat.st_rdev)?),
        }
    }

    /// Copies the data between a file's holes (lseek(2), SEEK_DATA).
    fn copy_data(&mut self, from: &OwnedFd, to: &OwnedFd) -> io::Result<()> {
        let size = rustix::fs::seek(from, SeekFrom::End(0))?;
        let mut at = 0;
        while at < size {
            let (data, hole) = match rustix::fs::seek(from, SeekFrom::Data(at)) {
                Ok(data) => (data, rustix::fs::seek(from, SeekFrom::Hole(data))?),
                // Nothing but a hole is left.
                Err(Errno::NXIO) => break,
                // A file system without SEEK_DATA.
                Err(Errno::INVAL) => (at, size),
                Err(errno) => return Err(errno.into()),
            };
            self.copy_range(from, to, data, hole)?;
            at = hole;
        }
        Ok(rustix::fs::ftruncate(to, size)?)
    }

    /// Copies the bytes from `at` to `end`.
    fn copy_range(&mut self, from: &OwnedFd, to: &OwnedFd, mut at: u64, end: u64) -> io::Result<()> {
        while at < end && self.in_kernel {
            let length = usize::try_from(end - at).unwrap_or(usize::MAX);
            match rustix::fs::copy_file_range(from, Some(&mut { at }), to, Some(&mut { at }), length) {
                Ok(0) => break,
                Ok(count) => at += count as u64,
                Err(Errno::INTR) => {}
                // Between an overlay and another file system, for instance.
                Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => self.in_kernel = false,
                Err(errno) => return Err(errno.into()),
            }
        }
        while at < end {
            let length = self.buffer.len().min(usize::try_from(end - at).unwrap_or(usize::MAX));
            let count = rustix::io::pread(from, &mut self.buffer[..length], at)?;
            if count == 0 {
                break;
            }
            let mut written = 0;
            while written < count {
                written += rustix::io::pwrite(to, &self.buffer[written..count], at + written as u64)?;
            }
            at += count as u64;
        }
        Ok(())
    }

    /// Copies owner, extended attributes, mode and times. In this order: chown(2) clears setuid bits
    /// and file capabilities, and each change sets the times.
    fn copy_attributes(&mut self, source: &OwnedFd, stat: &Stat, to: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
        let target = open_entry(to, name)?;
        let (from, to) = (magic_link(source), magic_link(&target));
        let new = rustix::fs::fstat(&target)?;
        if (new.st_uid, new.st_gid) != (stat.st_uid, stat.st_gid) {
            let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
            rustix::fs::chownat(&target, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?;
        }
        let list = &mut self.buffer[..ATTRIBUTE_LIMIT];
        let length = match rustix::fs::listxattr(&*from, list) {
            Ok(length) => length,
            Err(Errno::OPNOTSUPP) => 0,
            Err(errno) => return Err(errno.into()),
        };
        let (list, value) = self.buffer.split_at_mut(length);
        for name in list.split_inclusive(|&byte| byte == 0).filter_map(|name| CStr::from_bytes_with_nul(name).ok()) {
            let value = &mut value[..ATTRIBUTE_LIMIT];
            match rustix::fs::getxattr(&*from, name, &mut *value) {
                Ok(length) => {
                    rustix::fs::setxattr(&*to, name, &value[..length], XattrFlags::empty())
                        .map_err(|errno| io::Error::other(format!("attribute {}: {errno}", name.to_string_lossy())))?;
                }
                // It was removed meanwhile.
                Err(Errno::NODATA) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            rustix::fs::chmodat(CWD, &*to, Mode::from_raw_mode(stat.st_mode & 0o7777), AtFlags::empty())?;
        }
        let time = |tv_sec: i64, tv_nsec: u64| Timespec { tv_sec, tv_nsec: tv_nsec.cast_signed() };
        let times = Timestamps {
            last_access: time(stat.st_atime, stat.st_atime_nsec),
            last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
        };
        Ok(rustix::fs::utimensat(CWD, &*to, &times, AtFlags::empty())?)
    }
}

/// Opens the entry `name` of `dir`, not followed if it is a link. Errors: EXDEV for a mount point, as
/// what is mounted there is not of the tree.
fn open_entry(dir: impl AsFd, name: &CStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    rustix::fs::openat2(dir, name, flags, Mode::empty(), resolve)
}

/// The path of an open file's magic link (symlink(7)), for system calls that take no O_PATH
/// descriptor. It leads to that file, also where that is a symbolic link.
fn magic_link(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

fn entry_names(dir: BorrowedFd<'_>) -> io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    Ok(names)
}

/// Turns the reason of a failure at `path` into an error.
fn failed(path: &Path) -> impl FnOnce(io::Error) -> CopyError {
    let path = Path::new("/").join(path);
    move |source| CopyError::Io { path, source }
}
