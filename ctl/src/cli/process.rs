//! `firnctl kill` and `top`: processes of a container, by `firn-shim` and `firn`.

use super::places::{PlaceArgs, find};
use crate::host::program;
use crate::view::answer::Form;
use anyhow::{Result, bail};
use clap::Args;
use std::convert::Infallible;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Kill a container, or send its init a signal.
#[derive(Debug, Args)]
pub struct KillArgs {
    /// Name of the container.
    name: String,
    /// Signal for init, by name or number. KILL ends all processes, and nothing is restarted.
    #[arg(default_value = "KILL")]
    signal: String,
}

/// Show the processes of a container, as the host sees them; as JSON their numbers.
#[derive(Debug, Args)]
pub struct TopArgs {
    /// Name of the container.
    name: String,
    #[command(flatten)]
    form: Form,
    /// Options of ps(1).
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "PS OPTIONS")]
    options: Vec<String>,
}

/// Sends the signal.
pub fn kill(arguments: &KillArgs, places: &PlaceArgs) -> Result<Infallible> {
    places.become_owner()?;
    let container = find(&places.places()?, &arguments.name)?;
    refuse_down(container.connect()?.is_some(), &container.name)?;
    let mut shim = Command::new(program("firn-shim"));
    shim.args(["kill", "--state-dir"]).arg(container.places().monitors()).args([&container.name, &arguments.signal]);
    bail!("run firn-shim: {}", shim.exec());
}

/// Prints the processes.
pub fn top(arguments: &TopArgs, places: &PlaceArgs) -> Result<Infallible> {
    places.become_owner()?;
    let container = find(&places.places()?, &arguments.name)?;
    refuse_down(container.connect()?.is_some(), &container.name)?;
    let mut firn = Command::new(program("firn"));
    if let Some(root) = container.places().runtime_root() {
        firn.arg("--root").arg(root);
    }
    firn.arg("ps").args(arguments.form.json.then_some("--format=json")).arg(&container.name).args(&arguments.options);
    bail!("run firn: {}", firn.exec());
}

fn refuse_down(runs: bool, name: &str) -> Result<()> {
    match runs {
        true => Ok(()),
        false => bail!("container {name}: does not run; `firnctl start {name}` starts it"),
    }
}
