//! A private procfs, for what a process writes about itself and for sysctls.
//! The container's own /proc is shaped by the attacker (CVE-2019-16884,
//! CVE-2025-52881), so it is never used. Also whose processes the procfs of a
//! container show that joins a pid namespace.

use crate::bail;
use crate::error::{Context, Result};
use crate::mount::procfs_helper;
use crate::path::{self, write_all};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};
use std::sync::OnceLock;

/// linux/magic.h
const PROC_SUPER_MAGIC: u64 = 0x9fa0;

/// The root of a procfs that nobody else can reach or mount over.
#[derive(Debug)]
pub struct ProcFd(OwnedFd);

impl ProcFd {
    /// A new procfs of the caller's pid namespace, mounted nowhere.
    pub fn new() -> Result<Self> {
        let make = || mount_detached(&rustix::mount::fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?);
        make().map(ProcFd).doing(|| "make a private procfs")
    }

    /// One of the container's pid namespace, where the caller is not in it. It has no
    /// `self`.
    pub fn of_joined_namespace() -> Result<Self> {
        let tree = mount_detached(&open_container_context()?).doing(|| "make a private procfs")?;
        check_is_procfs(&tree)?;
        Ok(ProcFd(tree))
    }

    /// The host's, before the container's root is entered.
    #[expect(clippy::disallowed_methods, reason = "still the host's /proc")]
    pub fn of_host() -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let place = rustix::fs::open("/proc", flags, Mode::empty()).doing(|| "open the host's /proc")?;
        check_is_procfs(&place)?;
        Ok(ProcFd(place))
    }

    /// A directory to start paths from, as in `self/fd/3`.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Reads a file to its end.
    pub fn read(&self, path: &str) -> Result<Vec<u8>> {
        let what = || format!("read /proc/{path}");
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
        let file = path::openat2_retry(&self.0, path, OFlags::RDONLY | OFlags::NOFOLLOW, resolve).doing(what)?;
        crate::path::read_all(&file, 4095).doing(what)
    }

    /// Writes `value` to the file at `path` (as in `self/oom_score_adj`).
    pub fn write(&self, path: &str, value: &str) -> Result<()> {
        let what = || format!("write {value:?} to /proc/{path}");
        // `self` is a symbolic link within procfs; magic links lead out of it.
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
        let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = path::openat2_retry(&self.0, path, flags, resolve).doing(what)?;
        write_all(&file, value.as_bytes()).doing(what)
    }
}

fn mount_detached(context: &OwnedFd) -> rustix::io::Result<OwnedFd> {
    rustix::mount::fsconfig_create(context)?;
    let attributes =
        MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    rustix::mount::fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// That it is a procfs.
pub fn check_is_procfs(place: &OwnedFd) -> Result<()> {
    match rustix::fs::fstatfs(place).doing(|| "look at a procfs")?.f_type as u64 {
        PROC_SUPER_MAGIC => Ok(()),
        _ => bail!("what should be a procfs is none"),
    }
}

/// The pid namespace that the container joins. Of this process: there is one
/// container in its life.
static JOINED_PID_NAMESPACE: OnceLock<OwnedFd> = OnceLock::new();

/// From here on the container's procfs show the processes of this pid namespace.
pub fn set_joined_pid_namespace(pid_namespace: OwnedFd) {
    let _ = JOINED_PID_NAMESPACE.set(pid_namespace);
}

/// A new procfs for the container, to be configured.
pub fn open_container_context() -> Result<OwnedFd> {
    let what = || "open file system \"proc\"";
    let Some(namespace) = JOINED_PID_NAMESPACE.get() else {
        return rustix::mount::fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC).doing(what);
    };
    let context = rustix::mount::fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC).doing(what)?;
    match rustix::mount::fsconfig_set_fd(&context, "pidns", namespace) {
        Ok(()) => Ok(context),
        // Before Linux 6.17 it is the pid namespace of whoever opens it.
        Err(Errno::INVAL) => procfs_helper::open_context(namespace.as_fd()).doing(what),
        Err(errno) => Err(errno).doing(|| "make a procfs of the pid namespace that is joined"),
    }
}
