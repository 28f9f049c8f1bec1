//! A source file holds one idea: past 600 lines it has become several.

use crate::Result;
use crate::build::workspace;
use std::path::Path;

const MOST: usize = 600;
/// Tables, which grow with what they list.
const TABLES: [&str; 1] = ["runtime/src/seccomp/names.rs"];

pub fn check() -> Result<()> {
    let mut long = Vec::new();
    for folder in ["runtime", "image", "shim", "ctl", "bench", "conformance", "xtask"] {
        walk(&workspace().join(folder), &mut long)?;
    }
    if long.is_empty() {
        return Ok(());
    }
    Err(format!("files of more than {MOST} lines: {}", long.join(", ")).into())
}

fn walk(dir: &Path, long: &mut Vec<String>) -> Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            walk(&path, long)?;
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let lines = std::fs::read_to_string(&path)?.lines().count();
            let name = path.strip_prefix(workspace())?.to_string_lossy().into_owned();
            if lines > MOST && !TABLES.contains(&name.as_str()) {
                long.push(format!("{name} ({lines})"));
            }
        }
    }
    Ok(())
}
