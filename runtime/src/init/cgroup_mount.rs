//! /sys/fs/cgroup as the container sees it: its own directories, bound. In a
//! cgroup namespace that is the same as a fresh mount of the hierarchy.

use super::mounts::{FileSystem, attributes, recursive_options, target};
use super::rootfs::attach;
use crate::error::{Context, Result};
use crate::path::RootFd;
use crate::plan::mounts::MountPlan;
use crate::sys::mount::{ATTR_RDONLY, MountAttr, setattr};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags};

pub fn mount(root: &RootFd, mount: &MountPlan, cgroups: &[(String, OwnedFd)]) -> Result<()> {
    let target = target(root, mount, true)?;
    if let [(name, tree)] = cgroups
        && name.is_empty()
    {
        set(tree, mount)?;
        return attach(tree, &target).doing(|| "attach the container's cgroup");
    }
    hierarchies(mount, &target, cgroups)
}

/// cgroup v1: a tmpfs with one directory for each hierarchy, and a link for
/// each controller of those that have several.
fn hierarchies(mount: &MountPlan, target: &OwnedFd, cgroups: &[(String, OwnedFd)]) -> Result<()> {
    let fs = FileSystem::open("tmpfs")?;
    fs.set("source", Some("tmpfs"))?;
    fs.set("mode", Some("0755"))?;
    let top = fs.mount(attributes(mount.attr.set & !ATTR_RDONLY))?;
    attach(&top, target).doing(|| "attach the tmpfs of the cgroups")?;
    for (name, tree) in cgroups {
        let what = || format!("show the cgroup {name}");
        rustix::fs::mkdirat(&top, name.as_str(), Mode::from_raw_mode(0o755)).doing(what)?;
        if name.contains(',') {
            for controller in name.split(',') {
                rustix::fs::symlinkat(name.as_str(), &top, controller).doing(what)?;
            }
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let place = rustix::fs::openat(&top, name.as_str(), flags, Mode::empty()).doing(what)?;
        set(tree, mount)?;
        attach(tree, &place).doing(what)?;
    }
    if mount.attr.set & ATTR_RDONLY != 0 {
        let read_only = MountAttr { set: ATTR_RDONLY, ..MountAttr::default() };
        setattr(top.as_fd(), false, &read_only).doing(|| "make the tmpfs of the cgroups read-only")?;
    }
    Ok(())
}

fn set(tree: &OwnedFd, mount: &MountPlan) -> Result<()> {
    if !mount.attr.is_noop() {
        setattr(tree.as_fd(), false, &mount.attr).doing(|| "set the cgroup mount's options")?;
    }
    recursive_options(tree, mount)
}
