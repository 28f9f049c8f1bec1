//! The hierarchies of cgroup v1, also on a hybrid host.

use super::dir::{Dir, read, write};
use crate::error::{Context, Result};
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};
use std::path::Path;

/// Makes a cgroup usable for processes. Values in an existing one are kept.
pub fn prepare(dir: &Dir, new: bool) -> Result<()> {
    let is_empty = |file| read(&dir.path, file).is_ok_and(|value| value.trim().is_empty());
    if dir.has("cpuset") && (new || is_empty("cpuset.cpus") || is_empty("cpuset.mems")) {
        inherit_cpuset(&dir.path)?;
    }
    Ok(())
}

/// A new cpuset is empty and takes no process before cpuset.cpus and cpuset.mems are set
/// (cpuset(7)): copied from the parent, which may be new as well.
fn inherit_cpuset(path: &Path) -> Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        inherit(path, file).doing(|| format!("copy {file} into cgroup {}", path.display()))?;
    }
    Ok(())
}

fn inherit(path: &Path, file: &str) -> rustix::io::Result<String> {
    let Some(above) = path.parent() else { return Ok(String::new()) };
    let mut value = read(above, file)?;
    if value.trim().is_empty() {
        value = inherit(above, file)?;
    }
    write(path, file, value.trim_end())?;
    Ok(value)
}

/// Opens the `tasks` file for writing.
pub fn open_tasks(dir: &Dir) -> Result<OwnedFd> {
    rustix::fs::open(dir.path.join("tasks"), OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
        .doing(|| format!("open the tasks of cgroup {}", dir.path.display()))
}
