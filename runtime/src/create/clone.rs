//! The one clone that makes init, with every namespace that may be made by it.

use super::protocol::{Channel, Message};
use super::sources::Sources;
use crate::bail;
use crate::cgroup::Entry;
use crate::error::{Context, Result};
use crate::plan::Plan;
use crate::sys::clone::{self, Fork};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open, waitid};

/// The namespaces that are made here. The cgroup namespace comes when init sits
/// in its cgroup, the time namespace when its offsets are written.
const AT_CLONE: u64 = clone::NEWUSER | clone::NEWNS | clone::NEWPID | clone::NEWNET | clone::NEWIPC | clone::NEWUTS;

/// Those that may be joined in any order. Paths change their meaning in another
/// mount namespace, and those of pids and time count for children.
const EARLY: u64 = clone::NEWNET | clone::NEWIPC | clone::NEWUTS | clone::NEWCGROUP;

/// Forks. In the child, which returns `Fork::Child`, everything of the parent's
/// is still open; it goes on to `init::run`.
pub fn clone_init(plan: &Plan, sources: &Sources, entry: &Entry) -> Result<Fork> {
    let new = plan.namespaces.new & AT_CLONE;
    let joined = |kind| sources.namespaces.iter().find(|(joined, _)| *joined == kind).map(|(_, fd)| fd);
    let join_pid = || match joined(clone::NEWPID) {
        // Counts for the children to come: none but init may be one of them.
        Some(fd) => clone::setns(fd.as_fd(), clone::NEWPID).doing(|| "join the pid namespace"),
        None => Ok(()),
    };
    let user = joined(clone::NEWUSER);
    let others: Vec<_> = sources.namespaces.iter().filter(|(kind, _)| EARLY & kind != 0).collect();
    if user.is_none() && (others.is_empty() || !plan.namespaces.makes(clone::NEWUSER)) {
        join_pid()?;
        let forked = clone::clone3(new, entry.clone_into()).doing(|| "clone the container's init")?;
        if let (Fork::Parent { .. }, Some(_)) = (&forked, joined(clone::NEWPID)) {
            leave_pid()?;
        }
        return Ok(forked);
    }
    // The new namespaces must belong to the user namespace that is joined: a
    // process in between joins it and makes init as its sibling. Before that, it
    // joins what may belong to the host's, with the host's rights.
    let (near, far) = Channel::pair()?;
    match clone::clone3(0, entry.clone_into()).doing(|| "clone the process in between")? {
        Fork::Parent { pid, .. } => {
            drop(far);
            from_between(pid, &near)
        }
        Fork::Child => {
            for (kind, fd) in others {
                // What is refused is the user namespace's, and init joins it.
                let _ = clone::setns(fd.as_fd(), *kind);
            }
            let forked = user
                .map_or(Ok(()), |user| clone::setns(user.as_fd(), clone::NEWUSER))
                .doing(|| "join the user namespace")
                .and_then(|()| join_pid())
                .and_then(|()| clone::clone3(new | clone::PARENT, None).doing(|| "clone the container's init"));
            match forked {
                Ok(Fork::Child) => Ok(Fork::Child),
                Ok(Fork::Parent { pid, .. }) => far.leave(Ok(Message::Pid(pid.as_raw_nonzero().get()))),
                Err(error) => far.leave(Err(error)),
            }
        }
    }
}

/// Hooks are children too, and have no business in the container's namespace.
fn leave_pid() -> Result<()> {
    let what = || "go back to the runtime's pid namespace";
    let own = rustix::fs::open("/proc/self/ns/pid", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).doing(what)?;
    clone::setns(own.as_fd(), clone::NEWPID).doing(what)
}

/// Hears from a process in between which process it made, as its sibling and so
/// as a child of the caller. On a channel of its own: what it made may speak
/// first.
pub fn from_between(between: Pid, channel: &Channel) -> Result<Fork> {
    let word = channel.receive();
    waitid(WaitId::Pid(between), WaitIdOptions::EXITED).doing(|| "wait for the process in between")?;
    let pid = match word? {
        Some(Message::Pid(pid)) => Pid::from_raw(pid),
        other => bail!("the process in between said {other:?}"),
    };
    let Some(pid) = pid else { bail!("the process in between made none") };
    // It is this process's own child, so the number can't be reused yet.
    let pidfd: OwnedFd = pidfd_open(pid, PidfdFlags::empty()).doing(|| "open the new process")?;
    Ok(Fork::Parent { pid, pidfd })
}
