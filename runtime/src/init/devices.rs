//! Device nodes, by mknodat(2) on the descriptor of their directory; by bind mounts of the
//! host's where a user namespace may not mknod.

use super::context::Init;
use crate::bail;
use crate::error::{Context, Result};
use crate::host;
use crate::mount::attach::{attach, mount_id};
use crate::mount::sources;
use crate::path::{InRoot, RootFd};
use crate::plan::Plan;
use crate::plan::devices::Node;
use crate::plan::mounts::MountKind;
use crate::sys::clone;
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

/// Whether devices and links are created in /dev: not where the config binds a /dev, nor
/// without a mount namespace of the container's own.
pub fn fills_dev(plan: &Plan) -> bool {
    let dev = InRoot::new("/dev");
    plan.namespaces.makes(clone::NEWNS)
        && !plan.mounts.iter().any(|m| m.target == dev && matches!(m.kind, MountKind::Bind { .. }))
}

/// Creates the devices of the plan, and opens /dev for the links.
pub fn create_devices(init: &mut Init<'_>) -> Result<()> {
    if !fills_dev(init.plan) {
        return Ok(());
    }
    let dev_path = InRoot::new("/dev");
    // The tree itself: a symbolic link at /dev may have led the mount elsewhere.
    let mounted = init.created_mounts.iter().rposition(|mount| mount.target == dev_path && !mount.read_only_last);
    let mounted = mounted.map(|number| init.created_mounts.remove(number).tree);
    let opened = match &mounted {
        Some(_) => None,
        None => Some(open_device_directory(init, &dev_path, None).doing(|| "create devices in /dev")?),
    };
    if let Some(dev) = mounted.as_ref().or(opened.as_ref()) {
        create_nodes(init, &dev_path, dev)?;
    }
    init.dev = opened.or(mounted);
    Ok(())
}

/// Opens a directory in which device nodes may be created, and creates it where it is
/// missing. `dev`: the file system at /dev, once it is taken out of `init`.
pub fn open_device_directory(init: &Init<'_>, path: &InRoot, dev: Option<&OwnedFd>) -> Result<OwnedFd> {
    let root = init.state.root()?;
    root.open_or_create_directory(path, &|directory| refuse_foreign_mount(root, dev, init, directory))
}

/// Refuses a directory that is neither on the root's mount nor on a file system that was
/// created for the container. A symbolic link of the image, /dev itself or one below it,
/// may lead into a volume: root of the host would create device nodes there, which stay.
fn refuse_foreign_mount(root: &RootFd, dev: Option<&OwnedFd>, init: &Init<'_>, directory: &OwnedFd) -> Result<()> {
    let id = |fd| mount_id(fd).doing(|| "read the mount ID (statx)");
    let wanted = id(directory)?;
    if mount_id(root).doing(|| "read the mount ID of the root (statx)")? == wanted
        || init.created_mount_ids.contains(&wanted)
    {
        return Ok(());
    }
    for own in dev.into_iter().chain(init.created_mounts.iter().map(|mount| &mount.tree)) {
        if id(own)? == wanted {
            return Ok(());
        }
    }
    bail!(
        "it is on a mount from outside the container, where no devices are created: \
         mount a tmpfs on /dev, or bind a /dev that is complete"
    )
}

/// Creates all nodes, those outside of /dev as well.
fn create_nodes(init: &Init<'_>, dev_path: &InRoot, dev: &OwnedFd) -> Result<()> {
    for (number, node) in init.plan.devices.iter().enumerate() {
        let what = || format!("create device {}", node.path);
        let (above, name) = node.path.parent_and_name();
        let other =
            if above == *dev_path { None } else { Some(open_device_directory(init, &above, Some(dev)).doing(what)?) };
        let dir = other.as_ref().unwrap_or(dev);
        if let Some(tree) = init.sources.nodes.get(number) {
            bind_node(dir, &name, tree).doing(what)?;
            continue;
        }
        match create_node(dir, &name, node) {
            // The caller itself is in a user namespace, where mknod(2) is EPERM.
            Err(Errno::PERM) if host::is_rootless() => {
                sources::clone_device(node).and_then(|tree| bind_node(dir, &name, &tree)).doing(what)?;
            }
            made => made.doing(what)?,
        }
    }
    Ok(())
}

/// Creates a node with its owner. The process's umask is 0.
fn create_node(dir: &OwnedFd, name: &[u8], node: &Node) -> rustix::io::Result<()> {
    let device = rustix::fs::makedev(node.major, node.minor);
    match rustix::fs::mknodat(dir, name, node.kind, Mode::from_raw_mode(node.mode), device) {
        Ok(()) => {}
        Err(Errno::EXIST) => return check_existing_node(dir, name, node),
        Err(errno) => return Err(errno),
    }
    if node.uid != 0 || node.gid != 0 {
        let (uid, gid) = (Uid::from_raw(node.uid), Gid::from_raw(node.gid));
        rustix::fs::chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}

/// Accepts an existing file only if it has the type and the number of the device: the
/// image could have put another device in its place.
fn check_existing_node(dir: &OwnedFd, name: &[u8], node: &Node) -> rustix::io::Result<()> {
    let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let kind = rustix::fs::FileType::from_raw_mode(stat.st_mode);
    let number = rustix::fs::makedev(node.major, node.minor);
    let is_device = kind == node.kind && (kind == rustix::fs::FileType::Fifo || stat.st_rdev == number);
    if is_device { Ok(()) } else { Err(Errno::EXIST) }
}

/// Binds the host's node `tree` on a file, which is created where it is missing.
fn bind_node(dir: &OwnedFd, name: &[u8], tree: &OwnedFd) -> Result<()> {
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match rustix::fs::openat(dir, name, flags | OFlags::EXCL, Mode::from_raw_mode(0o666)) {
        Ok(_) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno).doing(|| "create the target of the bind mount"),
    }
    let target = rustix::fs::openat(dir, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
        .doing(|| "open the target of the bind mount")?;
    attach(tree, &target).doing(|| "bind the host's device")
}
