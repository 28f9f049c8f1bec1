//! The exit record: how the last attempt of a container ended, for people and
//! units. It outlives the monitor and is replaced by the next run.

use crate::container::policy::{Exit, Reason};
use crate::error::{Context, Result};
use crate::state::dir::StateDir;
use serde::Serialize;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

pub const NAME: &str = "exit";

/// What is known of an ended attempt. Absent is what did not happen.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Record<'a> {
    pub id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// Init's exit status …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u8>,
    /// … or the signal that ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    pub reason: Reason,
    /// What the monitor exits with; absent when the container is started anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<u8>,
    /// How often this run has started the container again.
    pub restarts: u32,
    pub started_at: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_at: Option<&'a str>,
    pub exited_at: &'a str,
    /// Absent where the kernel could not be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oom_killed: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<&'a str>,
}

impl<'a> Record<'a> {
    /// A record of an attempt that began at `started_at`.
    pub fn new(id: &'a str, exit: Option<Exit>, reason: Reason, started_at: &'a str, exited_at: &'a str) -> Record<'a> {
        let (status, signal) = match exit {
            Some(Exit::Status(status)) => (Some(status), None),
            Some(Exit::Signal(signal)) => (None, Some(signal.0)),
            Some(Exit::Unknown) | None => (None, None),
        };
        Record {
            id,
            pid: None,
            status,
            signal,
            reason,
            exit_code: None,
            restarts: 0,
            started_at,
            ready_at: None,
            exited_at,
            oom_killed: None,
            error: None,
        }
    }

    /// Puts the record in the place of the last one; a reader sees one or the
    /// other, also after a power failure.
    pub fn write(&self, dir: &StateDir) -> Result<()> {
        let path = dir.file(NAME);
        let failed = || format!("write {}", path.display());
        let mut text = serde_json::to_vec(self).context(failed)?;
        text.push(b'\n');
        let temporary = dir.file("exit.tmp");
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary).context(failed)?;
        file.write_all(&text).context(failed)?;
        file.sync_all().context(failed)?;
        fs::rename(&temporary, &path).context(failed)?;
        rustix::fs::fsync(dir.fd()).map_err(std::io::Error::from).context(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::Signal;

    #[test]
    fn status_or_signal() {
        let json = |exit| serde_json::to_value(Record::new("web", exit, Reason::StartTimeout, "a", "b")).unwrap();
        let record = json(Some(Exit::Status(0)));
        assert_eq!(record["status"], 0);
        assert_eq!(record["reason"], "start-timeout");
        assert_eq!(record["startedAt"], "a");
        assert!(record.get("signal").is_none() && record.get("oomKilled").is_none());
        assert_eq!(json(Some(Exit::Signal(Signal::KILL)))["signal"], 9);
    }
}
