//! The root on which CRIU mounts the other mounts, in a mount namespace of CRIU: no mount
//! propagates to the host, and all end with CRIU.

use crate::error::{Context, Result};
use crate::mount::attach::{attach, open_directory};
use crate::mount::bind_source::Source;
use crate::mount::overlay::{self, Marks};
use crate::mount::sources::Sources;
use crate::mount::target::open_target;
use crate::path::RootFd;
use crate::plan::Plan;
use crate::plan::mounts::{MountKind, MountPlan};
use crate::sys::fds::CloseBatch;
use crate::sys::mount::{MountAttr, PROPAGATION_SLAVE, setattr_root};
use rustix::fd::OwnedFd;
use rustix::fs::{CWD, FileType};
use rustix::mount::{OpenTreeFlags, UnmountFlags};
use std::path::Path;

/// Mounts the root on `place`, and creates the mount points in it. Runs in the child that
/// executes CRIU.
pub fn mount(plan: &Plan, sources: &Sources, place: &Path) -> Result<()> {
    let slave = MountAttr { propagation: PROPAGATION_SLAVE, ..MountAttr::default() };
    setattr_root(&slave).doing(|| "set the mount propagation of CRIU's namespace to slave")?;
    let what = || format!("mount the root on {}", place.display());
    let root = match (&plan.layered_root, &sources.layered_root) {
        (Some(layered), None) => RootFd::new(overlay::mount_root(layered, place, Marks::Trusted, None)?),
        (_, outside) => {
            let tree = match outside {
                Some(outside) => outside.try_clone().doing(what)?,
                None => copy(&plan.rootfs).doing(what)?,
            };
            attach(&tree, open_directory(place)?).doing(what)?;
            RootFd::new(tree)
        }
    };
    // CRIU requires a single mount there: mounts that were needed to create mount points,
    // and what is below an overlay, are removed.
    let plain = copy(place).doing(what)?;
    make_mount_points(&root, &plan.mounts, &sources.mounts)?;
    while unmount(place).doing(what)? {}
    attach(&plain, open_directory(place)?).doing(what)
}

fn copy(path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    rustix::mount::open_tree(CWD, path, flags)
}

/// umount2(2) with MNT_DETACH. False if nothing is mounted.
fn unmount(place: &Path) -> rustix::io::Result<bool> {
    match rustix::mount::unmount(place, UnmountFlags::DETACH) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::INVAL) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Creates the mount points; file systems of the container are mounted for those within them.
fn make_mount_points(root: &RootFd, mounts: &[MountPlan], sources: &[Option<Source>]) -> Result<()> {
    let mut batch = CloseBatch::default();
    for (number, mount) in mounts.iter().enumerate() {
        let inside = |above: &MountPlan| {
            !matches!(above.kind, MountKind::Bind { .. })
                && above.target != mount.target
                && above.target.contains(&mount.target)
        };
        let is_link = matches!(sources.get(number), Some(Some(Source::Symlink(_))));
        if is_link || mounts[..number].iter().any(inside) {
            continue;
        }
        let mut make = || {
            let source = sources.get(number).and_then(|source| source.as_ref()?.tree());
            let directory = source.map_or(Ok(true), is_directory)?;
            let target = open_target(root, mount, directory, &mut batch)?;
            match source {
                Some(source) => attach(source, &target).doing(|| "attach it"),
                None => Ok(()),
            }
        };
        make().doing(|| format!("create the mount point of mount {}", mount.target))?;
    }
    Ok(())
}

fn is_directory(tree: &OwnedFd) -> Result<bool> {
    let stat = rustix::fs::fstat(tree).doing(|| "stat its source")?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}
