//! The Nix store of the container: the paths of a closure alone. Others have no name in it,
//! ENOENT for root as well.

use crate::error::{Context, Result};
use crate::mount::attach::attach;
use crate::mount::closure_image;
use crate::mount::file_system::FsContext;
use crate::path::in_root::IfMissing;
use crate::path::{InRoot, RootFd};
use crate::plan::layered_root::{Closure, DEFAULT_STORE};
use crate::sys::fds::CloseBatch;
use crate::sys::mount::{ATTR_NODEV, ATTR_RDONLY, MountAttr, PROPAGATION_PRIVATE, PROPAGATION_SHARED, setattr};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Timespec, Timestamps};
use rustix::mount::{MountAttrFlags, MoveMountFlags, OpenTreeFlags};
use std::ffi::OsStr;

/// Mounts the closure read-only at /nix/store of `root`: its image, or else a tmpfs with a bind
/// mount or a symbolic link for each path. `in_user_namespace`: the container has one, in which
/// EROFS can't be mounted. `shared`: MS_SHARED, so that mounts made in it later propagate to
/// mount namespaces cloned from the container's.
pub fn mount_closure(root: &RootFd, closure: &Closure, in_user_namespace: bool, shared: bool) -> Result<()> {
    let what = || "mount the closure at /nix/store";
    let target = root.open_or_create(&InRoot::new(DEFAULT_STORE), IfMissing::Directory, Mode::from_raw_mode(0o755))?;
    let image = closure.image.as_deref().filter(|_| !in_user_namespace);
    // An image that can't be mounted, on an older kernel, shows nothing that binds do not.
    let view = match image.map(|image| closure_image::mount(image, &closure.store, &target)) {
        Some(Ok(view)) => {
            attach(&view, &target).doing(what)?;
            view
        }
        Some(Err(_)) | None => bind_store_paths(closure, &target)?,
    };
    let read_only =
        MountAttr { set: ATTR_RDONLY | ATTR_NODEV, propagation: PROPAGATION_PRIVATE, ..MountAttr::default() };
    setattr(view.as_fd(), true, &read_only).doing(what)?;
    if !shared {
        return Ok(());
    }
    // By way of private: a new peer group, not the host's.
    setattr(view.as_fd(), true, &MountAttr { propagation: PROPAGATION_SHARED, ..MountAttr::default() }).doing(what)
}

/// A tmpfs at `target` with the paths of the closure.
fn bind_store_paths(closure: &Closure, target: &OwnedFd) -> Result<OwnedFd> {
    let fs = FsContext::open("tmpfs")?;
    fs.set_option("source", Some("nix-store"))?;
    fs.set_option("mode", Some("0755"))?;
    let mut batch = CloseBatch::default();
    let view = fs.mount(MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV, &mut batch)?;
    attach(&view, target).doing(|| "mount the closure at /nix/store")?;
    for name in &closure.names {
        add_store_path(&view, closure, name, &mut batch)
            .doing(|| format!("bind {} in /nix/store", closure.store.join(name).display()))?;
    }
    Ok(view)
}

/// Adds one path of the closure to the view, by its name.
#[expect(clippy::disallowed_methods, reason = "a link of the host's store")]
fn add_store_path(view: &OwnedFd, closure: &Closure, name: &OsStr, batch: &mut CloseBatch) -> rustix::io::Result<()> {
    let path = closure.store.join(name);
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
    let tree = rustix::mount::open_tree(CWD, &path, flags)?;
    let stat = rustix::fs::fstat(&tree)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => rustix::fs::mkdirat(view, name, Mode::from_raw_mode(0o555))?,
        // A symbolic link can't be a mount point: the same link is created.
        FileType::Symlink => {
            let text = rustix::fs::readlink(&path, Vec::new())?;
            rustix::fs::symlinkat(&*text, view, name)?;
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
