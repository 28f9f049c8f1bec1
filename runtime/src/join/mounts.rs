//! Mounts that are added to a running container, and unmounted again.

use crate::bail;
use crate::create::idmap_mounts;
use crate::error::{Context, Error, Result};
use crate::init::finish_rootfs::make_mounts_read_only;
use crate::init::mounts::{MountContext, mount_one};
use crate::ipc::child;
use crate::ipc::protocol::{Channel, Message};
use crate::mount::attach::open_directory;
use crate::mount::bind_source::{HostRoot, Source, SourceKind, bind_source};
use crate::mount::{ProcFd, store_view};
use crate::path::{InRoot, RootFd};
use crate::plan::layered_root::Closure;
use crate::plan::mounts::{MountKind, MountPlan};
use crate::plan::namespaces;
use crate::state::container::Container;
use crate::sys;
use crate::sys::clone::{self, Fork};
use crate::sys::fds::CloseBatch;
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use rustix::process::{Pid, Signal};

/// Adds mounts, in order. On an error those before it are unmounted. Errors: kinds that
/// belong to the config (cgroups, idmapped mounts), and file systems that would show the
/// host's namespaces.
pub fn add_mounts(container: &Container, mounts: &[MountPlan]) -> Result<()> {
    for mount in mounts {
        if matches!(mount.kind, MountKind::Cgroup { .. }) || mount.idmap.is_some() {
            bail!("mount {}: cgroups and id mappings can only be set in config.json", mount.target);
        }
        // They show namespaces of the process that creates them, which is the host's.
        if let MountKind::FileSystem { kind, .. } = &mount.kind
            && ["proc", "sysfs", "mqueue"].contains(&kind.as_str())
        {
            bail!("mount {}: a new {kind} would be the host's", mount.target);
        }
    }
    let binds = mounts.iter().any(|mount| matches!(mount.kind, MountKind::Bind { .. }));
    let host_root = if binds { HostRoot::resolve(&container.record.rootfs)? } else { HostRoot::default() };
    let mut batch = CloseBatch::default();
    let source = |mount| bind_source(mount, &host_root, None, (false, SourceKind::Unknown), &mut batch);
    let sources = mounts.iter().map(source).collect::<Result<Vec<_>>>()?;
    drop(batch);
    run_in_container(container, |root, proc| {
        let mut trees = Vec::new();
        let added = mount_all(&MountContext { root, proc: Some(proc) }, mounts, sources, &mut trees);
        if added.is_err() {
            for tree in trees.iter().rev() {
                // The first error is the one that is reported.
                let _ = umount_detach(proc, tree);
            }
        }
        added
    })
}

/// Makes the mounts, whose trees are added to `trees`; read-only file systems at the end.
fn mount_all(
    context: &MountContext<'_>,
    mounts: &[MountPlan],
    sources: Vec<Option<Source>>,
    trees: &mut Vec<OwnedFd>,
) -> Result<()> {
    let mut batch = CloseBatch::default();
    let mut last = Vec::new();
    for (mount, source) in mounts.iter().zip(sources) {
        let what = || format!("mount {}", mount.target);
        if let Some(tree) = mount_one(context, mount, source, &|_| Ok(()), &[], &mut batch).doing(what)? {
            if mount.read_only_last {
                last.push(tree.try_clone().doing(what)?);
            }
            trees.push(tree);
        }
    }
    make_mounts_read_only(&last)
}

/// Unmounts what is mounted at `targets`, with MNT_DETACH: also where it is in use.
pub fn remove_mounts(container: &Container, targets: &[InRoot]) -> Result<()> {
    run_in_container(container, |root, proc| {
        targets.iter().try_for_each(|target| unmount_target(root, proc, target).doing(|| format!("unmount {target}")))
    })
}

/// Shows `closure` at /nix/store in the place of the present one. What is open there stays open.
pub fn replace_closure(container: &Container, closure: &Closure) -> Result<()> {
    let Some(pid) = Pid::from_raw(container.record.pid) else { bail!("the container has no init yet") };
    let ids = idmap_mounts::ids_of_running(&container.init, pid)?;
    let view = store_view::make_detached(closure, &container.record.rootfs, ids.as_ref())?;
    let linux = container.spec.linux.as_ref();
    let shared = linux.is_some_and(|linux| linux.rootfs_propagation.trim_start_matches('r') == "shared");
    run_in_container(container, |root, proc| store_view::replace(root, &view, shared, |top| umount_detach(proc, top)))
}

fn unmount_target(root: &RootFd, proc: &ProcFd, target: &InRoot) -> Result<()> {
    if target.is_root() {
        bail!("it is the container's root file system");
    }
    // No links: one of the container's could lead to a mount that masks a path of its /proc.
    let target_fd = match root.open_no_symlinks(target, OFlags::PATH) {
        Err(Errno::LOOP) => bail!("it lies behind a symbolic link: name the mount point itself"),
        result => result.doing(|| "open the mount point")?,
    };
    match umount_detach(proc, &target_fd) {
        Err(Errno::INVAL) => Err(Error::new("nothing is mounted there")),
        result => result.doing(|| "umount2"),
    }
}

/// umount2(2) takes a path: that of the descriptor in a private procfs.
fn umount_detach(proc: &ProcFd, target_fd: &OwnedFd) -> rustix::io::Result<()> {
    rustix::process::fchdir(proc.as_fd())?;
    rustix::mount::unmount(format!("self/fd/{}", target_fd.as_raw_fd()), UnmountFlags::DETACH)
}

/// Runs `work` in a process in the container's user and mount namespaces alone: it is in no
/// pid namespace of the container's, so that no process there can see and ptrace it.
fn run_in_container(container: &Container, work: impl FnOnce(&RootFd, &ProcFd) -> Result<()>) -> Result<()> {
    let linux = container.spec.linux.as_ref().map(namespaces::plan).transpose()?.unwrap_or_default();
    if !linux.makes(clone::NEWNS) {
        bail!("the container has no mount namespace of its own: what is mounted there would be mounted for others too");
    }
    let kinds = clone::NEWNS | if linux.has(clone::NEWUSER) { clone::NEWUSER } else { 0 };
    let (parent_end, child_end) = Channel::pair()?;
    match clone::clone3(0, None).doing(|| "clone a process in the container's mount namespace")? {
        Fork::Parent { pid, pidfd } => {
            drop(child_end);
            let reply = parent_end.receive();
            child::wait(pid, &pidfd).doing(|| "wait for the process in the container's mount namespace")?;
            match reply? {
                Some(Message::Ready) => Ok(()),
                _ => bail!("the process in the container's mount namespace ended early"),
            }
        }
        Fork::Child => {
            drop(parent_end);
            let done = enter_mount_namespace(&container.init, kinds).and_then(|(root, proc)| work(&root, &proc));
            child_end.leave(done.map(|()| Message::Ready))
        }
    }
}

/// Joins the mount namespace. Returns its root, and a procfs of the runtime's pid namespace.
fn enter_mount_namespace(init: &OwnedFd, kinds: u64) -> Result<(RootFd, ProcFd)> {
    sys::prctl::set_dumpable(false).doing(|| "set PR_SET_DUMPABLE 0")?;
    // Before setns: where only the container's /proc is visible, mounting one is EPERM.
    let proc = ProcFd::new()?;
    clone::setns(init.as_fd(), kinds).doing(|| "join the container's mount namespace")?;
    // A look-up on a FUSE file system of the container's may block for ever: SIGKILL when the
    // runtime ends. After setns, which clears it with the change of credentials.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).doing(|| "set PR_SET_PDEATHSIG")?;
    Ok((RootFd::new(open_directory("/")?), proc))
}
