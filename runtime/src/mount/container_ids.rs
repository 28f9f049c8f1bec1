//! The ids of a container's user namespace, for a root that the caller mounts outside of it.

use crate::bail;
use crate::error::{Context, Result};
use crate::plan::namespaces::IdMaps;
use crate::sys::mount::{ATTR_IDMAP, MountAttr, setattr};
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::{AtFlags, Gid, RawDir, Uid};
use rustix::io::Errno;
use std::mem::MaybeUninit;
use std::path::Path;

/// The mapping of a user namespace.
#[derive(Debug)]
pub struct ContainerIds {
    pub maps: IdMaps,
    /// A user namespace with these maps; None where every id is mapped to itself.
    pub namespace: Option<OwnedFd>,
}

impl ContainerIds {
    /// Host ids of the container's root.
    fn root(&self) -> (Option<Uid>, Option<Gid>) {
        let host = |id| IdMaps::host_id(id, 0);
        (host(&self.maps.uids).map(Uid::from_raw), host(&self.maps.gids).map(Gid::from_raw))
    }

    /// Maps the ids of the detached mount `tree`, of `path` on the host, so that its user 0 is the
    /// container's root. Errors: EINVAL from a file system without idmapped mounts; EPERM where
    /// the caller has no CAP_SYS_ADMIN in the file system's user namespace.
    pub fn map(&self, tree: &OwnedFd, path: &Path) -> Result<()> {
        let Some(namespace) = &self.namespace else { return Ok(()) };
        let attr =
            MountAttr { set: ATTR_IDMAP, userns_fd: namespace.as_fd().as_raw_fd() as u64, ..MountAttr::default() };
        let reason = |errno| match errno {
            Errno::INVAL => " (its file system has no idmapped mounts in this kernel; ext4, xfs, btrfs and EROFS have)",
            Errno::PERM => " (this takes CAP_SYS_ADMIN in the user namespace of its file system)",
            _ => "",
        };
        match setattr(tree.as_fd(), false, &attr) {
            Err(errno) => {
                Err(errno).doing(|| format!("map the ids of {} to the container's{}", path.display(), reason(errno)))
            }
            Ok(()) => Ok(()),
        }
    }

    /// Gives a file that was just created to the container's root.
    pub fn give(&self, file: impl AsFd) -> rustix::io::Result<()> {
        let (uid, gid) = self.root();
        rustix::fs::chownat(file, c"", uid, gid, AtFlags::EMPTY_PATH)
    }

    /// The same for `name` in `directory`, which may be a symbolic link.
    pub fn give_at(&self, directory: &OwnedFd, name: impl rustix::path::Arg) -> rustix::io::Result<()> {
        let (uid, gid) = self.root();
        rustix::fs::chownat(directory, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
    }

    /// Takes over the writable directory of an earlier run. An empty one is given to the
    /// container's root. Errors: it has files and an owner that the container has no id for, as
    /// after a run with other maps.
    pub fn take_over(&self, directory: &OwnedFd, path: &Path) -> Result<()> {
        let what = || format!("writable directory {}", path.display());
        let stat = rustix::fs::fstat(directory).doing(what)?;
        if IdMaps::contains(&self.maps.uids, stat.st_uid) && IdMaps::contains(&self.maps.gids, stat.st_gid) {
            return Ok(());
        }
        if !is_empty(directory).doing(what)? {
            let uid = IdMaps::host_id(&self.maps.uids, 0).unwrap_or_default();
            bail!(
                "{} belongs to user {}, whom the container's user namespace does not map (its root is user {uid} on \
                 the host): keep a directory for each mapping, or change the owners of its files",
                what(),
                stat.st_uid
            );
        }
        self.give(directory).doing(what)
    }
}

fn is_empty(directory: &OwnedFd) -> rustix::io::Result<bool> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(directory, c".", flags, Mode::empty())?;
    let mut buffer = [MaybeUninit::<u8>::uninit(); 1024];
    let mut entries = RawDir::new(&directory, &mut buffer);
    while let Some(entry) = entries.next() {
        if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
            return Ok(false);
        }
    }
    Ok(true)
}
