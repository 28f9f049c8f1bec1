//! The container's root becomes this process's root.

use super::context::Init;
use super::kernel_mounts;
use crate::error::{Context, Result};
use crate::sys::clone;
use crate::sys::mount::{MountAttr, PROPAGATION_PRIVATE, PROPAGATION_SLAVE, setattr};
use rustix::fd::AsFd;
use rustix::mount::{MoveMountFlags, UnmountFlags};

#[expect(clippy::disallowed_methods, reason = ". and / only, around the change of root")]
pub fn enter_root(init: &mut Init<'_>) -> Result<()> {
    let own_mounts = init.plan.namespaces.makes(clone::NEWNS);
    if own_mounts && init.plan.no_pivot {
        kernel_mounts::unmount_kernel_fs(init)?;
    }
    let root = init.task.root()?;
    rustix::process::fchdir(root).doing(|| "change to the new root")?;
    if !own_mounts {
        // What is mounted there is not ours to change.
        rustix::process::chroot(c".").doing(|| "change the root")?;
        return rustix::process::chdir(c"/").doing(|| "change to the new root");
    }
    if init.plan.no_pivot {
        // Where / is a ramfs that can't be pivoted away from: the new root is
        // moved over it.
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        rustix::mount::move_mount(root, c"", rustix::fs::CWD, c"/", flags).doing(|| "move the new root to /")?;
        rustix::process::chroot(c".").doing(|| "change the root")?;
    } else {
        // With both names the same, the old root lies on the new one at ".",
        // and no directory is needed for it: pivot_root(2).
        rustix::process::pivot_root(c".", c".").doing(|| "pivot_root")?;
        rustix::mount::unmount(c".", UnmountFlags::DETACH).doing(|| "detach the old root")?;
    }
    rustix::process::chdir(c"/").doing(|| "change to the new root")?;
    let propagation = match init.plan.root_propagation {
        0 => PROPAGATION_PRIVATE,
        other => other,
    };
    if propagation != PROPAGATION_SLAVE {
        let attr = MountAttr { propagation, ..MountAttr::default() };
        setattr(root.as_fd(), false, &attr).doing(|| "set the propagation of the root")?;
    }
    Ok(())
}
