//! Entering the container: its cgroup, its namespaces, its root.

use super::context::JoinContext;
use crate::create::clone::drop_groups;
use crate::error::{Context, Result};
use crate::init::context::ProcessState;
use crate::ipc::protocol::Message;
use crate::mount::attach::open_directory;
use crate::path::RootFd;
use crate::plan::namespaces::KINDS;
use crate::state::container::stopped;
use crate::state::{Record, process};
use crate::sys;
use crate::sys::clone;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::thread::sched_setaffinity;

/// Enters the cgroup, or waits until systemd has moved this process there; then sets the
/// final CPU affinity, which is limited to the cgroup's cpuset.
pub fn enter_cgroup(state: &mut ProcessState<'_>, context: &JoinContext<'_>) -> Result<()> {
    match context.moved_by_systemd {
        true => context.channel.expect(&Message::Placed)?,
        false => context.handle.enter()?,
    }
    match &state.plan.cpu_affinity {
        [_, Some(last)] => sched_setaffinity(None, last).doing(|| "set process.execCPUAffinity.final"),
        [None, None] => sys::sched::reset_affinity().doing(|| "reset the CPU affinity (sched_setaffinity)"),
        _ => Ok(()),
    }
}

/// Joins all namespaces of init by one setns(2), then enters its root.
pub fn enter_namespaces(state: &mut ProcessState<'_>, context: &JoinContext<'_>) -> Result<()> {
    if context.named_namespaces & clone::NEWUSER != 0 {
        drop_groups(state.plan)?;
    }
    join_namespaces(context).doing(|| "join the container's namespaces")?;
    if let Some(root) = &context.root {
        chroot_to(root).doing(|| "enter the container's root")?;
    }
    if context.named_namespaces & clone::NEWUSER != 0 {
        // Id 0 may be unmapped (EINVAL): the ids stay.
        let _ = sys::ids::set_gid(0);
        let _ = sys::ids::set_uid(0);
    }
    state.root = Some(RootFd::new(open_directory("/")?));
    Ok(())
}

/// Joins by the pidfd of init, all in one call (Linux 5.8). Also namespaces that the config
/// does not name: criu restores into a time namespace. Joining the present namespace
/// changes nothing, but fails for a user namespace (EINVAL), and without CAP_SYS_ADMIN in
/// its owner (EPERM), which a user has over those alone that it created: then only those
/// that differ are joined.
fn join_namespaces(context: &JoinContext<'_>) -> Result<()> {
    let init = context.container.init.as_fd();
    let all = KINDS.iter().fold(0, |all, (_, kind)| all | kind) & !clone::NEWUSER | context.named_namespaces;
    match clone::setns(init, all) {
        Err(Errno::PERM | Errno::INVAL) => {
            let kinds = context.named_namespaces | differing_namespaces(&context.container.record)?;
            if kinds == 0 { Ok(()) } else { clone::setns(init, kinds).doing(|| "setns") }
        }
        result => result.doing(|| "setns"),
    }
}

/// CLONE_NEW* of the namespaces in which init and this process differ.
#[expect(clippy::disallowed_methods, reason = "still the host's /proc")]
fn differing_namespaces(record: &Record) -> Result<u64> {
    let mut kinds = 0;
    for (name, kind) in KINDS.into_iter().filter(|(_, kind)| *kind != clone::NEWUSER) {
        let file = match name {
            "network" => "net",
            "mount" => "mnt",
            name => name,
        };
        let id = |process: &str| match rustix::fs::stat(format!("/proc/{process}/ns/{file}")) {
            Err(Errno::NOENT) => Ok(None),
            result => {
                result.map(|stat| Some((stat.st_dev, stat.st_ino))).doing(|| format!("stat the {name} namespace"))
            }
        };
        if id("self")? != id(&record.pid.to_string())? {
            kinds |= kind;
        }
    }
    Ok(kinds)
}

/// Opens the root of init, for a container without a mount namespace of its own: there it is
/// below the root of the namespace, host's or joined.
#[expect(clippy::disallowed_methods, reason = "the runtime's side: the host's /proc")]
pub fn open_init_root(record: &Record) -> Result<OwnedFd> {
    let path = format!("/proc/{}/root", record.pid);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(&path, flags, Mode::empty()).doing(|| format!("open {path}"))?;
    // After the open: the pid may have been reused before it.
    if !process::is_alive(record.pid, record.start_time) {
        return Err(stopped());
    }
    Ok(root)
}

/// chroot(2) to a root by descriptor.
#[expect(clippy::disallowed_methods, reason = ". and / only, around the change of root")]
fn chroot_to(root: &OwnedFd) -> rustix::io::Result<()> {
    rustix::process::fchdir(root)?;
    rustix::process::chroot(c".")?;
    rustix::process::chdir(c"/")
}
