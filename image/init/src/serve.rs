//! The loop of process 1: waits for signals, reaps, and ends the container.

use crate::command::Child;
use crate::notify::Notifier;
use crate::signals::{self, Action};
use crate::sys;
use std::time::{Duration, Instant};

/// What processes that outlive the command get at most: nobody waits for them.
const LEFTOVER_GRACE: Duration = Duration::from_secs(2);

/// Where the container is on its way to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    /// The command was asked to end; its own processes may still need each other.
    StoppingCommand,
    /// Everything was asked to end; then exit with this status.
    StoppingAll(u8),
}

/// Whether the loop goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Wait,
    Exit(u8),
}

struct Server<'a> {
    child: Child,
    /// Exit status of the command, once it has ended.
    ended: Option<u8>,
    phase: Phase,
    /// Set by the first request to stop and never put off by a later one.
    deadline: Option<Instant>,
    grace: Duration,
    notifier: &'a Notifier,
}

/// Serves until the container has ended; returns the exit status for process 1.
///
/// What still runs then is killed by the kernel, which lets no process outlive
/// its pid namespace's first.
pub fn run(child: Child, grace: Duration, notifier: &Notifier) -> u8 {
    let mut server = Server { child, ended: None, phase: Phase::Running, deadline: None, grace, notifier };
    loop {
        let timeout = server.deadline.map(|at| at.saturating_duration_since(Instant::now()));
        let next = match sys::wait_signal(timeout) {
            Some(signal) => server.on_signal(signal),
            None => server.on_deadline(),
        };
        if let Next::Exit(status) = next {
            return status;
        }
    }
}

impl Server<'_> {
    fn on_signal(&mut self, signal: i32) -> Next {
        match signals::action(signal) {
            Action::Stop(status) => self.stop_all(status),
            Action::StopNow(status) => {
                self.notifier.send("STOPPING=1");
                return Next::Exit(status);
            }
            Action::StopCommand => self.stop_command(),
            Action::Forward if self.ended.is_none() => sys::kill(self.child.pid, signal),
            Action::Forward | Action::Reap | Action::Ignore => {}
        }
        // On each signal: SIGCHLD isn't queued, one may stand for many children.
        self.reap()
    }

    fn on_deadline(&mut self) -> Next {
        if self.deadline.is_none_or(|at| at > Instant::now()) {
            return Next::Wait;
        }
        // The status tells that the command had to be killed.
        let killed = 128 + 9;
        sys::kill_all(libc::SIGKILL);
        Next::Exit(match self.phase {
            Phase::StoppingAll(status) => status,
            Phase::Running | Phase::StoppingCommand => self.ended.unwrap_or(killed),
        })
    }

    /// Asks everything to end. The first request decides the exit status, but
    /// a stop of the container goes before a stop of the command.
    fn stop_all(&mut self, status: u8) {
        if matches!(self.phase, Phase::StoppingAll(_)) {
            return;
        }
        self.begin_stop(self.grace);
        self.phase = Phase::StoppingAll(status);
        sys::kill_all(libc::SIGTERM);
        self.wake_and_hang_up();
    }

    fn stop_command(&mut self) {
        if self.phase != Phase::Running {
            return;
        }
        self.begin_stop(self.grace);
        self.phase = Phase::StoppingCommand;
        sys::kill(self.child.pid, libc::SIGTERM);
        self.wake_and_hang_up();
    }

    fn begin_stop(&mut self, grace: Duration) {
        if self.phase == Phase::Running {
            self.notifier.send("STOPPING=1");
        }
        let deadline = Instant::now() + grace;
        self.deadline = Some(self.deadline.map_or(deadline, |at| at.min(deadline)));
    }

    /// A stopped process acts on SIGTERM only once it runs again, and a shell on
    /// a terminal ignores SIGTERM but not the loss of its terminal.
    fn wake_and_hang_up(&self) {
        if self.ended.is_none() && self.child.on_terminal {
            sys::kill(self.child.pid, libc::SIGHUP);
        }
        sys::kill_all(libc::SIGCONT);
    }

    fn reap(&mut self) -> Next {
        loop {
            match sys::reap() {
                sys::Reaped::Child { pid, status } if pid == self.child.pid => {
                    self.command_ended(status);
                }
                sys::Reaped::Child { .. } => {}
                sys::Reaped::NoneEnded => return Next::Wait,
                sys::Reaped::NoneLeft => return Next::Exit(self.last_status()),
            }
        }
    }

    fn command_ended(&mut self, wait_status: i32) {
        let status = signals::exit_status(wait_status);
        self.ended = Some(status);
        if !matches!(self.phase, Phase::StoppingAll(_)) {
            self.begin_stop(self.grace.min(LEFTOVER_GRACE));
            self.phase = Phase::StoppingAll(status);
            sys::kill_all(libc::SIGTERM);
            sys::kill_all(libc::SIGCONT);
        }
    }

    fn last_status(&self) -> u8 {
        match self.phase {
            Phase::StoppingAll(status) => status,
            Phase::Running | Phase::StoppingCommand => self.ended.unwrap_or(1),
        }
    }
}
