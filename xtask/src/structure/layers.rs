//! The layers of the crates: what is further down imports nothing that is further up.

use super::imports::Graph;

/// The modules of a crate, from the top down.
#[rustfmt::skip]
const LAYERS: [(&str, &[&str]); 4] = [
    ("runtime", &[
        "cli", "lifecycle", "criu", "join", "init", "create", "mount", "ipc", "state", "cgroup", "resctrl", "network",
        "plan", "seccomp", "spec", "host", "log", "path", "compat", "error", "time", "startup", "sys",
    ]),
    ("image", &["cli", "build", "bundle", "store", "rootfs", "layer", "source", "sandbox", "caller", "oci", "tar", "progress", "sys"]),
    ("shim", &[
        "cli", "container", "control", "keeper", "state", "bundle", "runtime", "notify", "io", "reactor", "process", "signal", "stream", "sys",
    ]),
    ("ctl", &[
        "main", "cli", "view", "apply", "access", "difference", "wanted", "log", "generation", "service", "definition", "host", "xdg", "interrupt",
    ]),
];

/// Imports that point up, and modules that have no layer; nothing for a crate without layers.
pub fn upward(directory: &str, graph: &Graph) -> Vec<String> {
    let Some((_, layers)) = LAYERS.iter().find(|(name, _)| *name == directory) else { return Vec::new() };
    let layer = |file: &str| {
        let module = file.split('/').next().unwrap_or(file).trim_end_matches(".rs");
        layers.iter().position(|name| *name == module)
    };
    let mut faults = Vec::new();
    for (from, to) in graph.edges() {
        // Its table names the modules, and re-exports for the suite.
        if from == "lib.rs" {
            continue;
        }
        match (layer(from), layer(to)) {
            (Some(upper), Some(lower)) if upper <= lower => {}
            (None, _) => faults.push(format!("{directory}/src/{from} has no layer")),
            (_, None) => faults.push(format!("{directory}/src/{to} has no layer")),
            _ => faults.push(format!("{directory}/src/{from} imports {to}, which lies above it")),
        }
    }
    faults.dedup();
    faults
}
