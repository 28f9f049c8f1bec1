//! How the process is scheduled, and which system it believes to be on.

use super::Task;
use crate::error::{Context, Result};
use crate::sys;

pub fn set(task: &Task<'_>) -> Result<()> {
    if let Some(attr) = &task.process.scheduler {
        sys::sched::set_scheduler(attr).doing(|| "set process.scheduler")?;
    }
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
