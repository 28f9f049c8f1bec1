//! The runtime's commands one after the other, without waiting in line for
//! them: meanwhile the loop must read the container's output (a hook that
//! prints more than a pipe holds would wait forever) and answer to signals.

use crate::process::reaper as children;
use crate::runtime::command::Verb;
use nix::sys::signal;
use nix::unistd::Pid;
use std::collections::VecDeque;
use std::io;
use std::process::Command;
use std::time::{Duration, Instant};

/// For `kill` and `delete`; `create` and `start` have the start timeout. runc's
/// own wait inside `delete --force` is 10 s.
const TIME_LIMIT: Duration = Duration::from_secs(30);
/// For an aborted one to clean up after itself.
const ABORT_TIME: Duration = Duration::from_secs(3);

#[derive(Debug)]
struct Running {
    verb: Verb,
    pid: i32,
    deadline: Option<Instant>,
    aborted: bool,
}

/// At most one command runs; the others wait for their turn.
#[derive(Debug, Default)]
pub struct Commands {
    running: Option<Running>,
    waiting: VecDeque<Verb>,
}

impl Commands {
    pub fn queue(&mut self, verb: Verb) {
        self.waiting.push_back(verb);
    }

    /// The command whose turn it is.
    pub fn take_turn(&mut self) -> Option<Verb> {
        match self.running {
            Some(_) => None,
            None => self.waiting.pop_front(),
        }
    }

    /// Starts it.
    pub fn spawn(&mut self, verb: Verb, mut command: Command) -> io::Result<()> {
        // The Child is dropped and never waited for: children.rs reaps it.
        let pid = command.spawn()?.id();
        let limited = matches!(verb, Verb::KillAll | Verb::Delete);
        self.running = Some(Running {
            verb,
            pid: i32::try_from(pid).map_err(io::Error::other)?,
            deadline: limited.then(|| Instant::now() + TIME_LIMIT),
            aborted: false,
        });
        Ok(())
    }

    /// Which command the ended process `pid` was.
    pub fn ended(&mut self, pid: i32) -> Option<Verb> {
        self.running.take_if(|running| running.pid == pid).map(|running| running.verb)
    }

    pub fn is_pid(&self, pid: i32) -> bool {
        self.running.as_ref().is_some_and(|running| running.pid == pid)
    }

    /// Makes the command under way end; its end is noticed as usual. First its
    /// children (a hook that hangs, the init that waits) are killed, at which a
    /// runtime fails and cleans up after itself; then itself.
    pub fn abort(&mut self) {
        let Some(running) = &mut self.running else {
            return;
        };
        if running.aborted || !children::kill_those_of(running.pid) {
            let _ = signal::kill(Pid::from_raw(running.pid), signal::Signal::SIGKILL);
        }
        running.aborted = true;
        running.deadline = Some(Instant::now() + ABORT_TIME);
    }

    /// When the command under way has had enough time.
    pub fn deadline(&self) -> Option<Instant> {
        self.running.as_ref()?.deadline
    }
}
