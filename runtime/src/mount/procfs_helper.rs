//! A procfs of a pid namespace that the caller is not in, before Linux 6.17, which has the
//! mount option `pidns`. A procfs shows the pid namespace of the process that calls
//! fsopen(2), so a process must exist in it, which a container there may ptrace. This one
//! holds nothing to take over: no descriptor but its end of a channel, an empty read-only
//! root, and capabilities over a user namespace of its own, which suffice for fsopen. The
//! caller, outside, creates the file system.

use super::attach::open_directory;
use crate::bail;
use crate::error::{Context, Result};
use crate::ipc::child;
use crate::ipc::protocol::{Channel, Message};
use crate::sys;
use crate::sys::clone::{self, Fork};
use crate::sys::mount::{MountAttr, PROPAGATION_PRIVATE, setattr_root};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::mount::{FsOpenFlags, MountFlags, UnmountFlags};

/// The file system context. It must be checked: a process of the pid namespace may have
/// made the helper send another descriptor.
pub fn open_context(pid_namespace: BorrowedFd<'_>) -> Result<OwnedFd> {
    let (parent_end, child_end) = Channel::pair()?;
    match clone::clone3(0, None).doing(|| "clone a process that opens a procfs")? {
        Fork::Child => {
            drop(parent_end);
            let made = run_intermediate(pid_namespace, &child_end);
            made.unwrap_or_else(|error| child_end.leave(Err(error)));
            sys::exec::exit(0)
        }
        Fork::Parent { pid, pidfd } => {
            drop(child_end);
            let reply = parent_end.receive_with();
            child::wait(pid, &pidfd).doing(|| "wait for the process that opens a procfs")?;
            match reply? {
                Some((Message::Ready, Some(context))) => Ok(context),
                _ => bail!("the process that opens a procfs ended without one"),
            }
        }
    }
}

/// Gives up all privileges outside of the pid namespace, and then forks into it.
fn run_intermediate(pid_namespace: BorrowedFd<'_>, channel: &Channel) -> Result<()> {
    sys::prctl::set_dumpable(false).doing(|| "set PR_SET_DUMPABLE 0")?;
    clone::setns(pid_namespace, clone::NEWPID).doing(|| "join the pid namespace")?;
    clone::unshare(clone::NEWUSER | clone::NEWNS).doing(
        || "create a user namespace, in which a procfs of the joined pid namespace is opened (before Linux 6.17)",
    )?;
    let root = enter_empty_root().doing(|| "enter an empty root")?;
    let number = channel.as_fd().as_raw_fd() as u32;
    let closed = sys::fds::close_range(0, number - 1);
    closed.doing(|| "close descriptors")?;
    std::mem::forget(root);
    sys::fds::close_from(number + 1).doing(|| "close descriptors")?;
    match clone::clone3(0, None).doing(|| "clone a process in the pid namespace")? {
        // Not waited for: a process in the pid namespace may stop it for ever.
        Fork::Parent { .. } => Ok(()),
        Fork::Child => {
            let context = rustix::mount::fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC);
            let sent = context
                .doing(|| "open file system \"proc\"")
                .and_then(|context| channel.send_with(&Message::Ready, context.as_fd()));
            if let Err(error) = sent {
                channel.leave(Err(error));
            }
            sys::exec::exit(0)
        }
    }
}

/// Makes a read-only tmpfs the root, and detaches all other mounts.
#[expect(clippy::disallowed_methods, reason = "paths of the host, before it is left")]
fn enter_empty_root() -> Result<OwnedFd> {
    let private = MountAttr { propagation: PROPAGATION_PRIVATE, ..MountAttr::default() };
    setattr_root(&private).doing(|| "make the mount namespace private")?;
    // Any directory that every host has; the namespace is private.
    rustix::mount::mount("none", "/proc", "tmpfs", MountFlags::RDONLY, None).doing(|| "mount a tmpfs on /proc")?;
    let root = open_directory("/proc")?;
    rustix::process::fchdir(&root).doing(|| "chdir to the new root")?;
    rustix::process::pivot_root(c".", c".").doing(|| "pivot_root")?;
    rustix::mount::unmount(c".", UnmountFlags::DETACH).doing(|| "unmount the old root")?;
    rustix::process::chdir(c"/").doing(|| "chdir to the new root")?;
    Ok(root)
}
