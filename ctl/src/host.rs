//! Where firnctl keeps things on this host, and the programs that act for it.

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};

/// What stays when the host reboots.
pub const STATE_DIR: &str = "/var/lib/firnctl";
/// What does not.
pub const RUN_DIR: &str = "/run/firnctl";
/// The monitors' own default.
const MONITORS: &str = "/run/firn/shim";

/// The directories of a host.
#[derive(Debug, Clone)]
pub struct Places {
    state: PathBuf,
    run: PathBuf,
    monitors: PathBuf,
    /// Of the runtime; its default if `None`.
    runtime_root: Option<PathBuf>,
    /// Of firn-image; its default if `None`.
    layer_store: Option<PathBuf>,
}

impl Places {
    /// What `firn`, `firn-shim` and `firn-image` know without options, unless firnctl has directories of its
    /// own.
    pub fn new(state: &Path, run: &Path) -> Result<Self> {
        let absolute = |path: &Path| std::path::absolute(path).with_context(|| path.display().to_string());
        let (state, run) = (absolute(state)?, absolute(run)?);
        let is_own = run != Path::new(RUN_DIR);
        let monitors = if is_own { run.join("monitors") } else { MONITORS.into() };
        let layer_store = (state != Path::new(STATE_DIR)).then(|| state.join("layers"));
        Ok(Places { state, monitors, runtime_root: is_own.then(|| run.join("runtime")), layer_store, run })
    }

    /// Whether they are those of the whole machine, which firnctl has without options.
    pub fn are_default(&self) -> bool {
        self.state == Path::new(STATE_DIR) && self.run == Path::new(RUN_DIR)
    }

    /// What is kept of all containers, a directory each.
    pub fn containers(&self) -> PathBuf {
        self.state.join("containers")
    }

    /// What is kept of a container until the host reboots.
    pub fn running(&self, name: &str) -> PathBuf {
        self.run.join("containers").join(name)
    }

    /// Where monitors keep a directory for each container.
    pub fn monitors(&self) -> &Path {
        &self.monitors
    }

    /// `--root` of the runtime, if it is not the default.
    pub fn runtime_root(&self) -> Option<&Path> {
        self.runtime_root.as_deref()
    }

    /// `--layer-store` of firn-image, if it is not the default.
    pub fn layer_store(&self) -> Option<&Path> {
        self.layer_store.as_deref()
    }

    /// The lock under which definitions change.
    pub fn lock_file(&self) -> PathBuf {
        self.run.join("lock")
    }
}

/// A program of firn's: the one beside this, else in PATH.
pub fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().ok();
    let beside = own.and_then(|exe| Some(exe.parent()?.join(name))).filter(|path| path.is_file());
    beside.unwrap_or_else(|| name.into())
}

/// Containers of the whole machine are root's.
pub fn must_be_root() -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("containers are run by root so far: try again with sudo");
    }
    Ok(())
}
