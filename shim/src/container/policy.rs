//! Whether a container is started again after its end: the table of docs/shim.md, "How a
//! container ends, and what follows". Pure.

use crate::process::exit::Exit;
use crate::signal::Signal;
use crate::state::exit_record::Reason;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::time::Duration;

/// The exit status by which an init asks for a restart, and with `--restart unit` the monitor its
/// service manager (RestartForceExitStatus=133).
const RESTART_STATUS: u8 = 133;
/// The monitor's after a stop that needed SIGKILL: 128 + 9, as in shells.
const KILLED_STATUS: u8 = 137;
/// The monitor's after a failure that is not an exit status of the container.
const FAILURE_STATUS: u8 = 1;

const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LAST_BACKOFF: Duration = Duration::from_secs(30);

/// When a container is restarted; option `--restart`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
pub(crate) enum Restart {
    /// Only when the container asks for it
    No,
    /// Also after a failure, with back-off
    OnFailure,
    /// After every end but a requested stop
    Always,
    /// Never: exit 133 when the container asks for it, for the service manager
    Unit,
}

/// What an end of init is, whatever the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ExitClass {
    Clean,
    /// Init asks for a restart.
    Restart,
    Failure,
}

/// What was last requested of the monitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Intent {
    Run,
    Restart,
    Stop,
}

/// Why the monitor ended an attempt, where init did not end by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Cause {
    /// The runtime could not create or start it.
    StartFailed,
    /// It was not ready within the start timeout.
    StartTimeout,
    /// It has not sent WATCHDOG=1 within the watchdog's time.
    Watchdog,
    /// A second SIGINT: killed at once.
    Interrupted,
    /// SIGKILL did not end it.
    Unkillable,
}

/// An attempt that has ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended {
    /// Of init; `None` if it never ran.
    pub(crate) exit: Option<Exit>,
    pub(crate) cause: Option<Cause>,
    pub(crate) intent: Intent,
    /// The monitor has sent SIGKILL.
    pub(crate) killed: bool,
    /// It was ready.
    pub(crate) was_ready: bool,
    /// From the begin of the attempt to its end.
    pub(crate) duration: Duration,
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    Restart { after: Duration, reason: Reason },
    End { code: u8, reason: Reason },
}

/// The restart policy of one container, with its state.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Policy {
    pub(crate) restart: Restart,
    /// An exit status, besides 133, that asks for a restart (`init.restartExitCode`).
    pub(crate) restart_status: Option<u8>,
    pub(crate) stop_signal: Signal,
    pub(crate) limit: StartLimit,
    /// In a row.
    failures: u32,
    /// It was not ready yet, and one that ends so is not restarted (`--fail-first-start`).
    #[serde(default)]
    fails_first_start: bool,
}

impl Policy {
    /// A policy before the first start.
    pub(crate) fn new(restart: Restart, restart_status: Option<u8>, stop_signal: Signal, limit: StartLimit) -> Policy {
        Policy { restart, restart_status, stop_signal, limit, failures: 0, fails_first_start: false }
    }

    /// The same, that does not restart a container before it was ready, unless that asks for it.
    pub(crate) fn failing_first_start(self, fails_first_start: bool) -> Policy {
        Policy { fails_first_start, ..self }
    }

    /// Classifies an end of init. Only an exit status of 133 asks for a restart: death by SIGTRAP,
    /// which shells show as 133, is a failure.
    fn classify(&self, exit: Exit) -> ExitClass {
        match exit {
            Exit::Status(status) if status == RESTART_STATUS || Some(status) == self.restart_status => {
                ExitClass::Restart
            }
            Exit::Signal(Signal::HUP) => ExitClass::Restart,
            Exit::Status(0) | Exit::Signal(Signal::INT) => ExitClass::Clean,
            _ => ExitClass::Failure,
        }
    }

    /// Decides what follows an attempt that ended at `now`, a time since any fixed moment.
    pub(crate) fn next(&mut self, ended: &Ended, now: Duration) -> Next {
        self.fails_first_start &= !ended.was_ready;
        match ended.intent {
            Intent::Stop => self.after_stop(ended),
            Intent::Restart if ended.cause.is_none() => {
                Next::Restart { after: Duration::ZERO, reason: Reason::Restart }
            }
            _ => self.after_unrequested(ended, now),
        }
    }

    /// After a requested stop nothing restarts.
    fn after_stop(&self, ended: &Ended) -> Next {
        let (code, reason) = match (ended.cause, ended.exit) {
            (Some(Cause::Interrupted | Cause::Unkillable), _) => (KILLED_STATUS, Reason::Killed),
            (Some(Cause::StartFailed), _) => (FAILURE_STATUS, Reason::Failed),
            (Some(Cause::StartTimeout), _) => (FAILURE_STATUS, Reason::StartTimeout),
            (Some(Cause::Watchdog), _) => (KILLED_STATUS, Reason::Watchdog),
            (None, Some(Exit::Signal(Signal::KILL))) if ended.killed => (KILLED_STATUS, Reason::Killed),
            (None, None) => (0, Reason::Stopped),
            (None, Some(exit)) if exit == Exit::Signal(self.stop_signal) => (0, Reason::Stopped),
            (None, Some(exit)) if self.classify(exit) != ExitClass::Failure => (0, Reason::Stopped),
            (None, Some(exit)) => (self.exit_code(exit), Reason::Failed),
        };
        Next::End { code, reason }
    }

    /// After an end that nobody requested.
    fn after_unrequested(&mut self, ended: &Ended, now: Duration) -> Next {
        let class = match (ended.cause, ended.exit) {
            (None, Some(exit)) => self.classify(exit),
            _ => ExitClass::Failure,
        };
        if class != ExitClass::Failure || ended.duration >= self.limit.interval {
            self.failures = 0;
        }
        let (after, reason) = match class {
            ExitClass::Restart if self.restart == Restart::Unit => {
                return Next::End { code: RESTART_STATUS, reason: Reason::Restart };
            }
            ExitClass::Restart => (Duration::ZERO, Reason::Restart),
            ExitClass::Clean if self.restart == Restart::Always && !self.fails_first_start => {
                (FIRST_BACKOFF, Reason::Exited)
            }
            ExitClass::Clean => {
                return Next::End { code: 0, reason: Reason::Exited };
            }
            ExitClass::Failure => {
                let (code, reason) = self.failure(ended);
                if self.fails_first_start || !matches!(self.restart, Restart::OnFailure | Restart::Always) {
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

    /// The exit code and reason of a failure.
    fn failure(&self, ended: &Ended) -> (u8, Reason) {
        match (ended.cause, ended.exit) {
            (Some(Cause::StartTimeout), _) => (FAILURE_STATUS, Reason::StartTimeout),
            (Some(Cause::Watchdog), _) => (KILLED_STATUS, Reason::Watchdog),
            (Some(Cause::Interrupted | Cause::Unkillable), _) => (KILLED_STATUS, Reason::Killed),
            (Some(Cause::StartFailed), _) | (None, None) => (FAILURE_STATUS, Reason::Failed),
            (None, Some(exit)) => (self.exit_code(exit), Reason::Failed),
        }
    }

    /// The monitor's exit code for an end of init. With `--restart unit` 133 asks the service
    /// manager for a restart, so death by SIGTRAP is shown as 1.
    fn exit_code(&self, exit: Exit) -> u8 {
        match exit {
            Exit::Signal(Signal::TRAP) if self.restart == Restart::Unit => FAILURE_STATUS,
            _ => exit.code(),
        }
    }
}

/// The pause after the n-th failure in a row.
fn backoff(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    FIRST_BACKOFF.saturating_mul(1 << doublings).min(LAST_BACKOFF)
}

/// At most `burst` starts within `interval`, as StartLimitBurst= of systemd.unit(5); a burst of 0 is
/// no limit.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StartLimit {
    pub(crate) burst: u32,
    pub(crate) interval: Duration,
    /// The times of starts within the last interval.
    starts: VecDeque<Duration>,
}

impl StartLimit {
    /// A limit before the first start.
    pub(crate) fn new(burst: u32, interval: Duration) -> StartLimit {
        StartLimit { burst, interval, starts: VecDeque::new() }
    }

    /// Counts a start at `now`.
    pub(crate) fn count_start(&mut self, now: Duration) {
        if self.burst > 0 {
            self.drop_old(now);
            self.starts.push_back(now);
        }
    }

    fn allows(&mut self, now: Duration) -> bool {
        self.drop_old(now);
        self.burst == 0 || self.starts.len() < self.burst as usize
    }

    fn drop_old(&mut self, now: Duration) {
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
        Ended { exit: Some(exit), cause: None, intent, killed: false, was_ready: true, duration: SECOND }
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
    fn a_first_start_may_fail_for_good() {
        let mut policy = policy(Restart::Always).failing_first_start(true);
        let not_ready = |exit| Ended { was_ready: false, ..ended(exit, Intent::Run) };
        assert_eq!(policy.next(&not_ready(Exit::Status(133)), SECOND), restart(0, Reason::Restart));
        assert_eq!(policy.next(&not_ready(Exit::Status(3)), SECOND), end(3, Reason::Failed));
        assert_eq!(policy.next(&not_ready(Exit::Status(0)), SECOND), end(0, Reason::Exited));
        assert_eq!(policy.next(&ended(Exit::Status(3), Intent::Run), SECOND), restart(100, Reason::Failed));
        assert_eq!(policy.next(&not_ready(Exit::Status(3)), SECOND), restart(200, Reason::Failed));
    }

    #[test]
    fn after_a_requested_stop_nothing_restarts() {
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
    fn a_requested_restart_ignores_status_and_limit() {
        let mut policy = policy(Restart::No);
        for _ in 0..9 {
            policy.limit.count_start(SECOND);
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
    fn back_off_doubles_and_is_reset_by_a_long_run() {
        let mut policy = policy(Restart::OnFailure);
        policy.limit.burst = 0;
        let failure = ended(Exit::Status(1), Intent::Run);
        for millis in [100, 200, 400, 800] {
            assert_eq!(policy.next(&failure, SECOND), restart(millis, Reason::Failed));
        }
        let good = Ended { duration: 10 * SECOND, ..failure };
        assert_eq!(policy.next(&good, SECOND), restart(100, Reason::Failed));
        assert_eq!(backoff(u32::MAX), LAST_BACKOFF);
    }

    #[test]
    fn the_start_limit_covers_restarts_by_133() {
        let mut policy = policy(Restart::No);
        let asks = ended(Exit::Status(133), Intent::Run);
        for n in 0..5 {
            policy.limit.count_start(n * SECOND);
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
