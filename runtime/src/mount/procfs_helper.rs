//! A procfs of a pid namespace that the caller is not in, before Linux 6.17, which
//! has the option `pidns`. It shows the pid namespace of whoever calls fsopen(2), so
//! somebody must be made there, and is seen by a container that may trace it. This
//! one has nothing: no descriptor but its end of a channel, an empty root that can't
//! be written, and rights over a user namespace that nobody else is in. These suffice
//! for fsopen; it is the caller, outside, who makes the file system.

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

/// The file system context, which may be anything: the processes of the pid namespace
/// can have a hand in it.
pub fn open_context(pid_namespace: BorrowedFd<'_>) -> Result<OwnedFd> {
    let (near, far) = Channel::pair()?;
    match clone::clone3(0, None).doing(|| "clone a process for a procfs")? {
        Fork::Child => {
            drop(near);
            let made = run_intermediate(pid_namespace, &far);
            made.unwrap_or_else(|error| far.leave(Err(error)));
            sys::exec::exit(0)
        }
        Fork::Parent { pid, pidfd } => {
            drop(far);
            let word = near.receive_with();
            child::wait(pid, &pidfd).doing(|| "the process that opens a procfs")?;
            match word? {
                Some((Message::Ready, Some(context))) => Ok(context),
                _ => bail!("the process that opens a procfs has ended"),
            }
        }
    }
}

/// Gives away what it has, outside of the pid namespace.
fn run_intermediate(pid_namespace: BorrowedFd<'_>, channel: &Channel) -> Result<()> {
    sys::prctl::set_dumpable(false).doing(|| "close a process to others")?;
    clone::setns(pid_namespace, clone::NEWPID).doing(|| "join the pid namespace")?;
    clone::unshare(clone::NEWUSER | clone::NEWNS).doing(
        || "make a user namespace, in which a procfs of the pid namespace that is joined is opened (before Linux 6.17)",
    )?;
    let place = enter_empty_root().doing(|| "make an empty root")?;
    let number = channel.as_fd().as_raw_fd() as u32;
    let closed = sys::fds::close_range(0, number - 1);
    closed.doing(|| "close descriptors")?;
    std::mem::forget(place);
    sys::fds::close_from(number + 1).doing(|| "close descriptors")?;
    match clone::clone3(0, None).doing(|| "clone a process in the pid namespace")? {
        // Who is in the pid namespace may stop what it sees: nobody waits for its end.
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

/// A tmpfs that can't be written, and nothing else in the mount namespace.
#[expect(clippy::disallowed_methods, reason = "paths of the host, before it is left")]
fn enter_empty_root() -> Result<OwnedFd> {
    let private = MountAttr { propagation: PROPAGATION_PRIVATE, ..MountAttr::default() };
    setattr_root(&private).doing(|| "cut it off from the host")?;
    // Any directory that every host has.
    rustix::mount::mount("none", "/proc", "tmpfs", MountFlags::RDONLY, None).doing(|| "mount a tmpfs")?;
    let root = open_directory("/proc")?;
    rustix::process::fchdir(&root).doing(|| "enter it")?;
    rustix::process::pivot_root(c".", c".").doing(|| "pivot_root")?;
    rustix::mount::unmount(c".", UnmountFlags::DETACH).doing(|| "leave the host's root")?;
    rustix::process::chdir(c"/").doing(|| "enter it")?;
    Ok(root)
}
