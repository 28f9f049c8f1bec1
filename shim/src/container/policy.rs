//! What follows the end of a container: the table of docs/shim.md, pure.

use crate::signal::Signal;
use std::collections::VecDeque;
use std::time::Duration;

/// The exit status by which an init asks to be started anew, and by which the
/// monitor hands that wish to its own service manager.
pub const RESTART_STATUS: u8 = 133;
/// What a stop that needed SIGKILL exits with, as shells show it.
pub const KILLED_STATUS: u8 = 137;
/// The monitor's own failures: no container status stands behind them.
pub const FAILURE_STATUS: u8 = 1;

const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LAST_BACKOFF: Duration = Duration::from_secs(30);

/// How an init ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Status(u8),
    Signal(Signal),
    /// It is gone, but nobody could tell us how (it was not our child).
    Unknown,
}

impl Exit {
    /// As one exit code: 128 and the signal's number for a death by signal.
    pub fn code(self) -> u8 {
        match self {
            Exit::Status(status) => status,
            Exit::Signal(signal) => u8::try_from(128 + signal.0).unwrap_or(u8::MAX),
            Exit::Unknown => u8::MAX,
        }
    }
}

/// Which ends are followed by a new start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Restart {
    /// Only when the container asks for it
    No,
    /// Also after a failure, with back-off
    OnFailure,
    /// After every end that nobody asked for
    Always,
    /// Never here: exit 133 when the container asks, for the service manager
    Unit,
}

/// What an end means, whatever the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    Clean,
    AsksForRestart,
    Failure,
}

/// What somebody asked the monitor for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intent {
    Run,
    Restart,
    Stop,
}

/// Why the monitor, and not init, ended an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The runtime could not create or start it.
    StartFailed,
    /// It was not ready in time.
    StartTimeout,
    /// Killed at once, by a second interrupt.
    Interrupted,
    /// SIGKILL did not end it.
    Stuck,
}

/// The word for an end, as it stands in the exit record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    Stopped,
    Exited,
    Failed,
    Killed,
    Restart,
    StartLimit,
    StartTimeout,
}

/// One ended attempt.
#[derive(Debug, Clone, Copy)]
pub struct Ended {
    pub exit: Option<Exit>,
    pub cause: Option<Cause>,
    pub intent: Intent,
    /// SIGKILL was sent by the monitor.
    pub killed: bool,
    /// From the start of the attempt to its end.
    pub ran: Duration,
}

/// What comes after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    Restart { after: Duration, reason: Reason },
    End { code: u8, reason: Reason },
}

/// The rules of one container, and what they have to remember.
#[derive(Debug)]
pub struct Policy {
    pub restart: Restart,
    /// A further exit status that asks for a restart (`init.restartExitCode`).
    pub restart_status: Option<u8>,
    pub stop_signal: Signal,
    pub limit: StartLimit,
    failures: u32,
}

impl Policy {
    pub fn new(restart: Restart, restart_status: Option<u8>, stop_signal: Signal, limit: StartLimit) -> Policy {
        Policy { restart, restart_status, stop_signal, limit, failures: 0 }
    }

    /// What an end means. Only a real exit status of 133 asks for a restart:
    /// death by SIGTRAP, which shells show as 133, is a failure.
    pub fn meaning(&self, exit: Exit) -> Meaning {
        match exit {
            Exit::Status(status) if status == RESTART_STATUS || Some(status) == self.restart_status => {
                Meaning::AsksForRestart
            }
            Exit::Signal(Signal::HUP) => Meaning::AsksForRestart,
            Exit::Status(0) | Exit::Signal(Signal::INT) => Meaning::Clean,
            _ => Meaning::Failure,
        }
    }

    /// What comes after an attempt that ended at `now` (since any fixed moment).
    pub fn next(&mut self, ended: &Ended, now: Duration) -> Next {
        match ended.intent {
            Intent::Stop => self.stopped(ended),
            Intent::Restart if ended.cause.is_none() => {
                Next::Restart { after: Duration::ZERO, reason: Reason::Restart }
            }
            _ => self.unasked(ended, now),
        }
    }

    fn stopped(&self, ended: &Ended) -> Next {
        let (code, reason) = match (ended.cause, ended.exit) {
            (Some(Cause::Interrupted | Cause::Stuck), _) => (KILLED_STATUS, Reason::Killed),
            (Some(Cause::StartFailed), _) => (FAILURE_STATUS, Reason::Failed),
            (Some(Cause::StartTimeout), _) => (FAILURE_STATUS, Reason::StartTimeout),
            (None, Some(Exit::Signal(Signal::KILL))) if ended.killed => (KILLED_STATUS, Reason::Killed),
            (None, None) => (0, Reason::Stopped),
            (None, Some(exit)) if exit == Exit::Signal(self.stop_signal) => (0, Reason::Stopped),
            (None, Some(exit)) if self.meaning(exit) != Meaning::Failure => (0, Reason::Stopped),
            (None, Some(exit)) => (self.shown(exit), Reason::Failed),
        };
        Next::End { code, reason }
    }

    fn unasked(&mut self, ended: &Ended, now: Duration) -> Next {
        let meaning = match (ended.cause, ended.exit) {
            (None, Some(exit)) => self.meaning(exit),
            _ => Meaning::Failure,
        };
        if meaning != Meaning::Failure || ended.ran >= self.limit.interval {
            self.failures = 0;
        }
        let (after, reason) = match meaning {
            Meaning::AsksForRestart if self.restart == Restart::Unit => {
                return Next::End { code: RESTART_STATUS, reason: Reason::Restart };
            }
            Meaning::AsksForRestart => (Duration::ZERO, Reason::Restart),
            Meaning::Clean if self.restart == Restart::Always => (FIRST_BACKOFF, Reason::Exited),
            Meaning::Clean => {
                return Next::End { code: 0, reason: Reason::Exited };
            }
            Meaning::Failure => {
                let (code, reason) = self.failure(ended);
                if !matches!(self.restart, Restart::OnFailure | Restart::Always) {
                    return Next::End { code, reason };
                }
                self.failures = self.failures.saturating_add(1);
                (backoff(self.failures), reason)
            }
        };
        if self.limit.allows(now + after) {
            Next::Restart { after, reason }
        } else {
            Next::End { code: FAILURE_STATUS, reason: Reason::StartLimit }
        }
    }

    fn failure(&self, ended: &Ended) -> (u8, Reason) {
        match (ended.cause, ended.exit) {
            (Some(Cause::StartTimeout), _) => (FAILURE_STATUS, Reason::StartTimeout),
            (Some(Cause::Interrupted | Cause::Stuck), _) => (KILLED_STATUS, Reason::Killed),
            (Some(Cause::StartFailed), _) | (None, None) => (FAILURE_STATUS, Reason::Failed),
            (None, Some(exit)) => (self.shown(exit), Reason::Failed),
        }
    }

    /// The exit code of a failure. With restarts left to the unit 133 means
    /// "restart me" there, so death by SIGTRAP must not look like it.
    fn shown(&self, exit: Exit) -> u8 {
        match exit {
            Exit::Signal(Signal::TRAP) if self.restart == Restart::Unit => FAILURE_STATUS,
            _ => exit.code(),
        }
    }
}

/// The pause before the restart that follows the n-th failure in a row.
fn backoff(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    FIRST_BACKOFF.saturating_mul(1 << doublings).min(LAST_BACKOFF)
}

/// At most `burst` starts within `interval`; a burst of 0 is no limit.
#[derive(Debug)]
pub struct StartLimit {
    pub burst: u32,
    pub interval: Duration,
    starts: VecDeque<Duration>,
}

impl StartLimit {
    pub fn new(burst: u32, interval: Duration) -> StartLimit {
        StartLimit { burst, interval, starts: VecDeque::new() }
    }

    /// Counts a start.
    pub fn started(&mut self, now: Duration) {
        if self.burst > 0 {
            self.forget(now);
            self.starts.push_back(now);
        }
    }

    fn allows(&mut self, now: Duration) -> bool {
        self.forget(now);
        self.burst == 0 || self.starts.len() < self.burst as usize
    }

    fn forget(&mut self, now: Duration) {
        while self.starts.front().is_some_and(|start| now.saturating_sub(*start) >= self.interval) {
            self.starts.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn policy(restart: Restart) -> Policy {
        Policy::new(restart, Some(42), Signal::HALT, StartLimit::new(5, 10 * SECOND))
    }

    fn ended(exit: Exit, intent: Intent) -> Ended {
        Ended { exit: Some(exit), cause: None, intent, killed: false, ran: SECOND }
    }

    fn end(code: u8, reason: Reason) -> Next {
        Next::End { code, reason }
    }

    fn restart(millis: u64, reason: Reason) -> Next {
        Next::Restart { after: Duration::from_millis(millis), reason }
    }

    #[test]
    fn the_exit_table() {
        use Reason::{Exited, Failed};
        use Restart as R;
        let asks = Reason::Restart;
        let again = restart(0, asks);
        let failed = |code| end(code, Failed);
        let signal = |number| Exit::Signal(Signal(number));
        // Each row: how init ended, then what follows for no, on-failure, always, unit.
        let table = [
            (signal(1), again, again, again, end(133, asks)),
            (Exit::Status(133), again, again, again, end(133, asks)),
            (Exit::Status(42), again, again, again, end(133, asks)),
            (signal(2), end(0, Exited), end(0, Exited), restart(100, Exited), end(0, Exited)),
            (Exit::Status(0), end(0, Exited), end(0, Exited), restart(100, Exited), end(0, Exited)),
            (Exit::Status(3), failed(3), restart(100, Failed), restart(100, Failed), failed(3)),
            (signal(9), failed(137), restart(100, Failed), restart(100, Failed), failed(137)),
            (signal(5), failed(133), restart(100, Failed), restart(100, Failed), failed(1)),
            (signal(37), failed(165), restart(100, Failed), restart(100, Failed), failed(165)),
            (Exit::Unknown, failed(255), restart(100, Failed), restart(100, Failed), failed(255)),
        ];
        for (exit, no, on_failure, always, unit) in table {
            for (rule, expected) in [(R::No, no), (R::OnFailure, on_failure), (R::Always, always), (R::Unit, unit)] {
                let next = policy(rule).next(&ended(exit, Intent::Run), SECOND);
                assert_eq!(next, expected, "{exit:?} with {rule:?}");
            }
        }
    }

    #[test]
    fn once_a_stop_has_been_asked_for_nothing_restarts() {
        use Reason::{Failed, Killed, Stopped};
        let table = [
            (Exit::Status(133), false, end(0, Stopped)),
            (Exit::Signal(Signal::HUP), false, end(0, Stopped)),
            (Exit::Signal(Signal::INT), false, end(0, Stopped)),
            (Exit::Status(0), true, end(0, Stopped)),
            (Exit::Signal(Signal::HALT), false, end(0, Stopped)),
            (Exit::Signal(Signal::KILL), true, end(137, Killed)),
            (Exit::Signal(Signal::KILL), false, end(137, Failed)),
            (Exit::Status(7), false, end(7, Failed)),
        ];
        for (exit, killed, expected) in table {
            let ended = Ended { killed, ..ended(exit, Intent::Stop) };
            assert_eq!(policy(Restart::Always).next(&ended, SECOND), expected, "{exit:?}");
        }
    }

    #[test]
    fn a_restart_that_was_asked_for_ignores_status_and_limit() {
        let mut policy = policy(Restart::No);
        for _ in 0..9 {
            policy.limit.started(SECOND);
        }
        for exit in [Exit::Status(0), Exit::Status(1), Exit::Signal(Signal::KILL)] {
            let next = policy.next(&ended(exit, Intent::Restart), SECOND);
            assert_eq!(next, restart(0, Reason::Restart));
        }
    }

    #[test]
    fn failures_of_the_start_itself() {
        for (cause, reason) in [(Cause::StartFailed, Reason::Failed), (Cause::StartTimeout, Reason::StartTimeout)] {
            let ended = Ended { cause: Some(cause), ..ended(Exit::Signal(Signal::KILL), Intent::Run) };
            assert_eq!(policy(Restart::No).next(&ended, SECOND), end(1, reason));
            assert_eq!(policy(Restart::OnFailure).next(&ended, SECOND), restart(100, reason));
        }
    }

    #[test]
    fn back_off_doubles_and_is_forgotten_after_a_good_run() {
        let mut policy = policy(Restart::OnFailure);
        policy.limit.burst = 0;
        let failure = ended(Exit::Status(1), Intent::Run);
        for millis in [100, 200, 400, 800] {
            assert_eq!(policy.next(&failure, SECOND), restart(millis, Reason::Failed));
        }
        let good = Ended { ran: 10 * SECOND, ..failure };
        assert_eq!(policy.next(&good, SECOND), restart(100, Reason::Failed));
        assert_eq!(backoff(u32::MAX), LAST_BACKOFF);
    }

    #[test]
    fn the_start_limit_covers_restarts_by_133() {
        let mut policy = policy(Restart::No);
        let asks = ended(Exit::Status(133), Intent::Run);
        for n in 0..5 {
            policy.limit.started(n * SECOND);
            let expected = match n {
                0..4 => restart(0, Reason::Restart),
                _ => end(1, Reason::StartLimit),
            };
            assert_eq!(policy.next(&asks, n * SECOND), expected, "start {n}");
        }
        // The first start is 10 s away: out of the window.
        assert_eq!(policy.next(&asks, 10 * SECOND), restart(0, Reason::Restart));
    }
}
