//! The change of root: pivot_root(2), MS_MOVE with --no-pivot, or chroot(2).

use super::context::Init;
use super::kernel_mounts;
use crate::error::{Context, Result};
use crate::sys::clone;
use crate::sys::mount::{MountAttr, PROPAGATION_PRIVATE, PROPAGATION_SLAVE, setattr};
use rustix::fd::AsFd;
use rustix::mount::{MoveMountFlags, UnmountFlags};

/// Makes the container's root the root of this process.
///
/// pivot_root and the unmount of the old root leave no mount of the host in the mount
/// namespace: a chroot alone is left by a descriptor or a second chroot(2).
#[expect(clippy::disallowed_methods, reason = ". and / only, around the change of root")]
pub fn enter_root(init: &mut Init<'_>) -> Result<()> {
    let own_mounts = init.plan.namespaces.makes(clone::NEWNS);
    if own_mounts && init.plan.no_pivot {
        kernel_mounts::unmount_kernel_fs(init)?;
    }
    let root = init.state.root()?;
    rustix::process::fchdir(root).doing(|| "chdir to the container's root")?;
    if !own_mounts {
        // A joined mount namespace is not modified.
        rustix::process::chroot(c".").doing(|| "chroot to the container's root")?;
        return rustix::process::chdir(c"/").doing(|| "chdir to the container's root");
    }
    if init.plan.no_pivot {
        // On a ramfs as the first root, which pivot_root(2) refuses (EINVAL).
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        rustix::mount::move_mount(root, c"", rustix::fs::CWD, c"/", flags)
            .doing(|| "move the container's root to /")?;
        rustix::process::chroot(c".").doing(|| "chroot to the container's root")?;
    } else {
        // pivot_root(".", "."): the old root is mounted over the new one at ".", and no
        // directory in the image is needed for it, pivot_root(2), "NOTES".
        rustix::process::pivot_root(c".", c".").doing(|| "pivot_root")?;
        rustix::mount::unmount(c".", UnmountFlags::DETACH).doing(|| "unmount the host's root")?;
    }
    rustix::process::chdir(c"/").doing(|| "chdir to the container's root")?;
    let propagation = match init.plan.root_propagation {
        0 => PROPAGATION_PRIVATE,
        other => other,
    };
    if propagation != PROPAGATION_SLAVE {
        let attr = MountAttr { propagation, ..MountAttr::default() };
        setattr(root.as_fd(), false, &attr).doing(|| "set linux.rootfsPropagation of the root")?;
    }
    Ok(())
}
