//! Writes limits to the files of the container's cgroup.

use super::dir::{Dir, read, write};
use super::group::Cgroup;
use crate::bail;
use crate::compat;
use crate::error::{Context, Error, Result};
use crate::host;
use crate::plan::cgroup::setting::{Missing, Setting};
use rustix::io::Errno;

/// Writes all settings. Errors: a controller that the host does not have; a value that the
/// kernel refuses.
pub fn apply(cgroup: &Cgroup, settings: &[Setting]) -> Result<()> {
    for setting in settings {
        let Some(dir) = cgroup.controller(setting.controller) else {
            return Err(missing_controller(setting.controller));
        };
        let written = match (write(&dir.path, &setting.file, &setting.value), &setting.missing) {
            (Err(Errno::NOENT), Missing::PassOver) => Ok(()),
            (Err(Errno::NOENT), Missing::Instead(file, value)) => write(&dir.path, file, value),
            (written, _) => written,
        };
        match written {
            Ok(()) => {}
            Err(Errno::NOENT)
                if cgroup.pure_v2 && !setting.controller.is_empty() && lacks_controller(dir, setting.controller) =>
            {
                return Err(missing_controller(setting.controller));
            }
            Err(errno) => {
                return Err(errno)
                    .doing(|| format!("write {:?} to {}", setting.value, dir.path.join(&setting.file).display()));
            }
        }
    }
    Ok(())
}

fn lacks_controller(dir: &Dir, controller: &str) -> bool {
    let controllers = read(&dir.path, "cgroup.controllers").unwrap_or_default();
    !controllers.split_whitespace().any(|name| name == controller)
}

fn missing_controller(controller: &str) -> Error {
    if host::is_rootless() {
        return Error::new(format!(
            "{}: an unprivileged user needs a delegated cgroup",
            compat::no_cgroup_for(controller)
        ));
    }
    Error::new(format!("set a limit of the {controller} controller: it is not available in this host's cgroups"))
}

/// Changes limits of a running container. The kernel checks some against each other (memory
/// against memory+swap, quota against period): one that is refused is written again after
/// the others.
pub fn change(cgroup: &Cgroup, settings: &[Setting]) -> Result<()> {
    let mut again = Vec::new();
    for setting in settings.chunks(1) {
        match apply(cgroup, setting) {
            Err(error) if error.errno() == Some(Errno::INVAL) => again.push(setting),
            result => result?,
        }
    }
    again.into_iter().try_for_each(|setting| apply(cgroup, setting))
}

/// `memory.checkBeforeUpdate`: on cgroup v2 a limit below the usage makes the kernel reclaim
/// and OOM-kill.
pub fn refuse_less_than_used(cgroup: &Cgroup, settings: &[Setting]) -> Result<()> {
    let Some(dir) = cgroup.controller("memory").filter(|_| cgroup.pure_v2) else { return Ok(()) };
    for (limit, usage) in [("memory.max", "memory.current"), ("memory.swap.max", "memory.swap.current")] {
        let Some(setting) = settings.iter().find(|setting| setting.file == limit) else { continue };
        let (Ok(limit), Ok(used)) = (setting.value.parse::<u64>(), read(&dir.path, usage)) else { continue };
        let used: u64 = used.trim().parse().unwrap_or(0);
        if limit < used {
            bail!("unable to set {} to {limit} (current usage: {used})", setting.file);
        }
    }
    Ok(())
}
