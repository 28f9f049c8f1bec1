//! A container in the pid namespace of another one (a pod). Whoever is there with
//! CAP_SYS_PTRACE may use the root, the descriptors, the memory and the rights of
//! any process that it sees (CVE-2016-9962): by PTRACE_SEIZE, or by /proc/PID. That a
//! process is not dumpable stops only those in another user namespace.
//!
//! So what runs `STEPS` stays outside: setns(2) into a pid namespace moves only the
//! children of the caller. It becomes what the container's program will be, with the
//! container's root, user, capabilities and filter, and holds nothing of the host's
//! any more, when it makes the process that is seen inside. Then it ends.

use super::context::Init;
use super::{console, limits};
use crate::create::clone::{AT_CLONE, join_early};
use crate::error::{Context, Result};
use crate::ipc::protocol::Message;
use crate::mount::{ProcFd, procfs};
use crate::sys::clone;
use rustix::fd::{AsFd, OwnedFd};

fn joined_pid_namespace<'a>(init: &'a Init<'_>) -> Option<&'a OwnedFd> {
    init.sources.namespaces.iter().find(|(kind, _)| *kind == clone::NEWPID).map(|(_, fd)| fd)
}

/// First of all, while the host's paths and rights are there.
pub fn prepare(init: &mut Init<'_>) -> Result<()> {
    let Some(namespace) = joined_pid_namespace(init) else { return Ok(()) };
    procfs::set_joined_pid_namespace(namespace.try_clone().doing(|| "keep the pid namespace")?);
    if init.plan.namespaces.has(clone::NEWUSER) {
        // In a user namespace none of our own pid namespace can be made. This one is
        // the host's, which no container has shaped.
        init.task.proc = Some(ProcFd::of_host()?);
    }
    if init.plan.namespaces.enters_by_itself() { join_and_unshare_early(init) } else { Ok(()) }
}

/// Namespaces of the host's can't be joined with the rights of a new user namespace.
fn join_and_unshare_early(init: &Init<'_>) -> Result<()> {
    join_early(&init.sources);
    setns(init)?;
    clone::unshare(init.plan.namespaces.new & AT_CLONE).doing(|| "make the container's namespaces")?;
    init.channel.send(&Message::NamespacesMade)
}

/// While there is the right to it, and when nobody else is made any more.
pub fn join(init: &mut Init<'_>) -> Result<()> {
    if init.plan.namespaces.enters_by_itself() { Ok(()) } else { setns(init) }
}

fn setns(init: &Init<'_>) -> Result<()> {
    let Some(namespace) = joined_pid_namespace(init) else { return Ok(()) };
    clone::setns(namespace.as_fd(), clone::NEWPID).doing(|| "join the pid namespace")
}

/// Makes the process that becomes the program, and returns in that one alone.
pub fn fork_program(init: &mut Init<'_>) -> Result<()> {
    if !init.plan.namespaces.joins_pid() {
        return Ok(());
    }
    match clone::fork_sibling(0).doing(|| "clone the container's init")? {
        None => Ok(()),
        Some(pid) => init.channel.leave(Ok(Message::Pid(pid.as_raw_nonzero().get()))),
    }
}

/// What a child does not inherit.
pub fn complete_program(init: &mut Init<'_>) -> Result<()> {
    if !init.plan.namespaces.joins_pid() {
        return Ok(());
    }
    console::start_session_with_terminal(&init.task)?;
    limits::set_limits(init.task.process)
}
