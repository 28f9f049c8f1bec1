//! The file `owner`: with which runtime a container was made, for the monitor that comes after
//! one that was killed.

use super::dir::StateDir;
use crate::runtime::command::Runtime;
use firn::error::{Context, Result};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;

const NAME: &str = "owner";

/// Writes the file, before the first `create`.
pub(crate) fn write(dir: &StateDir, runtime: &Runtime) -> Result<()> {
    let path = dir.file(NAME);
    let text = serde_json::json!({"program": runtime.program, "root": runtime.root}).to_string();
    fs::write(&path, text).doing(|| format!("write {}", path.display()))
}

/// The runtime that the file names, with everything else as in `current`; `None` without a file,
/// as the last monitor ended by itself. One that was cut off by a crash names the current one.
pub(super) fn read(dir: &StateDir, current: &Runtime) -> Option<Runtime> {
    let text = fs::read(dir.file(NAME)).ok()?;
    let owner: Value = serde_json::from_slice(&text).unwrap_or_default();
    let path = |name: &str| owner.get(name).and_then(Value::as_str).map(PathBuf::from);
    let root = if owner.is_object() { path("root") } else { current.root.clone() };
    let program = path("program").unwrap_or_else(|| current.program.clone());
    Some(Runtime { program, root, ..current.clone() })
}
