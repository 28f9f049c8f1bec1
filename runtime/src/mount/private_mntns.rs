//! Work in a copy of the mount namespace that nobody else can see, for what the
//! mount API of descriptors can't do: the classic mount(2), and a look at a tree of
//! mounts before it is attached.

use super::attach::{attach, clone_mount, mount_id};
use super::procfs::ProcFd;
use crate::bail;
use crate::error::{Context, Error, Result};
use crate::ipc::child;
use crate::ipc::protocol::{Channel, Message};
use crate::path::kernel_fs::is_kernel_fs;
use crate::path::{InRoot, RootFd};
use crate::sys::clone::{self, Fork};
use crate::sys::mount::{MountAttr, PROPAGATION_PRIVATE, setattr_root};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{MountFlags, OpenTreeFlags};
use std::ffi::CString;

/// A mount of file system `kind` by mount(2), attached nowhere: it takes a page of
/// options in all, where fsconfig(2) takes 255 bytes of each.
#[expect(clippy::disallowed_methods, reason = "/ only, in a mount namespace of its own")]
pub fn mount_legacy(kind: &str, source: &str, options: &str) -> Result<OwnedFd> {
    const PAGE: usize = 4096;
    if options.len() >= PAGE {
        bail!("{kind}: the kernel takes {} bytes of options, and there are {}", PAGE - 1, options.len());
    }
    let text = |text: &str| CString::new(text).map_err(|_| Error::new(format!("{kind}: an option has a NUL byte")));
    let (source, options) = (text(source)?, text(options)?);
    run_in_private_mntns(None, |_| {
        rustix::mount::mount(&*source, c"/", kind, MountFlags::empty(), &*options)
            .doing(|| format!("mount file system {kind:?}"))?;
        clone_topmost_mount(false)
    })
}

/// A copy of what is mounted at and below `path` of `root`. An error where the
/// kernel's file systems are among it: a second /proc would have no masks. The
/// mounts of the copy stay what they are, whatever is renamed meanwhile.
#[expect(clippy::disallowed_methods, reason = "/ only, in a mount namespace of its own")]
pub fn clone_subtree(root: &RootFd, proc: &ProcFd, path: &InRoot, flags: OFlags) -> Result<OwnedFd> {
    run_in_private_mntns(Some(root), |root| {
        let place = root.open(path, OFlags::PATH | flags).doing(|| "open it")?;
        let tree = clone_mount(&place, true).doing(|| "copy it")?;
        let top = rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        if rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&tree).doing(|| "look at it")?.st_mode)
            != rustix::fs::FileType::Directory
        {
            // Nothing is mounted below a file.
            return Ok(tree);
        }
        attach(&tree, top.doing(|| "open /")?).doing(|| "attach the copy")?;
        refuse_kernel_mounts(&tree, proc)?;
        clone_topmost_mount(true)
    })
}

fn refuse_kernel_mounts(tree: &OwnedFd, proc: &ProcFd) -> Result<()> {
    let id = mount_id(tree).doing(|| "look at the copy")?;
    let mountinfo = proc.read("self/mountinfo")?;
    match kernel_mount_below(&String::from_utf8_lossy(&mountinfo), id) {
        Some(kind) => {
            bail!("it holds a mount of {kind}, which must not show a second time: bind what lies beside it")
        }
        None => Ok(()),
    }
}

/// The type of a kernel's file system among mount `id` and those on it.
fn kernel_mount_below(mountinfo: &str, id: u64) -> Option<String> {
    // proc_pid_mountinfo(5): a mount's parent stands before it, but for moved ones.
    let mounts: Vec<(u64, u64, &str)> = mountinfo
        .lines()
        .filter_map(|line| {
            let (mount, file_system) = line.split_once(" - ")?;
            let mut fields = mount.split(' ');
            let (own, parent) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
            Some((own, parent, file_system.split(' ').next()?))
        })
        .collect();
    let mut within = std::collections::HashSet::from([id]);
    loop {
        let before = within.len();
        within.extend(mounts.iter().filter(|(_, parent, _)| within.contains(parent)).map(|m| m.0).collect::<Vec<_>>());
        if within.len() == before {
            break;
        }
    }
    mounts.iter().find(|(own, _, kind)| within.contains(own) && is_kernel_fs(kind)).map(|m| m.2.to_owned())
}

/// A copy of what is mounted over `/`. A look-up that goes up from the root goes
/// to the topmost mount on it.
fn clone_topmost_mount(recursive: bool) -> Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    rustix::mount::open_tree(CWD, c"/..", flags).doing(|| "take the mount")
}

/// Runs `work` in a process with a mount namespace of its own, whose root is `root`
/// there, or the caller's directory; the mount that it makes goes with it but for
/// the descriptor that comes back. Like the caller it is not dumpable.
fn run_in_private_mntns(root: Option<&RootFd>, work: impl FnOnce(&RootFd) -> Result<OwnedFd>) -> Result<OwnedFd> {
    let (near, far) = Channel::pair()?;
    match clone::clone3(0, None).doing(|| "make a process with mounts of its own")? {
        Fork::Parent { pid, pidfd } => {
            drop(far);
            let word = near.receive_with();
            child::wait(pid, &pidfd).doing(|| "the process with mounts of its own")?;
            match word? {
                Some((Message::Ready, Some(tree))) => Ok(tree),
                other => bail!("the process with mounts of its own said {other:?}"),
            }
        }
        Fork::Child => {
            drop(near);
            let made = enter_private_mntns(root).and_then(|root| work(&root)).and_then(|tree| {
                far.send_with(&Message::Ready, tree.as_fd())?;
                Ok(())
            });
            match made {
                Ok(()) => crate::sys::exec::exit(0),
                Err(error) => far.leave(Err(error)),
            }
        }
    }
}

/// Leaves the mount namespace. The working directory is what shows where `root` is
/// in the copy.
#[expect(clippy::disallowed_methods, reason = ". only, the root's place in the copy")]
fn enter_private_mntns(root: Option<&RootFd>) -> Result<RootFd> {
    let what = || "make a copy of the mount namespace";
    if let Some(root) = root {
        rustix::process::fchdir(root).doing(what)?;
    }
    clone::unshare(clone::NEWNS).doing(what)?;
    setattr_root(&MountAttr { propagation: PROPAGATION_PRIVATE, ..MountAttr::default() }).doing(what)?;
    let here = rustix::fs::open(c".", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    here.map(RootFd::new).doing(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_mounts_are_found_at_any_depth() {
        let text = "30 1 8:1 / / rw - ext4 d rw\n31 30 0:5 /a /x rw - tmpfs t rw\n\
                    33 32 0:6 / /x/y/z rw - sysfs s rw\n32 31 0:7 / /x/y rw - tmpfs t rw\n\
                    40 30 0:8 / /proc rw - proc p rw\n";
        assert_eq!(kernel_mount_below(text, 31).as_deref(), Some("sysfs"));
        assert_eq!(kernel_mount_below(text, 40).as_deref(), Some("proc"));
        assert_eq!(kernel_mount_below(text, 1).as_deref(), Some("sysfs"));
        assert_eq!(kernel_mount_below(text, 99), None);
    }
}
