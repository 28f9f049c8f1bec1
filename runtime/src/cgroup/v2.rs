//! cgroup v2: one directory, and controllers that are enabled for it.

use super::dir::{Dir, read, write};
use crate::error::{Context, Result};
use crate::plan::cgroup::CgroupPlan;
use rustix::io::Errno;
use std::path::Path;

/// The mount point: no controller is enabled above it.
const MOUNT: &str = "/sys/fs/cgroup";

/// Enables the controllers that the plan needs in the ancestors of the cgroup.
pub fn prepare(dir: &Dir, plan: &CgroupPlan) -> Result<()> {
    if dir.path.starts_with(Path::new(MOUNT).join("unified")) {
        // Hybrid host: the controllers are in v1.
        return Ok(());
    }
    let wanted = ["cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma", "misc"];
    enable_controllers(&dir.path, &wanted, plan)
}

/// Enables `wanted` in cgroup.subtree_control of each ancestor, from the top, as far as it
/// has them. A controller that the plan needs and the cgroup lacks is an error when its
/// file is written.
fn enable_controllers(path: &Path, wanted: &[&str], plan: &CgroupPlan) -> Result<()> {
    let has = |dir: &Path| -> Result<Vec<String>> {
        let text = read(dir, "cgroup.controllers").doing(|| format!("read the controllers of {}", dir.display()))?;
        Ok(text.split_whitespace().map(String::from).collect())
    };
    let present = has(path)?;
    let needed = |name: &str| plan.settings.iter().any(|setting| setting.controller == name);
    if wanted.iter().filter(|name| needed(name)).all(|name| present.iter().any(|p| p == name)) && !present.is_empty() {
        return Ok(());
    }
    let mut above: Vec<&Path> = path.ancestors().skip(1).take_while(|dir| dir.starts_with(MOUNT)).collect();
    above.reverse();
    for dir in above {
        let available = has(dir)?;
        let on =
            read(dir, "cgroup.subtree_control").doing(|| format!("read the subtree control of {}", dir.display()))?;
        for name in wanted.iter().filter(|name| available.iter().any(|a| a == *name)) {
            if on.split_whitespace().any(|have| have == *name) {
                continue;
            }
            match write(dir, "cgroup.subtree_control", &format!("+{name}")) {
                Ok(()) => {}
                // Not writable, or a controller that can't be enabled here: an error only if the
                // plan needs it.
                Err(errno) if needed(name) && errno != Errno::NOENT => {
                    return Err(errno).doing(|| {
                        format!("enable the {name} controller in cgroup.subtree_control of {}", dir.display())
                    });
                }
                Err(_) => {}
            }
        }
    }
    Ok(())
}

/// Delegates the cgroup to the container's root: chowns its directory and the files listed
/// in /sys/kernel/cgroup/delegate (cgroups(7), "Cgroup delegation"). Limits stay the
/// caller's.
pub fn delegate(dir: &Dir, uid: u32, gid: u32) -> Result<()> {
    let list = match std::fs::read_to_string("/sys/kernel/cgroup/delegate") {
        Ok(list) => list,
        // Before Linux 4.15; these were the files.
        Err(_) => "cgroup.procs\ncgroup.threads\ncgroup.subtree_control\n".into(),
    };
    let (uid, gid) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
    let give = |path: &Path| match rustix::fs::chown(path, Some(uid), Some(gid)) {
        // A file of a controller that is not enabled here.
        Err(Errno::NOENT) => Ok(()),
        result => result.doing(|| format!("give {} to the container's root", path.display())),
    };
    give(&dir.path)?;
    list.lines().try_for_each(|name| give(&dir.path.join(name)))
}
