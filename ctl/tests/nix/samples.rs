//! A value for every option of a container that is not its default, and that goes with `path`.

use serde_json::{Map, Value, json};

/// By option: what a definition has for it, with what it needs beside it.
pub fn samples() -> Map<String, Value> {
    serde_json::from_str(include_str!("samples.json")).expect("JSON")
}

/// A container that every sample differs from: with no more than a system.
pub fn with(more: &Value) -> Map<String, Value> {
    let mut definition = Map::from_iter([("path".into(), json!("/nix/store/system"))]);
    definition.extend(more.as_object().expect("an object").clone());
    definition.retain(|_, value| !value.is_null());
    definition
}
