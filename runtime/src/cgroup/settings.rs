//! The limits, written to the files of the container's cgroup.

use super::{Cgroup, write};
use crate::error::{Context, Error, Result};
use crate::plan::cgroup::{Missing, Setting};
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
            Err(Errno::NOENT) if cgroup.pure_v2 && lacks(dir, setting.controller) => {
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

fn lacks(dir: &super::Dir, controller: &str) -> bool {
    let controllers = super::read(&dir.path, "cgroup.controllers").unwrap_or_default();
    !controllers.split_whitespace().any(|name| name == controller)
}

fn missing(controller: &str) -> Error {
    Error::new(format!(
        "the config sets a limit of the {controller} controller, but this host's cgroups have none to give"
    ))
}
