//! The container's system call filter.

use super::Task;
use crate::error::{Context, Result};
use crate::sys;

/// Loads the filter. Two more calls have to pass it: capset where
/// no_new_privs is off, and execve.
pub fn load(task: &Task<'_>) -> Result<()> {
    let Some(filter) = task.filter else { return Ok(()) };
    sys::seccomp::load(&filter.program, filter.flags).doing(|| "load the filter")?;
    Ok(())
}
