//! A container in the pid namespace of another one (a pod).
//!
//! A process there with CAP_SYS_PTRACE can take over any process that it sees: by
//! PTRACE_SEIZE its memory and capabilities, by /proc/PID/root and /proc/PID/fd its root and
//! its descriptors (CVE-2016-9962). PR_SET_DUMPABLE=0 stops only processes that have no such
//! capability in the user namespace of its memory.
//!
//! So the process that runs `STEPS` stays outside: setns(2) into a pid namespace moves only
//! the children of the caller. It takes on the container's root, user, capabilities and
//! filter, and closes the host's descriptors, before it forks the process that is seen in
//! the pid namespace. Then it ends.

use super::context::Init;
use super::{console, limits};
use crate::create::clone::{AT_CLONE, join_early};
use crate::error::{Context, Result};
use crate::ipc::protocol::Message;
use crate::mount::{ProcFd, procfs};
use crate::sys::clone;
use rustix::fd::{AsFd, OwnedFd};

/// The pid namespace to join.
fn joined_pid_namespace<'a>(init: &'a Init<'_>) -> Option<&'a OwnedFd> {
    init.sources.namespaces.iter().find(|(kind, _)| *kind == clone::NEWPID).map(|(_, fd)| fd)
}

/// The first step, with the caller's capabilities and the host's paths.
pub fn prepare(init: &mut Init<'_>) -> Result<()> {
    let Some(namespace) = joined_pid_namespace(init) else { return Ok(()) };
    procfs::set_joined_pid_namespace(namespace.try_clone().doing(|| "duplicate the pid namespace's descriptor")?);
    if init.plan.namespaces.has(clone::NEWUSER) {
        // The host's /proc, which no container can have changed: a new procfs of this pid
        // namespace is refused in a user namespace.
        init.state.proc = Some(ProcFd::of_host()?);
    }
    if init.plan.namespaces.unshares_in_init() { join_and_unshare_early(init) } else { Ok(()) }
}

/// With a new user namespace, the host's namespaces are joined first: within it, init has no
/// CAP_SYS_ADMIN over them, setns(2).
fn join_and_unshare_early(init: &Init<'_>) -> Result<()> {
    join_early(&init.sources);
    setns(init)?;
    clone::unshare(init.plan.namespaces.new & AT_CLONE).doing(|| "create the container's namespaces")?;
    init.channel.send(&Message::NamespacesMade)
}

/// Joins the pid namespace for children: after the last helper process is forked, and while
/// the capabilities for it are held.
pub fn join(init: &mut Init<'_>) -> Result<()> {
    if init.plan.namespaces.unshares_in_init() { Ok(()) } else { setns(init) }
}

fn setns(init: &Init<'_>) -> Result<()> {
    let Some(namespace) = joined_pid_namespace(init) else { return Ok(()) };
    clone::setns(namespace.as_fd(), clone::NEWPID).doing(|| "join the pid namespace")
}

/// Forks the program's process, in which alone it returns.
pub fn fork_program(init: &mut Init<'_>) -> Result<()> {
    if !init.plan.namespaces.joins_pid() {
        return Ok(());
    }
    match clone::fork_sibling(0).doing(|| "clone the container's init")? {
        None => Ok(()),
        Some(pid) => init.channel.leave(Ok(Message::Pid(pid.as_raw_nonzero().get()))),
    }
}

/// Session and RLIMIT_NPROC of the program's process: a child is not its session's leader.
pub fn complete_program(init: &mut Init<'_>) -> Result<()> {
    if !init.plan.namespaces.joins_pid() {
        return Ok(());
    }
    console::start_session_with_terminal(&init.state)?;
    limits::set_limits(init.state.plan)
}
