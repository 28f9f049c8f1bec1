//! Work in a private copy of the mount namespace, in a process that is made for it: what
//! the file-descriptor based mount API can't do. That is the legacy mount(2), and
//! listing the mounts of a cloned tree before it is attached.

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

/// A detached mount of file system `kind`, made by the legacy mount(2), which takes 4095
/// bytes of options in all; fsconfig(2) takes 255 bytes for each. Errors: more than that.
#[expect(clippy::disallowed_methods, reason = "/ only, in a mount namespace of its own")]
pub fn mount_legacy(kind: &str, source: &str, options: &str) -> Result<OwnedFd> {
    const PAGE: usize = 4096;
    if options.len() >= PAGE {
        bail!("mount file system {kind:?}: the kernel takes {} bytes of options, not {}", PAGE - 1, options.len());
    }
    let text = |text: &str| {
        CString::new(text).map_err(|_| Error::new(format!("mount file system {kind:?}: an option has a NUL byte")))
    };
    let (source, options) = (text(source)?, text(options)?);
    run_in_private_mntns(None, |_| {
        rustix::mount::mount(&*source, c"/", kind, MountFlags::empty(), &*options)
            .doing(|| format!("mount file system {kind:?}"))?;
        clone_topmost_mount(false)
    })
}

/// A detached recursive copy of the mounts at and below `path`.
///
/// Refused where one of them is a file system of the kernel: a second procfs would not
/// have the container's masked and read-only paths. The check is by the mounts that the
/// copy has, from mountinfo, and not by paths: a rename that races with it, which could
/// swap a harmless directory for one that holds a procfs, changes no mount of the copy.
#[expect(clippy::disallowed_methods, reason = "/ only, in a mount namespace of its own")]
pub fn clone_subtree(root: &RootFd, proc: &ProcFd, path: &InRoot, flags: OFlags) -> Result<OwnedFd> {
    run_in_private_mntns(Some(root), |root| {
        let source = root.open(path, OFlags::PATH | flags).doing(|| format!("open {path}"))?;
        let tree = clone_mount(&source, true).doing(|| format!("clone the mounts at {path}"))?;
        let top = rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        if rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&tree).doing(|| format!("stat {path}"))?.st_mode)
            != rustix::fs::FileType::Directory
        {
            // A file has no mounts below it.
            return Ok(tree);
        }
        // mountinfo lists attached mounts only.
        attach(&tree, top.doing(|| "open /")?).doing(|| format!("attach the mounts of {path} for inspection"))?;
        refuse_kernel_mounts(&tree, proc)?;
        clone_topmost_mount(true)
    })
}

/// Refuses a tree that holds a mount of the kernel's file systems.
fn refuse_kernel_mounts(tree: &OwnedFd, proc: &ProcFd) -> Result<()> {
    let id = mount_id(tree).doing(|| "read the mount ID (statx)")?;
    let mountinfo = proc.read("self/mountinfo")?;
    match kernel_mount_below(&String::from_utf8_lossy(&mountinfo), id) {
        Some(kind) => {
            bail!(
                "it holds a mount of {kind}, which must not show a second time: bind its other subdirectories instead"
            )
        }
        None => Ok(()),
    }
}

/// The type of the first file system of the kernel among mount `id` and its descendants.
fn kernel_mount_below(mountinfo: &str, id: u64) -> Option<String> {
    // proc_pid_mountinfo(5): mount ID, parent ID, … - type. A moved mount may be listed
    // before its parent, so until nothing is added.
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

/// A detached copy of the topmost mount on `/`: `..` at the root resolves to the root of
/// the topmost mount there, which `/` alone does not.
fn clone_topmost_mount(recursive: bool) -> Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    rustix::mount::open_tree(CWD, c"/..", flags).doing(|| "open_tree of the new mount")
}

/// Runs `work` in a process with a private mount namespace and returns the mount that it
/// sends back; all other mounts go with the namespace. `work` gets `root` as it is in
/// the copy, or the working directory there. The process is not dumpable, as its parent.
pub fn run_in_private_mntns(root: Option<&RootFd>, work: impl FnOnce(&RootFd) -> Result<OwnedFd>) -> Result<OwnedFd> {
    let (parent_end, child_end) = Channel::pair()?;
    match clone::clone3(0, None).doing(|| "clone a process with a private mount namespace")? {
        Fork::Parent { pid, pidfd } => {
            drop(child_end);
            let reply = parent_end.receive_with();
            child::wait(pid, &pidfd).doing(|| "wait for the process with a private mount namespace")?;
            match reply? {
                Some((Message::Ready, Some(tree))) => Ok(tree),
                _ => bail!("the process with a private mount namespace ended without a mount"),
            }
        }
        Fork::Child => {
            drop(parent_end);
            let made = enter_private_mntns(root).and_then(|root| work(&root)).and_then(|tree| {
                child_end.send_with(&Message::Ready, tree.as_fd())?;
                Ok(())
            });
            match made {
                Ok(()) => crate::sys::exec::exit(0),
                Err(error) => child_end.leave(Err(error)),
            }
        }
    }
}

/// unshare(CLONE_NEWNS) moves the working directory to its copy, but no other descriptor:
/// so `root` is made the working directory first, and opened as `.` afterwards.
/// MS_PRIVATE, so that no mount propagates to the host.
#[expect(clippy::disallowed_methods, reason = ". only, the root's source in the copy")]
fn enter_private_mntns(root: Option<&RootFd>) -> Result<RootFd> {
    let what = || "create a private mount namespace";
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
