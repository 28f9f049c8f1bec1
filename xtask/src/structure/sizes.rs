//! A source file holds one idea: past 600 lines it has become several.

use crate::Result;
use crate::build::workspace;
use std::path::Path;

const MOST: usize = 600;
/// Tables, which grow with what they list.
const TABLES: [&str; 1] = ["runtime/src/seccomp/names.rs"];

pub fn too_long(directories: &[&str]) -> Result<Vec<String>> {
    let mut long = Vec::new();
    for directory in directories.iter().filter(|directory| !directory.contains('/')) {
        walk(&workspace().join(directory), &mut long)?;
    }
    Ok(long)
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
                long.push(format!("{name} has {lines} lines, and may have {MOST}"));
            }
        }
    }
    Ok(())
}
