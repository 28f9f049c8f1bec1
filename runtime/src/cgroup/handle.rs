//! Descriptors by which a process enters a cgroup.

use crate::error::{Context, Result};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use std::path::Path;

/// An opened cgroup: the directory of v2, for CLONE_INTO_CGROUP, and the `tasks` files of
/// v1, to which the new process writes itself.
#[derive(Debug, Default)]
pub struct CgroupHandle {
    pub v2: Option<OwnedFd>,
    pub tasks: Vec<OwnedFd>,
}

impl CgroupHandle {
    /// The descriptor for CLONE_INTO_CGROUP (clone(2)).
    pub fn clone_into(&self) -> Option<BorrowedFd<'_>> {
        self.v2.as_ref().map(AsFd::as_fd)
    }

    /// All descriptors, for closing.
    pub fn into_fds(self) -> impl Iterator<Item = OwnedFd> {
        self.v2.into_iter().chain(self.tasks)
    }

    /// The same with another directory of cgroup v2.
    pub fn replace_v2(self, path: &Path) -> Result<Self> {
        Ok(CgroupHandle { v2: Some(open_dir(path)?), ..self })
    }

    /// Moves the calling thread, by the `tasks` files: writing 0 for a single-threaded
    /// process avoids the RCU grace period of `cgroup.procs`.
    pub fn enter(&self) -> Result<()> {
        for tasks in &self.tasks {
            rustix::io::write(tasks, b"0").doing(|| "enter the container's cgroup")?;
        }
        Ok(())
    }
}

/// Opens a cgroup directory.
pub fn open_dir(path: &Path) -> Result<OwnedFd> {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .doing(|| format!("open cgroup {}", path.display()))
}
