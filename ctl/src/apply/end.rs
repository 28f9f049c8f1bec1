//! How a container has ended: the monitor's exit record, and the last lines of its log.

use crate::generation::Container;
use crate::log::read;
use serde::Deserialize;
use std::path::Path;

/// What firnctl reads of an exit record (docs/shim.md, "Files").
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ended {
    pub reason: String,
    /// Init's exit status.
    #[serde(default)]
    pub status: Option<u8>,
    #[serde(default)]
    pub exit_code: Option<u8>,
    pub started_at: String,
    #[serde(default)]
    pub created_at: Option<String>,
    #[serde(default)]
    pub init_at: Option<String>,
    #[serde(default)]
    pub ready_at: Option<String>,
    /// In this run of the monitor.
    pub restarts: u32,
    #[serde(default)]
    pub exited_at: Option<String>,
    /// Of a failed start.
    #[serde(default)]
    pub error: Option<String>,
}

impl Ended {
    /// `None` if it has not ended, or the record was lost with a reboot.
    pub fn read(container: &Container) -> Option<Self> {
        let path = container.places().monitors().join(&container.name).join("exit");
        serde_json::from_slice(&std::fs::read(path).ok()?).ok()
    }

    /// The end of a start that has failed.
    pub fn told(&self) -> String {
        match (&self.error, self.status) {
            (Some(error), _) => error.clone(),
            (None, Some(status)) => format!("has ended with status {status} before it was ready"),
            (None, None) => format!("has ended before it was ready ({})", self.reason),
        }
    }

    /// It was not ready within `timeoutStartSec`.
    pub fn is_too_late(&self) -> bool {
        self.reason == "start-timeout"
    }

    /// The container, or a client of the monitor, has asked for a restart.
    pub fn is_restart(&self) -> bool {
        self.reason == "restart"
    }
}

/// A start that took longer than `timeoutStartSec`, with what there is to tell of it.
#[derive(Debug)]
pub struct NotReady(pub String);

impl std::fmt::Display for NotReady {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotReady {}

/// The last lines of a log.
pub fn last_lines(log: &Path, count: usize) -> Vec<String> {
    read::tail(log, count, None).unwrap_or_default().into_iter().map(|record| record.text).collect()
}
