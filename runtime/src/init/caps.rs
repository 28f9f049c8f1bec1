//! Capabilities, in two parts around the change of user: what can never be had
//! again goes first, what the program gets is set last.

use super::context::Task;
use crate::error::{Context, Result};
use crate::plan::capabilities::MAX;
use crate::sys::caps::{self, SYS_ADMIN};
use crate::sys::prctl;
use rustix::io::Errno;

/// Drops from the bounding set all that the config does not name, also those
/// that only a newer kernel knows.
pub fn drop_bounding(task: &Task<'_>) -> Result<()> {
    for capability in (0..=MAX).filter(|bit| task.process.caps.bounding & 1 << bit == 0) {
        match prctl::drop_bounding(capability) {
            Ok(()) => {}
            Err(Errno::INVAL) => break,
            Err(errno) => return Err(errno).doing(|| format!("drop capability {capability} from the bounding set")),
        }
    }
    prctl::set_keep_caps(true).doing(|| "keep capabilities through the change of user")
}

/// What is had between the change of user and execve: the program's own, and
/// CAP_SYS_ADMIN where a filter is loaded without no_new_privs.
pub fn set_capabilities(task: &Task<'_>) -> Result<()> {
    let sets = task.process.caps;
    let for_filter = if task.filter.is_some() && !task.has_no_new_privs() { SYS_ADMIN } else { 0 };
    let (effective, permitted) = (sets.effective | for_filter, sets.permitted | for_filter);
    caps::capset(effective & permitted, permitted, sets.inheritable).doing(|| "set the capabilities")
}

pub fn drop_filter_capability(task: &Task<'_>) -> Result<()> {
    let sets = task.process.caps;
    if task.filter.is_some() && !task.has_no_new_privs() && sets.permitted & SYS_ADMIN == 0 {
        caps::capset(sets.effective & sets.permitted, sets.permitted, sets.inheritable)
            .doing(|| "set the capabilities")?;
    }
    Ok(())
}

/// The ambient set, which needs permitted and inheritable ones.
pub fn raise_ambient(task: &Task<'_>) -> Result<()> {
    if task.process.caps.ambient == 0 {
        return Ok(());
    }
    for capability in (0..=MAX).filter(|bit| task.process.caps.ambient & 1 << bit != 0) {
        match prctl::raise_ambient(capability) {
            // Not permitted or not inheritable: the config names it in vain,
            // as for runc.
            Ok(()) | Err(Errno::PERM) => {}
            Err(errno) => return Err(errno).doing(|| format!("raise ambient capability {capability}")),
        }
    }
    Ok(())
}
