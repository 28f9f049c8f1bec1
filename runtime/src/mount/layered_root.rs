//! The root of a firn.json: its overlay, and the closure in it.

use super::attach::{attach, clone_mount, open_directory};
use super::container_ids::ContainerIds;
use super::overlay::{self, Marks};
use super::{private_mntns, store_view};
use crate::error::{Context, Result};
use crate::host;
use crate::path::RootFd;
use crate::plan::layered_root::LayeredRootPlan;
use crate::plan::namespaces::Namespaces;
use crate::sys::clone;
use rustix::fd::OwnedFd;
use std::path::Path;

/// Mounts the root on `mount_point`, by the process that will be the container's init. `shared`:
/// as for [`store_view::mount_closure`]. `marks`: those that the caller may read and set.
pub fn mount(layered: &LayeredRootPlan, mount_point: &Path, shared: bool, marks: Marks) -> Result<RootFd> {
    let root = RootFd::new(overlay::mount_root(layered, mount_point, marks, None)?);
    if let Some(closure) = &layered.closure {
        let image = closure.image.as_deref().filter(|_| marks == Marks::Trusted);
        store_view::mount_closure(&root, closure, image, shared, None)?;
    }
    Ok(root)
}

/// The root as detached mounts, by the caller of a container with a user namespace. In that, init
/// could not map the ids of layers, read `trusted.overlay.` attributes, nor mount EROFS. A process
/// with a private mount namespace puts idmapped copies of the layers in their places: overlayfs
/// takes no layer that is mounted nowhere before Linux 6.15, and no idmapped overlay.
pub fn mount_outside(
    layered: &LayeredRootPlan,
    mount_point: &Path,
    shared: bool,
    ids: &ContainerIds,
) -> Result<OwnedFd> {
    private_mntns::run_in_private_mntns(None, |_| {
        let root = RootFd::new(overlay::mount_root(layered, mount_point, Marks::Trusted, Some(ids))?);
        if let Some(closure) = &layered.closure {
            store_view::mount_closure(&root, closure, closure.image.as_deref(), shared, Some(ids))?;
        }
        clone_mount(&root, true).doing(|| "clone the mounts of the root")
    })
}

/// Attaches what `mount_outside` has made.
pub fn attach_outside(tree: OwnedFd, mount_point: &Path) -> Result<RootFd> {
    attach(&tree, open_directory(mount_point)?).doing(|| format!("mount the root on {}", mount_point.display()))?;
    Ok(RootFd::new(tree))
}

/// Which marks of overlayfs init can use: `trusted.overlay.` takes CAP_SYS_ADMIN in the initial
/// user namespace.
pub fn marks_of_init(namespaces: &Namespaces) -> Marks {
    match namespaces.has(clone::NEWUSER) || host::is_rootless() {
        true => Marks::User,
        false => Marks::Trusted,
    }
}
