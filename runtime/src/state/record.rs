//! The state record of a container (state.json). It is written before the first resource is
//! created, so that `delete --force` can always remove all of them.

use super::files::{CONFIG, RECORD};
use super::keyring::Keyring;
use super::{StateDir, process};
use crate::bail;
use crate::cgroup::Cgroup;
use crate::error::{Context, Error, Result};
use crate::resctrl::Groups;
use crate::spec::hooks::Hooks;
use crate::spec::{self, Spec};
use rustix::process::Pid;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    pub oci_version: String,
    pub id: String,
    /// Pid of init in the host's pid namespace; 0 until init is ready.
    pub pid: i32,
    /// Start time of init, in clock ticks since boot.
    pub start_time: u64,
    pub bundle: PathBuf,
    pub rootfs: PathBuf,
    /// Time of creation, RFC 3339.
    pub created: String,
    pub owner: u32,
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    #[serde(default)]
    pub cgroup: Cgroup,
    /// The resctrl groups, if the config has `linux.intelRdt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resctrl: Option<Groups>,
    /// The session keyring. Its name is a secret.
    #[serde(default)]
    pub keyring: Keyring,
    /// Whether the container has a pid namespace of its own; otherwise other processes may
    /// outlive init.
    pub own_pid_namespace: bool,
    /// `--no-pivot`: the root was moved over the host's in the container's mount namespace.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub root_is_moved: bool,
    /// Hooks have begun to run, so the poststop hooks must run.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hooks_begun: bool,
    /// Names of the standard streams that are pipes, for checkpoints, as in
    /// `ConsolePair::names`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub streams: Vec<String>,
}

impl Record {
    /// Writes the record.
    pub fn save(&self, dir: &StateDir) -> Result<()> {
        let text = serde_json::to_vec(self).doing(|| "serialize the state record")?;
        dir.write(RECORD, &text)
    }

    /// Records init's pid and start time.
    pub fn begin(&mut self, init: Pid, dir: &StateDir) -> Result<()> {
        self.pid = init.as_raw_nonzero().get();
        self.start_time = process::stat(self.pid).map_or(0, |stat| stat.start);
        self.save(dir)
    }

    /// Records that hooks have begun, if there are poststop hooks.
    pub fn begin_hooks(&mut self, hooks: &Hooks, dir: &StateDir) -> Result<()> {
        if hooks.poststop.is_empty() {
            return Ok(());
        }
        self.hooks_begun = true;
        self.save(dir)
    }

    /// The working directory of hooks: the bundle. None if it no longer exists.
    pub fn hooks_directory(&self) -> Option<&Path> {
        Some(self.bundle.as_path()).filter(|bundle| bundle.is_dir())
    }

    /// The hooks of the config at `create`.
    pub fn hooks(dir: &StateDir) -> Result<Hooks> {
        Ok(Record::config(dir)?.and_then(|spec| spec.hooks).unwrap_or_default())
    }

    /// Loads the record. None if there is none: `create` was killed before it wrote it. Errors:
    /// a record that is not trusted.
    pub fn load(dir: &StateDir) -> Result<Option<Self>> {
        let path = || format!("{}/state.json", dir.path().display());
        let Some(text) = dir.read(RECORD)? else { return Ok(None) };
        let record: Self = serde_json::from_slice(&text).doing(path)?;
        // A state directory that was renamed, not by firn.
        if dir.path().file_name() != Some(record.id.as_ref()) {
            bail!("{} is not trusted: it is the record of {:?}", path(), record.id);
        }
        Ok(Some(record))
    }

    /// The config at `create`. None if `create` was killed before it wrote it.
    pub fn config(dir: &StateDir) -> Result<Option<Spec>> {
        let what = || format!("parse {}/config.json", dir.path().display());
        dir.read(CONFIG)?.map(|text| spec::parse(&text).doing(what)).transpose()
    }

    /// The same for commands that need one. Errors: there is none.
    pub fn require_config(dir: &StateDir) -> Result<Spec> {
        let missing = || Error::new(format!("{} has no config.json", dir.path().display()));
        Self::config(dir)?.ok_or_else(missing)
    }

    /// Loads the record, for commands that need one. Errors: there is none.
    pub fn require(dir: &StateDir) -> Result<Self> {
        let missing = || Error::new(format!("{} has no state record: delete --force removes it", dir.path().display()));
        Self::load(dir)?.ok_or_else(missing)
    }
}
