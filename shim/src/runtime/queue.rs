//! The queue of the runtime's commands. They run one after the other, and the event loop goes on
//! meanwhile: it has to read the container's output, as a hook that prints more than a pipe holds
//! would never end, and to react to signals.

use super::command::Verb;
use crate::process::reaper;
use nix::sys::signal;
use nix::unistd::Pid;
use std::collections::VecDeque;
use std::io;
use std::process::Command;
use std::time::{Duration, Instant};

/// For `kill`, `delete` and `exec`; `create` and `start` are limited by the start timeout. runc itself
/// waits up to 10 s in `delete --force`.
const TIME_LIMIT: Duration = Duration::from_secs(30);
/// For an aborted command to clean up, before it is killed.
const ABORT_TIMEOUT: Duration = Duration::from_secs(3);

/// The command that runs.
#[derive(Debug)]
struct Running {
    verb: Verb,
    pid: i32,
    deadline: Option<Instant>,
    aborted: bool,
}

/// The command that runs, if any, and those after it.
#[derive(Debug, Default)]
pub(crate) struct CommandQueue {
    running: Option<Running>,
    waiting: VecDeque<Verb>,
}

impl CommandQueue {
    /// Appends a command.
    pub(crate) fn push(&mut self, verb: Verb) {
        self.waiting.push_back(verb);
    }

    /// Takes the next command, unless one runs.
    pub(crate) fn take_next(&mut self) -> Option<Verb> {
        match self.running {
            Some(_) => None,
            None => self.waiting.pop_front(),
        }
    }

    /// Starts a command, which runs from then on.
    pub(crate) fn spawn(&mut self, verb: Verb, mut command: Command) -> io::Result<()> {
        // Dropping the Child does not wait for it; process/reaper.rs reaps it.
        let pid = command.spawn()?.id();
        let limited = matches!(verb, Verb::KillAll | Verb::Delete | Verb::Exec(_));
        self.running = Some(Running {
            verb,
            pid: i32::try_from(pid).map_err(io::Error::other)?,
            deadline: limited.then(|| Instant::now() + TIME_LIMIT),
            aborted: false,
        });
        Ok(())
    }

    /// The command that ran as process `pid`, which has ended, and whether it was aborted.
    pub(crate) fn take_ended(&mut self, pid: i32) -> Option<(Verb, bool)> {
        self.running.take_if(|running| running.pid == pid).map(|running| (running.verb, running.aborted))
    }

    /// The command that runs.
    pub(crate) fn running(&self) -> Option<Verb> {
        self.running.as_ref().map(|running| running.verb)
    }

    /// Whether the command that runs is process `pid`.
    pub(crate) fn runs_as(&self, pid: i32) -> bool {
        self.running.as_ref().is_some_and(|running| running.pid == pid)
    }

    /// Makes the command that runs end; it is reaped as usual. First its children are killed (a
    /// hook that hangs, init), at which a runtime fails and cleans up; then, or if it has none,
    /// the command itself.
    pub(crate) fn abort(&mut self) {
        let Some(running) = &mut self.running else {
            return;
        };
        if running.aborted || !reaper::kill_children_of(running.pid) {
            let _ = signal::kill(Pid::from_raw(running.pid), signal::Signal::SIGKILL);
        }
        running.aborted = true;
        running.deadline = Some(Instant::now() + ABORT_TIMEOUT);
    }

    /// When the command that runs is to be aborted.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.running.as_ref()?.deadline
    }
}
