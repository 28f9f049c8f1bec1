//! Sysctls of the container's namespaces.

use super::context::Init;
use crate::error::Result;
use crate::mount::ProcFd;

/// Writes each to a private procfs: with the container's /proc, an image's mount or link
/// could redirect the write to another sysctl, such as the host's kernel.core_pattern
/// (CVE-2025-52881).
pub fn write_sysctls(init: &mut Init<'_>) -> Result<()> {
    if init.plan.sysctls.is_empty() {
        return Ok(());
    }
    let of_container = if init.plan.namespaces.joins_pid() { Some(ProcFd::of_joined_namespace()?) } else { None };
    for (path, value) in &init.plan.sysctls {
        let proc = match &of_container {
            Some(proc) => proc,
            None => init.state.proc()?,
        };
        proc.write(&format!("sys/{path}"), value)?;
    }
    Ok(())
}
