//! Resource limits, setrlimit(2).

use super::context::Init;
use crate::error::{Context, Result};
use crate::plan::process::ProcessPlan;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The limits of init. Where it forks the program's process at the end, as the container's
/// user, RLIMIT_NPROC is left to that one.
pub fn set_for_init(init: &mut Init<'_>) -> Result<()> {
    let process = init.state.plan;
    if init.plan.namespaces.joins_pid() { set_before_clone(process) } else { set_limits(process) }
}

/// All limits of the plan, setrlimit(2).
pub fn set_limits(process: &ProcessPlan) -> Result<()> {
    process.rlimits.iter().try_for_each(|(resource, limit)| set_limit(*resource, *limit))
}

/// All limits but the soft RLIMIT_NPROC, which would refuse the clone that is still to come
/// (EAGAIN). Its hard limit is raised, never lowered: raising takes CAP_SYS_RESOURCE, which
/// the forked process may lack.
pub fn set_before_clone(process: &ProcessPlan) -> Result<()> {
    for (resource, limit) in &process.rlimits {
        let mut limit = *limit;
        if *resource == Resource::Nproc {
            let now = getrlimit(*resource);
            let most = |a: Option<u64>, b: Option<u64>| a.zip(b).map(|(a, b)| a.max(b));
            limit = Rlimit { current: now.current, maximum: most(now.maximum, limit.maximum) };
        }
        set_limit(*resource, limit)?;
    }
    Ok(())
}

fn set_limit(resource: Resource, limit: Rlimit) -> Result<()> {
    setrlimit(resource, limit).doing(|| {
        let number = |n: Option<u64>| n.map_or("unlimited".to_owned(), |n| n.to_string());
        let name = format!("{resource:?}").to_uppercase();
        format!("set RLIMIT_{name} to {}:{}", number(limit.current), number(limit.maximum))
    })
}
