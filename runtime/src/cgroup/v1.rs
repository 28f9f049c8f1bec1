//! The hierarchies of cgroup v1, also beside v2 on a hybrid host.

use super::{Dir, Found, make_dirs, read, write};
use crate::error::{Context, Result};
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};
use std::path::Path;

pub fn make(dir: &Dir) -> Result<Found> {
    if dir.has("cpuset") {
        return make_dirs(&dir.path, &inherit_cpuset);
    }
    make_dirs(&dir.path, &|_| Ok(()))
}

/// A new cpuset is empty and takes no process until it has processors and
/// memory nodes: it gets those of the cpuset above.
fn inherit_cpuset(path: &Path) -> Result<()> {
    let Some(above) = path.parent() else { return Ok(()) };
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let what = || format!("copy {file} into cgroup {}", path.display());
        let value = read(above, file).doing(what)?;
        write(path, file, value.trim_end()).doing(what)?;
    }
    Ok(())
}

pub fn open_tasks(dir: &Dir) -> Result<OwnedFd> {
    rustix::fs::open(dir.path.join("tasks"), OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
        .doing(|| format!("open the tasks of cgroup {}", dir.path.display()))
}
