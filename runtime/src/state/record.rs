//! What is known of a container between commands. Written before the first
//! object is made, so that `delete --force` can always clear up.

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
    /// Of init, as the host counts; 0 until it is ready.
    pub pid: i32,
    /// When init started, in clock ticks since boot.
    pub start_time: u64,
    pub bundle: PathBuf,
    pub rootfs: PathBuf,
    /// RFC 3339.
    pub created: String,
    pub owner: u32,
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    #[serde(default)]
    pub cgroup: Cgroup,
    /// Its shares of caches, where the config has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resctrl: Option<Groups>,
    /// The session keyring, with its secret name.
    #[serde(default)]
    pub keyring: Keyring,
    /// Whether init has a pid namespace of its own: if not, other processes
    /// outlive it.
    pub own_pid_namespace: bool,
    /// Its root was moved over the host's in its mount namespace (`--no-pivot`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub root_is_moved: bool,
    /// Hooks have begun, and those of `poststop` are owed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hooks_begun: bool,
    /// Its standard streams, where there are pipes among them, by the names that
    /// a checkpoint has for them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub streams: Vec<String>,
}

impl Record {
    pub fn save(&self, dir: &StateDir) -> Result<()> {
        let text = serde_json::to_vec(self).doing(|| "write the state record")?;
        dir.write(RECORD, &text)
    }

    /// Notes the container's process.
    pub fn begin(&mut self, init: Pid, dir: &StateDir) -> Result<()> {
        self.pid = init.as_raw_nonzero().get();
        self.start_time = process::stat(self.pid).map_or(0, |stat| stat.start);
        self.save(dir)
    }

    /// Notes that hooks have begun, where others are to follow them at the end.
    pub fn begin_hooks(&mut self, hooks: &Hooks, dir: &StateDir) -> Result<()> {
        if hooks.poststop.is_empty() {
            return Ok(());
        }
        self.hooks_begun = true;
        self.save(dir)
    }

    /// Where the hooks of the host run, unless it is gone meanwhile.
    pub fn hooks_directory(&self) -> Option<&Path> {
        Some(self.bundle.as_path()).filter(|bundle| bundle.is_dir())
    }

    /// The hooks of the config as it was at `create`.
    pub fn hooks(dir: &StateDir) -> Result<Hooks> {
        Ok(Record::config(dir)?.and_then(|spec| spec.hooks).unwrap_or_default())
    }

    /// A directory without a record belongs to a `create` that died at once.
    pub fn load(dir: &StateDir) -> Result<Option<Self>> {
        let path = || format!("{}/state.json", dir.path().display());
        let Some(text) = dir.read(RECORD)? else { return Ok(None) };
        let record: Self = serde_json::from_slice(&text).doing(path)?;
        // It was moved there, and not by us.
        if dir.path().file_name() != Some(record.id.as_ref()) {
            bail!("{} is not trusted: it is the record of {:?}", path(), record.id);
        }
        Ok(Some(record))
    }

    /// The config as it was at `create`. None where a `create` was cut off.
    pub fn config(dir: &StateDir) -> Result<Option<Spec>> {
        let what = || format!("parse {}/config.json", dir.path().display());
        dir.read(CONFIG)?.map(|text| spec::parse(&text).doing(what)).transpose()
    }

    pub fn need_config(dir: &StateDir) -> Result<Spec> {
        let missing = || Error::new(format!("{} has no config.json", dir.path().display()));
        Self::config(dir)?.ok_or_else(missing)
    }

    /// The record, for commands that can do nothing without one.
    pub fn need(dir: &StateDir) -> Result<Self> {
        let missing = || Error::new(format!("{} has no state record: delete --force removes it", dir.path().display()));
        Self::load(dir)?.ok_or_else(missing)
    }
}
