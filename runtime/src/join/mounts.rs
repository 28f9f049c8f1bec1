//! Mounts that come into a container that runs, and go again.

use crate::bail;
use crate::error::{Context, Error, Result};
use crate::init::finish_rootfs::make_mounts_read_only;
use crate::init::mounts::{MountContext, mount_one};
use crate::ipc::child;
use crate::ipc::protocol::{Channel, Message};
use crate::mount::ProcFd;
use crate::mount::attach::open_directory;
use crate::mount::bind_source::{HostRoot, Source, SourceKind, bind_source};
use crate::path::{InRoot, RootFd};
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
use rustix::process::Signal;

/// Adds mounts, in order. Those before one that fails are taken away again.
pub fn add_mounts(container: &Container, mounts: &[MountPlan]) -> Result<()> {
    for mount in mounts {
        if matches!(mount.kind, MountKind::Cgroup { .. }) || mount.idmap.is_some() {
            bail!("mount {}: cgroups and id mappings are for the container's config", mount.target);
        }
        // Made from outside, they show the namespaces of whoever makes them.
        if let MountKind::FileSystem { kind, .. } = &mount.kind
            && ["proc", "sysfs", "mqueue"].contains(&kind.as_str())
        {
            bail!("mount {}: a new {kind} would be the host's", mount.target);
        }
    }
    let binds = mounts.iter().any(|mount| matches!(mount.kind, MountKind::Bind { .. }));
    let place = if binds { HostRoot::resolve(&container.record.rootfs)? } else { HostRoot::default() };
    let mut batch = CloseBatch::default();
    let source = |mount| bind_source(mount, &place, None, (false, SourceKind::Unknown), &mut batch);
    let sources = mounts.iter().map(source).collect::<Result<Vec<_>>>()?;
    drop(batch);
    run_in_container(container, |root, proc| {
        let mut trees = Vec::new();
        let added = mount_all(&MountContext { root, proc: Some(proc) }, mounts, sources, &mut trees);
        if added.is_err() {
            for tree in trees.iter().rev() {
                // The error that brought us here is the one to tell.
                let _ = umount_detach(proc, tree);
            }
        }
        added
    })
}

fn mount_all(
    place: &MountContext<'_>,
    mounts: &[MountPlan],
    sources: Vec<Option<Source>>,
    trees: &mut Vec<OwnedFd>,
) -> Result<()> {
    let mut batch = CloseBatch::default();
    let mut last = Vec::new();
    for (mount, source) in mounts.iter().zip(sources) {
        let what = || format!("mount {}", mount.target);
        if let Some(tree) = mount_one(place, mount, source, &|_| Ok(()), &[], &mut batch).doing(what)? {
            if mount.read_only_last {
                last.push(tree.try_clone().doing(what)?);
            }
            trees.push(tree);
        }
    }
    make_mounts_read_only(&last)
}

/// Takes away what is mounted at these places, whatever uses it still.
pub fn remove_mounts(container: &Container, targets: &[InRoot]) -> Result<()> {
    run_in_container(container, |root, proc| {
        targets.iter().try_for_each(|target| unmount_target(root, proc, target).doing(|| format!("unmount {target}")))
    })
}

fn unmount_target(root: &RootFd, proc: &ProcFd, target: &InRoot) -> Result<()> {
    if target.is_root() {
        bail!("it is the root file system");
    }
    // A link of the container's could lead to what masks its /proc.
    let place = match root.open_no_symlinks(target, OFlags::PATH) {
        Err(Errno::LOOP) => bail!("it lies behind a symbolic link: name the place itself"),
        result => result.doing(|| "open it")?,
    };
    match umount_detach(proc, &place) {
        Err(Errno::INVAL) => Err(Error::new("nothing is mounted there")),
        result => result.doing(|| "take it away"),
    }
}

/// umount(2) takes a path: that of the descriptor in a procfs of our own.
fn umount_detach(proc: &ProcFd, place: &OwnedFd) -> rustix::io::Result<()> {
    rustix::process::fchdir(proc.as_fd())?;
    rustix::mount::unmount(format!("self/fd/{}", place.as_raw_fd()), UnmountFlags::DETACH)
}

/// Runs `work` in a process that is in the container's user and mount namespaces,
/// and in no other of them: nobody in the container can see it.
fn run_in_container(container: &Container, work: impl FnOnce(&RootFd, &ProcFd) -> Result<()>) -> Result<()> {
    let linux = container.spec.linux.as_ref().map(namespaces::plan).transpose()?.unwrap_or_default();
    if !linux.makes(clone::NEWNS) {
        bail!("the container has no mount namespace of its own: what is mounted there would be mounted for others too");
    }
    let kinds = clone::NEWNS | if linux.has(clone::NEWUSER) { clone::NEWUSER } else { 0 };
    let (near, far) = Channel::pair()?;
    match clone::clone3(0, None).doing(|| "make a process to go inside")? {
        Fork::Parent { pid, pidfd } => {
            drop(far);
            let word = near.receive();
            child::wait(pid, &pidfd).doing(|| "the process inside")?;
            match word? {
                Some(Message::Ready) => Ok(()),
                other => bail!("the process inside said {other:?}"),
            }
        }
        Fork::Child => {
            drop(near);
            let done = enter_mount_namespace(&container.init, kinds).and_then(|(root, proc)| work(&root, &proc));
            far.leave(done.map(|()| Message::Ready))
        }
    }
}

fn enter_mount_namespace(init: &OwnedFd, kinds: u64) -> Result<(RootFd, ProcFd)> {
    sys::prctl::set_dumpable(false).doing(|| "close this process to others")?;
    // Where /proc is the container's, none could be made.
    let proc = ProcFd::new()?;
    clone::setns(init.as_fd(), kinds).doing(|| "join the container's mount namespace")?;
    // A file system of the container's may never answer; after setns, which undoes it.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).doing(|| "end with the runtime")?;
    Ok((RootFd::new(open_directory("/")?), proc))
}
