//! Init's pidfd, mounted on the file `init` in the state directory (Linux 6.14): the kernel keeps how init
//! ended for as long as the mount is there, also when no process holds the pidfd any more. Where that
//! can't be done, by an older kernel or without CAP_SYS_ADMIN, only the keeper holds it.

use crate::sys::{has_its_pid, wait_status_of_reaped};
use rustix::fs::{CWD, Mode, OFlags, open};
use rustix::mount::{MoveMountFlags, OpenTreeFlags, UnmountFlags, move_mount, open_tree, unmount as umount};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// The file's name.
pub(crate) const NAME: &str = "init";

/// Mounts a pidfd on the new file `path`; whether it could. A monitor that was killed may have mounted
/// one there.
pub(crate) fn mount(pidfd: BorrowedFd<'_>, path: &Path) -> bool {
    unmount(path);
    let mounted = || -> rustix::io::Result<()> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
        let tree = open_tree(pidfd, c"", flags)?;
        open(path, OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC, Mode::RUSR)?;
        move_mount(&tree, c"", CWD, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
    };
    mounted().is_ok()
}

/// Opens the pidfd that is mounted, O_NONBLOCK; `None` if none is.
pub(crate) fn open_mounted(path: &Path) -> Option<OwnedFd> {
    let pidfd = open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty());
    let is_one = |fd: &OwnedFd| has_its_pid(fd.as_fd()) || wait_status_of_reaped(fd.as_fd()).is_some();
    pidfd.ok().filter(is_one)
}

/// Unmounts all that is mounted there.
pub(crate) fn unmount(path: &Path) {
    while umount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW).is_ok() {}
}
