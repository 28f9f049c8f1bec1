//! The state of a container (runtime-spec, runtime.md, "State"): for hooks and seccomp
//! agents, and with runc's additions for `state` and `list`.

use super::{Record, StateDir, Status};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// runtime-spec, runtime.md, "State", with runc's additions: rootfs, created (RFC 3339),
/// owner.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    pub oci_version: String,
    pub id: String,
    pub pid: i32,
    pub status: &'static str,
    pub bundle: PathBuf,
    pub rootfs: PathBuf,
    pub created: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    pub owner: String,
}

impl State {
    /// The state of the container with this directory and record.
    pub fn of(dir: &StateDir, record: Record) -> Self {
        let status = Status::of(dir, &record);
        State {
            pid: if status == Status::Stopped { 0 } else { record.pid },
            status: status.name(),
            owner: if record.owner == 0 { "root".into() } else { record.owner.to_string() },
            oci_version: record.oci_version,
            id: record.id,
            bundle: record.bundle,
            rootfs: record.rootfs,
            created: record.created,
            annotations: record.annotations,
        }
    }
}

/// The state for hooks as JSON (runtime-spec, runtime.md, "State").
pub fn state_json(record: &Record, status: Status, pid: i32) -> String {
    state(record, status, pid).to_string()
}

/// The same as a [`serde_json::Value`].
pub fn state(record: &Record, status: Status, pid: i32) -> serde_json::Value {
    let mut state = serde_json::json!({
        "ociVersion": record.oci_version,
        "id": record.id,
        "status": status.name(),
        "pid": pid,
        "bundle": record.bundle,
    });
    if !record.annotations.is_empty() {
        state["annotations"] = serde_json::json!(record.annotations);
    }
    state
}
