//! ptrace(2), as far as it holds up a process of our own at its first instruction.

use super::check;
use rustix::process::Pid;

/// Makes the parent the tracer of this process, and of what it clones with
/// `clone::PTRACE`.
pub fn trace_me() -> rustix::io::Result<()> {
    // SAFETY: PTRACE_TRACEME takes no other argument.
    check(unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) }).map(drop)
}

/// Lets a traced process that has stopped run on, without the signal that stopped it.
pub fn detach(pid: Pid) -> rustix::io::Result<()> {
    // SAFETY: with PTRACE_DETACH the address is ignored, and the data is a signal.
    check(unsafe { libc::ptrace(libc::PTRACE_DETACH, pid.as_raw_nonzero().get(), 0, 0) }).map(drop)
}
