//! The directory /run/firn/ID, its lock, and its files.

use super::{record, start};
use crate::bail;
use crate::cli::compat;
use crate::create::notify;
use crate::error::{Context, Error, Result};
use crate::host;
use crate::path::{read_all, write_all};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// There only while criu restores the container.
const MOUNT_PLACE: &CStr = c"criu-root";

/// What may lie in a state directory: what every container has, what a command
/// that was cut off has left, and what few have.
const CONTENTS: [&[(&CStr, AtFlags)]; 3] = [
    &[(record::CONFIG, AtFlags::empty()), (record::FILE, AtFlags::empty())],
    &[(start::FIFO, AtFlags::empty()), (start::UNPUBLISHED, AtFlags::empty()), (c".new", AtFlags::empty())],
    &[(notify::SOCKET, AtFlags::empty()), (notify::FOLDER, AtFlags::REMOVEDIR), (MOUNT_PLACE, AtFlags::REMOVEDIR)],
];

/// The state directory of one container, locked for as long as this lives.
#[derive(Debug)]
pub struct StateDir {
    fd: OwnedFd,
    path: PathBuf,
}

/// What may stand in an id: it becomes a file name and part of a cgroup's.
pub fn check_id(id: &str) -> Result<()> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_+-.".contains(c);
    if id.is_empty() || id.len() > 255 || id == "." || id == ".." || !id.chars().all(allowed) {
        bail!("{}: {id:?} (letters, digits, '_', '+', '-' and '.' are allowed)", compat::INVALID_ID);
    }
    Ok(())
}

/// The directory that holds all containers' when `--root` does not name one:
/// /run/firn, or for an ordinary user the same below XDG_RUNTIME_DIR. Root of a
/// user namespace is an ordinary user, unless USER says otherwise, as for runc.
pub fn default_root() -> PathBuf {
    let ordinary = || {
        !rustix::process::geteuid().is_root()
            || (std::env::var_os("USER").is_none_or(|user| user != "root") && host::is_rootless())
    };
    match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(dir) if !dir.is_empty() && ordinary() => Path::new(&dir).join("firn"),
        _ => PathBuf::from("/run/firn"),
    }
}

impl StateDir {
    /// Makes the directory of a new container and takes its lock.
    pub fn create(root: &Path, id: &str) -> Result<Self> {
        let path = root.join(id);
        let make = || rustix::fs::mkdir(&path, Mode::from_raw_mode(0o700));
        let made = match make() {
            Err(Errno::NOENT) => {
                std::fs::create_dir_all(root).doing(|| format!("make {}", root.display()))?;
                make()
            }
            result => result,
        };
        match made {
            Ok(()) => {}
            Err(Errno::EXIST) => bail!("{}: {id:?}", compat::ALREADY_EXISTS),
            Err(errno) => return Err(errno).doing(|| format!("make {}", path.display())),
        }
        let dir = Self::open_path(path)?;
        dir.lock()?;
        Ok(dir)
    }

    /// Opens the directory of a container that exists, and waits for its lock.
    pub fn open(root: &Path, id: &str) -> Result<Self> {
        let dir = Self::look(root, id)?;
        if dir.lock_again()? { Ok(dir) } else { Err(absent(id)) }
    }

    pub fn unlock(&self) -> Result<()> {
        rustix::fs::flock(&self.fd, FlockOperation::Unlock).doing(|| format!("unlock {}", self.path.display()))
    }

    /// Takes the lock. False if whoever had it has deleted the container.
    pub fn lock_again(&self) -> Result<bool> {
        self.lock()?;
        let stat = rustix::fs::fstat(&self.fd).doing(|| format!("look at {}", self.path.display()))?;
        Ok(stat.st_nlink > 0)
    }

    /// Opens the directory to read only; what is read is whole, for files are
    /// replaced and never changed.
    pub fn look(root: &Path, id: &str) -> Result<Self> {
        check_id(id)?;
        Self::open_path(root.join(id)).map_err(|error| match error.errno() {
            Some(Errno::NOENT | Errno::NOTDIR) => absent(id),
            _ => error,
        })
    }

    fn open_path(path: PathBuf) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(&path, flags, Mode::empty()).doing(|| format!("open {}", path.display()))?;
        Ok(StateDir { fd, path })
    }

    fn lock(&self) -> Result<()> {
        loop {
            match rustix::fs::flock(&self.fd, FlockOperation::LockExclusive) {
                Err(Errno::INTR) => {}
                result => return result.doing(|| format!("lock {}", self.path.display())),
            }
        }
    }

    /// Takes the lock if nobody else has it.
    pub fn try_lock(&self) -> bool {
        rustix::fs::flock(&self.fd, FlockOperation::NonBlockingLockExclusive).is_ok()
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Replaces a file as a whole: a reader sees the old one or the new one.
    pub fn write(&self, name: &CStr, data: &[u8]) -> Result<()> {
        let what = || format!("write {} in {}", name.to_string_lossy(), self.path.display());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.fd, c".new", flags, Mode::from_raw_mode(0o600)).doing(what)?;
        write_all(&file, data).doing(what)?;
        rustix::fs::renameat(&self.fd, c".new", &self.fd, name).doing(what)
    }

    /// Writes a file that is new, before anybody looks for it.
    pub fn write_new(&self, name: &CStr, data: &[u8]) -> Result<()> {
        let what = || format!("write {} in {}", name.to_string_lossy(), self.path.display());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.fd, name, flags, Mode::from_raw_mode(0o600)).doing(what)?;
        write_all(&file, data).doing(what)
    }

    /// None where there is no such file.
    pub fn read(&self, name: &CStr) -> Result<Option<Vec<u8>>> {
        let what = || format!("read {} in {}", name.to_string_lossy(), self.path.display());
        let file = match rustix::fs::openat(&self.fd, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            result => result.doing(what)?,
        };
        read_all(&file, 8191).doing(what).map(Some)
    }

    pub fn has(&self, name: &CStr) -> bool {
        rustix::fs::accessat(&self.fd, name, rustix::fs::Access::EXISTS, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    pub fn unlink(&self, name: &CStr) -> Result<()> {
        self.take_away(name, AtFlags::empty())
    }

    /// A file, or with REMOVEDIR a directory, if it is there.
    fn take_away(&self, name: &CStr, flags: AtFlags) -> Result<()> {
        match rustix::fs::unlinkat(&self.fd, name, flags) {
            Ok(()) | Err(Errno::NOENT | Errno::NOTDIR) => Ok(()),
            Err(errno) => Err(errno).doing(|| format!("remove {} in {}", name.to_string_lossy(), self.path.display())),
        }
    }

    /// An empty directory, by its real path, on which criu finds the root.
    pub fn make_mount_place(&self) -> Result<PathBuf> {
        let what = || format!("make {} in {}", MOUNT_PLACE.to_string_lossy(), self.path.display());
        rustix::fs::mkdirat(&self.fd, MOUNT_PLACE, Mode::from_raw_mode(0o700)).doing(what)?;
        let path = std::fs::canonicalize(&self.path).doing(what)?;
        Ok(path.join(OsStr::from_bytes(MOUNT_PLACE.to_bytes())))
    }

    pub fn remove_mount_place(&self) -> Result<()> {
        self.take_away(MOUNT_PLACE, AtFlags::REMOVEDIR)
    }

    /// Removes the directory; the container is gone then.
    pub fn remove(self) -> Result<()> {
        for names in CONTENTS {
            names.iter().try_for_each(|(name, flags)| self.take_away(name, *flags))?;
            match rustix::fs::rmdir(&self.path) {
                Ok(()) | Err(Errno::NOENT) => return Ok(()),
                Err(Errno::NOTEMPTY) => {}
                Err(errno) => return Err(errno).doing(|| format!("remove {}", self.path.display())),
            }
        }
        bail!("{} has files that are not firn's", self.path.display());
    }
}

impl AsFd for StateDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn absent(id: &str) -> Error {
    Error::new(format!("{}: {id:?}", compat::DOES_NOT_EXIST))
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
