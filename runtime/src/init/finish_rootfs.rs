//! Masked and read-only paths and the read-only root, once init writes nothing more there.

use super::context::Init;
use crate::error::{Context, Result};
use crate::mount::attach::{attach, clone_mount};
use crate::mount::file_system::FsContext;
use crate::path::InRoot;
use crate::sys::clone;
use crate::sys::fds::CloseBatch;
use crate::sys::mount::{ATTR_RDONLY, MountAttr, PROPAGATION_PRIVATE, setattr};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

const PRIVATE: MountAttr = MountAttr { set: 0, clear: 0, propagation: PROPAGATION_PRIVATE, userns_fd: 0 };
const READ_ONLY: MountAttr = MountAttr { set: ATTR_RDONLY, clear: 0, propagation: 0, userns_fd: 0 };

/// Binds each read-only path on itself, read-only with all below it. Missing ones are
/// skipped.
pub fn make_paths_read_only(init: &mut Init<'_>) -> Result<()> {
    let mut batch = CloseBatch::default();
    for path in &init.plan.readonly {
        let what = || format!("make {path} read-only");
        let target = match init.open_in_container(path, OFlags::PATH)? {
            Err(Errno::NOENT | Errno::NOTDIR) => continue,
            result => result.doing(what)?,
        };
        let tree = clone_mount(&target, true).doing(what)?;
        setattr(tree.as_fd(), true, &READ_ONLY).doing(what)?;
        attach(&tree, &target).doing(what)?;
        batch.add(target);
        batch.add(tree);
    }
    Ok(())
}

/// Masks files by /dev/null and directories by an empty read-only tmpfs. Missing ones are
/// skipped.
pub fn mask_paths(init: &mut Init<'_>) -> Result<()> {
    let null = init.sources.null.take();
    if let Some(null) = &null {
        // The clone is a peer of the host's /dev, where that is shared: a mount of the
        // container's on a masked file would propagate to the host's /dev/null. Copies of
        // a private mount are private.
        setattr(null.as_fd(), false, &PRIVATE).doing(|| "make the mount of /dev/null private")?;
    }
    let mut file = Mask::new(null);
    let mut directory = Mask::new(None);
    let mut batch = CloseBatch::default();
    for path in &init.plan.masked {
        mask_path(init, path, &mut file, &mut directory, &mut batch).doing(|| format!("mask {path}"))?;
    }
    Ok(())
}

/// Masks one path, through the procfs or sysfs that init mounted (`Init::open_in_container`).
fn mask_path(
    init: &Init<'_>,
    path: &InRoot,
    file: &mut Mask,
    directory: &mut Mask,
    batch: &mut CloseBatch,
) -> Result<()> {
    match init.open_in_container(path, OFlags::PATH | OFlags::DIRECTORY)? {
        Ok(target) => {
            if directory.mount.is_none() {
                directory.mount = Some(create_empty_directory(batch)?);
            }
            directory.cover(target, batch)
        }
        Err(Errno::NOTDIR) => match init.open_in_container(path, OFlags::PATH)? {
            Ok(target) => file.cover(target, batch),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(()),
            Err(errno) => Err(errno).doing(|| "open the file"),
        },
        Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno).doing(|| "open the path"),
    }
}

/// A read-only tmpfs without room for a file.
fn create_empty_directory(batch: &mut CloseBatch) -> Result<OwnedFd> {
    let fs = FsContext::open("tmpfs")?;
    fs.set_option("source", Some("tmpfs"))?;
    fs.set_option("nr_inodes", Some("1"))?;
    fs.set_option("mode", Some("0755"))?;
    let flags =
        MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    fs.mount(flags, batch)
}

/// A mount that masks many targets: itself the first, a clone each other. (An attached
/// mount can be cloned; a detached one only since Linux 6.15.)
struct Mask {
    mount: Option<OwnedFd>,
    attached: bool,
}

impl Mask {
    fn new(mount: Option<OwnedFd>) -> Self {
        Mask { mount, attached: false }
    }

    /// Attaches the mask to `target`.
    fn cover(&mut self, target: OwnedFd, batch: &mut CloseBatch) -> Result<()> {
        let Some(mount) = &self.mount else { crate::bail!("there is no mount to mask it with") };
        if self.attached {
            let copy = clone_mount(mount, false).doing(|| "clone the mount of the mask")?;
            attach(&copy, &target).doing(|| "attach the mask")?;
            batch.add(copy);
        } else {
            attach(mount, &target).doing(|| "attach the mask")?;
            self.attached = true;
        }
        batch.add(target);
        Ok(())
    }
}

/// Makes mounts read-only whose targets below have been created.
pub fn make_mounts_read_only<'a>(mounts: impl IntoIterator<Item = &'a OwnedFd>) -> Result<()> {
    mounts.into_iter().try_for_each(|mount| {
        setattr(mount.as_fd(), false, &READ_ONLY).doing(|| "make a tmpfs read-only (mount_setattr)")
    })
}

/// The deferred read-only file systems, and the root where the config says so.
pub fn make_root_read_only(init: &mut Init<'_>) -> Result<()> {
    let last = std::mem::take(&mut init.created_mounts);
    make_mounts_read_only(last.iter().filter(|mount| mount.read_only_last).map(|mount| &mount.tree))?;
    if !init.plan.readonly_root || !init.plan.namespaces.makes(clone::NEWNS) {
        return Ok(());
    }
    setattr(init.state.root()?.as_fd(), false, &READ_ONLY).doing(|| "make the root read-only (mount_setattr)")
}
