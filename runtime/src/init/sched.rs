//! How the process is scheduled, and which system it believes to be on.

use super::{Init, Task};
use crate::error::{Context, Result};
use crate::plan::process::ProcessPlan;
use crate::sys;
use rustix::io::Errno;

/// SCHED_DEADLINE, linux/sched.h.
const DEADLINE: u32 = 6;

/// Of this process or of another, `pid`: one that still clones can't have a
/// deadline, and may lose its policy to the child.
pub fn set_policy(process: &ProcessPlan, pid: i32) -> Result<()> {
    let Some(attr) = &process.scheduler else { return Ok(()) };
    let result = sys::sched::set_scheduler(pid, attr);
    let why = match (attr.policy, result.err()) {
        // sched(7): the affinity must be all processors of the machine's. runc's words.
        (DEADLINE, Some(Errno::PERM)) if process.has_cpuset => {
            ": process scheduler can't be used together with AllowedCPUs (linux.resources.cpu.cpus)"
        }
        (DEADLINE, Some(Errno::PERM)) => ": SCHED_DEADLINE needs CAP_SYS_NICE and all processors of the machine's",
        (DEADLINE, Some(Errno::INVAL)) => ": SCHED_DEADLINE needs 1024 ns <= runtime <= deadline <= period, sched(7)",
        (DEADLINE, Some(Errno::BUSY)) => ": the kernel has not so much runtime left to promise, sched(7)",
        _ => "",
    };
    result.doing(|| format!("set process.scheduler{why}"))
}

/// Of init. Where it makes another process at the end, the runtime sets the policy of
/// that one.
pub fn set_all(init: &mut Init<'_>) -> Result<()> {
    if !init.plan.namespaces.joins_pid() {
        set_policy(init.task.process, 0)?;
    }
    set(&init.task)
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
