//! `update`: changes limits of an existing container.

use crate::bail;
use crate::cgroup::{settings, systemd};
use crate::compat;
use crate::error::{Context, Error, Kind, Result};
use crate::plan::cgroup as plan;
use crate::spec::resources::Resources;
use crate::spec::{self, Spec, keys};
use crate::state::files::CONFIG;
use crate::state::{Record, StateDir, Status};
use serde_json::{Map, Value, json};
use std::path::Path;

/// The changes.
#[derive(Debug, Default)]
pub struct Changes {
    /// Fields of `linux.resources`. Null, and zero where it means "not set", change nothing.
    pub resources: Map<String, Value>,
    /// Schemata lines for the container's resctrl group.
    pub schemata: Vec<String>,
}

/// Merges the changes into the container's config.json, and writes the files of the
/// controllers concerned. Errors: [`Kind::NotRunning`]; a limit that the kernel refuses.
pub fn update(root: &Path, id: &str, changes: Changes) -> Result<()> {
    let dir = StateDir::open(root, id)?;
    let record = Record::require(&dir)?;
    match Status::of(&dir, &record) {
        Status::Running | Status::Created | Status::Paused => {}
        status => {
            let text = format!("{}: it is {}", compat::NOT_RUNNING, status.name());
            return Err(Error::of_kind(Kind::NotRunning, text));
        }
    }
    let Some(text) = dir.read(CONFIG)? else { bail!("{} has no config.json", dir.path().display()) };
    let what = || format!("parse {}/config.json", dir.path().display());
    let mut config: Value = serde_json::from_slice(&text).doing(what)?;
    let touched: Vec<String> = changes.resources.keys().cloned().collect();
    let resources = field(field(&mut config, "linux"), "resources");
    *resources = canonical(resources.take()).doing(what)?;
    merge(resources, &Value::Object(changes.resources), "");
    let text = serde_json::to_vec(&config).doing(what)?;
    let spec = spec::parse(&text).doing(|| "the new resources")?;
    change_schemata(&record, &changes.schemata)?;
    apply(&record, &spec, &touched)?;
    dir.write(CONFIG, &text)
}

fn change_schemata(record: &Record, lines: &[String]) -> Result<()> {
    match &record.resctrl {
        _ if lines.is_empty() => Ok(()),
        Some(groups) => groups.write_schemata(lines),
        None => bail!("the container has no Intel RDT (linux.intelRdt) whose schemata could change"),
    }
}

fn apply(record: &Record, spec: &Spec, touched: &[String]) -> Result<()> {
    let resources = spec.linux.as_ref().and_then(|linux| linux.resources.clone()).unwrap_or_default();
    let resources = resources.of_version(&spec.oci_version);
    let mut list = plan::settings(&resources, record.cgroup.pure_v2)?;
    list.retain(|setting| touched.iter().any(|name| controllers(name).contains(&setting.controller)));
    if resources.memory.as_ref().is_some_and(|memory| memory.check_before_update == Some(true)) {
        settings::refuse_less_than_used(&record.cgroup, &list)?;
    }
    if let Some(unit) = &record.cgroup.unit {
        // Otherwise systemd restores its own values at the next daemon-reload.
        systemd::set_properties(unit, &systemd::properties::of_settings(&list))?;
    }
    settings::change(&record.cgroup, &list)
}

/// The controllers that a field of `linux.resources` concerns.
fn controllers(field: &str) -> &'static [&'static str] {
    match field {
        "memory" => &["memory"],
        "cpu" => &["cpu", "cpuset"],
        "pids" => &["pids"],
        "blockIO" => &["io", "blkio"],
        "hugepageLimits" => &["hugetlb"],
        "network" => &["net_cls", "net_prio"],
        "rdma" => &["rdma"],
        "unified" => &["memory", "cpu", "cpuset", "pids", "io", "hugetlb", "rdma", "misc", ""],
        _ => &[],
    }
}

/// The value of a key, compared without case as Go's encoding/json does; null if absent.
fn field<'a>(value: &'a mut Value, name: &str) -> &'a mut Value {
    let key = value.as_object().map_or(name, |object| keys::find(object, name)).to_owned();
    &mut value[key]
}

/// `linux.resources` with the keys spelled as in the specification.
fn canonical(resources: Value) -> serde_json::Result<Value> {
    let resources: Option<Resources> = keys::from_value(resources)?;
    serde_json::to_value(resources.unwrap_or_default())
}

/// Merges the fields of `new` in `group` into `old`. Null, and zero where it means "not
/// set", change nothing, as under runc.
fn merge(old: &mut Value, new: &Value, group: &str) {
    const ZERO_COUNTS: [(&str, &str); 4] =
        [("cpu", "idle"), ("cpu", "burst"), ("memory", "swappiness"), ("pids", "limit")];
    let Value::Object(new) = new else {
        *old = new.clone();
        return;
    };
    if !old.is_object() {
        *old = json!({});
    }
    let Value::Object(old) = old else { return };
    for (name, value) in new {
        let is_unset = value.as_f64() == Some(0.0) && !ZERO_COUNTS.contains(&(group, name.as_str()));
        let is_empty = value.as_str() == Some("") || value.as_array().is_some_and(Vec::is_empty);
        if value.is_null() || is_unset || is_empty {
            continue;
        }
        merge(old.entry(name.as_str()).or_insert(Value::Null), value, name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_set_stays() {
        let mut old = json!({"memory": {"limit": 5, "swap": 7}, "pids": {"limit": 3}, "x": 1});
        merge(&mut old, &json!({"memory": {"limit": 0}}), "");
        merge(&mut old, &json!({"memory": {"swap": 9, "reservation": null}, "cpu": {"idle": 0, "cpus": ""}}), "");
        let new = json!({"memory": {"limit": 5, "swap": 9}, "pids": {"limit": 3}, "x": 1, "cpu": {"idle": 0}});
        assert_eq!(old, new);
    }
}
