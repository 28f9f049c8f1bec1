//! Descriptors that must not reach the container's program (CVE-2016-9962,
//! CVE-2024-21626).

use super::context::Task;
use crate::error::{Context, Result};
use crate::sys;
use rustix::fd::{AsRawFd, BorrowedFd, RawFd};

/// Of what the caller left open, which closes on exec, the program gets what it
/// shall; and nobody else may look into this process meanwhile.
pub fn preserve_and_hide(task: &Task<'_>) -> Result<()> {
    for number in &task.process.preserved_fds {
        sys::fds::clear_cloexec(*number).doing(|| format!("preserve descriptor {number} (--preserve-fds)"))?;
    }
    sys::prctl::set_dumpable(false).doing(|| "close this process to others")
}

/// Closes everything but the standard streams, the preserved descriptors and
/// `kept`.
pub fn close_except(preserved: &[RawFd], kept: &[BorrowedFd<'_>]) -> Result<()> {
    let kept = kept.iter().map(AsRawFd::as_raw_fd).chain(preserved.iter().copied());
    let mut kept: Vec<u32> = kept.map(|number| number as u32).collect();
    kept.sort_unstable();
    let mut first = 3;
    for number in kept {
        if number > first {
            sys::fds::close_range(first, number - 1).doing(|| "close descriptors")?;
        }
        first = first.max(number + 1);
    }
    sys::fds::close_from(first).doing(|| "close descriptors")
}
