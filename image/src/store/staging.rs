//! The directory beside its place in which a bundle is built, or a layer is unpacked.

use rustix::fs::{CWD, FlockOperation, Mode, OFlags, flock, openat};
use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// How often a directory is made that others remove before it is locked.
const TRIES: usize = 1000;

/// A directory that is removed, with all that is in it, when this is dropped.
#[derive(Debug)]
pub(crate) struct StagingDir {
    path: PathBuf,
    /// An flock(2) for as long as the directory is in use: it is released when the process ends,
    /// however that is.
    lock: OwnedFd,
}

impl StagingDir {
    /// Makes the directory, mode 0700, and removes those that killed runs for the same bundle have
    /// left.
    pub(crate) fn beside(output: &Path) -> io::Result<Self> {
        let name = output.file_name().unwrap_or_default().to_string_lossy();
        let prefix = format!(".{name}.firn-image-");
        if let Some(parent) = output.parent() {
            remove_abandoned(parent, &prefix)?;
        }
        let path = output.with_file_name(format!("{prefix}{}", std::process::id()));
        for _ in 0..TRIES {
            match DirBuilder::new().mode(0o700).create(&path) {
                // Another run removes it at this moment; if it is another's, it stays, and is never used.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    std::thread::yield_now();
                    continue;
                }
                result => result?,
            }
            if let Some(lock) = lock(&path)? {
                return Ok(Self { path, lock });
            }
        }
        Err(io::Error::new(ErrorKind::AlreadyExists, format!("{} is there: remove it", path.display())))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whoever has it too, such as a process that writes there, keeps the directory from being removed
    /// by others.
    pub(super) fn lock(&self) -> BorrowedFd<'_> {
        self.lock.as_fd()
    }
}

impl Drop for StagingDir {
    fn drop(&mut self) {
        // A bundle that was renamed to its place has left nothing here, or the one that it replaces.
        let _ = remove(&self.path);
    }
}

/// Locks a directory; `None` if another run has it. Only who has the lock may remove the directory, so
/// that it stays where it is as long as it is locked.
///
/// One that was just made may be taken for abandoned before it is locked. No lock of the parent
/// prevents that: in a directory such as /tmp anybody could hold it.
fn lock(dir: &Path) -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let locked = openat(CWD, dir, flags, Mode::empty())
        .and_then(|fd| flock(&fd, FlockOperation::NonBlockingLockExclusive).map(|()| fd));
    match locked.map_err(io::Error::from) {
        // Between the two calls another run may have removed it, and a third one made it anew.
        Ok(fd) => Ok(is_at(&fd, dir)?.then_some(fd)),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether this is the directory that has the name now.
fn is_at(fd: &OwnedFd, dir: &Path) -> io::Result<bool> {
    let ours = rustix::fs::fstat(fd)?;
    Ok(fs::symlink_metadata(dir).is_ok_and(|there| (there.dev(), there.ino()) == (ours.st_dev, ours.st_ino)))
}

/// Removes staging directories whose lock nobody holds. Their names have a pid, but that may be one
/// of another pid namespace.
fn remove_abandoned(parent: &Path, prefix: &str) -> io::Result<()> {
    let euid = rustix::process::geteuid().as_raw();
    for entry in fs::read_dir(parent)? {
        let entry = entry?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(prefix));
        if number.is_none_or(|number| number.parse::<u32>().is_err()) {
            continue;
        }
        let path = entry.path();
        let ours = fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_dir() && meta.uid() == euid);
        if ours && let Ok(Some(_lock)) = lock(&path) {
            remove(&path)?;
        }
    }
    Ok(())
}

fn remove(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        // A copied root may have directories without write permission.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            make_writable(dir)?;
            fs::remove_dir_all(dir)
        }
        result => result,
    }
}

fn make_writable(dir: &Path) -> io::Result<()> {
    fs::set_permissions(dir, Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            make_writable(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_runs_none_takes_anothers_directory() {
        let parent = std::env::temp_dir().join(format!("firn-staging-{}", std::process::id()));
        let _ = fs::remove_dir_all(&parent);
        fs::create_dir_all(&parent).expect("make directory");
        // Each thread stands for a process, whose own directory is made under another name.
        let prefix = ".web.firn-image-";
        std::thread::scope(|scope| {
            for number in 1..=4 {
                let path = parent.join(format!("{prefix}{number}"));
                let parent = &parent;
                scope.spawn(move || {
                    for _ in 0..200 {
                        remove_abandoned(parent, prefix).expect("remove");
                        let held = loop {
                            let made = DirBuilder::new().create(&path);
                            if made.is_ok()
                                && let Some(held) = lock(&path).expect("lock")
                            {
                                break held;
                            }
                        };
                        remove_abandoned(parent, prefix).expect("remove");
                        assert!(path.exists(), "it is locked");
                        drop(held);
                    }
                });
            }
        });
        fs::remove_dir_all(&parent).expect("clean up");
    }

    #[test]
    fn only_abandoned_directories_are_removed() {
        let parent = std::env::temp_dir().join(format!("firn-temp-{}", std::process::id()));
        let _ = fs::remove_dir_all(&parent);
        let dir = |name: &str| {
            fs::create_dir_all(parent.join(name)).expect("make directory");
            parent.join(name)
        };
        let abandoned = dir(".web.firn-image-1");
        fs::write(abandoned.join("x"), "").expect("write");
        let others = [".web.firn-image-x", ".web2.firn-image-1", "web.firn-image-1"].map(dir);
        let busy = dir(".web.firn-image-2");
        let held = lock(&busy).expect("lock").expect("nobody has it");

        let temp = StagingDir::beside(&parent.join("web")).expect("make");
        assert!(!abandoned.exists());
        assert!(others.iter().all(|path| path.exists()) && busy.exists());
        let path = temp.path().to_owned();
        assert!(path.exists());
        drop(temp);
        assert!(!path.exists());
        drop(held);
        fs::remove_dir_all(&parent).expect("clean up");
    }
}
