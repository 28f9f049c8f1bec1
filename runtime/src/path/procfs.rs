//! A private procfs, for what a process writes about itself and for sysctls.
//! The container's own /proc is shaped by the attacker (CVE-2019-16884,
//! CVE-2025-52881), so it is never used.

use crate::error::{Context, Result};
use crate::path::write_all;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{OFlags, ResolveFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

/// The root of a procfs that nobody else can reach or mount over.
#[derive(Debug)]
pub struct ProcFd(OwnedFd);

impl ProcFd {
    /// A new procfs of the caller's pid namespace, mounted nowhere.
    pub fn new() -> Result<Self> {
        let make = || -> rustix::io::Result<OwnedFd> {
            let context = rustix::mount::fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
            rustix::mount::fsconfig_create(&context)?;
            rustix::mount::fsmount(
                &context,
                FsMountFlags::FSMOUNT_CLOEXEC,
                MountAttrFlags::MOUNT_ATTR_NOSUID
                    | MountAttrFlags::MOUNT_ATTR_NODEV
                    | MountAttrFlags::MOUNT_ATTR_NOEXEC,
            )
        };
        make().map(ProcFd).doing(|| "make a private procfs")
    }

    /// A directory to start paths from, as in `self/fd/3`.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Reads a file to its end.
    pub fn read(&self, path: &str) -> Result<Vec<u8>> {
        let what = || format!("read /proc/{path}");
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
        let file = super::openat2_again(&self.0, path, OFlags::RDONLY | OFlags::NOFOLLOW, resolve).doing(what)?;
        crate::path::read_all(&file, 4095).doing(what)
    }

    /// Writes `value` to the file at `path` (as in `self/oom_score_adj`).
    pub fn write(&self, path: &str, value: &str) -> Result<()> {
        let what = || format!("write {value:?} to /proc/{path}");
        // `self` is a symbolic link within procfs; magic links lead out of it.
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
        let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = super::openat2_again(&self.0, path, flags, resolve).doing(what)?;
        write_all(&file, value.as_bytes()).doing(what)
    }
}
