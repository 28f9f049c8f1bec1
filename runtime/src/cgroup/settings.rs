//! The limits, written to the files of the container's cgroup.

use super::dir::{Dir, read, write};
use super::group::Cgroup;
use crate::bail;
use crate::compat;
use crate::error::{Context, Error, Result};
use crate::host;
use crate::plan::cgroup::setting::{Missing, Setting};
use rustix::io::Errno;

pub fn apply(cgroup: &Cgroup, settings: &[Setting]) -> Result<()> {
    for setting in settings {
        let Some(dir) = cgroup.controller(setting.controller) else {
            return Err(missing(setting.controller));
        };
        let written = match (write(&dir.path, &setting.file, &setting.value), &setting.missing) {
            (Err(Errno::NOENT), Missing::PassOver) => Ok(()),
            (Err(Errno::NOENT), Missing::Instead(file, value)) => write(&dir.path, file, value),
            (written, _) => written,
        };
        match written {
            Ok(()) => {}
            Err(Errno::NOENT) if cgroup.pure_v2 && !setting.controller.is_empty() && lacks(dir, setting.controller) => {
                return Err(missing(setting.controller));
            }
            Err(errno) => {
                return Err(errno)
                    .doing(|| format!("write {:?} to {}", setting.value, dir.path.join(&setting.file).display()));
            }
        }
    }
    Ok(())
}

fn lacks(dir: &Dir, controller: &str) -> bool {
    let controllers = read(&dir.path, "cgroup.controllers").unwrap_or_default();
    !controllers.split_whitespace().any(|name| name == controller)
}

fn missing(controller: &str) -> Error {
    if host::is_rootless() {
        return Error::new(format!(
            "{}: an ordinary user needs one that is delegated",
            compat::no_cgroup_for(controller)
        ));
    }
    Error::new(format!(
        "the config sets a limit of the {controller} controller, but this host's cgroups have none to give"
    ))
}

/// Changes limits of a container that runs. The kernel holds some against each
/// other (memory against memory with swap, quota against period): whichever is
/// refused is tried again when the others are written.
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

/// `memory.checkBeforeUpdate`: cgroup v2 would take the limit and kill.
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
