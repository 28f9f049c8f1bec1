//! Device nodes, made by descriptor of their directory; bound from the host
//! where a user namespace forbids making them.

use super::Init;
use super::rootfs::attach;
use crate::create::sources;
use crate::error::{Context, Result};
use crate::host;
use crate::path::in_root::Missing;
use crate::path::{InRoot, RootFd};
use crate::plan::Plan;
use crate::plan::devices::Node;
use crate::plan::mounts::MountKind;
use crate::sys::clone;
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

/// A /dev that the config binds from somewhere is not ours to fill.
pub fn is_ours(plan: &Plan) -> bool {
    let dev = InRoot::new("/dev");
    plan.namespaces.makes(clone::NEWNS)
        && !plan.mounts.iter().any(|m| m.target == dev && matches!(m.kind, MountKind::Bind { .. }))
}

pub fn make_all(init: &mut Init<'_>) -> Result<()> {
    if !is_ours(init.plan) {
        return Ok(());
    }
    let root = init.task.root()?;
    let dev_path = InRoot::new("/dev");
    let dev = root.open_or_make(&dev_path, Missing::Directory, Mode::from_raw_mode(0o755))?;
    for (number, node) in init.plan.devices.iter().enumerate() {
        let what = || format!("make device {}", node.path);
        if let Some(tree) = init.sources.nodes.get(number) {
            bind(root, node, tree).doing(what)?;
            continue;
        }
        let (above, name) = node.path.parent_and_name();
        let made = if above == dev_path {
            make(&dev, &name, node)
        } else {
            let dir = root.open_or_make(&above, Missing::Directory, Mode::from_raw_mode(0o755))?;
            make(&dir, &name, node)
        };
        match made {
            // The caller itself is root of a user namespace only.
            Err(Errno::PERM) if host::is_rootless() => {
                sources::device(node).and_then(|tree| bind(root, node, &tree)).doing(what)?;
            }
            made => made.doing(what)?,
        }
    }
    init.dev = Some(dev);
    Ok(())
}

fn make(dir: &OwnedFd, name: &[u8], node: &Node) -> rustix::io::Result<()> {
    let device = rustix::fs::makedev(node.major, node.minor);
    match rustix::fs::mknodat(dir, name, node.kind, Mode::from_raw_mode(node.mode), device) {
        Ok(()) => {}
        Err(Errno::EXIST) => return same(dir, name, node),
        Err(errno) => return Err(errno),
    }
    if node.uid != 0 || node.gid != 0 {
        let (uid, gid) = (Uid::from_raw(node.uid), Gid::from_raw(node.gid));
        rustix::fs::chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}

/// What lies there already must be that very device: an image could have put
/// anything in its place.
fn same(dir: &OwnedFd, name: &[u8], node: &Node) -> rustix::io::Result<()> {
    let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let kind = rustix::fs::FileType::from_raw_mode(stat.st_mode);
    let number = rustix::fs::makedev(node.major, node.minor);
    let is_device = kind == node.kind && (kind == rustix::fs::FileType::Fifo || stat.st_rdev == number);
    if is_device { Ok(()) } else { Err(Errno::EXIST) }
}

fn bind(root: &RootFd, node: &Node, tree: &OwnedFd) -> Result<()> {
    let (above, name) = node.path.parent_and_name();
    let dir = root.open_or_make(&above, Missing::Directory, Mode::from_raw_mode(0o755))?;
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match rustix::fs::openat(&dir, &*name, flags | OFlags::EXCL, Mode::from_raw_mode(0o666)) {
        Ok(_) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno).doing(|| "make the place for it"),
    }
    let target = rustix::fs::openat(&dir, &*name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
        .doing(|| "open the place for it")?;
    attach(tree, &target).doing(|| "bind it")
}
