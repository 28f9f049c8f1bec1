//! Options of every verb that touches containers, and the names that it is given.

use crate::definition::mistake::hint;
use crate::generation::{self, Container};
use crate::host::{self, AUTHORIZED_KEYS, HOSTS_FILE, Owner, Places, become_root};
use anyhow::{Context, Result, bail};
use clap::Args;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// The same as `--rootless`, for a shell or a whole session.
const ROOTLESS: &str = "FIRNCTL_ROOTLESS";

/// Whose containers are meant, and where they are kept.
#[derive(Debug, Args)]
pub struct PlaceArgs {
    /// The caller's own containers, each in a user namespace, without root; also by FIRNCTL_ROOTLESS=1. Without it
    /// an ordinary user's call is run by sudo, and is of the containers of the machine.
    #[arg(long, global = true, help_heading = "Global options")]
    rootless: bool,

    /// Directory of what stays of containers when the host reboots [default: /var/lib/firnctl; with --rootless
    /// $XDG_STATE_HOME/firnctl].
    #[arg(long, value_name = "DIR", global = true, help_heading = "Global options")]
    state_dir: Option<PathBuf>,

    /// Directory of what does not [default: /run/firnctl; with --rootless $XDG_RUNTIME_DIR/firnctl].
    #[arg(long, value_name = "DIR", global = true, help_heading = "Global options")]
    run_dir: Option<PathBuf>,

    /// File of host names in which the containers with addresses are, as NAME.containers.
    #[arg(long, value_name = "FILE", default_value = HOSTS_FILE, global = true, help_heading = "Global options")]
    hosts_file: PathBuf,

    /// File of keys in which those of sshKeys are, for the host's sshd.
    #[arg(long, value_name = "FILE", default_value = AUTHORIZED_KEYS, global = true, help_heading = "Global options")]
    authorized_keys: PathBuf,

    /// Directory of a project: its containers are kept apart from others, in DIR/.firn, and relative paths of
    /// its definitions count from it, wherever those are.
    #[arg(
        long,
        value_name = "DIR",
        global = true,
        conflicts_with_all = ["state_dir", "run_dir"],
        help_heading = "Global options"
    )]
    project: Option<PathBuf>,
}

impl PlaceArgs {
    /// The options with what they were given.
    pub fn options(&self) -> Vec<(&'static str, &Path)> {
        let given = [("--project", &self.project), ("--state-dir", &self.state_dir), ("--run-dir", &self.run_dir)];
        let mut options: Vec<(_, &Path)> =
            given.into_iter().filter_map(|(option, path)| Some((option, path.as_deref()?))).collect();
        options.push(("--hosts-file", &self.hosts_file));
        options.push(("--authorized-keys", &self.authorized_keys));
        options
    }

    /// Whose containers are meant. Errors: root asks for those of an ordinary user.
    pub fn owner(&self) -> Result<Owner> {
        let is_root = nix::unistd::geteuid().is_root();
        if self.rootless && is_root {
            bail!("--rootless: is for ordinary users; root's containers need no option");
        }
        // Of a root shell that has inherited the variable from a user's, the containers are the machine's.
        let asks = self.rootless || !is_root && is_set(std::env::var_os(ROOTLESS).as_deref())?;
        Ok(if asks { Owner::User } else { Owner::Root })
    }

    /// Runs the same again by sudo where the containers are root's, and we are not.
    pub fn become_owner(&self) -> Result<()> {
        match self.owner()? {
            Owner::User => Ok(()),
            Owner::Root => become_root(),
        }
    }

    pub fn places(&self) -> Result<Places> {
        let owner = self.owner()?;
        let (state, run) = match self.project()? {
            Some(project) => host::of_project(owner, &project)?,
            None => {
                let given = |path: &Option<PathBuf>, default: fn(Owner) -> Result<PathBuf>| {
                    path.clone().map_or_else(|| default(owner), Ok)
                };
                (given(&self.state_dir, host::state_dir)?, given(&self.run_dir, host::run_dir)?)
            }
        };
        Places::new(owner, &state, &run, &self.hosts_file, &self.authorized_keys)
    }

    /// The directory of the project.
    pub fn project(&self) -> Result<Option<PathBuf>> {
        let real =
            |path: &PathBuf| std::fs::canonicalize(path).with_context(|| format!("--project {}", path.display()));
        self.project.as_ref().map(real).transpose()
    }
}

/// Whether the variable says yes.
fn is_set(value: Option<&OsStr>) -> Result<bool> {
    match value.map(OsStr::to_string_lossy).as_deref() {
        None | Some("" | "0" | "no" | "false") => Ok(false),
        Some("1" | "yes" | "true") => Ok(true),
        Some(other) => bail!("{ROOTLESS}={other}: give 1 or 0"),
    }
}

/// The container of a name. Errors: none is installed by it.
pub fn find(places: &Places, name: &str) -> Result<Container> {
    let all = generation::all(places)?;
    match all.iter().find(|container| container.name == name) {
        Some(container) => Ok(container.clone()),
        None => {
            let hint = hint(name, all.iter().map(|container| &*container.name));
            bail!("container {name}: there is none{hint}; `firnctl list` has them all")
        }
    }
}

/// The containers of these names; all where `all` is set.
pub fn find_all(places: &Places, names: &[String], all: bool) -> Result<Vec<Container>> {
    match all {
        true => generation::all(places),
        false => names.iter().map(|name| find(places, name)).collect(),
    }
}
