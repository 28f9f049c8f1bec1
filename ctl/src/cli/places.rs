//! Options of every verb that touches containers, and the names that it is given.

use crate::definition::mistake::hint;
use crate::generation::{self, Container};
use crate::host::{AUTHORIZED_KEYS, HOSTS_FILE, Places, RUN_DIR, STATE_DIR};
use anyhow::{Result, bail};
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
}

impl PlaceArgs {
    /// The options with what they were given.
    pub fn options(&self) -> [(&'static str, &Path); 4] {
        [
            ("--state-dir", &self.state_dir),
            ("--run-dir", &self.run_dir),
            ("--hosts-file", &self.hosts_file),
            ("--authorized-keys", &self.authorized_keys),
        ]
    }

    pub fn places(&self) -> Result<Places> {
        Places::new(&self.state_dir, &self.run_dir, &self.hosts_file, &self.authorized_keys)
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
