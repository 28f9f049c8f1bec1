//! The options of a bind mount, set on a detached copy of its source.

use crate::error::{Context, Result};
use crate::plan::mounts::{MountKind, MountPlan};
use crate::sys::mount::{
    ATTR_ATIME, ATTR_BIND_REMOUNT, ATTR_NODEV, ATTR_NODIRATIME, ATTR_NOEXEC, ATTR_NOSUID, ATTR_RDONLY, MountAttr,
    PROPAGATION_SLAVE, setattr,
};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::OpenTreeFlags;
use std::path::Path;

/// A detached copy of the mount at `path` of the host, open_tree(2).
pub fn clone_tree(path: &Path, recursive: bool) -> rustix::io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    rustix::mount::open_tree(CWD, path, flags)
}

/// Sets the options of a bind mount on `tree`, the copy of its source. Errors: EPERM where
/// the config clears an option that is locked in a user namespace.
pub fn apply(mount: &MountPlan, tree: OwnedFd, in_user_namespace: bool) -> Result<OwnedFd> {
    let MountKind::Bind { source, recursive, .. } = &mount.kind else { return Ok(tree) };
    // A copy is a peer of the host's mount: without a propagation of the config's it is
    // made a slave, so that mounts below it inside do not propagate to the host.
    let (propagation, deep) = mount.propagation.unwrap_or((PROPAGATION_SLAVE, true));
    let mut own = MountAttr { propagation: if deep { 0 } else { propagation }, ..mount.attr };
    // As with mount(8), the options of a bind replace those of its source: flags that are
    // not named are cleared, but for locked ones.
    let mut replacing = own;
    if own.set | own.clear != 0 {
        let what = || format!("read the mount flags of bind mount source {}", source.display());
        // The kernel locks the source's flags for a less privileged mount namespace,
        // mount_namespaces(7): clearing one is EPERM.
        let locked = if in_user_namespace { lockable_flags(&tree).doing(what)? } else { 0 };
        if locked & own.clear != 0 {
            return Err(Errno::PERM).doing(|| {
                format!(
                    "error mounting {}: an option of {} is locked in a user namespace",
                    mount.target,
                    source.display()
                )
            });
        }
        replacing.clear |= ATTR_BIND_REMOUNT & !own.set & !locked;
    }
    if own.set & (ATTR_ATIME | ATTR_NODIRATIME) | own.clear & ATTR_ATIME != 0 {
        replacing.clear |= ATTR_ATIME | ATTR_NODIRATIME & !own.set;
    }
    let mut below = MountAttr { propagation: if deep { propagation } else { 0 }, ..mount.recursive_attr };
    if !recursive {
        // No mounts below: one mount_setattr(2) for both.
        own = merge_attrs(below, own);
        replacing = merge_attrs(below, replacing);
        below = MountAttr::default();
    }
    let apply = |recursive, attr: &MountAttr| match attr.is_noop() {
        true => Ok(()),
        false => setattr(tree.as_fd(), recursive, attr),
    };
    let applied = apply(true, &below).and_then(|()| match apply(false, &replacing) {
        Err(Errno::PERM) if replacing != own => apply(false, &own),
        result => result,
    });
    applied.doing(|| format!("set the bind mount options of {}", source.display()))?;
    Ok(tree)
}

/// The flags of `tree` that can be locked. ST_* of statvfs(3) have the values of MOUNT_ATTR_*.
fn lockable_flags(tree: &OwnedFd) -> rustix::io::Result<u64> {
    let flags = rustix::fs::fstatvfs(tree)?.f_flag.bits();
    Ok(flags & (ATTR_RDONLY | ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC))
}

/// Both changes in one; `second` wins where they contradict each other.
pub fn merge_attrs(first: MountAttr, second: MountAttr) -> MountAttr {
    MountAttr {
        set: first.set & !second.clear | second.set,
        clear: first.clear & !second.set | second.clear,
        propagation: if second.propagation == 0 { first.propagation } else { second.propagation },
        userns_fd: 0,
    }
}
