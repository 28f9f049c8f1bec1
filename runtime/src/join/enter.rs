//! Into the container: its cgroup, its namespaces, its root.

use super::context::JoinContext;
use crate::create::clone::drop_groups;
use crate::error::{Context, Result};
use crate::init::context::Task;
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

pub fn enter_cgroup(task: &mut Task<'_>, context: &JoinContext<'_>) -> Result<()> {
    match context.moved_by_systemd {
        true => context.channel.expect(&Message::Placed)?,
        false => context.handle.enter()?,
    }
    match &task.process.cpu_affinity {
        [_, Some(last)] => sched_setaffinity(None, last).doing(|| "set process.execCPUAffinity.final"),
        [None, None] => sys::sched::reset_affinity().doing(|| "leave the processors to the cgroup"),
        _ => Ok(()),
    }
}

/// All namespaces in one call, then the root that init has.
pub fn enter_namespaces(task: &mut Task<'_>, context: &JoinContext<'_>) -> Result<()> {
    if context.named_namespaces & clone::NEWUSER != 0 {
        drop_groups(task.process)?;
    }
    join_namespaces(context).doing(|| "join the container's namespaces")?;
    if let Some(root) = &context.root {
        chroot_to(root).doing(|| "enter the container's root")?;
    }
    if context.named_namespaces & clone::NEWUSER != 0 {
        // Without a mapping for root we stay who we are.
        let _ = sys::ids::set_gid(0);
        let _ = sys::ids::set_uid(0);
    }
    task.root = Some(RootFd::new(open_directory("/")?));
    Ok(())
}

/// Also those that the config does not name and that init is in all the same: criu
/// restores into a time namespace of its own. To join one's own again changes
/// nothing, but for a user namespace (EINVAL), and takes rights over it (EPERM) that
/// a user has over those alone that it made.
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

/// The namespaces of init in which this process is not.
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
                result.map(|stat| Some((stat.st_dev, stat.st_ino))).doing(|| format!("look at the {name} namespace"))
            }
        };
        if id("self")? != id(&record.pid.to_string())? {
            kinds |= kind;
        }
    }
    Ok(kinds)
}

/// Where init has its root: without a mount namespace of its own it is somewhere
/// below that of the host, or of whoever's namespace was joined.
#[expect(clippy::disallowed_methods, reason = "the runtime's side: the host's /proc")]
pub fn open_init_root(record: &Record) -> Result<OwnedFd> {
    let path = format!("/proc/{}/root", record.pid);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(&path, flags, Mode::empty()).doing(|| format!("open {path}"))?;
    // Looked at after opening: the number may have become another process's.
    if !process::is_alive(record.pid, record.start_time) {
        return Err(stopped());
    }
    Ok(root)
}

#[expect(clippy::disallowed_methods, reason = ". and / only, around the change of root")]
fn chroot_to(root: &OwnedFd) -> rustix::io::Result<()> {
    rustix::process::fchdir(root)?;
    rustix::process::chroot(c".")?;
    rustix::process::chdir(c"/")
}
