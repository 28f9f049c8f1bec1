//! Kernel parameters of the container's namespaces, through a private procfs.

use super::Init;
use crate::error::Result;

pub fn write_all(init: &mut Init<'_>) -> Result<()> {
    for (path, value) in &init.plan.sysctls {
        init.task.proc()?.write(&format!("sys/{path}"), value)?;
    }
    Ok(())
}
