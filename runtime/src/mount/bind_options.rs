//! The options of a bind, on a copy of its source that is attached nowhere.

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

/// A copy of the mount at `path`, attached nowhere.
pub fn clone_tree(path: &Path, recursive: bool) -> rustix::io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    rustix::mount::open_tree(CWD, path, flags)
}

/// The options of a bind on the copy of its source.
pub fn apply(mount: &MountPlan, tree: OwnedFd, in_user_namespace: bool) -> Result<OwnedFd> {
    let MountKind::Bind { source, recursive, .. } = &mount.kind else { return Ok(tree) };
    // A bind of the host's mount would be its peer, and what is mounted below
    // it inside would show outside: a slave unless the config says otherwise.
    let (propagation, deep) = mount.propagation.unwrap_or((PROPAGATION_SLAVE, true));
    let mut own = MountAttr { propagation: if deep { 0 } else { propagation }, ..mount.attr };
    // As with mount(8), options of a bind replace what its source has: all of it
    // goes that is not named, but for what the kernel locks in a user namespace.
    let mut replacing = own;
    if own.set | own.clear != 0 {
        let what = || format!("look at bind mount source {}", source.display());
        // In a user namespace the kernel would lock what the source has.
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
        // There is nothing below: one call does both.
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
    applied.doing(|| format!("bind mount options of {}", source.display()))?;
    Ok(tree)
}

/// Those of ATTR_BIND_REMOUNT that a mount has and that can be locked; statvfs(3) has
/// the same numbers for them.
fn lockable_flags(tree: &OwnedFd) -> rustix::io::Result<u64> {
    let flags = rustix::fs::fstatvfs(tree)?.f_flag.bits();
    Ok(flags & (ATTR_RDONLY | ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC))
}

/// Both, of which the second decides where they contradict each other.
pub fn merge_attrs(first: MountAttr, second: MountAttr) -> MountAttr {
    MountAttr {
        set: first.set & !second.clear | second.set,
        clear: first.clear & !second.set | second.clear,
        propagation: if second.propagation == 0 { first.propagation } else { second.propagation },
        userns_fd: 0,
    }
}
