//! Mounts whose files show other owners, mount_setattr(2) "ID-mapped mounts"
//! (Linux 5.12). The mapping is that of a user namespace: the container's own,
//! or one that is made for it and goes at once.

use super::idmap;
use crate::bail;
use crate::error::{Context, Result};
use crate::host::Host;
use crate::ipc::child;
use crate::ipc::protocol::Channel;
use crate::mount::sources::Sources;
use crate::plan::Plan;
use crate::plan::mounts::{Idmap, MountPlan};
use crate::plan::namespaces::IdMaps;
use crate::sys;
use crate::sys::clone::{self, Fork};
use crate::sys::mount::{ATTR_IDMAP, MountAttr, setattr};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::process::Pid;

/// Before init exists: the mappings that the config spells out, and that of a
/// user namespace which is joined.
pub fn map_from_outside(plan: &Plan, sources: &mut Sources, host: &Host) -> Result<()> {
    if let Some((_, namespace)) = sources.namespaces.iter().find(|(kind, _)| *kind == clone::NEWUSER) {
        all(plan, sources, namespace.as_fd())?;
    }
    for (number, mount) in plan.mounts.iter().enumerate() {
        let Some(Idmap { maps: Some(maps), .. }) = &mount.idmap else { continue };
        let tree = tree_of(sources, number);
        if tree.is_none() && plan.namespaces.has(clone::NEWUSER) {
            // Init asks for it.
            continue;
        }
        let namespace = user_namespace(maps, host).doing(|| format!("map the ids of mount {}", mount.target))?;
        map(mount, tree, namespace.as_fd())?;
        sources.idmaps.push((number, namespace));
    }
    Ok(())
}

/// What init has made in a user namespace, where it lacks the rights over the
/// namespaces of other mappings.
pub fn map_for_init(plan: &Plan, number: u32, tree: &OwnedFd, init: Pid, host: &Host) -> Result<()> {
    let Some(mount) = plan.mounts.get(number as usize) else { bail!("init asked for a mount that is none") };
    let what = || format!("map the ids of mount {}", mount.target);
    let namespace = match &mount.idmap {
        Some(Idmap { maps: Some(maps), .. }) => user_namespace(maps, host).doing(what)?,
        _ => namespace_of(init).doing(what)?,
    };
    apply(mount, tree, namespace.as_fd())
}

/// When init's ids are mapped: the mounts that have the container's mapping.
pub fn map_to_container(plan: &Plan, sources: &Sources, init: Pid) -> Result<()> {
    if !plan.mounts.iter().any(has_containers) {
        return Ok(());
    }
    all(plan, sources, namespace_of(init)?.as_fd())
}

fn has_containers(mount: &MountPlan) -> bool {
    matches!(mount.idmap, Some(Idmap { maps: None, .. }))
}

fn all(plan: &Plan, sources: &Sources, namespace: BorrowedFd<'_>) -> Result<()> {
    for (number, mount) in plan.mounts.iter().enumerate().filter(|(_, mount)| has_containers(mount)) {
        map(mount, tree_of(sources, number), namespace)?;
    }
    Ok(())
}

fn tree_of(sources: &Sources, number: usize) -> Option<&OwnedFd> {
    sources.mounts.get(number)?.as_ref()?.tree()
}

/// A bind's tree is there now; a file system of its own is init's to map.
fn map(mount: &MountPlan, tree: Option<&OwnedFd>, namespace: BorrowedFd<'_>) -> Result<()> {
    match tree {
        Some(tree) => apply(mount, tree, namespace),
        None => Ok(()),
    }
}

/// Gives a mount that is attached nowhere yet its mapping.
pub fn apply(mount: &MountPlan, tree: &OwnedFd, namespace: BorrowedFd<'_>) -> Result<()> {
    let Some(idmap) = &mount.idmap else { return Ok(()) };
    let attr = MountAttr { set: ATTR_IDMAP, userns_fd: namespace.as_raw_fd() as u64, ..MountAttr::default() };
    setattr(tree.as_fd(), idmap.recursive, &attr)
        .doing(|| format!("map the ids of mount {} (not every file system allows it)", mount.target))
}

/// A user namespace with the mapping, kept by its descriptor alone.
fn user_namespace(maps: &IdMaps, host: &Host) -> Result<OwnedFd> {
    let (near, far) = Channel::pair()?;
    match clone::clone3(clone::NEWUSER, None).doing(|| "make a user namespace")? {
        Fork::Child => {
            drop(near);
            // Until the parent has what it needs.
            let _ = far.receive();
            sys::exec::exit(0)
        }
        Fork::Parent { pid, pidfd } => {
            drop(far);
            let namespace = idmap::write(maps, pid, host).and_then(|()| namespace_of(pid));
            drop(near);
            child::kill(pid, &pidfd);
            namespace
        }
    }
}

fn namespace_of(pid: Pid) -> Result<OwnedFd> {
    let path = format!("/proc/{}/ns/user", pid.as_raw_nonzero());
    rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).doing(|| format!("open {path}"))
}
