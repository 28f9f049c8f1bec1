//! clone3(2) of the container's init, with every namespace that it can create.

use crate::bail;
use crate::cgroup::CgroupHandle;
use crate::error::{Context, Result};
use crate::host;
use crate::ipc::child::{self, open_sibling};
use crate::ipc::protocol::{Channel, Message};
use crate::mount::sources::Sources;
use crate::plan::Plan;
use crate::plan::process::ProcessPlan;
use crate::sys::clone::{self, Fork};
use crate::sys::{ids, prctl};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::process::Pid;

/// Namespaces created by the clone. Not the cgroup namespace: it begins at init's cgroup,
/// which init enters first. Not the time namespace: its offsets can be written only until a
/// process is in it (time_namespaces(7)).
pub const AT_CLONE: u64 = clone::NEWUSER | clone::NEWNS | clone::NEWPID | clone::NEWNET | clone::NEWIPC | clone::NEWUTS;

/// Namespaces that can be joined in any order. Not the mount namespace, in which paths
/// resolve differently; not pid and time, which apply to children only (setns(2)).
const EARLY: u64 = clone::NEWNET | clone::NEWIPC | clone::NEWUTS | clone::NEWCGROUP;

/// Clones init. The child returns `Fork::Child` with all descriptors of the parent open,
/// and calls `init::run`. It is in no joined pid namespace: there
/// `init/pid_namespace.rs` makes the final process. Errors: those of clone3(2), setns(2).
pub fn clone_init(plan: &Plan, sources: &Sources, cgroup: &CgroupHandle) -> Result<Fork> {
    let new = plan.namespaces.new & AT_CLONE;
    if plan.namespaces.unshares_in_init() {
        return clone_into(0, cgroup).doing(|| "clone the container's init");
    }
    let user = sources.namespaces.iter().find(|(kind, _)| *kind == clone::NEWUSER).map(|(_, fd)| fd);
    if user.is_none() && !(plan.namespaces.makes(clone::NEWUSER) && early_namespaces(sources).next().is_some()) {
        return clone_into(new, cgroup).doing(|| "clone the container's init");
    }
    // The new namespaces must be owned by the joined user namespace, so an intermediate
    // process joins it and clones init as its sibling (CLONE_PARENT). Namespaces that are
    // owned by the host's user namespace are joined before, with the caller's capabilities.
    let (runtime_end, intermediate_end) = Channel::pair()?;
    match clone_into(0, cgroup).doing(|| "clone the intermediate process")? {
        Fork::Parent { pid, pidfd } => {
            drop(intermediate_end);
            receive_from_intermediate(pid, &pidfd, &runtime_end)
        }
        Fork::Child => match become_intermediate(plan, sources, user, new) {
            Ok(Fork::Child) => Ok(Fork::Child),
            Ok(Fork::Parent { pid, .. }) => intermediate_end.leave(Ok(Message::Pid(pid.as_raw_nonzero().get()))),
            Err(error) => intermediate_end.leave(Err(error)),
        },
    }
}

/// clone3(2) with CLONE_INTO_CGROUP. EBUSY, EOPNOTSUPP: cgroup v2 takes no processes next
/// to child cgroups with controllers, or in a domain below a threaded cgroup (cgroups(7),
/// "no internal processes"). runc makes the container's cgroup threaded, whose
/// cgroup.procs can't be read, so that `kill --all` reaches none of its processes.
fn clone_into(flags: u64, cgroup: &CgroupHandle) -> Result<Fork> {
    match clone::clone3(flags, cgroup.clone_into()) {
        Err(errno @ (Errno::OPNOTSUPP | Errno::BUSY)) if cgroup.clone_into().is_some() => Err(errno).doing(|| {
            "its cgroup can hold no processes (cgroup.type: domain invalid), because a cgroup above it does, maybe the \
             caller's own: move those into a cgroup of their own below that one, as `systemd-run --scope` would"
        }),
        result => result.doing(String::new),
    }
}

/// A process with CAP_SYS_PTRACE in the joined user namespace that sees this one (as with
/// `--pid=host`) could attach to it as soon as it has joined. PR_SET_DUMPABLE=0 stops
/// that: attaching then takes CAP_SYS_PTRACE in the user namespace of the memory
/// descriptor (ptrace(2), "Ptrace access mode checking"), the host's. Init inherits it.
fn become_intermediate(plan: &Plan, sources: &Sources, user: Option<&OwnedFd>, new: u64) -> Result<Fork> {
    let set_hidden =
        |hidden: bool| prctl::set_dumpable(!hidden).doing(|| "PR_SET_DUMPABLE of the intermediate process");
    set_hidden(true)?;
    join_early(sources);
    if let Some(user) = user {
        drop_groups(&plan.process)?;
        clone::setns(user.as_fd(), clone::NEWUSER).doing(|| "join the user namespace")?;
    }
    let fork = clone::clone3(new | clone::PARENT, None).doing(|| "clone the container's init")?;
    if matches!(fork, Fork::Child) && plan.namespaces.makes(clone::NEWUSER) {
        // Without it, /proc/PID/uid_map is owned by root (proc(5)), and an unprivileged
        // caller could not write the maps. Nobody has capabilities over the new user
        // namespace yet.
        set_hidden(false)?;
    }
    Ok(fork)
}

fn early_namespaces(sources: &Sources) -> impl Iterator<Item = &(u64, OwnedFd)> {
    sources.namespaces.iter().filter(|(kind, _)| EARLY & kind != 0)
}

/// Joins [`EARLY`] namespaces; errors are ignored: a namespace that is owned by the joined
/// user namespace fails with EPERM here, and init joins it.
pub fn join_early(sources: &Sources) {
    for (kind, fd) in early_namespaces(sources) {
        let _ = clone::setns(fd.as_fd(), *kind);
    }
}

/// Drops the caller's supplementary groups before a user namespace is joined: where its
/// setgroups(2) is denied (user_namespaces(7)), they could never be dropped, and would
/// give access to files of the host. An unprivileged caller keeps its own.
pub fn drop_groups(process: &ProcessPlan) -> Result<()> {
    if process.keeps_groups {
        return Ok(());
    }
    match ids::set_groups(&[]) {
        Err(Errno::PERM) if host::is_rootless() => Ok(()),
        result => result.doing(|| "drop the caller's groups before a user namespace is joined"),
    }
}

/// Receives the pid of the process that the intermediate process made as its sibling, and
/// so as a child of the caller; on a channel of its own, because that process may send
/// first on the other.
fn receive_from_intermediate(intermediate: Pid, pidfd: &OwnedFd, channel: &Channel) -> Result<Fork> {
    let message = channel.receive();
    child::wait(intermediate, pidfd).doing(|| "wait for the intermediate process")?;
    match message? {
        Some(Message::Pid(number)) => open_sibling(number).map(|(pid, pidfd)| Fork::Parent { pid, pidfd }),
        other => bail!("the intermediate process sent {other:?} instead of the pid of init"),
    }
}
