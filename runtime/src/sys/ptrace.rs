//! ptrace(2), to hold a new process at its first instruction.

use super::check;
use rustix::process::Pid;

/// PTRACE_TRACEME: the parent becomes the tracer of this process, and of those that it
/// clones with `clone::PTRACE`.
pub fn trace_me() -> rustix::io::Result<()> {
    // SAFETY: PTRACE_TRACEME takes no other argument.
    check(unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) }).map(drop)
}

/// PTRACE_DETACH: a stopped tracee continues, without the signal that stopped it.
pub fn detach(pid: Pid) -> rustix::io::Result<()> {
    // SAFETY: with PTRACE_DETACH the address is ignored, and the data is a signal.
    check(unsafe { libc::ptrace(libc::PTRACE_DETACH, pid.as_raw_nonzero().get(), 0, 0) }).map(drop)
}
