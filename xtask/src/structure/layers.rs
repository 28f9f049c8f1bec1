//! The layers of the runtime: what is further down imports nothing that is further up.

use super::imports::Graph;

/// From the top down.
#[rustfmt::skip]
const LAYERS: [&str; 23] = [
    "cli", "lifecycle", "criu", "join", "init", "create", "mount", "ipc", "state", "cgroup", "resctrl", "network",
    "plan", "seccomp", "spec", "host", "log", "path", "compat", "error", "time", "startup", "sys",
];

/// Imports that point up, and modules that have no layer.
pub fn upward(graph: &Graph) -> Vec<String> {
    let layer = |file: &str| {
        let module = file.split('/').next().unwrap_or(file).trim_end_matches(".rs");
        LAYERS.iter().position(|name| *name == module)
    };
    let mut faults = Vec::new();
    for (from, to) in graph.edges() {
        // Its table names the modules, and re-exports for the suite.
        if from == "lib.rs" {
            continue;
        }
        match (layer(from), layer(to)) {
            (Some(upper), Some(lower)) if upper <= lower => {}
            (None, _) => faults.push(format!("runtime/src/{from} has no layer")),
            (_, None) => faults.push(format!("runtime/src/{to} has no layer")),
            _ => faults.push(format!("runtime/src/{from} imports {to}, which lies above it")),
        }
    }
    faults.dedup();
    faults
}
