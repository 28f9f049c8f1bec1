//! `rootFrom`: the root directory of a container that systemd-nspawn has run becomes this one's, at its first start.
//! Nothing is copied or changed in it: it is moved, and a link in its place leads to where it is now, so that
//! systemd-nspawn, if it is given the container back, finds it too.

use super::bundle::make_root;
use crate::definition::schema::Definition;
use crate::generation::{Locked, make_directory};
use anyhow::{Context, Result, bail};
use rustix::fs::{CWD, FlockOperation, RenameFlags, fcntl_lock, renameat_with};
use rustix::io::Errno;
use std::fs::{Metadata, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

/// Takes the directory over, where the container has none of its own yet. Errors: what runs in it; owners that the
/// container's root is not; another file system.
pub fn take(container: &Locked<'_>, definition: &Definition, first_id: Option<u32>) -> Result<()> {
    let (Some(from), Some(root)) = (&definition.root_from, container.upper(definition)) else { return Ok(()) };
    let what = || format!("rootFrom: {from}");
    let (from, own) = (Path::new(from), root.join("upper"));
    if has_files(&own).with_context(|| format!("read {}", own.display()))? {
        return Ok(());
    }
    let Some(found) = metadata(from).with_context(what)? else { return Ok(()) };
    if found.is_symlink() {
        // Of an earlier time, after which its files were removed.
        if std::fs::read_link(from).is_ok_and(|target| target == own) {
            return Ok(());
        }
        bail!("{}: is a link: give the directory that it leads to", what());
    }
    if !found.is_dir() {
        bail!("{}: is no directory", what());
    }
    check_owner(&found, first_id).with_context(what)?;
    check_unused(from).with_context(what)?;
    make_directory(&container.state_dir())?;
    make_root(&root)?;
    remove_empty(&own).with_context(|| format!("remove {}", own.display()))?;
    std::fs::write(container.taken_root_file(), from.as_os_str().as_encoded_bytes()).with_context(what)?;
    exchange(from, &own).with_context(what)
}

/// `None`: there is nothing.
fn metadata(path: &Path) -> std::io::Result<Option<Metadata>> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}

fn has_files(path: &Path) -> std::io::Result<bool> {
    match metadata(path)? {
        Some(found) if found.is_dir() => Ok(std::fs::read_dir(path)?.next().is_some()),
        _ => Ok(false),
    }
}

/// An empty directory, or the link of a firnctl that was killed before it took its place.
fn remove_empty(path: &Path) -> std::io::Result<()> {
    match metadata(path)? {
        None => Ok(()),
        Some(found) if found.is_dir() => std::fs::remove_dir(path),
        Some(_) => std::fs::remove_file(path),
    }
}

fn check_owner(found: &Metadata, first_id: Option<u32>) -> Result<()> {
    let root = first_id.unwrap_or(0);
    if (found.uid(), found.gid()) == (root, root) {
        return Ok(());
    }
    bail!(
        "belongs to user {} and group {}, and the container's root is user {root} of the host: change the owners of \
         all its files, or the container's privateUsers",
        found.uid(),
        found.gid()
    )
}

/// systemd-nspawn locks the directory that it runs, by a file beside it.
fn check_unused(from: &Path) -> Result<()> {
    let name = from.file_name().context("has no name")?.to_string_lossy();
    let lock = from.with_file_name(format!(".#{name}.lck"));
    let file = match OpenOptions::new().read(true).write(true).open(&lock) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        result => result.with_context(|| format!("open {}", lock.display()))?,
    };
    match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(()),
        Err(Errno::AGAIN | Errno::ACCESS) => bail!("systemd-nspawn runs it: stop it first"),
        Err(errno) => Err(errno).with_context(|| format!("lock {}", lock.display())),
    }
}

/// At once, so that there is no moment at which the files are in neither place.
fn exchange(from: &Path, own: &Path) -> Result<()> {
    symlink(own, own).with_context(|| format!("link {}", own.display()))?;
    match renameat_with(CWD, from, CWD, own, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(()),
        // A file system without that: one after the other.
        Err(Errno::INVAL | Errno::NOSYS) => {
            std::fs::remove_file(own).with_context(|| format!("remove {}", own.display()))?;
            std::fs::rename(from, own).with_context(|| format!("move it to {}", own.display()))?;
            symlink(own, from).context("leave a link")
        }
        Err(errno) => {
            let _ = std::fs::remove_file(own);
            match errno {
                Errno::XDEV | Errno::BUSY => bail!(
                    "is on another file system than {}, and its files are not copied: have that file system mounted \
                     at {}, with the files in its directory upper; or leave rootFrom out, to begin with none",
                    own.display(),
                    own.parent().unwrap_or(own).display()
                ),
                errno => Err(errno).with_context(|| format!("move it to {}", own.display())),
            }
        }
    }
}

/// Removes the link that was left, before what it leads to goes.
pub fn forget(container: &Locked<'_>) -> Result<()> {
    let record = container.taken_root_file();
    let from = match std::fs::read(&record) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        result => result.with_context(|| format!("read {}", record.display()))?,
    };
    let from = Path::new(std::str::from_utf8(&from).with_context(|| record.display().to_string())?);
    match std::fs::read_link(from) {
        Ok(target) if target.starts_with(container.state_dir()) => {
            std::fs::remove_file(from).with_context(|| format!("remove {}", from.display()))
        }
        _ => Ok(()),
    }
}
