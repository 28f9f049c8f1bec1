//! The loop of process 1: waits for signals, reaps children, and ends the container.

use crate::command::Child;
use crate::notify::Notifier;
use crate::signals::{self, Action};
use crate::sys;
use std::time::{Duration, Instant};

/// The grace, at most, of processes that outlive the command.
const LEFTOVER_GRACE: Duration = Duration::from_secs(2);

/// How far the container is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    /// The command has got SIGTERM. Other processes have not, as it may need them to shut down.
    StoppingCommand,
    /// All processes have got SIGTERM. firn-init exits with this status.
    StoppingAll(u8),
}

/// What the loop does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Wait,
    Exit(u8),
}

/// The state of the loop.
struct Server<'a> {
    child: Child,
    /// Exit status of the command, once it has ended.
    ended: Option<u8>,
    phase: Phase,
    /// When SIGKILL is due. Set by the first stop; a later one never extends it.
    deadline: Option<Instant>,
    grace: Duration,
    notifier: &'a Notifier,
}

/// Runs until the container has ended; the exit status of process 1. Processes that still run are
/// then killed by the kernel (pid_namespaces(7)).
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
        // After each signal: SIGCHLD is not queued, so one may be of several children.
        self.reap()
    }

    fn on_deadline(&mut self) -> Next {
        if self.deadline.is_none_or(|at| at > Instant::now()) {
            return Next::Wait;
        }
        // As in shells, for a command that had to be killed.
        let killed = 128 + 9;
        sys::kill_all(libc::SIGKILL);
        Next::Exit(match self.phase {
            Phase::StoppingAll(status) => status,
            Phase::Running | Phase::StoppingCommand => self.ended.unwrap_or(killed),
        })
    }

    /// Sends SIGTERM to all processes. The first such stop decides the exit status, also after a
    /// stop of the command alone.
    fn stop_all(&mut self, status: u8) {
        if matches!(self.phase, Phase::StoppingAll(_)) {
            return;
        }
        self.begin_stop(self.grace);
        self.phase = Phase::StoppingAll(status);
        sys::kill_all(libc::SIGTERM);
        self.send_cont_and_hup();
    }

    /// Sends SIGTERM to the command.
    fn stop_command(&mut self) {
        if self.phase != Phase::Running {
            return;
        }
        self.begin_stop(self.grace);
        self.phase = Phase::StoppingCommand;
        sys::kill(self.child.pid, libc::SIGTERM);
        self.send_cont_and_hup();
    }

    fn begin_stop(&mut self, grace: Duration) {
        if self.phase == Phase::Running {
            self.notifier.send("STOPPING=1");
        }
        let deadline = Instant::now() + grace;
        self.deadline = Some(self.deadline.map_or(deadline, |at| at.min(deadline)));
    }

    /// SIGCONT to all processes, as a stopped one handles SIGTERM only when it is continued. SIGHUP to
    /// a command on a terminal, as an interactive shell ignores SIGTERM.
    fn send_cont_and_hup(&self) {
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
