//! The directory beside a bundle's place in which the bundle is built.

use rustix::fs::{CWD, FlockOperation, Mode, OFlags, flock, openat};
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A directory that is removed, with all that is in it, when this is dropped.
#[derive(Debug)]
pub(crate) struct StagingDir {
    path: PathBuf,
    /// An flock(2) for as long as the directory is in use: it is released when the process ends,
    /// however that is.
    _lock: OwnedFd,
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
        DirBuilder::new().mode(0o700).create(&path)?;
        match lock(&path) {
            Ok(lock) => Ok(Self { path, _lock: lock }),
            Err(error) => {
                let _ = fs::remove_dir(&path);
                Err(error)
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for StagingDir {
    fn drop(&mut self) {
        // A bundle that was renamed to its place has left nothing here.
        let _ = remove(&self.path);
    }
}

/// Errors: EWOULDBLOCK where another process holds the lock.
fn lock(dir: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = openat(CWD, dir, flags, Mode::empty())?;
    flock(&fd, FlockOperation::NonBlockingLockExclusive)?;
    Ok(fd)
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
        if ours && let Ok(_lock) = lock(&path) {
            remove(&path)?;
        }
    }
    Ok(())
}

fn remove(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        // A copied root may have directories without write permission.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
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
        let held = lock(&busy).expect("lock");

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
