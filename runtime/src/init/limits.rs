//! Resource limits, setrlimit(2).

use super::context::Init;
use crate::error::{Context, Result};
use crate::plan::process::ProcessPlan;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Of who sets the container up: where it makes another process at the end, it does so
/// as the container's user.
pub fn set_for_init(init: &mut Init<'_>) -> Result<()> {
    let process = init.task.process;
    if init.plan.namespaces.joins_pid() { set_before_clone(process) } else { set_limits(process) }
}

pub fn set_limits(process: &ProcessPlan) -> Result<()> {
    process.rlimits.iter().try_for_each(|(resource, limit)| set_limit(*resource, *limit))
}

/// All but the number of processes, which would stop the clone that is still
/// to come: of that, only what needs privilege to raise.
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
