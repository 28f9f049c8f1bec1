//! Mounts by descriptor: open_tree(2), move_mount(2), statx(2).

use crate::error::{Context, Result};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags};
use rustix::mount::{MoveMountFlags, OpenTreeFlags};

/// Opens a directory by path with O_PATH: of the host, or `/` of the container once it is
/// entered.
#[expect(clippy::disallowed_methods, reason = "directories of the host, or / once it is the container's own")]
pub fn open_directory(path: impl rustix::path::Arg + Copy) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).doing(|| format!("open directory {}", path.to_string_lossy()))
}

/// Attaches the detached mount `tree` to `target`, move_mount(2) with both paths empty: no
/// path is walked that could be replaced. Errors: ENOTDIR where one is a directory and
/// the other is not; ELOOP for a cycle.
pub fn attach(tree: impl AsFd, target: impl AsFd) -> rustix::io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(tree, c"", target, c"", flags)
}

/// Attaches the detached mount `tree` beneath the mount whose root `target` is, which then is on top of
/// it: move_mount(2) with MOVE_MOUNT_BENEATH (Linux 6.5). Errors: EINVAL where the kernel has no such
/// flag, or can't place it there in all mount namespaces to which mounts propagate.
pub fn attach_beneath(tree: impl AsFd, target: impl AsFd) -> rustix::io::Result<()> {
    /// linux/mount.h
    const MOVE_MOUNT_BENEATH: u32 = 0x200;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH
        | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH
        | MoveMountFlags::from_bits_retain(MOVE_MOUNT_BENEATH);
    rustix::mount::move_mount(tree, c"", target, c"", flags)
}

/// A detached copy of the mount at `fd`, and with `recursive` of those below it,
/// open_tree(2) with OPEN_TREE_CLONE.
pub fn clone_mount(fd: impl AsFd, recursive: bool) -> rustix::io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    rustix::mount::open_tree(fd, c"", flags)
}

/// The ID of the mount of `fd`, as in mountinfo: statx(2) with STATX_MNT_ID (Linux 5.8).
pub fn mount_id(fd: impl AsFd) -> rustix::io::Result<u64> {
    Ok(rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?.stx_mnt_id)
}
