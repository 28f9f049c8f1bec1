//! The Nix store of the container: the paths of a closure alone. Others have no name in it,
//! ENOENT for root as well.

use crate::error::{Context, Result};
use crate::mount::attach::attach;
use crate::mount::file_system::FsContext;
use crate::path::in_root::IfMissing;
use crate::path::{InRoot, RootFd};
use crate::plan::layered_root::{Closure, DEFAULT_STORE};
use crate::sys::fds::CloseBatch;
use crate::sys::mount::{ATTR_NODEV, ATTR_RDONLY, MountAttr, PROPAGATION_PRIVATE, PROPAGATION_SHARED, setattr};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::mount::{MountAttrFlags, MoveMountFlags, OpenTreeFlags};
use std::ffi::OsStr;

/// Mounts a tmpfs at /nix/store of `root` with a bind mount, or a symbolic link, for each
/// path of the closure, and makes it read-only recursively. `shared`: MS_SHARED, so that
/// mounts made in it later propagate to mount namespaces cloned from the container's.
pub fn mount_closure(root: &RootFd, closure: &Closure, shared: bool) -> Result<()> {
    let what = || "mount the closure at /nix/store";
    let fs = FsContext::open("tmpfs")?;
    fs.set_option("source", Some("nix-store"))?;
    fs.set_option("mode", Some("0755"))?;
    let mut batch = CloseBatch::default();
    let view = fs.mount(MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV, &mut batch)?;
    let target = root.open_or_create(&InRoot::new(DEFAULT_STORE), IfMissing::Directory, Mode::from_raw_mode(0o755))?;
    attach(&view, &target).doing(what)?;
    for name in &closure.names {
        add_store_path(&view, closure, name, &mut batch)
            .doing(|| format!("bind {} in /nix/store", closure.store.join(name).display()))?;
    }
    let read_only =
        MountAttr { set: ATTR_RDONLY | ATTR_NODEV, propagation: PROPAGATION_PRIVATE, ..MountAttr::default() };
    setattr(view.as_fd(), true, &read_only).doing(what)?;
    if !shared {
        return Ok(());
    }
    // By way of private: a new peer group, not the host's.
    setattr(view.as_fd(), true, &MountAttr { propagation: PROPAGATION_SHARED, ..MountAttr::default() }).doing(what)
}

/// Adds one path of the closure to the view, by its name.
#[expect(clippy::disallowed_methods, reason = "a link of the host's store")]
fn add_store_path(view: &OwnedFd, closure: &Closure, name: &OsStr, batch: &mut CloseBatch) -> rustix::io::Result<()> {
    let path = closure.store.join(name);
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
    let tree = rustix::mount::open_tree(CWD, &path, flags)?;
    match FileType::from_raw_mode(rustix::fs::fstat(&tree)?.st_mode) {
        FileType::Directory => rustix::fs::mkdirat(view, name, Mode::from_raw_mode(0o555))?,
        // A symbolic link can't be a mount point: the same link is created.
        FileType::Symlink => {
            let text = rustix::fs::readlink(&path, Vec::new())?;
            return rustix::fs::symlinkat(&*text, view, name);
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
