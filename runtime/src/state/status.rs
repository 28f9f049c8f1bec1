//! The status of a container (creating, created, running, paused, stopped), derived from
//! state directory, process and cgroup.

use super::files::START_FIFO;
use super::{Record, StateDir, process};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Creating,
    Created,
    Running,
    Paused,
    Stopped,
}

impl Status {
    /// Derives the status.
    pub fn of(dir: &StateDir, record: &Record) -> Self {
        if record.pid == 0 {
            // `create` holds the lock until it has finished. If it was killed, the lock is
            // free, and its init has ended with it.
            return if dir.try_lock() { Status::Stopped } else { Status::Creating };
        }
        if !process::is_alive(record.pid, record.start_time) {
            return Status::Stopped;
        }
        if record.cgroup.is_frozen() {
            return Status::Paused;
        }
        if dir.has(START_FIFO) { Status::Created } else { Status::Running }
    }

    /// Its name in the specification, or `paused` (runc).
    pub fn name(self) -> &'static str {
        match self {
            Status::Creating => "creating",
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        }
    }
}
