//! The state directory of a container (/run/firn/ID), its lock and its files.

use super::files::{CONTENTS, MOUNT_POINT};
use super::trust;
use crate::bail;
use crate::compat;
use crate::error::{Context, Error, Kind, Result};
use crate::host;
use crate::path::{read_exactly, write_all};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The directory with all state directories (`--root`). Only the caller and root may write
/// to it, `trust.rs`.
#[derive(Debug)]
pub struct StateRoot {
    fd: OwnedFd,
    path: PathBuf,
}

/// The state directory of one container. Locked (flock(2)) while this lives, unless it was
/// opened by `open_unlocked`.
#[derive(Debug)]
pub struct StateDir {
    fd: OwnedFd,
    path: PathBuf,
}

/// Checks an id, which becomes a file name and part of a cgroup's name. Errors:
/// [`Kind::InvalidId`].
pub fn check_id(id: &str) -> Result<()> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_+-.".contains(c);
    if id.is_empty() || id.len() > 255 || id == "." || id == ".." || !id.chars().all(allowed) {
        let text = format!("{}: {id:?} (letters, digits, '_', '+', '-' and '.' are allowed)", compat::INVALID_ID);
        return Err(Error::of_kind(Kind::InvalidId, text));
    }
    Ok(())
}

/// The default of `--root`: /run/firn; for an unprivileged caller firn below
/// XDG_RUNTIME_DIR. Root of a user namespace is unprivileged, unless USER is root, as under
/// runc.
pub fn default_root() -> PathBuf {
    let is_unprivileged = || {
        !rustix::process::geteuid().is_root()
            || (std::env::var_os("USER").is_none_or(|user| user != "root") && host::is_rootless())
    };
    match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(dir) if !dir.is_empty() && is_unprivileged() => Path::new(&dir).join("firn"),
        _ => PathBuf::from("/run/firn"),
    }
}

impl StateRoot {
    /// Opens the directory. None if it does not exist. Errors: one that is not trusted.
    pub fn open(path: &Path) -> Result<Option<Self>> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = match rustix::fs::open(path, flags, Mode::empty()) {
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            result => result.doing(|| format!("open {}", path.display()))?,
        };
        trust::check(&fd, FileType::Directory, || path.to_owned())?;
        Ok(Some(StateRoot { fd, path: path.to_owned() }))
    }

    /// Opens the directory, and creates it with mode 0700 if it does not exist.
    fn make(path: &Path) -> Result<Self> {
        if let Some(root) = Self::open(path)? {
            return Ok(root);
        }
        let what = || format!("make {}", path.display());
        trust::private(|| trust::make_directories(path)).doing(what)?;
        Self::open(path)?.ok_or(Errno::NOENT).doing(what)
    }

    /// The names of all directories in it, sorted.
    pub fn ids(&self) -> Result<Vec<String>> {
        let what = || format!("list {}", self.path.display());
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.fd, c".", flags, Mode::empty()).doing(what)?;
        let list = rustix::fs::Dir::new(fd).doing(what)?;
        let mut ids = Vec::new();
        for entry in list {
            let entry = entry.doing(what)?;
            let name = entry.file_name().to_bytes();
            if matches!(entry.file_type(), FileType::Directory | FileType::Unknown) && name != b"." && name != b".." {
                ids.extend(std::str::from_utf8(name).ok().map(String::from));
            }
        }
        ids.sort();
        Ok(ids)
    }

    /// Opens the state directory of a container without its lock. None if there is none.
    pub fn open_unlocked(&self, id: &str) -> Result<Option<StateDir>> {
        check_id(id)?;
        StateDir::open_at(&self.fd, Path::new(id), self.path.join(id))
    }
}

impl StateDir {
    /// Creates the state directory and takes its lock. Errors: [`Kind::InvalidId`],
    /// [`Kind::AlreadyExists`].
    pub fn create(root: &Path, id: &str) -> Result<Self> {
        let root = StateRoot::make(root)?;
        match trust::private(|| rustix::fs::mkdirat(&root.fd, id, Mode::from_raw_mode(0o700))) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                let text = format!("{}: {id:?}", compat::ALREADY_EXISTS);
                return Err(Error::of_kind(Kind::AlreadyExists, text));
            }
            Err(errno) => return Err(errno).doing(|| format!("make {}", root.path.join(id).display())),
        }
        let dir = root.open_unlocked(id)?.ok_or_else(|| absent(id))?;
        dir.lock()?;
        Ok(dir)
    }

    /// Opens the state directory of a container and waits for its lock. Errors:
    /// [`Kind::NotFound`].
    pub fn open(root: &Path, id: &str) -> Result<Self> {
        Self::find(root, id)?.ok_or_else(|| absent(id))
    }

    /// The same; None if there is no such container.
    pub fn find(root: &Path, id: &str) -> Result<Option<Self>> {
        let Some(dir) = Self::open_checked(root, id)? else { return Ok(None) };
        Ok(dir.relock()?.then_some(dir))
    }

    /// Releases the lock.
    pub fn unlock(&self) -> Result<()> {
        rustix::fs::flock(&self.fd, FlockOperation::Unlock).doing(|| format!("unlock {}", self.path.display()))
    }

    /// Takes the lock again. False if the container was deleted meanwhile.
    pub fn relock(&self) -> Result<bool> {
        self.lock()?;
        let stat = rustix::fs::fstat(&self.fd).doing(|| format!("stat {}", self.path.display()))?;
        Ok(stat.st_nlink > 0)
    }

    /// Opens the state directory without its lock, for reading: files are replaced by rename(2),
    /// never modified, so each is read consistently. Errors: [`Kind::NotFound`].
    pub fn open_unlocked(root: &Path, id: &str) -> Result<Self> {
        Self::open_checked(root, id)?.ok_or_else(|| absent(id))
    }

    fn open_checked(root: &Path, id: &str) -> Result<Option<Self>> {
        check_id(id)?;
        let path = root.join(id);
        let Some(dir) = Self::open_at(rustix::fs::CWD, &path, path.clone())? else { return Ok(None) };
        // `..` of the opened directory, not the path, which may have been replaced.
        let stat = rustix::fs::statat(&dir.fd, c"..", AtFlags::empty());
        let stat = stat.doing(|| format!("stat {}", root.display()))?;
        trust::check_stat(&stat, FileType::Directory, || root.to_owned())?;
        Ok(Some(dir))
    }

    fn open_at(at: impl AsFd, name: &Path, path: PathBuf) -> Result<Option<Self>> {
        // O_NOFOLLOW: a link could lead to a directory of another user.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = match rustix::fs::openat(at, name, flags, Mode::empty()) {
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            result => result.doing(|| format!("open {}", path.display()))?,
        };
        trust::check(&fd, FileType::Directory, || path.clone())?;
        Ok(Some(StateDir { fd, path }))
    }

    fn lock(&self) -> Result<()> {
        loop {
            match rustix::fs::flock(&self.fd, FlockOperation::LockExclusive) {
                Err(Errno::INTR) => {}
                result => return result.doing(|| format!("lock {}", self.path.display())),
            }
        }
    }

    /// Takes the lock without waiting. False if it is held.
    pub fn try_lock(&self) -> bool {
        rustix::fs::flock(&self.fd, FlockOperation::NonBlockingLockExclusive).is_ok()
    }

    /// The path by which it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Replaces a file by rename(2): a reader sees the old or the new one.
    pub fn write(&self, name: &CStr, data: &[u8]) -> Result<()> {
        let what = || format!("write {} in {}", name.to_string_lossy(), self.path.display());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.fd, c".new", flags, Mode::from_raw_mode(0o600)).doing(what)?;
        write_all(&file, data).doing(what)?;
        rustix::fs::renameat(&self.fd, c".new", &self.fd, name).doing(what)
    }

    /// Creates a file, before the container can be found.
    pub fn write_new(&self, name: &CStr, data: &[u8]) -> Result<()> {
        let what = || format!("write {} in {}", name.to_string_lossy(), self.path.display());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.fd, name, flags, Mode::from_raw_mode(0o600)).doing(what)?;
        write_all(&file, data).doing(what)
    }

    /// Reads a file. None if it does not exist. Errors: one that another user could have
    /// written, `trust.rs`.
    pub fn read(&self, name: &CStr) -> Result<Option<Vec<u8>>> {
        let what = || format!("read {} in {}", name.to_string_lossy(), self.path.display());
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&self.fd, name, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            result => result.doing(what)?,
        };
        let path = || self.path.join(OsStr::from_bytes(name.to_bytes()));
        let stat = trust::check(&file, FileType::RegularFile, path)?;
        // Files are never modified, so st_size is the length.
        read_exactly(&file, stat.st_size as usize).doing(what).map(Some)
    }

    /// Whether the file exists.
    pub fn has(&self, name: &CStr) -> bool {
        rustix::fs::accessat(&self.fd, name, rustix::fs::Access::EXISTS, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// Removes a file; none is no error.
    pub fn unlink(&self, name: &CStr) -> Result<()> {
        self.unlink_if_present(name, AtFlags::empty())
    }

    /// unlinkat(2), with REMOVEDIR of a directory; ENOENT is no error.
    fn unlink_if_present(&self, name: &CStr, flags: AtFlags) -> Result<()> {
        match rustix::fs::unlinkat(&self.fd, name, flags) {
            Ok(()) | Err(Errno::NOENT | Errno::NOTDIR) => Ok(()),
            Err(errno) => Err(errno).doing(|| format!("remove {} in {}", name.to_string_lossy(), self.path.display())),
        }
    }

    /// Makes an empty directory on which CRIU finds the root, and returns its real path.
    pub fn make_mount_point(&self) -> Result<PathBuf> {
        let what = || format!("make {} in {}", MOUNT_POINT.to_string_lossy(), self.path.display());
        trust::private(|| rustix::fs::mkdirat(&self.fd, MOUNT_POINT, Mode::from_raw_mode(0o700))).doing(what)?;
        let path = std::fs::canonicalize(&self.path).doing(what)?;
        Ok(path.join(OsStr::from_bytes(MOUNT_POINT.to_bytes())))
    }

    /// Removes that directory; none is no error.
    pub fn remove_mount_point(&self) -> Result<()> {
        self.unlink_if_present(MOUNT_POINT, AtFlags::REMOVEDIR)
    }

    /// Removes the state directory with its files: the container no longer exists. Errors:
    /// files that are not firn's.
    pub fn remove(self) -> Result<()> {
        for names in CONTENTS {
            names.iter().try_for_each(|(name, flags)| self.unlink_if_present(name, *flags))?;
            match rustix::fs::rmdir(&self.path) {
                Ok(()) | Err(Errno::NOENT) => return Ok(()),
                Err(Errno::NOTEMPTY) => {}
                Err(errno) => return Err(errno).doing(|| format!("remove {}", self.path.display())),
            }
        }
        bail!("remove {}: it has files that are not firn's", self.path.display());
    }
}

impl AsFd for StateDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The error for a container that does not exist, [`Kind::NotFound`].
pub fn absent(id: &str) -> Error {
    Error::of_kind(Kind::NotFound, format!("{}: {id:?}", compat::DOES_NOT_EXIST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_file_names() {
        for good in ["a", "web-1", "a.b_c+d", "..."] {
            assert!(check_id(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a b", "ä", "a\n", &"x".repeat(256)] {
            assert!(check_id(bad).is_err(), "{bad}");
        }
    }
}
