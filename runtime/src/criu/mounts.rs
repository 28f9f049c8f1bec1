//! External mounts: CRIU can't find their sources again, so the images name them by mount
//! point, and restore passes the current source for each name.

use super::rpc::{self, opts};
use super::wire::Writer;
use crate::bail;
use crate::cgroup::Cgroup;
use crate::error::{Context, Result};
use crate::path::{InRoot, RootFd};
use crate::plan::Plan;
use crate::plan::layered_root::Upper;
use crate::plan::mounts::{MountKind, MountPlan};
use crate::sys::clone;
use rustix::fd::{AsFd, AsRawFd};
use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const NULL: &[u8] = b"/dev/null";

/// Errors: the plan has something that CRIU would lose or change.
pub fn refuse(plan: &Plan) -> Result<()> {
    if !plan.namespaces.makes(clone::NEWNS) {
        bail!("a container in a joined mount namespace can't be checkpointed: its mounts belong to another container");
    }
    if let Some(mount) = plan.mounts.iter().find(|mount| mount.idmap.is_some()) {
        bail!("mount {} has an id mapping of its own, which CRIU does not dump", mount.target);
    }
    let Some(layered) = &plan.layered_root else { return Ok(()) };
    if matches!(layered.upper, Upper::Tmpfs(_)) {
        bail!(
            "the root's upper layer is a tmpfs and ends with the container: for checkpoints, \"upper\" in firn.json must be a directory"
        );
    }
    if layered.closure.is_some() {
        bail!("a root with a closure (firn.json) can't be checkpointed: CRIU does not support the view of its store");
    }
    Ok(())
}

/// For a dump: each external mount by its mount point. `root`: the root as the container sees
/// it.
pub fn at_dump(plan: &Plan, cgroup: &Cgroup, root: &RootFd, list: &mut Writer) -> Result<()> {
    for (place, _) in external_mounts(plan, cgroup, root)? {
        list.message(opts::EXT_MNT, &rpc::pair(&place, &place));
    }
    for path in &plan.masked {
        let Ok(masked) = root.open(path, OFlags::PATH) else { continue };
        let stat = rustix::fs::fstat(&masked).doing(|| format!("stat {path}"))?;
        // A tmpfs that masks a directory is not external.
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            list.message(opts::EXT_MNT, &rpc::pair(&path_of(root, path)?, NULL));
        }
    }
    Ok(())
}

/// For a restore: the source for each name.
pub fn at_restore(plan: &Plan, cgroup: &Cgroup, root: &RootFd, list: &mut Writer) -> Result<()> {
    for (place, source) in external_mounts(plan, cgroup, root)? {
        list.message(opts::EXT_MNT, &rpc::pair(&place, &source));
    }
    if !plan.masked.is_empty() {
        list.message(opts::EXT_MNT, &rpc::pair(NULL, NULL));
    }
    Ok(())
}

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// Mount point and source of each external mount, and of each device that may be one; CRIU
/// ignores keys that are not mounts.
fn external_mounts(plan: &Plan, cgroup: &Cgroup, root: &RootFd) -> Result<Pairs> {
    let mut pairs = Vec::new();
    for mount in &plan.mounts {
        match &mount.kind {
            MountKind::Bind { source, inside: None, .. } => {
                pairs.push((path_of(root, &mount.target)?, source.as_os_str().as_bytes().to_vec()));
            }
            MountKind::Cgroup { .. } if !cgroup.pure_v2 && !plan.namespaces.has(clone::NEWCGROUP) => {
                pairs.extend(cgroup_v1_mounts(mount, cgroup, root)?);
            }
            _ => {}
        }
    }
    if plan.namespaces.has(clone::NEWUSER) {
        for node in &plan.devices {
            let source = node.path.to_string().into_bytes();
            pairs.push((path_of(root, &node.path)?, source));
        }
    }
    Ok(pairs)
}

/// Without a cgroup namespace, the hierarchies of cgroup v1 are bind mounts.
fn cgroup_v1_mounts(mount: &MountPlan, cgroup: &Cgroup, root: &RootFd) -> Result<Pairs> {
    let pair = |dir: &crate::cgroup::Dir| {
        let place = path_of(root, &mount.target.join(dir.shown_as()))?;
        Ok((place, dir.path.as_os_str().as_bytes().to_vec()))
    };
    cgroup.dirs.iter().map(pair).collect()
}

/// The path of `path` with symlinks resolved in the root; a missing rest is appended as it is
/// written.
pub fn path_of(root: &RootFd, path: &InRoot) -> Result<Vec<u8>> {
    match root.open(path, OFlags::PATH) {
        Ok(found) => {
            let (top, place) = (link(root)?, link(&found)?);
            let below = place.strip_prefix(top.as_slice()).filter(|below| below.is_empty() || below.starts_with(b"/"));
            Ok(if top == b"/" { place } else { below.map_or(place.clone(), <[u8]>::to_vec) })
        }
        Err(Errno::NOENT | Errno::NOTDIR) if !path.is_root() => {
            let (above, name) = path.parent_and_name();
            let mut place = path_of(root, &above)?;
            if !place.ends_with(b"/") {
                place.push(b'/');
            }
            place.extend(name);
            Ok(place)
        }
        Err(errno) => Err(errno).doing(|| format!("find {path} in the container's root")),
    }
}

fn link(fd: impl AsFd) -> Result<Vec<u8>> {
    let path = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
    let text = rustix::fs::readlink(Path::new(&path), Vec::new()).doing(|| "resolve a path in the container's root")?;
    Ok(text.into_bytes())
}
