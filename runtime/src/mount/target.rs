//! The target of a mount inside the container's root.

use crate::bail;
use crate::error::{Context, Result};
use crate::path::in_root::IfMissing;
use crate::path::kernel_fs::{self, PROC_SUPER_MAGIC};
use crate::path::{InRoot, RootFd};
use crate::plan::mounts::{MountKind, MountPlan, may_cover};
use crate::sys::fds::CloseBatch;
use rustix::fd::OwnedFd;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

/// Opens the target of a mount with O_PATH, and creates it where it is missing: a directory
/// or a file (`directory`).
///
/// An image's symbolic link may lead the target into /proc, where a mount could cover a
/// file that is written later, such as the labels of /proc/self/attr (CVE-2019-16884).
/// The plan has checked the path as text, which is right without links; through links,
/// the target's file system is checked.
pub fn open_target(root: &RootFd, mount: &MountPlan, directory: bool, batch: &mut CloseBatch) -> Result<OwnedFd> {
    let path = &mount.target;
    if matches!(mount.kind, MountKind::Bind { links, .. } if links.target_nofollow) {
        return open_existing_target(root, path, batch);
    }
    let (missing, mode) = if directory { (IfMissing::Directory, 0o755) } else { (IfMissing::File, 0o644) };
    let mode = Mode::from_raw_mode(mode);
    // No symbolic link: the text that the plan has checked is the place.
    match root.open_no_symlinks(path, OFlags::PATH) {
        Ok(target) => return Ok(target),
        Err(Errno::NOENT) => {
            if let Some(target) = root.create_no_symlinks(path, missing, mode, batch)? {
                return Ok(target);
            }
        }
        Err(Errno::LOOP) => {}
        Err(errno) => return Err(errno).doing(|| format!("open the target {path}")),
    }
    if let MountKind::FileSystem { kind, .. } = &mount.kind
        && matches!(kind.as_str(), "proc" | "sysfs")
    {
        refuse_symlink(root, path, kind)?;
    }
    let target = root.open_or_create(path, missing, mode)?;
    let magic = kernel_fs::fs_magic(&target).doing(|| format!("statfs of the target {path}"))?;
    if magic == PROC_SUPER_MAGIC && may_cover(path, &mount.kind) && !InRoot::new("/proc").contains(path) {
        bail!("{path} leads into /proc, where nothing may be mounted");
    }
    Ok(target)
}

/// For a bind with `dest-nofollow`: the target itself, which must exist; not what it links to.
fn open_existing_target(root: &RootFd, path: &InRoot, batch: &mut CloseBatch) -> Result<OwnedFd> {
    let what = || "open the target, which dest-nofollow wants to be there";
    let (above, name) = path.parent_and_name();
    let dir = root.open(&above, OFlags::PATH | OFlags::DIRECTORY).doing(what)?;
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let target = rustix::fs::openat(&dir, &*name, flags, Mode::empty()).doing(what)?;
    batch.add(dir);
    // A magic link or a file of the kernel's would be covered by the image's content.
    if let Some(kind) = kernel_fs::kernel_fs_type(&target)? {
        bail!("{path} leads into {kind}, where nothing may be mounted by dest-nofollow");
    }
    Ok(target)
}

/// Refuses a symbolic link as the target of procfs or sysfs: they would be mounted
/// elsewhere, and /proc or /sys be what the image has there, without masks
/// (CVE-2023-27561).
fn refuse_symlink(root: &RootFd, path: &InRoot, kind: &str) -> Result<()> {
    match root.open(path, OFlags::PATH | OFlags::NOFOLLOW) {
        Ok(found) => match FileType::from_raw_mode(
            rustix::fs::fstat(&found).doing(|| format!("stat the target {path}"))?.st_mode,
        ) {
            FileType::Directory => {
                bail!("{path} lies behind a symbolic link: {kind} must be mounted on ordinary directory")
            }
            _ => bail!("{path} is no directory: {kind} must be mounted on ordinary directory"),
        },
        Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno).doing(|| format!("open the target {path}")),
    }
}
