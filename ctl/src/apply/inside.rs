//! Programs that are run in a container for us.

use crate::generation::Container;
use crate::host::program;
use anyhow::{Context, Result};
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// The last directories of PATH.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs a program in the container, and waits for its end. `system`: whose programs come first in PATH.
pub fn run(container: &Container, system: Option<&Path>, command: &[String]) -> Result<Output> {
    let mut path: Vec<String> = Vec::new();
    path.extend(
        system.into_iter().flat_map(|system| ["sw/bin", "bin"].map(|dir| system.join(dir).display().to_string())),
    );
    path.push(DEFAULT_PATH.into());
    let mut shim = Command::new(program("firn-shim"));
    shim.args(["exec", "--no-stdin", "--state-dir"]).arg(container.places().monitors());
    shim.args(["--user", "0:0", "--env", &format!("PATH={}", path.join(":")), "--env", "HOME=/root"]);
    shim.arg(&container.name).args(command).stdin(Stdio::null());
    shim.output().context("run firn-shim")
}

/// The units of systemd that have failed; none where it is no systemd that runs.
pub fn failed_units(container: &Container, system: Option<&Path>) -> Vec<String> {
    let words = ["systemctl", "list-units", "--state=failed", "--plain", "--no-legend", "--no-pager"];
    let output = run(container, system, &words.map(String::from));
    let text = output.ok().filter(|output| output.status.success()).map(|output| output.stdout).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    text.lines().filter_map(|line| line.split_whitespace().next().map(String::from)).collect()
}
