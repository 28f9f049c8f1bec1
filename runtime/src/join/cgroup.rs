//! The cgroup of a process that joins: the container's own, or a sub-cgroup (`--cgroup`).

use crate::bail;
use crate::cgroup::{Cgroup, CgroupHandle, Dir};
use crate::error::{Context, Error, Result};
use crate::host::proc_cgroup;
use crate::plan::cgroup::unit::Unit;
use crate::state::container::{Container, stopped};
use crate::state::process;
use crate::sys::clone::{self, Fork};
use rustix::io::Errno;

/// Opens the container's cgroup, or its sub-cgroups `below` (PATH, or CONTROLLERS:PATH).
/// Errors: a path with `..`, an unknown controller, a missing directory.
pub fn open_cgroup(container: &Container, below: &[String]) -> Result<CgroupHandle> {
    let mut cgroup = container.record.cgroup.clone();
    below.iter().try_for_each(|below| descend_into(&mut cgroup, below))?;
    cgroup.open()
}

/// Appends one `--cgroup` to the directories of the controllers that it names, or of all.
#[expect(clippy::disallowed_methods, reason = "the runtime's side: the host's cgroups")]
fn descend_into(cgroup: &mut Cgroup, below: &str) -> Result<()> {
    let (controllers, path) = match below.split_once(':') {
        Some((controllers, path)) => (Some(controllers), path),
        None => (None, below),
    };
    if path.split('/').any(|part| part == "..") {
        bail!("bad sub cgroup path: {path} is not a sub cgroup path, for it leads out of the container's");
    }
    let list = controllers.map(|list| list.split(',').collect::<Vec<_>>());
    if let Some(unknown) = list.iter().flatten().find(|name| !cgroup.dirs.iter().any(|dir| dir.has(name))) {
        bail!("--cgroup {below:?}: unknown controller {unknown}: the container has no such cgroup");
    }
    let chosen = |dir: &Dir| list.as_ref().is_none_or(|list| list.iter().any(|controller| dir.has(controller)));
    for dir in cgroup.dirs.iter_mut().filter(|dir| chosen(dir)) {
        dir.path.push(path.trim_start_matches('/'));
        if !dir.path.is_dir() {
            let procs = dir.path.join("cgroup.procs");
            return Err(Errno::NOENT)
                .doing(|| format!("error adding pid of exec to cgroups: open {}", procs.display()));
        }
    }
    Ok(())
}

/// Clones the intermediate process into the container's cgroup. Where that is refused:
/// - EBUSY: on cgroup v2 a cgroup with controllers enabled for its children holds no
///   processes (cgroup-v2.rst, "No Internal Process Constraint"): into the cgroup of init;
/// - EACCES: the caller may not move processes between the two parts of the tree, but
///   systemd may, whose unit the container is: the unit is returned for that.
pub fn fork_into_cgroup(container: &Container, handle: CgroupHandle) -> Result<(Fork, CgroupHandle, Option<&Unit>)> {
    match clone::clone3(0, handle.clone_into()) {
        Err(Errno::BUSY | Errno::OPNOTSUPP) => {
            let beside = handle.replace_v2(&init_cgroup(container)?)?;
            let fork = clone::clone3(0, beside.clone_into()).doing(|| "clone the new process")?;
            Ok((fork, beside, None))
        }
        Err(Errno::ACCESS) if container.record.cgroup.unit.is_some() => {
            let fork = clone::clone3(0, None).doing(|| "clone the new process")?;
            Ok((fork, CgroupHandle::default(), container.record.cgroup.unit.as_ref()))
        }
        result => Ok((result.doing(|| "clone the new process")?, handle, None)),
    }
}

/// The cgroup v2 directory that init is in.
fn init_cgroup(container: &Container) -> Result<std::path::PathBuf> {
    let pid = container.record.pid;
    let text = process::read(&container.init, pid, "cgroup")?.ok_or_else(stopped)?;
    let own = proc_cgroup::hierarchies(&text)
        .find_map(|(controllers, path)| controllers.is_empty().then(|| path.trim_start_matches('/')))
        .ok_or_else(|| Error::new(format!("/proc/{pid}/cgroup has no cgroup v2")))?;
    let mount = if container.record.cgroup.pure_v2 { "/sys/fs/cgroup" } else { "/sys/fs/cgroup/unified" };
    Ok(std::path::Path::new(mount).join(own))
}
