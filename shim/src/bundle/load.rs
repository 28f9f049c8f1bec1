//! Reads the caller's bundle.

use super::derive::{add_watchdog, derive_config, normalize_keys};
use crate::notify::NotifyMode;
use crate::signal::Signal;
use firn::error::{Context, Error, Result};
use firn::spec::firn_config::{self, Init};
use serde_json::Value;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The annotation that names the stop signal (image-spec, "Annotations").
const STOP_ANNOTATION: &str = "org.opencontainers.image.stopSignal";

/// Bytes of a config.json.
const CONFIG_LIMIT: u64 = 16 << 20;

/// A bundle that was read.
#[derive(Debug)]
pub(crate) struct Bundle {
    path: PathBuf,
    config: Value,
    /// The text of its firn.json.
    firn_json: Option<Vec<u8>>,
    init: Init,
    /// `process.terminal`: the container gets a terminal, else two pipes.
    pub(crate) terminal: bool,
    /// What the annotation names, else SIGRTMIN+3.
    pub(crate) stop_signal: Signal,
}

impl Bundle {
    /// Reads config.json and firn.json of the bundle at the absolute `path`. Errors: config.json is
    /// no JSON object or larger than 16 MiB; firn.json is not the caller's; an unknown signal.
    pub(crate) fn load(path: &Path) -> Result<Bundle> {
        let file = path.join("config.json");
        let name = || format!("bundle {}: config.json", path.display());
        let text = File::open(&file).and_then(read_limited).doing(name)?;
        let mut config: Value = serde_json::from_slice(&text).doing(name)?;
        if !config.is_object() {
            return Err(Error::new(format!("{}: is not a JSON object", name())));
        }
        normalize_keys(&mut config).doing(|| format!("bundle {}", path.display()))?;
        // The runtime checks the owner of a firn.json. In the derived bundle it is the monitor's,
        // so that of the original is checked here, by the same function.
        let (firn_json, init) = match firn_config::read(path).doing(|| format!("bundle {}", path.display()))? {
            Some((firn_config, text)) => (Some(text), firn_config.init.unwrap_or_default()),
            None => (None, Init::default()),
        };
        let stop_signal = match config.pointer("/annotations").and_then(|all| all.get(STOP_ANNOTATION)) {
            Some(Value::String(text)) => text
                .parse()
                .map_err(|why: String| Error::new(format!("{}: annotation {STOP_ANNOTATION}: {why}", name())))?,
            _ => Signal::HALT,
        };
        let terminal = config.pointer("/process/terminal") == Some(&Value::Bool(true));
        Ok(Bundle { path: path.to_owned(), config, firn_json, init, terminal, stop_signal })
    }

    /// `init.restartExitCode` of firn.json: an exit status, besides 133, that asks for a restart.
    pub(crate) fn restart_status(&self) -> Option<u8> {
        self.init.restart_exit_code
    }

    /// Whether the container is ready only when it notifies that.
    pub(crate) fn notifies_ready(&self, mode: NotifyMode) -> bool {
        match mode {
            NotifyMode::Yes => true,
            NotifyMode::No => false,
            NotifyMode::Auto => self.init.notify == Some(true),
        }
    }

    /// Writes the derived bundle to the new directory `to`, mode 0700.
    pub(crate) fn write_derived(
        mut self,
        to: &Path,
        notify_socket: Option<&Path>,
        watchdog: Option<Duration>,
    ) -> Result<()> {
        derive_config(&mut self.config, &self.path, notify_socket)?;
        if let Some(limit) = watchdog {
            add_watchdog(&mut self.config, limit)?;
        }
        let operation = || format!("write {}", to.display());
        DirBuilder::new().mode(0o700).create(to).doing(operation)?;
        let text = serde_json::to_vec(&self.config).doing(operation)?;
        write_new(&to.join("config.json"), &text).doing(operation)?;
        match &self.firn_json {
            Some(text) => write_new(&to.join(firn_config::FILE), text).doing(operation),
            None => Ok(()),
        }
    }
}

fn write_new(path: &Path, text: &[u8]) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(text)
}

fn read_limited(file: File) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    file.take(CONFIG_LIMIT + 1).read_to_end(&mut text)?;
    match text.len() as u64 > CONFIG_LIMIT {
        true => Err(io::Error::other("is larger than 16 MiB")),
        false => Ok(text),
    }
}
