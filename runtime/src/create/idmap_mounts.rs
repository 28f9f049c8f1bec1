//! ID-mapped mounts: mount_setattr(2), MOUNT_ATTR_IDMAP (Linux 5.12). The mapping is taken
//! from a user namespace: the container's, or a temporary one.

use super::idmap;
use crate::bail;
use crate::error::{Context, Error, Result};
use crate::host::Host;
use crate::ipc::child;
use crate::ipc::protocol::{Channel, Message};
use crate::mount::container_ids::ContainerIds;
use crate::mount::layered_root;
use crate::mount::sources::Sources;
use crate::plan::Plan;
use crate::plan::mounts::{Idmap, MountPlan};
use crate::plan::namespaces::IdMaps;
use crate::sys;
use crate::sys::clone::{self, Fork};
use crate::sys::mount::{ATTR_IDMAP, MountAttr, PROPAGATION_SHARED, setattr};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::process::Pid;

/// Maps, before init exists, the mounts whose mapping is in the config, or is that of a
/// joined user namespace.
pub fn map_from_outside(plan: &Plan, sources: &mut Sources, host: &Host) -> Result<()> {
    if let Some((_, namespace)) = sources.namespaces.iter().find(|(kind, _)| *kind == clone::NEWUSER) {
        map_all(plan, sources, namespace.as_fd())?;
    }
    for (number, mount) in plan.mounts.iter().enumerate() {
        let Some(Idmap { maps: Some(maps), .. }) = &mount.idmap else { continue };
        let tree = tree_of_mount(sources, number);
        if tree.is_none() && plan.namespaces.has(clone::NEWUSER) {
            // Init asks for it (`Message::MapMount`).
            continue;
        }
        let namespace = user_namespace(maps, host).doing(|| format!("map the ids of mount {}", mount.target))?;
        map_tree(mount, tree, namespace.as_fd())?;
        sources.idmaps.push((number, namespace));
    }
    Ok(())
}

/// Maps mount `number` of the plan, which init made in a user namespace:
/// MOUNT_ATTR_IDMAP takes capabilities over the user namespace of the mapping.
pub fn map_for_init(plan: &Plan, number: u32, tree: &OwnedFd, init: Pid, host: &Host) -> Result<()> {
    let Some(mount) = plan.mounts.get(number as usize) else {
        bail!("init asked for the id mapping of a mount that the plan does not have")
    };
    let what = || format!("map the ids of mount {}", mount.target);
    let namespace = match &mount.idmap {
        Some(Idmap { maps: Some(maps), .. }) => user_namespace(maps, host).doing(what)?,
        _ => namespace_of(init).doing(what)?,
    };
    apply(mount, tree, namespace.as_fd())
}

/// Maps the mounts with the container's own mapping, once init's id maps are written.
pub fn map_to_container(plan: &Plan, sources: &Sources, init: Pid) -> Result<()> {
    if !plan.mounts.iter().any(uses_container_maps) {
        return Ok(());
    }
    map_all(plan, sources, namespace_of(init)?.as_fd())
}

/// Mounts, before init exists, the root of a firn.json for a container with a user namespace, and
/// keeps it in `sources`.
pub fn mount_layered_root(plan: &Plan, sources: &mut Sources, host: &Host) -> Result<()> {
    let Some(layered) = plan.layered_root.as_ref().filter(|_| plan.namespaces.makes(clone::NEWNS)) else {
        return Ok(());
    };
    let joined = sources.namespaces.iter().find(|(kind, _)| *kind == clone::NEWUSER).map(|(_, namespace)| namespace);
    let ids = match (joined, &plan.id_maps) {
        (Some(namespace), _) => ids_of_namespace(namespace)?,
        (None, Some(maps)) if maps.are_identity() => ContainerIds { maps: maps.clone(), namespace: None },
        (None, Some(maps)) => ContainerIds { maps: maps.clone(), namespace: Some(user_namespace(maps, host)?) },
        (None, None) => return Ok(()),
    };
    let shared = plan.root_propagation == PROPAGATION_SHARED;
    sources.layered_root = Some(layered_root::mount_outside(layered, &plan.rootfs, shared, &ids)?);
    Ok(())
}

/// The ids of a container that runs; None where it has no user namespace of its own.
pub fn ids_of_running(init: &OwnedFd, pid: Pid) -> Result<Option<ContainerIds>> {
    let own = namespace_of(rustix::process::getpid())?;
    let namespace = namespace_of(pid)?;
    // The number is init's own for as long as its pidfd finds it.
    sys::signal::pidfd_send_signal(init.as_fd(), 0).doing(|| "find the container's init")?;
    let same = |a: &OwnedFd, b: &OwnedFd| -> rustix::io::Result<bool> {
        Ok(rustix::fs::fstat(a)?.st_ino == rustix::fs::fstat(b)?.st_ino)
    };
    match same(&own, &namespace).doing(|| "stat a user namespace")? {
        true => Ok(None),
        false => ids_of_namespace(&namespace).map(Some),
    }
}

/// The maps of a user namespace to join, from the /proc of a process in it: uid_map shows host ids
/// as the process that opens it has them, user_namespaces(7).
fn ids_of_namespace(namespace: &OwnedFd) -> Result<ContainerIds> {
    let what = || "read the maps of the user namespace to join";
    let (parent_end, child_end) = Channel::pair()?;
    let (pid, pidfd) = match clone::clone3(0, None).doing(|| "clone a process for the user namespace to join")? {
        Fork::Child => {
            drop(parent_end);
            let joined = clone::setns(namespace.as_fd(), clone::NEWUSER).doing(|| "join the user namespace");
            let message = joined.map_or_else(|error| Message::Failed(error.chain()), |()| Message::Ready);
            // Lives until the parent has read.
            let _ = child_end.send(&message).and_then(|()| child_end.receive());
            sys::exec::exit(0)
        }
        Fork::Parent { pid, pidfd } => (pid, pidfd),
    };
    drop(child_end);
    let read = |file: &str| {
        let text = std::fs::read_to_string(format!("/proc/{}/{file}", pid.as_raw_nonzero())).doing(what)?;
        IdMaps::parse(&text).ok_or_else(|| Error::new(format!("{}: {text:?}", what())))
    };
    let maps =
        parent_end.expect(&Message::Ready).and_then(|()| Ok(IdMaps { uids: read("uid_map")?, gids: read("gid_map")? }));
    drop(parent_end);
    child::kill(pid, &pidfd);
    let (maps, copy) = (maps?, namespace.try_clone().doing(what)?);
    Ok(ContainerIds { namespace: (!maps.are_identity()).then_some(copy), maps })
}

fn uses_container_maps(mount: &MountPlan) -> bool {
    matches!(mount.idmap, Some(Idmap { maps: None, .. }))
}

fn map_all(plan: &Plan, sources: &Sources, namespace: BorrowedFd<'_>) -> Result<()> {
    for (number, mount) in plan.mounts.iter().enumerate().filter(|(_, mount)| uses_container_maps(mount)) {
        map_tree(mount, tree_of_mount(sources, number), namespace)?;
    }
    Ok(())
}

fn tree_of_mount(sources: &Sources, number: usize) -> Option<&OwnedFd> {
    sources.mounts.get(number)?.as_ref()?.tree()
}

/// Maps the tree of a bind mount. Without a tree it is a new file system, which init maps.
fn map_tree(mount: &MountPlan, tree: Option<&OwnedFd>, namespace: BorrowedFd<'_>) -> Result<()> {
    match tree {
        Some(tree) => apply(mount, tree, namespace),
        None => Ok(()),
    }
}

/// Sets MOUNT_ATTR_IDMAP on a detached mount. Errors: EINVAL where the file system does
/// not support it.
pub fn apply(mount: &MountPlan, tree: &OwnedFd, namespace: BorrowedFd<'_>) -> Result<()> {
    let Some(idmap) = &mount.idmap else { return Ok(()) };
    let attr = MountAttr { set: ATTR_IDMAP, userns_fd: namespace.as_raw_fd() as u64, ..MountAttr::default() };
    setattr(tree.as_fd(), idmap.recursive, &attr)
        .doing(|| format!("map the ids of mount {} (its file system may not support ID-mapped mounts)", mount.target))
}

/// A new user namespace with the mapping; only its descriptor keeps it alive.
fn user_namespace(maps: &IdMaps, host: &Host) -> Result<OwnedFd> {
    let (parent_end, child_end) = Channel::pair()?;
    match clone::clone3(clone::NEWUSER, None).doing(|| "clone a process with a new user namespace")? {
        Fork::Child => {
            drop(parent_end);
            // Lives until the parent has opened its /proc/PID/ns/user.
            let _ = child_end.receive();
            sys::exec::exit(0)
        }
        Fork::Parent { pid, pidfd } => {
            drop(child_end);
            let namespace = idmap::write(maps, pid, host).and_then(|()| namespace_of(pid));
            drop(parent_end);
            child::kill(pid, &pidfd);
            namespace
        }
    }
}

fn namespace_of(pid: Pid) -> Result<OwnedFd> {
    let path = format!("/proc/{}/ns/user", pid.as_raw_nonzero());
    rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).doing(|| format!("open {path}"))
}
