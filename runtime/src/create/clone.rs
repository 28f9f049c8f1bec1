//! The one clone that makes init, with every namespace that may be made by it.

use crate::bail;
use crate::cgroup::CgroupHandle;
use crate::error::{Context, Result};
use crate::host;
use crate::ipc::child::{self, sibling};
use crate::ipc::protocol::{Channel, Message};
use crate::mount::sources::Sources;
use crate::plan::Plan;
use crate::plan::process::ProcessPlan;
use crate::sys::clone::{self, Fork};
use crate::sys::{ids, prctl};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::process::Pid;

/// The namespaces that are made here. The cgroup namespace comes when init sits
/// in its cgroup, the time namespace when its offsets are written.
pub const AT_CLONE: u64 = clone::NEWUSER | clone::NEWNS | clone::NEWPID | clone::NEWNET | clone::NEWIPC | clone::NEWUTS;

/// Those that may be joined in any order. Paths change their meaning in another
/// mount namespace, and those of pids and time count for children.
const EARLY: u64 = clone::NEWNET | clone::NEWIPC | clone::NEWUTS | clone::NEWCGROUP;

/// Forks. In the child, which returns `Fork::Child`, everything of the parent's
/// is still open; it goes on to `init::run`. It is in no pid namespace of others:
/// where one is joined, `init/pid_namespace.rs` makes the last process there.
pub fn clone_init(plan: &Plan, sources: &Sources, cgroup: &CgroupHandle) -> Result<Fork> {
    let new = plan.namespaces.new & AT_CLONE;
    if plan.namespaces.enters_by_itself() {
        return clone_into(0, cgroup).doing(|| "clone the container's init");
    }
    let user = sources.namespaces.iter().find(|(kind, _)| *kind == clone::NEWUSER).map(|(_, fd)| fd);
    if user.is_none() && !(plan.namespaces.makes(clone::NEWUSER) && early(sources).next().is_some()) {
        return clone_into(new, cgroup).doing(|| "clone the container's init");
    }
    // The new namespaces must belong to the user namespace that is joined: an
    // intermediate process joins it and makes init as its sibling. Before that, it
    // joins what may belong to the host's, with the host's rights.
    let (near, far) = Channel::pair()?;
    match clone_into(0, cgroup).doing(|| "clone the intermediate process")? {
        Fork::Parent { pid, pidfd } => {
            drop(far);
            from_intermediate(pid, &pidfd, &near)
        }
        Fork::Child => match become_intermediate(plan, sources, user, new) {
            Ok(Fork::Child) => Ok(Fork::Child),
            Ok(Fork::Parent { pid, .. }) => far.leave(Ok(Message::Pid(pid.as_raw_nonzero().get()))),
            Err(error) => far.leave(Err(error)),
        },
    }
}

/// Cgroup v2 takes no processes beside those that are in a cgroup above it which hands
/// controllers down, or is threaded: cgroups(7), "no internal processes". runc makes the
/// container's threaded, where none of its processes is listed any more, and so none
/// reached by `kill --all`.
fn clone_into(flags: u64, cgroup: &CgroupHandle) -> Result<Fork> {
    match clone::clone3(flags, cgroup.clone_into()) {
        Err(errno @ (Errno::OPNOTSUPP | Errno::BUSY)) if cgroup.clone_into().is_some() => Err(errno).doing(|| {
            "its cgroup can hold no processes (cgroup.type: domain invalid), for a cgroup above it does, maybe the \
             caller's own: move those into a cgroup of their own below that one, as `systemd-run --scope` would"
        }),
        result => result.doing(String::new),
    }
}

/// Whoever has CAP_SYS_PTRACE in the user namespace that is joined, and sees this
/// process, as with `--pid=host`, may attach to it from the moment that it joins; but
/// not while it is not dumpable, which takes the right over the user namespace in
/// which its memory was made: ptrace(2), "Ptrace access mode checking". Init inherits
/// that.
fn become_intermediate(plan: &Plan, sources: &Sources, user: Option<&OwnedFd>, new: u64) -> Result<Fork> {
    let hide = |hidden: bool| prctl::set_dumpable(!hidden).doing(|| "close the intermediate process to others");
    hide(true)?;
    join_early(sources);
    if let Some(user) = user {
        drop_groups(&plan.process)?;
        clone::setns(user.as_fd(), clone::NEWUSER).doing(|| "join the user namespace")?;
    }
    let fork = clone::clone3(new | clone::PARENT, None).doing(|| "clone the container's init")?;
    if matches!(fork, Fork::Child) && plan.namespaces.makes(clone::NEWUSER) {
        // An ordinary caller could not write its id maps: proc(5). Nobody has rights
        // over the new user namespace yet.
        hide(false)?;
    }
    Ok(fork)
}

fn early(sources: &Sources) -> impl Iterator<Item = &(u64, OwnedFd)> {
    sources.namespaces.iter().filter(|(kind, _)| EARLY & kind != 0)
}

/// What is refused is the user namespace's, and init joins it.
pub fn join_early(sources: &Sources) {
    for (kind, fd) in early(sources) {
        let _ = clone::setns(fd.as_fd(), *kind);
    }
}

/// In a user namespace whose setgroups(2) is denied, nobody can let go of the groups
/// that he came with, which may open files of the host's: user_namespaces(7). So the
/// caller's go before it is joined. Those of an ordinary user are its own.
pub fn drop_groups(process: &ProcessPlan) -> Result<()> {
    if process.keeps_groups {
        return Ok(());
    }
    match ids::set_groups(&[]) {
        Err(Errno::PERM) if host::is_rootless() => Ok(()),
        result => result.doing(|| "drop the caller's groups before a user namespace is joined"),
    }
}

/// Hears from an intermediate process which process it made, as its sibling and so
/// as a child of the caller. On a channel of its own: what it made may speak
/// first.
fn from_intermediate(intermediate: Pid, pidfd: &OwnedFd, channel: &Channel) -> Result<Fork> {
    let word = channel.receive();
    child::wait(intermediate, pidfd).doing(|| "the intermediate process")?;
    match word? {
        Some(Message::Pid(number)) => sibling(number).map(|(pid, pidfd)| Fork::Parent { pid, pidfd }),
        other => bail!("the intermediate process said {other:?}"),
    }
}
