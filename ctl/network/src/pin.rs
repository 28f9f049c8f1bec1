//! A network namespace that outlives the processes in it: a bind mount of its file (namespaces(7)).

use anyhow::{Context, Result};
use rustix::mount::{UnmountFlags, mount_bind, unmount};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The network namespace of a process.
pub fn of_process(pid: u32) -> Result<File> {
    open(Path::new(&format!("/proc/{pid}/ns/net")))
}

/// Our own.
pub fn own() -> Result<File> {
    open(Path::new("/proc/self/ns/net"))
}

fn open(path: &Path) -> Result<File> {
    File::open(path).with_context(|| format!("open {}", path.display()))
}

/// Keeps a process's network namespace at `path`.
pub fn keep(pid: u32, path: &Path) -> Result<()> {
    let what = || format!("keep the network namespace at {}", path.display());
    if let Some(directory) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(directory).with_context(what)?;
    }
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o400).open(path).with_context(what)?;
    mount_bind(format!("/proc/{pid}/ns/net"), path).with_context(what)
}

/// The namespace that is kept at `path`; `None` if there is none.
pub fn kept(path: &Path) -> Result<Option<File>> {
    let is_namespace = |file: &File| rustix::fs::fstatfs(file).is_ok_and(|stat| stat.f_type == NSFS_MAGIC);
    match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        // Of a reboot the file stays, and no mount.
        result => Ok(Some(result.with_context(|| format!("open {}", path.display()))?).filter(is_namespace)),
    }
}

/// statfs(2).
const NSFS_MAGIC: rustix::fs::FsWord = 0x6e73_6673;

/// Lets the namespace go.
pub fn release(path: &Path) -> Result<()> {
    // More than one, if the process was killed after the mount.
    while unmount(path, UnmountFlags::DETACH).is_ok() {}
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// The lock of all that share a table.
pub fn lock(pin: &Path) -> Result<File> {
    let directory = pin.parent().unwrap_or(Path::new("/"));
    let path: PathBuf = directory.with_extension("lock");
    let what = || format!("lock {}", path.display());
    DirBuilder::new().recursive(true).mode(0o700).create(directory).with_context(what)?;
    let file =
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path).with_context(what)?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).with_context(what)?;
    Ok(file)
}
