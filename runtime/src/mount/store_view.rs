//! The Nix store of the container: the paths of a closure alone. Others have no name in it,
//! ENOENT for root as well.

use super::attach::{attach, attach_beneath, clone_mount, open_directory};
use super::closure_image;
use super::container_ids::ContainerIds;
use super::file_system::FsContext;
use super::private_mntns::run_in_private_mntns;
use crate::error::{Context, Result};
use crate::path::in_root::IfMissing;
use crate::path::{InRoot, RootFd};
use crate::plan::layered_root::{Closure, DEFAULT_STORE};
use crate::sys::fds::CloseBatch;
use crate::sys::mount::{ATTR_NODEV, ATTR_RDONLY, MountAttr, PROPAGATION_PRIVATE, PROPAGATION_SHARED, setattr};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, MoveMountFlags, OpenTreeFlags};
use std::ffi::OsStr;
use std::path::Path;

/// Mounts the closure read-only at /nix/store of `root`: its image, or else a tmpfs with a bind
/// mount or a symbolic link for each path. `image`: the closure's, where the caller may mount
/// EROFS. `shared`: MS_SHARED, so that mounts made in it later propagate to mount namespaces
/// cloned from the container's. `ids`: those of a container whose user namespace the caller is not
/// in, to whose root the files belong.
pub fn mount_closure(
    root: &RootFd,
    closure: &Closure,
    image: Option<&Path>,
    shared: bool,
    ids: Option<&ContainerIds>,
) -> Result<()> {
    let target = open_mount_point(root, ids)?;
    let view = mount_view(closure, image, &target, ids)?;
    if shared { make_shared(&view) } else { Ok(()) }
}

/// The closure as a detached tree of mounts, read-only and private, for a container that runs. Made in
/// a mount namespace of its own, where it is attached to the directory `mount_point` meanwhile.
pub fn make_detached(closure: &Closure, mount_point: &Path, ids: Option<&ContainerIds>) -> Result<OwnedFd> {
    run_in_private_mntns(None, |_| {
        let view = mount_view(closure, closure.image.as_deref(), &open_directory(mount_point)?, ids)?;
        clone_mount(&view, true).doing(|| "clone the mounts of the closure")
    })
}

/// Puts a detached view in the place of the one at /nix/store, so that at no moment there is none:
/// beneath it, which is then unmounted and stays for what is open (MOVE_MOUNT_BENEATH, Linux 6.5).
/// Where the kernel refuses that, on top of it. `unmount` is umount2(2) with MNT_DETACH.
pub fn replace(
    root: &RootFd,
    view: &OwnedFd,
    shared: bool,
    unmount: impl FnOnce(&OwnedFd) -> rustix::io::Result<()>,
) -> Result<()> {
    let what = || "replace the closure at /nix/store";
    // No links: one of the container's could lead elsewhere.
    let target = root.open_no_symlinks(&InRoot::new(DEFAULT_STORE), OFlags::PATH).doing(what)?;
    if attach_beneath(view, &target).is_ok() {
        unmount(&target).doing(what)?;
    } else {
        attach(view, &target).doing(what)?;
    }
    if shared { make_shared(view) } else { Ok(()) }
}

/// Mounts the closure at `target`, read-only and private.
fn mount_view(
    closure: &Closure,
    image: Option<&Path>,
    target: &OwnedFd,
    ids: Option<&ContainerIds>,
) -> Result<OwnedFd> {
    let what = || "mount the closure at /nix/store";
    // An image that can't be mounted, on an older kernel, shows nothing that binds do not.
    let view = match image.map(|image| closure_image::mount(image, &closure.store, target, ids)) {
        Some(Ok(view)) => {
            attach(&view, target).doing(what)?;
            view
        }
        Some(Err(_)) | None => bind_store_paths(closure, target, ids)?,
    };
    let read_only =
        MountAttr { set: ATTR_RDONLY | ATTR_NODEV, propagation: PROPAGATION_PRIVATE, ..MountAttr::default() };
    setattr(view.as_fd(), true, &read_only).doing(what)?;
    Ok(view)
}

/// By way of private: a new peer group, not the host's.
fn make_shared(view: &OwnedFd) -> Result<()> {
    let shared = MountAttr { propagation: PROPAGATION_SHARED, ..MountAttr::default() };
    setattr(view.as_fd(), true, &shared).doing(|| "mount the closure at /nix/store")
}

/// /nix/store of the root, created where it is missing.
fn open_mount_point(root: &RootFd, ids: Option<&ContainerIds>) -> Result<OwnedFd> {
    let create = |path| root.open_or_create(&path, IfMissing::Directory, Mode::from_raw_mode(0o755));
    let store = InRoot::new(DEFAULT_STORE);
    let Some(ids) = ids else { return create(store) };
    for path in [store.parent_and_name().0, store.clone()] {
        let is_missing = matches!(root.open(&path, OFlags::PATH), Err(Errno::NOENT));
        let directory = create(path)?;
        if is_missing {
            ids.give(&directory).doing(|| "change the owner of /nix/store")?;
        }
    }
    create(store)
}

/// A tmpfs at `target` with the paths of the closure.
fn bind_store_paths(closure: &Closure, target: &OwnedFd, ids: Option<&ContainerIds>) -> Result<OwnedFd> {
    let fs = FsContext::open("tmpfs")?;
    fs.set_option("source", Some("nix-store"))?;
    fs.set_option("mode", Some("0755"))?;
    let mut batch = CloseBatch::default();
    let view = fs.mount(MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV, &mut batch)?;
    attach(&view, target).doing(|| "mount the closure at /nix/store")?;
    if let Some(ids) = ids {
        ids.give(&view).doing(|| "change the owner of /nix/store")?;
    }
    for name in &closure.names {
        let path = closure.store.join(name);
        let what = || format!("bind {} in /nix/store", path.display());
        let flags =
            OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
        let tree = rustix::mount::open_tree(CWD, &path, flags).doing(what)?;
        if let Some(ids) = ids {
            ids.map(&tree, &path)?;
        }
        add_store_path(&view, &path, name, tree, ids, &mut batch).doing(what)?;
    }
    Ok(view)
}

/// Adds one path of the closure to the view, by its name. `tree`: its mount.
#[expect(clippy::disallowed_methods, reason = "a link of the host's store")]
fn add_store_path(
    view: &OwnedFd,
    path: &Path,
    name: &OsStr,
    tree: OwnedFd,
    ids: Option<&ContainerIds>,
    batch: &mut CloseBatch,
) -> rustix::io::Result<()> {
    let stat = rustix::fs::fstat(&tree)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => rustix::fs::mkdirat(view, name, Mode::from_raw_mode(0o555))?,
        // A symbolic link can't be a mount point: the same link is created.
        FileType::Symlink => {
            let text = rustix::fs::readlink(path, Vec::new())?;
            rustix::fs::symlinkat(&*text, view, name)?;
            ids.map_or(Ok(()), |ids| ids.give_at(view, name))?;
            let mtime = Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as _ };
            let times = Timestamps { last_access: mtime, last_modification: mtime };
            return rustix::fs::utimensat(view, name, &times, AtFlags::SYMLINK_NOFOLLOW);
        }
        _ => {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
            drop(rustix::fs::openat(view, name, flags, Mode::from_raw_mode(0o444))?);
        }
    }
    // By name: no other process has access to this tmpfs yet.
    rustix::mount::move_mount(&tree, c"", view, name, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    batch.add(tree);
    Ok(())
}
