//! The mounts of config.json, descriptor to descriptor: the source is a detached mount, the
//! target is opened inside the root, and move_mount(2) attaches one to the other.

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

/// New file systems whose descriptors are kept until devices are created; of further ones
/// only the mount ID is, below RLIMIT_NOFILE.
const MAX_OPEN_MOUNTS: usize = 64;

/// Makes all mounts of the plan, in its order.
pub fn mount_all(init: &mut Init<'_>) -> Result<()> {
    let mut batch = CloseBatch::default();
    let mut kernel_mounts = Vec::new();
    let mut dev_is_known = !devices::fills_dev(init.plan);
    for (number, mount) in init.plan.mounts.iter().enumerate() {
        let what = || format!("mount {}", mount.target);
        if !dev_is_known && InRoot::new("/dev").contains(&mount.target) {
            dev_is_known = true;
            if mount.target != InRoot::new("/dev") {
                // Checked before targets below it are created.
                devices::open_device_directory(init, &InRoot::new("/dev"), None).doing(what)?;
            }
        }
        let cgroups = clone_cgroups_for(init, mount).doing(what)?;
        let source = match init.sources.mounts.get_mut(number).and_then(Option::take) {
            // Init resolves the host's paths until the root is entered; a source is
            // deferred only without a user namespace.
            Some(Source::Deferred(known)) => {
                let (host, root) = (&init.sources.root, init.state.root.as_ref());
                bind_source::bind_source(mount, host, root, (false, known), &mut batch).doing(what)?
            }
            source => source,
        };
        if matches!(source, Some(Source::InRoot(_))) {
            // For the mountinfo of a recursive copy.
            init.state.proc()?;
        }
        let map = |tree: &OwnedFd| map_ids(init, number, mount, tree);
        let context = MountContext { root: init.state.root()?, proc: init.state.proc.as_ref() };
        let tree = mount_one(&context, mount, source, &map, &cgroups, &mut batch).doing(what)?;
        match (&mount.kind, tree) {
            (MountKind::FileSystem { kind, .. }, Some(tree)) if matches!(kind.as_str(), "proc" | "sysfs") => {
                kernel_mounts.push((mount.target.clone(), RootFd::new(tree)));
            }
            // The host's /proc or /sys, which an engine binds for a container in the host's
            // pid or network namespace.
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

/// Sets the ID mapping of a mount that init has made. In a user namespace the runtime does it.
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

/// Whether a bind at /proc or /sys is a procfs or sysfs.
fn is_proc_or_sysfs(mount: &MountPlan, tree: &OwnedFd) -> bool {
    let is_target = ["/proc", "/sys"].iter().any(|path| InRoot::new(path) == mount.target);
    is_target && kernel_fs::fs_magic(tree).is_ok_and(|magic| [PROC_SUPER_MAGIC, SYSFS_MAGIC].contains(&magic))
}

/// The cgroups for a cgroup mount, opened now or by the caller, who opens one set: a
/// detached mount can be attached once.
fn clone_cgroups_for(init: &mut Init<'_>, mount: &MountPlan) -> Result<Cgroups> {
    if !matches!(mount.kind, MountKind::Cgroup { .. }) {
        return Ok(Vec::new());
    }
    if sources::init_has_caller_rights(init.plan) {
        return sources::clone_cgroups(init.plan, mount, &init.record.cgroup);
    }
    init.sources.cgroups.take().ok_or_else(|| Error::new("in a user namespace there can be one cgroup mount"))
}

/// The root in which mounts are made.
#[derive(Debug, Clone, Copy)]
pub struct MountContext<'a> {
    pub root: &'a RootFd,
    /// For binds whose source lies in the root: a procfs for mountinfo.
    pub proc: Option<&'a ProcFd>,
}

/// Makes one mount and returns it where it is one tree. `map` sets the ID mapping of a mount
/// that is not cloned from the host; `cgroups` are for a cgroup mount.
pub fn mount_one(
    context: &MountContext<'_>,
    mount: &MountPlan,
    source: Option<Source>,
    map: &dyn Fn(&OwnedFd) -> Result<()>,
    cgroups: &[(String, OwnedFd)],
    batch: &mut CloseBatch,
) -> Result<Option<OwnedFd>> {
    let root = context.root;
    match &mount.kind {
        MountKind::Bind { .. } => {
            let tree = match source {
                Some(Source::Tree(tree)) => tree,
                Some(Source::Symlink(text)) => return create_symlink(root, &mount.target, &text, batch).map(|()| None),
                Some(Source::InRoot(path)) => match open_source_in_root(context, mount, &path, map)? {
                    Source::Tree(tree) => tree,
                    Source::Symlink(text) => return create_symlink(root, &mount.target, &text, batch).map(|()| None),
                    Source::InRoot(_) | Source::Deferred(_) => bail!("its source in the root can't be opened"),
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
                // The mode of the directory under it, as runc does: /tmp stays sticky.
                let stat = rustix::fs::fstat(&target).doing(|| "stat the target")?;
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

/// Opens a bind's source in the root, among the mounts made so far. Never one on a file
/// system of the kernel's, whatever links of the image lead to it: mounted a second time, a
/// procfs would have no masked and read-only paths.
fn open_source_in_root(
    context: &MountContext<'_>,
    mount: &MountPlan,
    path: &InRoot,
    map: &dyn Fn(&OwnedFd) -> Result<()>,
) -> Result<Source> {
    let what = || format!("bind mount source {path} in the root");
    let MountKind::Bind { recursive, links, .. } = mount.kind else { bail!("it is not a bind mount") };
    let flags = if links.follows_source() { OFlags::empty() } else { OFlags::NOFOLLOW };
    let found = context.root.open(path, OFlags::PATH | flags).doing(what)?;
    if let Some(text) = bind_source::read_symlink_to_copy(&found, links).doing(what)? {
        return Ok(Source::Symlink(text));
    }
    let tree = match (recursive, context.proc) {
        (true, Some(proc)) => private_mntns::clone_subtree(context.root, proc, path, flags).doing(what)?,
        (true, None) => bail!("{}: no procfs to read its mounts from", what()),
        (false, _) => clone_mount(&found, false).doing(what)?,
    };
    if let Some(kind) = kernel_fs::kernel_fs_type(&tree).doing(what)? {
        bail!("{} leads to {kind}, which must not show a second time without its masks", what());
    }
    map(&tree)?;
    bind_options::apply(mount, tree, false).map(Source::Tree)
}

/// Creates the symbolic link of a bind with `copy-symlink`. An existing one must have the
/// same target.
fn create_symlink(root: &RootFd, path: &InRoot, text: &[u8], batch: &mut CloseBatch) -> Result<()> {
    let what = || format!("create the symbolic link {path}");
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

/// A bind of the host's /sys. A new sysfs needs CAP_SYS_ADMIN over the user namespace of the
/// network namespace: EPERM with a user namespace and the host's network. As crun does.
fn clone_host_sysfs(mount: &MountPlan) -> Result<OwnedFd> {
    let what = || "bind the host's /sys (a new sysfs needs a network namespace of the container's own)";
    let tree = bind_options::clone_tree(Path::new("/sys"), true).doing(what)?;
    let attr = MountAttr { set: mount.attr.set, propagation: attr::PROPAGATION_SLAVE, ..MountAttr::default() };
    setattr(tree.as_fd(), true, &attr).doing(what)?;
    Ok(tree)
}

/// Sets what fsmount(2) can't: propagation and recursive attributes.
fn set_recursive_options(tree: &OwnedFd, mount: &MountPlan) -> Result<()> {
    let propagation = mount.propagation.map_or(0, |(kind, _)| kind);
    let rest = MountAttr { propagation, ..mount.recursive_attr };
    if rest.is_noop() {
        return Ok(());
    }
    setattr(tree.as_fd(), true, &rest).doing(|| "set the mount's options (mount_setattr)")
}

/// Attaches `tree`; a directory on a file, or the reverse, is an error of its own.
fn attach_to_target(tree: OwnedFd, target: OwnedFd, batch: &mut CloseBatch) -> Result<Option<OwnedFd>> {
    match attach(&tree, &target) {
        Err(Errno::NOTDIR | Errno::INVAL) if is_directory(&tree)? != is_directory(&target)? => {
            let kind = |directory| if directory { "a directory" } else { "a file" };
            bail!("its source is {}, but its target is {}", kind(is_directory(&tree)?), kind(is_directory(&target)?))
        }
        result => result.doing(|| "attach the mount to its target (move_mount)")?,
    }
    batch.add(target);
    Ok(Some(tree))
}

fn is_directory(fd: &OwnedFd) -> Result<bool> {
    let stat = rustix::fs::fstat(fd).doing(|| "stat its source or target")?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}
