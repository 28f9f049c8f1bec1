//! Resource limits, setrlimit(2).

use super::Task;
use crate::error::{Context, Result};

pub fn set(task: &Task<'_>) -> Result<()> {
    for (resource, limit) in &task.process.rlimits {
        rustix::process::setrlimit(*resource, *limit).doing(|| {
            let number = |n: Option<u64>| n.map_or("unlimited".to_owned(), |n| n.to_string());
            format!("set rlimit {resource:?} to {}:{}", number(limit.current), number(limit.maximum))
        })?;
    }
    Ok(())
}
