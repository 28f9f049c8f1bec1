//! Removal of a container: its processes, cgroup, resctrl groups, state directory, in this
//! order. The state directory is last: by it a later command finds what could not be
//! removed.

use crate::cgroup::Cgroup;
use crate::error::Result;
use crate::state::StateDir;

/// Removes what is given. `kills`: kill all processes in the cgroup first. Errors: the
/// first step that fails; what follows it stays.
pub fn remove_container(
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
