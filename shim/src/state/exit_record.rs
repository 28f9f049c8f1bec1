//! The exit record, file `exit`: how the last attempt of a container ended. It stays when the
//! monitor ends, and the next run removes it. Its fields are those of docs/shim.md, "Files".

use super::dir::StateDir;
use crate::process::exit::Exit;
use firn::error::{Context, Result};
use serde::Serialize;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

/// The file's name.
pub(crate) const NAME: &str = "exit";

/// Why an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// On request.
    Stopped,
    /// Cleanly, by itself.
    Exited,
    Failed,
    /// SIGKILL was needed.
    Killed,
    /// A restart was requested, by the container or from outside.
    Restart,
    /// One more start would have exceeded the start limit.
    StartLimit,
    /// It was not ready within the start timeout.
    StartTimeout,
    /// It has not sent WATCHDOG=1 in time, and was killed.
    Watchdog,
}

impl Reason {
    /// As it is recorded.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Reason::Stopped => "stopped",
            Reason::Exited => "exited",
            Reason::Failed => "failed",
            Reason::Killed => "killed",
            Reason::Restart => "restart",
            Reason::StartLimit => "start-limit",
            Reason::StartTimeout => "start-timeout",
            Reason::Watchdog => "watchdog",
        }
    }
}

impl Serialize for Reason {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// An ended attempt. What did not happen is absent.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ExitRecord<'a> {
    pub(crate) id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pid: Option<i32>,
    /// Init's exit status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<u8>,
    /// The signal that ended init.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) signal: Option<i32>,
    /// Init has ended, and how is not known: it ended while no monitor ran.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) status_unknown: bool,
    pub(crate) reason: Reason,
    /// The monitor's own exit code; absent when the container is started again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) exit_code: Option<u8>,
    /// The number of restarts in this run.
    pub(crate) restarts: u32,
    /// Times are RFC 3339, UTC.
    pub(crate) started_at: &'a str,
    /// When the runtime had created it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) created_at: Option<&'a str>,
    /// When its init had begun.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) init_at: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ready_at: Option<&'a str>,
    pub(crate) exited_at: &'a str,
    /// Whether the OOM killer was in the container's cgroup; absent where that can't be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) oom_killed: Option<bool>,
    /// Of a failed start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<&'a str>,
}

impl<'a> ExitRecord<'a> {
    /// The record of an attempt, without what is optional.
    pub(crate) fn new(
        id: &'a str,
        exit: Option<Exit>,
        reason: Reason,
        started_at: &'a str,
        exited_at: &'a str,
    ) -> ExitRecord<'a> {
        let (status, signal) = exit.map_or((None, None), Exit::status_or_signal);
        ExitRecord {
            id,
            pid: None,
            status,
            signal,
            status_unknown: exit == Some(Exit::Unknown),
            reason,
            exit_code: None,
            restarts: 0,
            started_at,
            created_at: None,
            init_at: None,
            ready_at: None,
            exited_at,
            oom_killed: None,
            error: None,
        }
    }

    /// Replaces the last record. A reader sees one or the other, also after a power failure:
    /// the new one is on the disk before it is renamed.
    pub(crate) fn write(&self, dir: &StateDir) -> Result<()> {
        let path = dir.file(NAME);
        let failed = || format!("write {}", path.display());
        let mut text = serde_json::to_vec(self).doing(failed)?;
        text.push(b'\n');
        let temporary = dir.file("exit.tmp");
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary).doing(failed)?;
        file.write_all(&text).doing(failed)?;
        file.sync_all().doing(failed)?;
        fs::rename(&temporary, &path).doing(failed)?;
        dir.sync().doing(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::Signal;

    #[test]
    fn status_or_signal() {
        let json = |exit| serde_json::to_value(ExitRecord::new("web", exit, Reason::StartTimeout, "a", "b")).unwrap();
        let record = json(Some(Exit::Status(0)));
        assert_eq!(record["status"], 0);
        assert_eq!(record["reason"], "start-timeout");
        assert_eq!(record["startedAt"], "a");
        assert!(record.get("signal").is_none() && record.get("oomKilled").is_none());
        assert_eq!(json(Some(Exit::Signal(Signal::KILL)))["signal"], 9);
        let unknown = json(Some(Exit::Unknown));
        assert_eq!(unknown["statusUnknown"], true);
        assert!(unknown.get("status").is_none());
    }
}
