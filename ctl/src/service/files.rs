//! What systemd finds of a container beside the template: a link by which it starts at boot, and a
//! drop-in with what must be there before it.

use super::unit::{Unit, is_booted, name_of, systemctl};
use crate::host::Places;
use anyhow::{Context, Result};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Not in /run: the host boots with it.
const DIRECTORY: &str = "/etc/systemd/system";
/// Of systemd.unit(5), "System Unit Search Path": for units and drop-ins that programs make.
const CONTROL: &str = "/etc/systemd/system.control";
const TARGET: &str = "machines.target";
const DROP_IN: &str = "firnctl.conf";

/// What a definition asks of systemd.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Requirements {
    pub at_boot: bool,
    /// Containers that are started before.
    pub containers: Vec<String>,
    /// Paths of the host that are mounted before.
    pub paths: Vec<String>,
}

impl Requirements {
    /// The drop-in; `None` where nothing is to be said.
    fn drop_in(&self) -> Option<String> {
        let units: Vec<String> = self.containers.iter().map(|container| name_of(container)).collect();
        let mut text = String::new();
        if !units.is_empty() {
            text += &format!("Wants={units}\nAfter={units}\n", units = units.join(" "));
        }
        for path in &self.paths {
            text += &format!("RequiresMountsFor={}\n", quoted(path));
        }
        (!text.is_empty()).then(|| format!("# Made by firnctl.\n[Unit]\n{text}"))
    }
}

/// Brings the files to what is required. Whether they have changed, which systemd is to be told by [`reload`]. Only
/// one process may do so at a time.
pub fn require(unit: &Unit, requirements: &Requirements) -> Result<bool> {
    let directory = directory();
    let link = link_of(unit.name());
    let is_new_at_boot = requirements.at_boot && std::fs::symlink_metadata(&link).is_err();
    let mut has_changed = is_new_at_boot;
    if is_new_at_boot {
        // Nothing starts it on a host without other containers; on NixOS the module does. First: a link that is
        // there is taken for done.
        if directory == Path::new(DIRECTORY) {
            systemctl(&["enable", "--quiet", TARGET])
                .with_context(|| format!("autoStart: {TARGET} is of the package systemd-container"))?;
        }
        make_directory(&directory.join(format!("{TARGET}.wants")))?;
        std::os::unix::fs::symlink(unit.template(), &link).with_context(|| format!("link {}", link.display()))?;
    } else if !requirements.at_boot {
        has_changed |= remove(&link)?;
    }
    let drop_in = drop_in_of(unit.name());
    has_changed |= match requirements.drop_in() {
        Some(text) if std::fs::read(&drop_in).is_ok_and(|old| old == text.as_bytes()) => false,
        Some(text) => {
            make_directory(drop_in.parent().context("a path of ours")?)?;
            let new = drop_in.with_extension("new");
            std::fs::write(&new, text)
                .and_then(|()| std::fs::rename(&new, &drop_in))
                .with_context(|| format!("write {}", drop_in.display()))?;
            true
        }
        None => remove_drop_in(unit.name())?,
    };
    Ok(has_changed)
}

/// Has systemd read its units anew.
pub fn reload() -> Result<()> {
    systemctl(&["daemon-reload"])
}

/// Removes them, and what systemd remembers of its end; also where the template is not installed any more.
pub fn forget(container: &str, places: &Places) -> Result<()> {
    if !places.are_default() {
        return Ok(());
    }
    let name = name_of(container);
    let was_at_boot = remove(&link_of(&name))?;
    let had_drop_in = remove_drop_in(&name)?;
    if !is_booted() {
        return Ok(());
    }
    if was_at_boot || had_drop_in {
        reload()?;
    }
    // Errors: it is not loaded, as it has not failed.
    let _ = systemctl(&["reset-failed", &name]);
    Ok(())
}

/// Where files of ours are: not where they are the host's configuration, as on NixOS.
fn directory() -> &'static Path {
    Path::new(if is_link(Path::new(DIRECTORY)) { CONTROL } else { DIRECTORY })
}

fn is_link(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|metadata| metadata.is_symlink())
}

fn link_of(unit: &str) -> PathBuf {
    directory().join(format!("{TARGET}.wants")).join(unit)
}

fn drop_in_of(unit: &str) -> PathBuf {
    directory().join(format!("{unit}.d")).join(DROP_IN)
}

/// What others have put beside it stays.
fn remove_drop_in(unit: &str) -> Result<bool> {
    let drop_in = drop_in_of(unit);
    let was_there = remove(&drop_in)?;
    if let Some(directory) = drop_in.parent().filter(|_| was_there) {
        let _ = std::fs::remove_dir(directory);
    }
    Ok(was_there)
}

/// Whether it was there.
fn remove(path: &Path) -> Result<bool> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        result => result.map(|()| true).with_context(|| format!("remove {}", path.display())),
    }
}

fn make_directory(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).with_context(|| format!("create directory {}", path.display()))
}

/// One word of a unit file (systemd.syntax(7), "Quoting"), without specifiers.
fn quoted(path: &str) -> String {
    let mut word = String::from('"');
    for c in path.chars() {
        match c {
            '"' | '\\' => word.extend(['\\', c]),
            '%' => word += "%%",
            '\n' => word += "\\n",
            c => word.push(c),
        }
    }
    word + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drop_in_names_units_and_paths() {
        assert_eq!(Requirements { at_boot: true, ..Requirements::default() }.drop_in(), None);
        let requirements = Requirements {
            at_boot: false,
            containers: vec!["db".into(), "my-cache".into()],
            paths: vec!["/srv/50% \"a\\b".into()],
        };
        assert_eq!(
            requirements.drop_in().unwrap(),
            "# Made by firnctl.\n[Unit]\nWants=firn@db.service firn@my-cache.service\n\
             After=firn@db.service firn@my-cache.service\nRequiresMountsFor=\"/srv/50%% \\\"a\\\\b\"\n"
        );
    }
}
