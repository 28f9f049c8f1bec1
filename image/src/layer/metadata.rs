//! Sets owner, mode, extended attributes and times of what was extracted.

use super::entry::{Attributes, is_of_files};
use super::error::ApplyError;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd};
use rustix::fs::{AtFlags, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Bytes of a list of extended attributes and of the value of one at most (XATTR_LIST_MAX,
/// XATTR_SIZE_MAX; xattr(7)).
const ATTRIBUTE_LIMIT: usize = 1 << 16;

/// How a new file is: of user and group 0, since no directory has the setgid bit or a default ACL yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Made {
    /// With its mode.
    AsItIs(Mode),
    /// Closed to others: chown(2) and ACLs change the mode.
    Closed,
}

impl Made {
    pub(super) fn for_file(attributes: &Attributes) -> Self {
        match attributes.mode & 0o7000 == 0 && attributes.xattrs.is_empty() {
            true => Self::AsItIs(Mode::from_raw_mode(attributes.mode)),
            false => Self::Closed,
        }
    }

    pub(super) fn mode(self) -> Mode {
        match self {
            Self::AsItIs(mode) => mode,
            Self::Closed => Mode::RUSR | Mode::WUSR,
        }
    }
}

/// Gives a directory in which files will be made to user and group 0, with mode 0700: it may have
/// inherited others.
pub(super) fn take_over(directory: BorrowedFd<'_>) -> io::Result<()> {
    rustix::fs::fchown(directory, Some(Uid::ROOT), Some(Gid::ROOT))?;
    Ok(rustix::fs::fchmod(directory, Mode::RWXU)?)
}

/// Of a regular file that was made a moment ago: with the fewest calls.
pub(super) fn set_file(file: impl AsFd, attributes: &Attributes, made: Made, path: &Path) -> Result<(), ApplyError> {
    let what = |errno: rustix::io::Errno| io_error(path, errno.into());
    if made == Made::Closed {
        return set_open(file, attributes, path);
    }
    if is_given_away(attributes) {
        let (uid, gid) = owner(attributes);
        rustix::fs::fchown(&file, uid, gid).map_err(|errno| owner_error(path, attributes, errno))?;
    }
    rustix::fs::futimens(&file, &times(attributes)).map_err(what)
}

/// Of a file or directory that is open, for reading or writing. In this order: chown(2) clears
/// setuid bits and file capabilities, and each change sets the times.
pub(crate) fn set_open(file: impl AsFd, attributes: &Attributes, path: &Path) -> Result<(), ApplyError> {
    let what = |errno: rustix::io::Errno| io_error(path, errno.into());
    let (uid, gid) = owner(attributes);
    rustix::fs::fchown(&file, uid, gid).map_err(|errno| owner_error(path, attributes, errno))?;
    for (name, value) in &attributes.xattrs {
        let set = rustix::fs::fsetxattr(&file, name.as_os_str(), value, XattrFlags::empty());
        set.map_err(|errno| attribute_error(path, name, errno.into()))?;
    }
    rustix::fs::fchmod(&file, Mode::from_raw_mode(attributes.mode)).map_err(what)?;
    rustix::fs::futimens(&file, &times(attributes)).map_err(what)
}

/// Those of a directory that is open, without the marks of overlayfs.
pub(crate) fn read_open(directory: impl AsFd) -> io::Result<Attributes> {
    let stat = rustix::fs::fstat(&directory)?;
    let mut list = vec![0; ATTRIBUTE_LIMIT];
    let length = match rustix::fs::flistxattr(&directory, &mut list) {
        Err(Errno::OPNOTSUPP) => 0,
        result => result?,
    };
    let mut xattrs = Vec::new();
    for name in list[..length].split(|byte| *byte == 0).filter(|name| is_of_files(name)) {
        let mut value = vec![0; ATTRIBUTE_LIMIT];
        let length = rustix::fs::fgetxattr(&directory, name, &mut value)?;
        value.truncate(length);
        xattrs.push((OsStr::from_bytes(name).to_owned(), value));
    }
    let mtime = (stat.st_mtime, stat.st_mtime_nsec.cast_signed());
    Ok(Attributes { mode: stat.st_mode & 0o7777, uid: stat.st_uid, gid: stat.st_gid, mtime, xattrs })
}

/// Of the entry `name` of `directory`: a symbolic link, a device node or a FIFO, which are not
/// opened. It was made a moment ago, in a directory that nobody else can write; `None` for a link.
pub(super) fn set_entry(
    directory: BorrowedFd<'_>,
    name: &OsStr,
    attributes: &Attributes,
    made: Option<Made>,
    path: &Path,
) -> Result<(), ApplyError> {
    let what = |errno: rustix::io::Errno| io_error(path, errno.into());
    if is_given_away(attributes) {
        let (uid, gid) = owner(attributes);
        rustix::fs::chownat(directory, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| owner_error(path, attributes, errno))?;
    }
    for (key, value) in &attributes.xattrs {
        // lsetxattr(2) takes a path only: the directory is reached by its magic link.
        let file = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name);
        let set = rustix::fs::lsetxattr(&file, key.as_os_str(), value, XattrFlags::empty());
        set.map_err(|errno| attribute_error(path, key, errno.into()))?;
    }
    if made == Some(Made::Closed) {
        rustix::fs::chmodat(directory, name, Mode::from_raw_mode(attributes.mode), AtFlags::empty()).map_err(what)?;
    }
    rustix::fs::utimensat(directory, name, &times(attributes), AtFlags::SYMLINK_NOFOLLOW).map_err(what)
}

/// Removes the default ACL that a new directory has inherited from the one above it; what is made in
/// it would inherit it too.
pub(super) fn drop_default_acl(directory: BorrowedFd<'_>) -> io::Result<()> {
    let link = format!("/proc/self/fd/{}", directory.as_raw_fd());
    match rustix::fs::removexattr(&*link, "system.posix_acl_default") {
        Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Whether it is not user 0's and group 0's, as all new files are.
fn is_given_away(attributes: &Attributes) -> bool {
    (attributes.uid, attributes.gid) != (0, 0)
}

fn owner(attributes: &Attributes) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(attributes.uid)), Some(Gid::from_raw(attributes.gid)))
}

fn times(attributes: &Attributes) -> Timestamps {
    let time = Timespec { tv_sec: attributes.mtime.0, tv_nsec: attributes.mtime.1 };
    Timestamps { last_access: time, last_modification: time }
}

/// EINVAL is for ids that are not mapped (user_namespaces(7)).
fn owner_error(path: &Path, attributes: &Attributes, errno: Errno) -> ApplyError {
    match errno {
        Errno::INVAL => ApplyError::NoId { path: path.to_owned(), uid: attributes.uid, gid: attributes.gid },
        errno => io_error(path, errno.into()),
    }
}

fn io_error(path: &Path, source: io::Error) -> ApplyError {
    ApplyError::Io { path: path.to_owned(), source }
}

fn attribute_error(path: &Path, name: &OsStr, source: io::Error) -> ApplyError {
    ApplyError::Attribute { path: path.to_owned(), name: name.to_string_lossy().into_owned(), source }
}
