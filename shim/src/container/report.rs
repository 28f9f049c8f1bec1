//! What is printed and recorded of an attempt that is over.

use super::Container;
use super::policy::Cause;
use crate::control::protocol::Happening;
use crate::state::exit_record::{ExitRecord, Reason};
use firn::error::Error;
use firn::state::rfc3339;
use std::time::{Duration, SystemTime};

impl Container {
    /// Prints a line on the monitor's stderr.
    pub(super) fn print_message(&mut self, text: &str) {
        self.stdio.print_message(text, &self.reactor);
    }

    /// Records an attempt and prints why it ended; another one follows after `pause`.
    pub(super) fn report_restart(&mut self, reason: Reason, pause: Duration) {
        self.write_exit_record(reason, None, None);
        let why = match self.attempt.cause {
            Some(Cause::StartFailed | Cause::StartTimeout) => self.take_start_error().chain(),
            _ => format!("{} {}", self.settings.id, self.describe_end()),
        };
        let when = match pause.is_zero() {
            true => String::from("starting it again"),
            false => format!("starting it again in {} ms", pause.as_millis()),
        };
        self.print_message(&format!("{why}; {when}"));
        let milliseconds = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        self.happened(Happening::Restart { reason: reason.name().into(), milliseconds });
    }

    /// Records the last attempt. The outcome is the monitor's exit code, or an error, which main
    /// prints.
    pub(super) fn finish(&mut self, code: u8, reason: Reason) {
        let error = match (reason, self.attempt.cause) {
            (Reason::StartLimit, _) => Some(self.start_limit_error()),
            (_, Some(Cause::StartFailed | Cause::StartTimeout)) => Some(self.take_start_error()),
            _ => None,
        };
        let text = error.as_ref().map(Error::chain);
        self.write_exit_record(reason, Some(code), text.as_deref());
        let id = &self.settings.id;
        let message = match reason {
            Reason::Killed => Some(format!("{id} had to be killed")),
            Reason::Failed | Reason::Watchdog => Some(format!("{id} {}", self.describe_end())),
            _ => None,
        };
        if let (None, Some(message)) = (&error, message) {
            self.print_message(&message);
        }
        self.happened(Happening::Down { reason: reason.name().into(), code });
        self.outcome = Some(match error {
            Some(error) => Err(error),
            None => Ok(code),
        });
    }

    fn start_limit_error(&mut self) -> Error {
        let last = match self.attempt.cause {
            Some(Cause::StartFailed | Cause::StartTimeout) => self.take_start_error().chain(),
            _ => format!("the last time it {}", self.describe_end()),
        };
        let (id, starts, seconds) =
            (&self.settings.id, self.settings.start_limit, self.settings.start_limit_interval.as_secs());
        Error::new(format!("container {id}: started {starts} times within {seconds} s, which is the limit: {last}"))
    }

    /// How it ended, in words after the container's name.
    fn describe_end(&self) -> String {
        match (self.attempt.cause, self.settings.watchdog) {
            (Some(Cause::Watchdog), Some(limit)) => {
                format!("was killed: its watchdog had heard nothing for {} s", limit.as_secs())
            }
            (Some(Cause::Watchdog), None) => "was killed, as it asked for by WATCHDOG=trigger".into(),
            _ => self.attempt.exit.map_or_else(|| "did not run".into(), |exit| exit.to_string()),
        }
    }

    /// Why the container was not started, or was not ready in time.
    fn take_start_error(&mut self) -> Error {
        let id = &self.settings.id;
        match (self.attempt.cause, self.attempt.failure.take()) {
            (Some(Cause::StartTimeout), _) => {
                let output = match self.stdio.last_lines() {
                    lines if lines.is_empty() => String::from("; it printed nothing"),
                    lines => format!("; its last lines:\n{lines}"),
                };
                let seconds = self.settings.timeouts.start.as_secs();
                Error::new(format!("container {id}: not ready after {seconds} s{output}"))
            }
            (_, Some(failure)) => failure,
            (_, None) => Error::new(format!("container {id}: could not be started")),
        }
    }

    fn write_exit_record(&mut self, reason: Reason, exit_code: Option<u8>, error: Option<&str>) {
        let now = rfc3339(SystemTime::now());
        let attempt = &self.attempt;
        let exited_at = attempt.exited_at.as_deref().unwrap_or(&now);
        let record = ExitRecord {
            pid: attempt.pid,
            exit_code,
            restarts: self.starts.saturating_sub(1),
            created_at: attempt.created_at.as_deref(),
            init_at: attempt.init_at.as_deref(),
            ready_at: attempt.ready_at.as_deref(),
            oom_killed: attempt.oom_killed,
            error,
            ..ExitRecord::new(&self.settings.id, attempt.exit, reason, &attempt.started_at, exited_at)
        };
        if let Err(error) = record.write(&self.dir) {
            self.print_message(&format!("warning: {}", error.chain()));
        }
    }
}
