//! `cargo xtask structure`: how large files may grow, which way imports point, and that
//! what documents name exists.

mod imports;
mod layers;
mod references;
mod sizes;

use crate::Result;

/// The crates whose files are read, by directory.
const CRATES: [&str; 9] =
    ["runtime", "image", "image/init", "shim", "ctl", "ctl/network", "bench", "conformance", "xtask"];

pub fn check() -> Result<()> {
    let mut faults = sizes::too_long(&CRATES)?;
    for directory in CRATES {
        let root = crate::build::workspace().join(directory).join("src");
        if !root.is_dir() {
            continue;
        }
        let graph = imports::Graph::read(&root)?;
        faults.extend(graph.circles().into_iter().map(|circle| format!("{directory}/src: {circle} import each other")));
        faults.extend(layers::upward(directory, &graph));
    }
    faults.extend(references::broken()?);
    match faults.is_empty() {
        true => Ok(()),
        false => Err(format!("structure:\n  {}", faults.join("\n  ")).into()),
    }
}
