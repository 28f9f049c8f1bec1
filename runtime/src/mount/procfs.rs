//! A private procfs: a detached mount for what a process writes about itself (labels,
//! sysctls). Below the container's own /proc an image can have mounts or links, so that
//! a label or a sysctl is written to another file: CVE-2019-16884, CVE-2025-52881. So it
//! is never used. Also which pid namespace the container's procfs show, where it joins one.

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

/// The root of a procfs that the container can't reach or mount over.
#[derive(Debug)]
pub struct ProcFd(OwnedFd);

impl ProcFd {
    /// A detached procfs of the caller's pid namespace.
    pub fn new() -> Result<Self> {
        let make = || mount_detached(&rustix::mount::fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?);
        make().map(ProcFd).doing(|| "mount a private procfs")
    }

    /// A detached procfs of the pid namespace that the container joins, where the caller
    /// is not in it; it has no `self` then.
    pub fn of_joined_namespace() -> Result<Self> {
        let tree = mount_detached(&open_container_context()?).doing(|| "mount a private procfs")?;
        check_is_procfs(&tree)?;
        Ok(ProcFd(tree))
    }

    /// The host's /proc, before the container's root is entered.
    #[expect(clippy::disallowed_methods, reason = "still the host's /proc")]
    pub fn of_host() -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open("/proc", flags, Mode::empty()).doing(|| "open the host's /proc")?;
        check_is_procfs(&root)?;
        Ok(ProcFd(root))
    }

    /// Its root directory, as the start of a path such as `self/fd/3`.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Reads the file at `path` (as in `self/mountinfo`) to its end.
    pub fn read(&self, path: &str) -> Result<Vec<u8>> {
        let what = || format!("read /proc/{path}");
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
        let file = path::openat2_retry(&self.0, path, OFlags::RDONLY | OFlags::NOFOLLOW, resolve).doing(what)?;
        crate::path::read_all(&file, 4095).doing(what)
    }

    /// Writes `value` to the file at `path` (as in `self/oom_score_adj`), by one write(2).
    pub fn write(&self, path: &str, value: &str) -> Result<()> {
        let what = || format!("write {value:?} to /proc/{path}");
        // `self` is an ordinary symbolic link within procfs; magic links lead out of it.
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
        let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = path::openat2_retry(&self.0, path, flags, resolve).doing(what)?;
        write_all(&file, value.as_bytes()).doing(what)
    }
}

/// Creates the procfs of `context` as a detached mount.
fn mount_detached(context: &OwnedFd) -> rustix::io::Result<OwnedFd> {
    rustix::mount::fsconfig_create(context)?;
    let attributes =
        MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    rustix::mount::fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// Checks by the magic that `root` is a procfs (CVE-2019-16884: a tmpfs instead).
pub fn check_is_procfs(root: &OwnedFd) -> Result<()> {
    match rustix::fs::fstatfs(root).doing(|| "statfs of a procfs")?.f_type as u64 {
        PROC_SUPER_MAGIC => Ok(()),
        _ => bail!("/proc is not a procfs"),
    }
}

/// The pid namespace that the container joins. One for the process: it creates or joins
/// one container.
static JOINED_PID_NAMESPACE: OnceLock<OwnedFd> = OnceLock::new();

/// From now on, a procfs for the container shows the processes of this pid namespace.
pub fn set_joined_pid_namespace(pid_namespace: OwnedFd) {
    let _ = JOINED_PID_NAMESPACE.set(pid_namespace);
}

/// A context, fsopen(2), for a procfs of the container's pid namespace.
pub fn open_container_context() -> Result<OwnedFd> {
    let what = || "open file system \"proc\"";
    let Some(namespace) = JOINED_PID_NAMESPACE.get() else {
        return rustix::mount::fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC).doing(what);
    };
    let context = rustix::mount::fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC).doing(what)?;
    match rustix::mount::fsconfig_set_fd(&context, "pidns", namespace) {
        Ok(()) => Ok(context),
        // Before Linux 6.17 it is that of the process that calls fsopen(2).
        Err(Errno::INVAL) => procfs_helper::open_context(namespace.as_fd()).doing(what),
        Err(errno) => Err(errno).doing(|| "set the pid namespace of a procfs"),
    }
}
