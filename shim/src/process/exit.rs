//! How a process ended.

use crate::signal::Signal;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The end of a process, from its wait status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Exit {
    /// It called exit(2) with this status.
    Status(u8),
    /// It was terminated by this signal.
    Signal(Signal),
    /// It is gone, and its wait status went to another process: it was not a child of ours.
    Unknown,
}

impl Exit {
    /// Of a wait status (wait(2)).
    pub(crate) fn of_wait_status(status: i32) -> Exit {
        match status & 0x7f {
            0 => Exit::Status((status >> 8 & 0xff) as u8),
            signal => Exit::Signal(Signal(signal)),
        }
    }

    /// The status, or the signal; neither where it is unknown.
    pub(crate) fn status_or_signal(self) -> (Option<u8>, Option<i32>) {
        match self {
            Exit::Status(status) => (Some(status), None),
            Exit::Signal(signal) => (None, Some(signal.0)),
            Exit::Unknown => (None, None),
        }
    }

    /// As one exit code, as shells show it: the status, or 128 + N for a death by signal N;
    /// 255 where it is unknown.
    pub(crate) fn code(self) -> u8 {
        match self {
            Exit::Status(status) => status,
            Exit::Signal(signal) => u8::try_from(128 + signal.0).unwrap_or(u8::MAX),
            Exit::Unknown => u8::MAX,
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Status(status) => write!(f, "ended with status {status}"),
            Exit::Signal(signal) => write!(f, "was ended by {signal}"),
            Exit::Unknown => f.write_str("ended, with an unknown status"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_statuses() {
        for (status, exit) in [
            (0, Exit::Status(0)),
            (133 << 8, Exit::Status(133)),
            (9, Exit::Signal(Signal::KILL)),
            // With a core dump.
            (0x80 | 5, Exit::Signal(Signal::TRAP)),
            (37, Exit::Signal(Signal::HALT)),
        ] {
            assert_eq!(Exit::of_wait_status(status), exit, "{status:#x}");
        }
    }
}
