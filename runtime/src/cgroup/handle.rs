//! The way of a process into a cgroup.

use crate::error::{Context, Result};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use std::path::Path;

/// A cgroup that is open: the directory for CLONE_INTO_CGROUP, and the
/// `tasks` files of cgroup v1, into which the new process writes itself.
#[derive(Debug, Default)]
pub struct CgroupHandle {
    pub v2: Option<OwnedFd>,
    pub tasks: Vec<OwnedFd>,
}

impl CgroupHandle {
    pub fn clone_into(&self) -> Option<BorrowedFd<'_>> {
        self.v2.as_ref().map(AsFd::as_fd)
    }

    pub fn into_fds(self) -> impl Iterator<Item = OwnedFd> {
        self.v2.into_iter().chain(self.tasks)
    }

    /// The same with another directory of cgroup v2.
    pub fn replace_v2(self, path: &Path) -> Result<Self> {
        Ok(CgroupHandle { v2: Some(open_dir(path)?), ..self })
    }

    /// Moves the calling thread. A write of a process's own `tasks` entry by a
    /// single thread spares the RCU grace period that `cgroup.procs` waits for.
    pub fn enter(&self) -> Result<()> {
        for tasks in &self.tasks {
            rustix::io::write(tasks, b"0").doing(|| "enter the container's cgroup")?;
        }
        Ok(())
    }
}

/// Opens the directory of a cgroup.
pub fn open_dir(path: &Path) -> Result<OwnedFd> {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .doing(|| format!("open cgroup {}", path.display()))
}
