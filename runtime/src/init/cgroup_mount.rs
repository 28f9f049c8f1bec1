//! /sys/fs/cgroup of the container: bind mounts of its cgroups. In a cgroup namespace they
//! show what a new mount of the hierarchy would.

use crate::error::{Context, Result};
use crate::mount::attach::attach;
use crate::mount::file_system::{FsContext, fsmount_attributes};
use crate::mount::target::open_target;
use crate::path::RootFd;
use crate::plan::mounts::{MountKind, MountPlan};
use crate::sys::fds::CloseBatch;
use crate::sys::mount::{ATTR_RDONLY, MountAttr, setattr};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::Mode;
use rustix::mount::MoveMountFlags;

/// Attaches `cgroups` at the target: one tree for cgroup v2 (""), or a tmpfs with one
/// directory for each v1 hierarchy.
pub fn mount_cgroups(
    root: &RootFd,
    mount: &MountPlan,
    cgroups: &[(String, OwnedFd)],
    batch: &mut CloseBatch,
) -> Result<()> {
    let target = open_target(root, mount, true, batch)?;
    if let [(name, tree)] = cgroups
        && name.is_empty()
    {
        check_v2_options(mount)?;
        attach(tree, &target).doing(|| "attach the container's cgroup to the target")?;
    } else {
        mount_v1_hierarchies(mount, &target, cgroups, batch)?;
    }
    batch.add(target);
    Ok(())
}

/// Options of cgroup v2 belong to the one hierarchy of the host: from a cgroup namespace the
/// kernel accepts those that it knows and ignores them (cgroup_reconfigure), and the plan
/// has no others. So they are only checked, by fsconfig(2).
fn check_v2_options(mount: &MountPlan) -> Result<()> {
    let MountKind::Cgroup { data } = &mount.kind else { return Ok(()) };
    if data.is_empty() {
        return Ok(());
    }
    let fs = FsContext::open("cgroup2")?;
    data.iter().try_for_each(|(name, value)| fs.set_option(name, value.as_deref()))
}

/// cgroup v1: a tmpfs with a directory for each hierarchy, and a symbolic link for each
/// controller of a hierarchy that has several.
fn mount_v1_hierarchies(
    mount: &MountPlan,
    target: &OwnedFd,
    cgroups: &[(String, OwnedFd)],
    batch: &mut CloseBatch,
) -> Result<()> {
    let fs = FsContext::open("tmpfs")?;
    fs.set_option("source", Some("tmpfs"))?;
    fs.set_option("mode", Some("0755"))?;
    let top = fs.mount(fsmount_attributes(mount.attr.set & !ATTR_RDONLY), batch)?;
    attach(&top, target).doing(|| "attach the tmpfs for the cgroups to the target")?;
    for (name, tree) in cgroups {
        let what = || format!("mount the cgroup {name}");
        rustix::fs::mkdirat(&top, name.as_str(), Mode::from_raw_mode(0o755)).doing(what)?;
        if name.contains(',') {
            for controller in name.split(',') {
                rustix::fs::symlinkat(name.as_str(), &top, controller).doing(what)?;
            }
        }
        // By name: no other process has access to this tmpfs yet.
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        rustix::mount::move_mount(tree, c"", &top, name.as_str(), flags).doing(what)?;
    }
    if mount.attr.set & ATTR_RDONLY != 0 {
        let read_only = MountAttr { set: ATTR_RDONLY, ..MountAttr::default() };
        setattr(top.as_fd(), false, &read_only).doing(|| "make the tmpfs for the cgroups read-only")?;
    }
    batch.add(top);
    Ok(())
}
