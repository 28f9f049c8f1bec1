//! What every guest gets, and where its output goes.

use crate::Result;
use crate::build::{BINARIES, release, workspace};
use std::path::PathBuf;

/// What every job begins with. /tmp may be a tmpfs with nosuid and nodev.
pub const ENVIRONMENT: &str =
    "export PATH=/var/firn/bin:$PATH FIRN_BIN=/var/firn/bin FIRN_DEBIAN_ROOT=/srv/debian TMPDIR=/var/tmp";

/// firn's programs and the tests' helpers.
pub fn programs() -> Result<Vec<(PathBuf, String)>> {
    let binaries = release()?;
    let helpers = ["firn-inside", "firn-attacker", "firn-suite"];
    let names = BINARIES.iter().chain(&helpers);
    Ok(names.map(|name| (binaries.join(name), format!("bin/{name}"))).collect())
}

/// Of the suite.
pub fn output_directory() -> PathBuf {
    workspace().join("target/vm")
}
