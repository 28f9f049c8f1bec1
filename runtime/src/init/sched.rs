//! How the process is scheduled, and which system it believes to be on.

use super::Task;
use crate::error::{Context, Result};
use crate::plan::process::ProcessPlan;
use crate::sys;

/// SCHED_DEADLINE, sched(7): needs all processors of the machine's.
const DEADLINE: u32 = 6;

/// Of this process or of another, `pid`: one that still clones can't have a
/// deadline, and may lose its policy to the child.
pub fn set_policy(process: &ProcessPlan, pid: i32) -> Result<()> {
    let Some(attr) = &process.scheduler else { return Ok(()) };
    let what = || match attr.policy {
        DEADLINE => "set process.scheduler (a process scheduler can't be used together with AllowedCPUs)",
        _ => "set process.scheduler",
    };
    sys::sched::set_scheduler(pid, attr).doing(what)
}

pub fn set(task: &Task<'_>) -> Result<()> {
    if let Some(priority) = task.process.io_priority {
        sys::sched::set_io_priority(priority).doing(|| "set process.ioPriority")?;
    }
    if let Some(policy) = &task.process.memory_policy {
        sys::sched::set_memory_policy(policy).doing(|| "set linux.memoryPolicy")?;
    }
    if let Some(persona) = task.process.personality {
        sys::prctl::set_personality(persona).doing(|| "set linux.personality")?;
    }
    Ok(())
}
