//! Scheduling policy of a new process (`process.scheduler`), which a later clone may reset.

use crate::error::{Context, Result};
use crate::plan::process::ProcessPlan;
use crate::sys;
use rustix::io::Errno;

/// SCHED_DEADLINE of linux/sched.h.
const DEADLINE: u32 = 6;

/// sched_setattr(2) for process `pid`, 0 for the caller. Set after the last clone: a
/// process with SCHED_DEADLINE can't fork, and SCHED_RESET_ON_FORK would take the policy
/// from the child (sched(7)). Errors: EPERM, EINVAL, EBUSY with their reason.
pub fn set_policy(process: &ProcessPlan, pid: i32) -> Result<()> {
    let Some(attr) = &process.scheduler else { return Ok(()) };
    let result = sys::sched::set_scheduler(pid, attr);
    let why = match (attr.policy, result.err()) {
        // sched(7): the affinity must be all CPUs of the root domain. runc's words.
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
