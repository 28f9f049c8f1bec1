//! Descriptors of the host's, which must not be inherited by the container's program, nor
//! be reached through /proc/PID/fd while it is set up: by one of a directory, the program
//! leaves the root (CVE-2016-9962, CVE-2024-21626).

use super::context::ProcessState;
use crate::error::{Context, Result};
use crate::sys;
use rustix::fd::{AsRawFd, BorrowedFd, RawFd};

/// Clears FD_CLOEXEC on the descriptors of --preserve-fds; all others have it. Then
/// PR_SET_DUMPABLE=0: no process of a joined pid namespace without CAP_SYS_PTRACE over the
/// runtime's user namespace can ptrace this one or open its /proc/PID/fd.
pub fn preserve_and_hide(state: &ProcessState<'_>) -> Result<()> {
    for number in &state.plan.preserved_fds {
        sys::fds::clear_cloexec(*number).doing(|| format!("preserve descriptor {number} (--preserve-fds)"))?;
    }
    sys::prctl::set_dumpable(false).doing(|| "set PR_SET_DUMPABLE 0")
}

/// Closes all descriptors but the standard streams, the preserved ones and `kept`.
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
