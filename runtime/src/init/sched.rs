//! Scheduling policy, I/O priority, memory policy and personality(2).

use super::context::{Init, ProcessState};
use crate::create::scheduler::set_policy;
use crate::error::{Context, Result};
use crate::sys;

/// All of init's. Where init forks the program's process, the runtime sets the scheduling
/// policy of that one.
pub fn set_for_init(init: &mut Init<'_>) -> Result<()> {
    if !init.plan.namespaces.joins_pid() {
        set_policy(init.state.plan, 0)?;
    }
    set_attributes(&init.state)
}

/// Those that are inherited by a child.
pub fn set_attributes(state: &ProcessState<'_>) -> Result<()> {
    if let Some(priority) = state.plan.io_priority {
        sys::sched::set_io_priority(priority).doing(|| "set process.ioPriority")?;
    }
    if let Some(policy) = &state.plan.memory_policy {
        sys::sched::set_memory_policy(policy).doing(|| "set linux.memoryPolicy")?;
    }
    if let Some(persona) = state.plan.personality {
        sys::prctl::set_personality(persona).doing(|| "set linux.personality")?;
    }
    Ok(())
}
