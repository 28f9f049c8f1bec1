//! What the files of a container say. Each has a version: a newer firnctl reads what an older one
//! has left, and an older one refuses what it would misunderstand.

use crate::definition::schema::Definition;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The version that is written.
pub const VERSION: u32 = 1;

/// What is wanted of a container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Wanted {
    pub version: u32,
    pub origin: Origin,
    /// With what verbs have changed.
    pub definition: Definition,
    /// The definition as it came from `origin`, where verbs have changed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    written: Option<Definition>,
    /// The options that verbs have changed, with their values; `null`: it is left out.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    overrides: Map<String, Value>,
}

impl Wanted {
    /// As it is written.
    pub fn new(definition: Definition, origin: Origin) -> Self {
        Wanted { version: VERSION, origin, definition, written: None, overrides: Map::new() }
    }

    /// The definition as it came from its file.
    pub fn written(&self) -> &Definition {
        self.written.as_ref().unwrap_or(&self.definition)
    }

    /// The names of the options that verbs have changed.
    pub fn overridden(&self) -> Vec<&str> {
        self.overrides.keys().map(String::as_str).collect()
    }

    /// Another definition from the same file, with what verbs have changed before.
    pub fn rewritten(&self, definition: Definition, origin: Origin) -> Result<Self> {
        let mut options = options(&definition)?;
        for (name, value) in &self.overrides {
            match value {
                Value::Null => drop(options.remove(name)),
                value => drop(options.insert(name.clone(), value.clone())),
            }
        }
        let changed = serde_json::from_value(Value::Object(options)).context("read what verbs have changed")?;
        Wanted::new(definition, origin).changed(changed)
    }

    /// The same with options changed by verbs: those in which it differs from what is written.
    pub fn changed(&self, definition: Definition) -> Result<Self> {
        let (old, new) = (options(self.written())?, options(&definition)?);
        let names = old.keys().chain(new.keys()).filter(|name| old.get(*name) != new.get(*name));
        let overrides: Map<String, Value> =
            names.map(|name| (name.clone(), new.get(name).cloned().unwrap_or_default())).collect();
        let written = (!overrides.is_empty()).then(|| self.written().clone());
        Ok(Wanted { version: VERSION, origin: self.origin.clone(), definition, written, overrides })
    }
}

/// The options that a definition gives.
fn options(definition: &Definition) -> Result<Map<String, Value>> {
    match serde_json::to_value(definition).context("write a definition as JSON")? {
        Value::Object(options) => Ok(options),
        _ => Ok(Map::new()),
    }
}

/// Where a definition came from.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Origin {
    /// The project's file; none for standard input and expressions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// The definition's name in it, where that makes several containers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definition_name: Option<String>,
    /// It is of the host's configuration, as NixOS's is: only a change of that adds or removes it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_declared: bool,
}

impl Origin {
    /// The host's configuration has no containers any more.
    pub fn is_gone(&self) -> bool {
        self.is_declared && self.file.as_ref().is_none_or(|directory| !has_definitions(directory))
    }
}

/// NixOS may leave an empty directory.
fn has_definitions(directory: &Path) -> bool {
    let mut entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.any(|entry| entry.path().extension().is_some_and(|ending| ending == "json"))
}

/// What a container was started with, and has been given since.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Running {
    pub version: u32,
    pub definition: Definition,
    /// The store path that `path` or `flake` led to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<PathBuf>,
    /// Systems that have run since the start, whose store paths it still sees.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier_systems: Vec<PathBuf>,
    /// The layers that `rootFS` led to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<PathBuf>,
    /// The first id on the host, where it has a user namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_id: Option<u32>,
    /// The number of its generation.
    pub generation: u32,
    /// A change to this was begun, and has not come to its end: a system may not have been switched to.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_changing: bool,
}

/// What firnctl has done for a start, before there was a monitor.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Start {
    pub version: u32,
    pub began: SystemTime,
    /// Its steps in their order, and when each had ended.
    pub steps: Vec<(String, SystemTime)>,
}

impl Start {
    /// That begins now.
    pub fn begin() -> Self {
        Start { version: VERSION, began: SystemTime::now(), steps: Vec::new() }
    }

    /// A step has ended.
    pub fn step(&mut self, name: &str) {
        self.steps.push((name.into(), SystemTime::now()));
    }
}

/// A record that names its version.
pub trait Versioned {
    fn version(&self) -> u32;
}

impl Versioned for Wanted {
    fn version(&self) -> u32 {
        self.version
    }
}

impl Versioned for Start {
    fn version(&self) -> u32 {
        self.version
    }
}

impl Versioned for Running {
    fn version(&self) -> u32 {
        self.version
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn definition(json: Value) -> Definition {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn what_verbs_change_stays_until_it_is_written_too() {
        let first = Wanted::new(definition(json!({"memory": "64M", "pids": 9})), Origin::default());
        let changed = first.changed(definition(json!({"memory": "80M"}))).unwrap();
        assert_eq!(changed.overridden(), ["memory", "pids"]);
        assert_eq!(changed.written(), &first.definition);
        // The file says something else meanwhile.
        let again = changed.rewritten(definition(json!({"memory": "80M", "cpus": 2.0})), Origin::default()).unwrap();
        assert_eq!(again.definition, definition(json!({"memory": "80M", "cpus": 2.0})));
        assert!(again.overridden().is_empty(), "{again:?}");
        let again = changed.rewritten(definition(json!({"memory": "1G", "pids": 7})), Origin::default()).unwrap();
        assert_eq!(again.definition, definition(json!({"memory": "80M"})));
        assert_eq!(again.overridden(), ["memory", "pids"]);
        // As in a file, and back.
        let text = serde_json::to_string(&again).unwrap();
        assert_eq!(serde_json::from_str::<Wanted>(&text).unwrap(), again);
    }
}
