//! The mounts of config.json, descriptor to descriptor: a source is a detached
//! mount, a target is opened inside the root, and move_mount(2) joins the two.

use super::context::{CreatedMount, Init};
use super::{cgroup_mount, copy_up, devices};
use crate::bail;
use crate::create::idmap_mounts;
use crate::error::{Context, Error, Result};
use crate::ipc::protocol::Message;
use crate::mount::attach::{attach, clone_mount, mount_id};
use crate::mount::bind_source::{self, Source};
use crate::mount::file_system::{self, fsmount_attributes};
use crate::mount::sources::{self, Cgroups};
use crate::mount::target::open_target;
use crate::mount::{ProcFd, bind_options, private_mntns, procfs};
use crate::path::in_root::IfMissing;
use crate::path::kernel_fs::{self, PROC_SUPER_MAGIC, SYSFS_MAGIC};
use crate::path::{InRoot, RootFd};
use crate::plan::mounts::{MountKind, MountPlan};
use crate::sys::clone;
use crate::sys::fds::CloseBatch;
use crate::sys::mount::{self as attr, MountAttr, setattr};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use std::path::Path;

/// So many new file systems keep their descriptors until devices are made, for a
/// process has a limit of open files.
const MAX_OPEN_MOUNTS: usize = 64;

pub fn mount_all(init: &mut Init<'_>) -> Result<()> {
    let mut batch = CloseBatch::default();
    let mut kernel_mounts = Vec::new();
    let mut dev_is_known = !devices::fills_dev(init.plan);
    for (number, mount) in init.plan.mounts.iter().enumerate() {
        let what = || format!("mount {}", mount.target);
        if !dev_is_known && InRoot::new("/dev").contains(&mount.target) {
            dev_is_known = true;
            if mount.target != InRoot::new("/dev") {
                // Before places are made below it.
                devices::open_device_directory(init, &InRoot::new("/dev"), None).doing(what)?;
            }
        }
        let cgroups = clone_cgroups_for(init, mount).doing(what)?;
        let source = match init.sources.mounts.get_mut(number).and_then(Option::take) {
            // The host's paths are in reach until the root is entered, and where a
            // source is left to its turn there is no user namespace.
            Some(Source::Deferred(known)) => {
                let (host, root) = (&init.sources.root, init.task.root.as_ref());
                bind_source::bind_source(mount, host, root, (false, known), &mut batch).doing(what)?
            }
            source => source,
        };
        if matches!(source, Some(Source::InRoot(_))) {
            // Its copies are looked at by it.
            init.task.proc()?;
        }
        let map = |tree: &OwnedFd| map_ids(init, number, mount, tree);
        let place = MountContext { root: init.task.root()?, proc: init.task.proc.as_ref() };
        let tree = mount_one(&place, mount, source, &map, &cgroups, &mut batch).doing(what)?;
        match (&mount.kind, tree) {
            (MountKind::FileSystem { kind, .. }, Some(tree)) if matches!(kind.as_str(), "proc" | "sysfs") => {
                kernel_mounts.push((mount.target.clone(), RootFd::new(tree)));
            }
            // The host's, where an engine gives the container the host's pids.
            (MountKind::Bind { .. }, Some(tree)) if is_proc_or_sysfs(mount, &tree) => {
                kernel_mounts.push((mount.target.clone(), RootFd::new(tree)));
            }
            (MountKind::FileSystem { .. }, Some(tree)) => {
                if init.created_mounts.len() > MAX_OPEN_MOUNTS && !mount.read_only_last {
                    init.created_mount_ids.push(mount_id(&tree).doing(what)?);
                    batch.add(tree);
                    continue;
                }
                let (target, read_only_last) = (mount.target.clone(), mount.read_only_last);
                init.created_mounts.push(CreatedMount { target, tree, read_only_last });
            }
            (_, tree) => tree.into_iter().for_each(|tree| batch.add(tree)),
        }
    }
    init.kernel_mounts = kernel_mounts;
    Ok(())
}

/// Gives a mount that init has made its id mapping.
fn map_ids(init: &Init<'_>, number: usize, mount: &MountPlan, tree: &OwnedFd) -> Result<()> {
    if mount.idmap.is_none() {
        return Ok(());
    }
    if init.plan.namespaces.has(clone::NEWUSER) {
        init.channel.send_with(&Message::MapMount(number as u32), tree.as_fd())?;
        return init.channel.expect(&Message::MountMapped);
    }
    let namespace = init.sources.idmaps.iter().find(|(of, _)| *of == number).map(|(_, namespace)| namespace);
    namespace.map_or(Ok(()), |namespace| idmap_mounts::apply(mount, tree, namespace.as_fd()))
}

fn is_proc_or_sysfs(mount: &MountPlan, tree: &OwnedFd) -> bool {
    let is_place = ["/proc", "/sys"].iter().any(|place| InRoot::new(place) == mount.target);
    is_place && kernel_fs::fs_magic(tree).is_ok_and(|magic| [PROC_SUPER_MAGIC, SYSFS_MAGIC].contains(&magic))
}

/// Those for a cgroup mount. They can be attached once, and where the caller has
/// opened them there is one set.
fn clone_cgroups_for(init: &mut Init<'_>, mount: &MountPlan) -> Result<Cgroups> {
    if !matches!(mount.kind, MountKind::Cgroup { .. }) {
        return Ok(Vec::new());
    }
    if sources::init_has_caller_rights(init.plan) {
        return sources::clone_cgroups(init.plan, mount, &init.record.cgroup);
    }
    init.sources.cgroups.take().ok_or_else(|| Error::new("in a user namespace there can be one cgroup mount"))
}

/// Where mounts are made.
#[derive(Debug, Clone, Copy)]
pub struct MountContext<'a> {
    pub root: &'a RootFd,
    /// Needed for binds whose source lies in the root.
    pub proc: Option<&'a ProcFd>,
}

/// Returns the mount that is now attached, if it has one descriptor. `map` gives
/// what is not from outside its id mapping.
pub fn mount_one(
    place: &MountContext<'_>,
    mount: &MountPlan,
    source: Option<Source>,
    map: &dyn Fn(&OwnedFd) -> Result<()>,
    cgroups: &[(String, OwnedFd)],
    batch: &mut CloseBatch,
) -> Result<Option<OwnedFd>> {
    let root = place.root;
    match &mount.kind {
        MountKind::Bind { .. } => {
            let tree = match source {
                Some(Source::Tree(tree)) => tree,
                Some(Source::Symlink(text)) => return create_symlink(root, &mount.target, &text, batch).map(|()| None),
                Some(Source::InRoot(path)) => match open_source_in_root(place, mount, &path, map)? {
                    Source::Tree(tree) => tree,
                    Source::Symlink(text) => return create_symlink(root, &mount.target, &text, batch).map(|()| None),
                    Source::InRoot(_) | Source::Deferred(_) => bail!("its source leads to itself"),
                },
                Some(Source::Deferred(_)) | None => bail!("its source was not opened"),
            };
            let target = open_target(root, mount, is_directory(&tree)?, batch)?;
            attach_to_target(tree, target, batch)
        }
        MountKind::Cgroup { .. } => cgroup_mount::mount_cgroups(root, mount, cgroups, batch).map(|()| None),
        MountKind::FileSystem { kind, source, data, copy_up } => {
            let keeps_mode = kind == "tmpfs" && !data.iter().any(|(name, _)| name == "mode");
            let was_there = keeps_mode && root.open(&mount.target, OFlags::PATH).is_ok();
            let target = open_target(root, mount, true, batch)?;
            let mut mode = None;
            if was_there {
                // As the directory under it, so that /tmp stays sticky.
                let stat = rustix::fs::fstat(&target).doing(|| "look at the target")?;
                mode = Some(format!("{:o}", stat.st_mode & 0o7777));
            }
            let more = mode.as_deref().map(|mode| ("mode", mode));
            let tree = match file_system::create(kind, source, data, more, fsmount_attributes(mount.attr.set), batch) {
                Err(error) if kind == "sysfs" && error.errno() == Some(Errno::PERM) => clone_host_sysfs(mount)?,
                tree => tree?,
            };
            if *copy_up {
                copy_up::copy_up(&target, &tree)?;
            }
            if kind == "proc" {
                procfs::check_is_procfs(&tree)?;
            }
            set_recursive_options(&tree, mount)?;
            map(&tree)?;
            attach_to_target(tree, target, batch)
        }
    }
}

/// A part of what has been mounted so far, whatever links of the image's lead to
/// it: but never of the kernel's file systems, which would show without their masks.
fn open_source_in_root(
    place: &MountContext<'_>,
    mount: &MountPlan,
    path: &InRoot,
    map: &dyn Fn(&OwnedFd) -> Result<()>,
) -> Result<Source> {
    let what = || format!("bind mount source {path} in the root");
    let MountKind::Bind { recursive, links, .. } = mount.kind else { bail!("it is no bind mount") };
    let flags = if links.follows_source() { OFlags::empty() } else { OFlags::NOFOLLOW };
    let found = place.root.open(path, OFlags::PATH | flags).doing(what)?;
    if let Some(text) = bind_source::read_symlink_to_copy(&found, links).doing(what)? {
        return Ok(Source::Symlink(text));
    }
    let tree = match (recursive, place.proc) {
        (true, Some(proc)) => private_mntns::clone_subtree(place.root, proc, path, flags).doing(what)?,
        (true, None) => bail!("{}: there is no procfs to look at its mounts", what()),
        (false, _) => clone_mount(&found, false).doing(what)?,
    };
    if let Some(kind) = kernel_fs::kernel_fs_type(&tree).doing(what)? {
        bail!("{} leads to {kind}, which must not show a second time without its masks", what());
    }
    map(&tree)?;
    bind_options::apply(mount, tree, false).map(Source::Tree)
}

/// The symbolic link that a bind with `copy-symlink` has for a source. One with
/// the same text may be there.
fn create_symlink(root: &RootFd, path: &InRoot, text: &[u8], batch: &mut CloseBatch) -> Result<()> {
    let what = || format!("make the link {path}");
    let (above, name) = path.parent_and_name();
    let dir = root.open_or_create(&above, IfMissing::Directory, Mode::from_raw_mode(0o755))?;
    match rustix::fs::symlinkat(text, &dir, &*name) {
        Ok(()) => {}
        Err(Errno::EXIST) => {
            let there = rustix::fs::readlinkat(&dir, &*name, Vec::new());
            if !there.is_ok_and(|there| there.to_bytes() == text) {
                bail!("{}: something else is there already", what());
            }
        }
        Err(errno) => return Err(errno).doing(what),
    }
    batch.add(dir);
    Ok(())
}

/// A new one belongs to a network namespace of the user namespace's: without one
/// there is the host's, as under crun.
fn clone_host_sysfs(mount: &MountPlan) -> Result<OwnedFd> {
    let what = || "bind the host's /sys, for a new sysfs needs a network namespace of the container's own";
    let tree = bind_options::clone_tree(Path::new("/sys"), true).doing(what)?;
    let attr = MountAttr { set: mount.attr.set, propagation: attr::PROPAGATION_SLAVE, ..MountAttr::default() };
    setattr(tree.as_fd(), true, &attr).doing(what)?;
    Ok(tree)
}

/// What fsmount(2) can't set: propagation, and attributes given recursively.
fn set_recursive_options(tree: &OwnedFd, mount: &MountPlan) -> Result<()> {
    let propagation = mount.propagation.map_or(0, |(kind, _)| kind);
    let rest = MountAttr { propagation, ..mount.recursive_attr };
    if rest.is_noop() {
        return Ok(());
    }
    setattr(tree.as_fd(), true, &rest).doing(|| "set the mount's options")
}

fn attach_to_target(tree: OwnedFd, target: OwnedFd, batch: &mut CloseBatch) -> Result<Option<OwnedFd>> {
    match attach(&tree, &target) {
        Err(Errno::NOTDIR | Errno::INVAL) if is_directory(&tree)? != is_directory(&target)? => {
            let kind = |directory| if directory { "a directory" } else { "a file" };
            bail!("its source is {}, but its target is {}", kind(is_directory(&tree)?), kind(is_directory(&target)?))
        }
        result => result.doing(|| "attach it")?,
    }
    batch.add(target);
    Ok(Some(tree))
}

fn is_directory(fd: &OwnedFd) -> Result<bool> {
    let stat = rustix::fs::fstat(fd).doing(|| "look at it")?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}
