//! Changes of a container that runs: mounts, limits, and what is read when it is needed.

use super::{bundle, network};
use crate::difference::Live;
use crate::generation::{Container, Locked, Running};
use crate::host::program;
use crate::wanted::mounts::Mount;
use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde_json::Value;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// The runtime's of root (firn(1), --root).
const RUNTIME_ROOT: &str = "/run/firn";

/// Applies the changes, which are a generation then.
pub fn apply(container: &Locked<'_>, running: &Running, wanted: Running, live: &Live) -> Result<()> {
    change(container, running, wanted, live)?;
    record(container)
}

/// Records what runs as a generation.
pub fn record(container: &Locked<'_>) -> Result<()> {
    let what = || format!("container {}", container.name);
    let run = container.running()?.with_context(what)?;
    let run = container.history().record(run).with_context(what)?;
    container.set_running(&run).with_context(what)
}

/// Applies the changes. On failure what was changed stays so, and is not recorded: the next call does
/// it again.
pub fn change(container: &Locked<'_>, running: &Running, mut wanted: Running, live: &Live) -> Result<()> {
    let what = || format!("container {}", container.name);
    wanted.first_id = running.first_id;
    let is_update = running.system != wanted.system;
    // What runs goes on with the store paths that it has.
    let shown = running.system.iter().chain(&running.earlier_systems);
    wanted.earlier_systems = shown.filter(|system| wanted.system.as_ref() != Some(*system)).cloned().collect();
    let made = bundle::make(container, &wanted).with_context(what)?;
    if is_update {
        let bundle = made.to_str().context("a path of firnctl's is no UTF-8")?;
        runtime(container, &["mounts", "closure", &container.name, bundle], None::<&str>).with_context(what)?;
    }
    if let Some(limits) = &live.limits {
        runtime(container, &["update", "--resources", "-", &container.name], Some(limits)).with_context(what)?;
    }
    if !live.network.is_empty() {
        network::change(container, &wanted.definition).with_context(what)?;
    }
    unmount(container, &live.gone).with_context(what)?;
    change_mounts(container, "add", &live.come).with_context(what)?;
    wanted.generation = running.generation;
    // Until it is recorded: if firnctl is killed meanwhile, the next one does it again.
    wanted.is_changing = true;
    container.set_running(&wanted).with_context(what)?;
    // A restart that the container asks for is one of what it is now.
    container.use_bundle(&made).with_context(what)
}

/// Whether the runtime has something of the container, as where its monitor was killed before the runtime began.
/// One of this name that has another program's bundle is that program's.
pub fn is_known(container: &Container) -> bool {
    let root = container.places().runtime_root().unwrap_or(Path::new(RUNTIME_ROOT));
    if !root.join(&container.name).exists() {
        return false;
    }
    let output = firn(container).args(["state", &container.name]).stdin(Stdio::null()).output();
    let state = output.ok().and_then(|output| serde_json::from_slice::<Value>(&output.stdout).ok());
    let ours = [container.run_dir(), container.places().monitors().join(&container.name)];
    let ours = ours.map(|directory| std::fs::canonicalize(&directory).unwrap_or(directory));
    // Without a record it was being made.
    state.as_ref().and_then(|state| state["bundle"].as_str()).is_none_or(|bundle| {
        let bundle = std::fs::canonicalize(bundle).unwrap_or_else(|_| bundle.into());
        ours.iter().any(|directory| bundle.starts_with(directory))
    })
}

/// Deletes the container in the runtime, whatever its monitor does.
pub fn delete(container: &Container) -> Result<()> {
    runtime(container, &["delete", "--force", &container.name], None::<&str>)
}

/// What an earlier try has unmounted already, or the container itself, is no error.
fn unmount(container: &Container, mounts: &[Mount]) -> Result<()> {
    for mount in mounts {
        match change_mounts(container, "remove", std::slice::from_ref(mount)) {
            Err(error) if format!("{error:#}").contains("nothing is mounted there") => {}
            result => result?,
        }
    }
    Ok(())
}

fn change_mounts(container: &Container, verb: &str, mounts: &[Mount]) -> Result<()> {
    match mounts {
        [] => Ok(()),
        mounts => runtime(container, &["mounts", verb, &container.name, "/dev/stdin"], Some(mounts)),
    }
}

/// The runtime, with its directory.
fn firn(container: &Container) -> Command {
    let mut firn = Command::new(program("firn"));
    if let Some(root) = container.places().runtime_root() {
        firn.arg("--root").arg(root);
    }
    firn
}

/// Calls the runtime, with JSON on its stdin.
fn runtime<T: Serialize + ?Sized>(container: &Container, arguments: &[&str], input: Option<&T>) -> Result<()> {
    let mut child = firn(container)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("run firn")?;
    let text = input.map(serde_json::to_vec).transpose().context("write JSON")?.unwrap_or_default();
    // One that does not read it says why below.
    let _ = child.stdin.take().map(|mut stdin| stdin.write_all(&text));
    let output = child.wait_with_output().context("wait for firn")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("firn {}: {}", arguments[0], said.trim());
    }
    Ok(())
}
