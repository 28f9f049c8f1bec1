//! The root on which criu mounts everything else, in a mount namespace that
//! criu has for itself: nothing of it shows on the host or outlives criu.

use crate::error::{Context, Result};
use crate::mount::attach::{attach, open_directory};
use crate::mount::bind_source::Source;
use crate::mount::overlay;
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

/// Mounts the root on `place`, with all places in it on which criu will mount;
/// `sources` are those of the plan's mounts. Runs in the process that becomes
/// criu.
pub fn mount(plan: &Plan, sources: &[Option<Source>], place: &Path) -> Result<()> {
    let slave = MountAttr { propagation: PROPAGATION_SLAVE, ..MountAttr::default() };
    setattr_root(&slave).doing(|| "cut criu's mount namespace off from the host's")?;
    let what = || format!("mount the root on {}", place.display());
    let root = match &plan.roots {
        None => {
            let tree = copy(&plan.rootfs).doing(what)?;
            attach(&tree, open_directory(place)?).doing(what)?;
            tree
        }
        Some(roots) => overlay::mount_root(roots, place)?,
    };
    // criu wants the root alone on its place: what was mounted to make places
    // goes again, and so does what lies under an overlay.
    let plain = copy(place).doing(what)?;
    make_places(&RootFd::new(root), &plan.mounts, sources)?;
    while unmount(place).doing(what)? {}
    attach(&plain, open_directory(place)?).doing(what)
}

fn copy(path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    rustix::mount::open_tree(CWD, path, flags)
}

/// False where nothing is mounted.
fn unmount(place: &Path) -> rustix::io::Result<bool> {
    match rustix::mount::unmount(place, UnmountFlags::DETACH) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::INVAL) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// What lies on a file system of the container's own comes with it.
fn make_places(root: &RootFd, mounts: &[MountPlan], sources: &[Option<Source>]) -> Result<()> {
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
        make().doing(|| format!("make the place of mount {}", mount.target))?;
    }
    Ok(())
}

fn is_directory(tree: &OwnedFd) -> Result<bool> {
    let stat = rustix::fs::fstat(tree).doing(|| "look at its source")?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}
