//! The identity of the host's boot, by which what an earlier one has left is known.

use firn::error::{Context, Result};
use std::fs;

/// A random number of this boot (random(4)).
pub(crate) fn id() -> Result<String> {
    let path = "/proc/sys/kernel/random/boot_id";
    Ok(fs::read_to_string(path).doing(|| format!("read {path}"))?.trim().to_owned())
}
