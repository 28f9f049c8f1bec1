//! The container's root, mounted at root.path in the container's mount namespace.

use super::context::Init;
use crate::error::{Context, Result};
use crate::mount::attach::open_directory;
use crate::mount::layered_root;
use crate::path::RootFd;
use crate::sys::clone;
use crate::sys::mount::{
    MountAttr, PROPAGATION_PRIVATE, PROPAGATION_SHARED, PROPAGATION_SLAVE, PROPAGATION_UNBINDABLE, setattr_root,
};
use rustix::fs::CWD;
use rustix::mount::{MoveMountFlags, OpenTreeFlags};

/// Mounts the root, a recursive bind of root.path or an overlay (firn.json), and opens it.
pub fn mount_rootfs(init: &mut Init<'_>) -> Result<()> {
    if !init.plan.namespaces.makes(clone::NEWNS) {
        // The path resolves in the joined mount namespace.
        init.state.root = Some(RootFd::new(open_directory(&init.plan.rootfs)?));
        return Ok(());
    }
    set_propagation(init)?;
    let mount_point = &init.plan.rootfs;
    let what = || format!("mount the root on {}", mount_point.display());
    init.state.root = Some(match (&init.plan.layered_root, init.sources.layered_root.take()) {
        (None, _) => {
            let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
            let tree = rustix::mount::open_tree(CWD, mount_point.as_path(), flags).doing(what)?;
            // root.path may be a symbolic link of the caller's.
            let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_SYMLINKS;
            rustix::mount::move_mount(&tree, c"", CWD, mount_point.as_path(), flags).doing(what)?;
            RootFd::new(tree)
        }
        (Some(_), Some(tree)) => layered_root::attach_outside(tree, mount_point)?,
        (Some(layered), None) => {
            let shared = init.plan.root_propagation == PROPAGATION_SHARED;
            let marks = layered_root::marks_of_init(&init.plan.namespaces);
            layered_root::mount(layered, mount_point, shared, marks)?
        }
    });
    Ok(())
}

/// Before the first mount: with MS_SLAVE or MS_PRIVATE on everything, no mount propagates to
/// the host. MS_SHARED would, and an unbindable root could not be bound on root.path: these
/// two are set by `pivot` once the root is entered.
fn set_propagation(init: &Init<'_>) -> Result<()> {
    let propagation = match init.plan.root_propagation {
        0 | PROPAGATION_SHARED => PROPAGATION_SLAVE,
        PROPAGATION_UNBINDABLE => PROPAGATION_PRIVATE,
        other => other,
    };
    setattr_root(&MountAttr { propagation, ..MountAttr::default() })
        .doing(|| "set linux.rootfsPropagation on the new mount namespace")
}
