//! Capabilities, in two parts around setresuid(2): the bounding set before it, the other
//! sets after it.

use super::context::ProcessState;
use crate::error::{Context, Result};
use crate::plan::capabilities::MAX;
use crate::sys::caps::{self, SYS_ADMIN};
use crate::sys::prctl;
use rustix::io::Errno;

/// Drops from the bounding set all that the config does not name, up to the kernel's last
/// capability, and sets PR_SET_KEEPCAPS for the change of user.
pub fn drop_bounding(state: &ProcessState<'_>) -> Result<()> {
    for capability in (0..=MAX).filter(|bit| state.plan.caps.bounding & 1 << bit == 0) {
        match prctl::drop_bounding(capability) {
            Ok(()) => {}
            Err(Errno::INVAL) => break,
            Err(errno) => return Err(errno).doing(|| format!("drop capability {capability} from the bounding set")),
        }
    }
    prctl::set_keep_caps(true).doing(|| "set PR_SET_KEEPCAPS")
}

/// Sets effective, permitted and inheritable, after the change of user. CAP_SYS_ADMIN is
/// kept for now where a seccomp filter will be loaded without no_new_privs, seccomp(2).
pub fn set_capabilities(state: &ProcessState<'_>) -> Result<()> {
    let sets = state.plan.caps;
    let for_filter = if state.filter.is_some() && !state.has_no_new_privs() { SYS_ADMIN } else { 0 };
    let (effective, permitted) = (sets.effective | for_filter, sets.permitted | for_filter);
    caps::capset(effective & permitted, permitted, sets.inheritable).doing(|| "set the capabilities")
}

/// Drops CAP_SYS_ADMIN once the filter is loaded, where the config does not grant it.
pub fn drop_filter_capability(state: &ProcessState<'_>) -> Result<()> {
    let sets = state.plan.caps;
    if state.filter.is_some() && !state.has_no_new_privs() && sets.permitted & SYS_ADMIN == 0 {
        caps::capset(sets.effective & sets.permitted, sets.permitted, sets.inheritable)
            .doing(|| "set the capabilities")?;
    }
    Ok(())
}

/// Raises the ambient set; each capability must be permitted and inheritable.
pub fn raise_ambient(state: &ProcessState<'_>) -> Result<()> {
    if state.plan.caps.ambient == 0 {
        return Ok(());
    }
    for capability in (0..=MAX).filter(|bit| state.plan.caps.ambient & 1 << bit != 0) {
        match prctl::raise_ambient(capability) {
            // Not permitted or not inheritable: it is left out, as with runc.
            Ok(()) | Err(Errno::PERM) => {}
            Err(errno) => return Err(errno).doing(|| format!("raise ambient capability {capability}")),
        }
    }
    Ok(())
}
