//! /sys/fs/cgroup as the container sees it: its own directories, bound. In a
//! cgroup namespace that is the same as a fresh mount of the hierarchy.

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
        attach(tree, &target).doing(|| "attach the container's cgroup")?;
    } else {
        mount_v1_hierarchies(mount, &target, cgroups, batch)?;
    }
    batch.add(target);
    Ok(())
}

/// Options of cgroup v2 are those of the one hierarchy that the machine has: from a
/// cgroup namespace the kernel takes what it knows and changes nothing
/// (cgroup_reconfigure), and the plan has no others.
fn check_v2_options(mount: &MountPlan) -> Result<()> {
    let MountKind::Cgroup { data } = &mount.kind else { return Ok(()) };
    if data.is_empty() {
        return Ok(());
    }
    let fs = FsContext::open("cgroup2")?;
    data.iter().try_for_each(|(name, value)| fs.set_option(name, value.as_deref()))
}

/// cgroup v1: a tmpfs with one directory for each hierarchy, and a link for
/// each controller of those that have several.
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
    attach(&top, target).doing(|| "attach the tmpfs of the cgroups")?;
    for (name, tree) in cgroups {
        let what = || format!("show the cgroup {name}");
        rustix::fs::mkdirat(&top, name.as_str(), Mode::from_raw_mode(0o755)).doing(what)?;
        if name.contains(',') {
            for controller in name.split(',') {
                rustix::fs::symlinkat(name.as_str(), &top, controller).doing(what)?;
            }
        }
        // By name, for nobody else has this tmpfs yet.
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        rustix::mount::move_mount(tree, c"", &top, name.as_str(), flags).doing(what)?;
    }
    if mount.attr.set & ATTR_RDONLY != 0 {
        let read_only = MountAttr { set: ATTR_RDONLY, ..MountAttr::default() };
        setattr(top.as_fd(), false, &read_only).doing(|| "make the tmpfs of the cgroups read-only")?;
    }
    batch.add(top);
    Ok(())
}
