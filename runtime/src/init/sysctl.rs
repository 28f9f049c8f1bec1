//! Kernel parameters of the container's namespaces, through a private procfs.

use super::context::Init;
use crate::error::Result;
use crate::mount::ProcFd;

pub fn write_sysctls(init: &mut Init<'_>) -> Result<()> {
    if init.plan.sysctls.is_empty() {
        return Ok(());
    }
    let of_container = if init.plan.namespaces.joins_pid() { Some(ProcFd::of_joined_namespace()?) } else { None };
    for (path, value) in &init.plan.sysctls {
        let proc = match &of_container {
            Some(proc) => proc,
            None => init.task.proc()?,
        };
        proc.write(&format!("sys/{path}"), value)?;
    }
    Ok(())
}
