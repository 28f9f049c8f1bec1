//! cgroup v2: one directory, and controllers that are handed down to it.

use super::dir::{Dir, read, write};
use crate::error::{Context, Result};
use crate::plan::cgroup::CgroupPlan;
use rustix::io::Errno;
use std::path::Path;

/// The mount point, above which no controller is handed down.
const MOUNT: &str = "/sys/fs/cgroup";

/// Hands the controllers that the plan needs down to the cgroup.
pub fn prepare(dir: &Dir, plan: &CgroupPlan) -> Result<()> {
    if dir.path.starts_with(Path::new(MOUNT).join("unified")) {
        // Beside v1, which has the controllers.
        return Ok(());
    }
    let wanted = ["cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma", "misc"];
    hand_down(&dir.path, &wanted, plan)
}

/// Enables `wanted` in every cgroup above `path`, from the top, as far as each
/// has it. What the plan needs and the leaf then lacks shows when it is written.
fn hand_down(path: &Path, wanted: &[&str], plan: &CgroupPlan) -> Result<()> {
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
                // Not ours to change, or a controller that can't be handed
                // down here: only an error if the plan needs it.
                Err(errno) if needed(name) && errno != Errno::NOENT => {
                    return Err(errno).doing(|| format!("hand down the {name} controller in {}", dir.display()));
                }
                Err(_) => {}
            }
        }
    }
    Ok(())
}

/// Gives the cgroup to a container's root, as far as the kernel says that is safe:
/// its directory, to make cgroups in, and the files that are listed in
/// /sys/kernel/cgroup/delegate (cgroups(7), "Cgroups delegation"). Limits stay the
/// caller's.
pub fn delegate(dir: &Dir, uid: u32, gid: u32) -> Result<()> {
    let list = match std::fs::read_to_string("/sys/kernel/cgroup/delegate") {
        Ok(list) => list,
        // Since Linux 4.15; before, these were the files.
        Err(_) => "cgroup.procs\ncgroup.threads\ncgroup.subtree_control\n".into(),
    };
    let (uid, gid) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
    let give = |path: &Path| match rustix::fs::chown(path, Some(uid), Some(gid)) {
        // Of a controller that this cgroup does not have.
        Err(Errno::NOENT) => Ok(()),
        result => result.doing(|| format!("give {} to the container's root", path.display())),
    };
    give(&dir.path)?;
    list.lines().try_for_each(|name| give(&dir.path.join(name)))
}
