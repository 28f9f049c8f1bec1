//! Options of every verb that touches containers, and the names that it is given.

use crate::definition::mistake::hint;
use crate::generation::{self, Container};
use crate::host::{self, AUTHORIZED_KEYS, HOSTS_FILE, Places, RUN_DIR, STATE_DIR};
use anyhow::{Context, Result, bail};
use clap::Args;
use std::path::{Path, PathBuf};

/// Where containers are kept.
#[derive(Debug, Args)]
pub struct PlaceArgs {
    /// Directory of what stays of containers when the host reboots.
    #[arg(long, value_name = "DIR", default_value = STATE_DIR, global = true, help_heading = "Global options")]
    state_dir: PathBuf,

    /// Directory of what does not.
    #[arg(long, value_name = "DIR", default_value = RUN_DIR, global = true, help_heading = "Global options")]
    run_dir: PathBuf,

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
        let mut options: Vec<(_, &Path)> = match &self.project {
            Some(project) => vec![("--project", project)],
            None => vec![("--state-dir", &self.state_dir), ("--run-dir", &self.run_dir)],
        };
        options.push(("--hosts-file", &self.hosts_file));
        options.push(("--authorized-keys", &self.authorized_keys));
        options
    }

    pub fn places(&self) -> Result<Places> {
        let (state, run) = match self.project()? {
            Some(project) => host::of_project(&project),
            None => (self.state_dir.clone(), self.run_dir.clone()),
        };
        Places::new(&state, &run, &self.hosts_file, &self.authorized_keys)
    }

    /// The directory of the project.
    pub fn project(&self) -> Result<Option<PathBuf>> {
        let real =
            |path: &PathBuf| std::fs::canonicalize(path).with_context(|| format!("--project {}", path.display()));
        self.project.as_ref().map(real).transpose()
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
