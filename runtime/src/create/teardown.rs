//! The end of what a container is made of, in the order that leaves nothing behind: its
//! processes, its cgroup, its resctrl groups, its state directory. A later command finds
//! by the directory what an earlier one could not remove, so the directory goes last.

use crate::cgroup::Cgroup;
use crate::error::Result;
use crate::state::StateDir;

/// `kills`: processes may be left in the cgroup.
pub fn remove(
    cgroup: &Cgroup,
    kills: bool,
    remove_groups: impl FnOnce() -> Result<()>,
    dir: Option<StateDir>,
) -> Result<()> {
    if kills {
        cgroup.kill_all()?;
    }
    cgroup.remove()?;
    remove_groups()?;
    dir.map_or(Ok(()), StateDir::remove)
}
