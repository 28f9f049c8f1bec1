//! Sequences of events as tables: each step is an event, the state after it, and the actions.

use super::*;
use crate::container::policy::{Restart, StartLimit};

const START: Duration = Duration::from_secs(60);
const STOP: Duration = Duration::from_secs(90);
const NOW: Duration = Duration::from_secs(1);

use Action::*;
use State::{Booting, Creating, Exited, Killed, Restarting, Running, Starting, Stopping};

type Step = (Event, State, Vec<Action>);

fn check(restart: Restart, notifies_ready: bool, steps: Vec<Step>) {
    let limit = StartLimit::new(5, Duration::from_secs(10));
    let policy = Policy::new(restart, None, Signal::HALT, limit);
    let timeouts = Timeouts { start: START, stop: STOP };
    let (mut machine, first) = Machine::begin(policy, timeouts, notifies_ready, NOW);
    assert_eq!(first, create());
    for (n, (event, state, actions)) in steps.into_iter().enumerate() {
        assert_eq!(machine.handle(event, NOW), actions, "step {n}: {event:?}");
        assert_eq!(machine.state(), state, "step {n}: {event:?}");
    }
}

fn create() -> Vec<Action> {
    vec![Create, Arm(START)]
}

fn start() -> Vec<Step> {
    vec![(Event::Created(true), Starting, vec![Start]), (Event::Started(true), Running, vec![Disarm, NotifyReady])]
}

fn followed_by(mut steps: Vec<Step>, more: Vec<Step>) -> Vec<Step> {
    steps.extend(more);
    steps
}

fn delete() -> Vec<Action> {
    vec![Disarm, Delete]
}

fn finish(code: u8, reason: Reason) -> Vec<Action> {
    vec![Disarm, Finish { code, reason }]
}

fn stopping() -> Vec<Action> {
    vec![NotifyStopping, SendStop, Arm(STOP)]
}

#[test]
fn started_then_ended() {
    let exit = Event::Exited(Exit::Status(3));
    let steps = vec![(exit, Exited, delete()), (Event::Deleted, State::Done, finish(3, Reason::Failed))];
    check(Restart::No, false, followed_by(start(), steps));
}

#[test]
fn ready_may_come_before_the_start_command_ends() {
    let steps = vec![
        (Event::Created(true), Starting, vec![Start]),
        (Event::Ready, Starting, vec![]),
        (Event::Started(true), Running, vec![Disarm, NotifyReady]),
    ];
    check(Restart::No, true, steps);
}

#[test]
fn an_exit_may_come_before_the_start_command_ends() {
    let exit = Event::Exited(Exit::Status(0));
    let steps = vec![
        (Event::Created(true), Starting, vec![Start]),
        (exit, Starting, vec![]),
        (Event::Started(true), Exited, vec![Disarm, NotifyReady, Disarm, Delete]),
        (Event::Deleted, State::Done, finish(0, Reason::Exited)),
    ];
    check(Restart::No, false, steps);
}

#[test]
fn not_ready_in_time() {
    let steps = vec![
        (Event::Created(true), Starting, vec![Start]),
        (Event::Started(true), Booting, vec![]),
        (Event::Timeout, Killed, vec![KillAll, Arm(KILL_TIMEOUT)]),
        (Event::Exited(Exit::Signal(Signal::KILL)), Exited, delete()),
        (Event::Deleted, State::Done, finish(1, Reason::StartTimeout)),
    ];
    check(Restart::No, true, steps);
}

#[test]
fn a_create_that_hangs_is_aborted() {
    let steps = vec![
        (Event::Timeout, Creating, vec![AbortCommand]),
        (Event::Created(false), Exited, delete()),
        (Event::Deleted, State::Done, finish(1, Reason::StartTimeout)),
    ];
    check(Restart::No, false, steps);
}

#[test]
fn a_failed_create_is_cleaned_up_too() {
    let steps =
        vec![(Event::Created(false), Exited, delete()), (Event::Deleted, State::Done, finish(1, Reason::Failed))];
    check(Restart::No, false, steps);
}

#[test]
fn an_exit_133_after_a_stop_is_a_stop() {
    let steps = vec![
        (Event::Stop, Stopping, stopping()),
        (Event::Stop, Stopping, vec![]),
        (Event::Restart, Stopping, vec![]),
        (Event::Exited(Exit::Status(133)), Exited, delete()),
        (Event::Deleted, State::Done, finish(0, Reason::Stopped)),
    ];
    check(Restart::Always, false, followed_by(start(), steps));
}

#[test]
fn a_stop_that_needs_force() {
    let steps = vec![
        (Event::Stop, Stopping, stopping()),
        (Event::Timeout, Killed, vec![KillAll, Arm(KILL_TIMEOUT)]),
        (Event::Exited(Exit::Signal(Signal::KILL)), Exited, delete()),
        (Event::Deleted, State::Done, finish(137, Reason::Killed)),
    ];
    check(Restart::Always, false, followed_by(start(), steps));
}

#[test]
fn the_second_interrupt_kills_but_not_one_after_a_stop() {
    let steps = vec![
        (Event::Stop, Stopping, stopping()),
        (Event::Interrupt, Stopping, vec![]),
        (Event::Interrupt, Killed, vec![KillAll, Arm(KILL_TIMEOUT)]),
        (Event::Interrupt, Killed, vec![]),
        (Event::Exited(Exit::Signal(Signal::KILL)), Exited, delete()),
        (Event::Deleted, State::Done, finish(137, Reason::Killed)),
    ];
    check(Restart::No, false, followed_by(start(), steps));
}

#[test]
fn the_monitor_does_not_wait_for_what_outlives_sigkill() {
    let steps = vec![
        (Event::Stop, Stopping, stopping()),
        (Event::Timeout, Killed, vec![KillAll, Arm(KILL_TIMEOUT)]),
        (Event::Timeout, Exited, delete()),
        (Event::Deleted, State::Done, finish(137, Reason::Killed)),
    ];
    check(Restart::No, false, followed_by(start(), steps));
}

#[test]
fn stop_during_create_runs_nothing() {
    let steps = vec![
        (Event::Stop, Creating, vec![]),
        (Event::Created(true), Exited, delete()),
        (Event::Exited(Exit::Signal(Signal::KILL)), Exited, vec![]),
        (Event::Deleted, State::Done, finish(0, Reason::Stopped)),
    ];
    check(Restart::Always, false, steps);
}

#[test]
fn stop_while_it_boots_is_sent_again_once_it_is_ready() {
    let steps = vec![
        (Event::Created(true), Starting, vec![Start]),
        (Event::Started(true), Booting, vec![]),
        (Event::Stop, Stopping, stopping()),
        (Event::Ready, Stopping, vec![SendStop]),
        (Event::Exited(Exit::Status(0)), Exited, delete()),
        (Event::Deleted, State::Done, finish(0, Reason::Stopped)),
    ];
    check(Restart::No, true, steps);
}

#[test]
fn restarts_from_inside_and_outside() {
    let again = vec![ReportRestart(Reason::Restart, Duration::ZERO), Create, Arm(START)];
    let from_inside =
        vec![(Event::Exited(Exit::Signal(Signal::HUP)), Exited, delete()), (Event::Deleted, Creating, again.clone())];
    let from_outside = vec![
        (Event::Restart, Stopping, vec![SendStop, Arm(STOP)]),
        (Event::Exited(Exit::Status(0)), Exited, delete()),
        (Event::Deleted, Creating, again),
    ];
    let steps = followed_by(followed_by(start(), from_inside), followed_by(start(), from_outside));
    check(Restart::No, false, followed_by(steps, start()));
}

#[test]
fn a_stop_ends_the_back_off() {
    let pause = Duration::from_millis(100);
    let steps = vec![
        (Event::Exited(Exit::Status(1)), Exited, delete()),
        (Event::Deleted, Restarting, vec![ReportRestart(Reason::Failed, pause), Arm(pause)]),
        (Event::Stop, State::Done, finish(0, Reason::Stopped)),
    ];
    check(Restart::OnFailure, false, followed_by(start(), steps));
}

#[test]
fn a_stop_after_the_exit_prevents_the_restart() {
    let steps = vec![
        (Event::Exited(Exit::Status(133)), Exited, delete()),
        (Event::Stop, Exited, vec![]),
        (Event::Deleted, State::Done, finish(0, Reason::Stopped)),
    ];
    check(Restart::No, false, followed_by(start(), steps));
}

#[test]
fn a_stop_may_have_another_limit() {
    let limit = Duration::from_secs(3);
    let within = Event::StopWithin(limit);
    let first = vec![NotifyStopping, SendStop, Arm(limit)];
    check(Restart::Always, false, followed_by(start(), vec![(within, Stopping, first)]));
    // Also one that is stopping already.
    let steps = vec![(Event::Stop, Stopping, stopping()), (within, Stopping, vec![Arm(limit)])];
    check(Restart::Always, false, followed_by(start(), steps));
    // A restart becomes a stop.
    let steps = vec![
        (Event::Restart, Stopping, vec![SendStop, Arm(STOP)]),
        (within, Stopping, vec![Arm(limit)]),
        (Event::Exited(Exit::Status(0)), Exited, delete()),
        (Event::Deleted, State::Done, finish(0, Reason::Stopped)),
    ];
    check(Restart::Always, false, followed_by(start(), steps));
}

#[test]
fn a_kill_needs_no_interrupt_before_it() {
    let steps = vec![
        (Event::Kill, Killed, vec![KillAll, Arm(KILL_TIMEOUT)]),
        (Event::Exited(Exit::Signal(Signal::KILL)), Exited, delete()),
        (Event::Deleted, State::Done, finish(137, Reason::Killed)),
    ];
    check(Restart::Always, false, followed_by(start(), steps));
    let steps = vec![(Event::Kill, Creating, vec![AbortCommand])];
    check(Restart::Always, false, steps);
}

#[test]
fn a_silent_container_is_killed_and_has_failed() {
    let killed = vec![
        (Event::Watchdog, Killed, vec![KillAll, Arm(KILL_TIMEOUT)]),
        (Event::Exited(Exit::Signal(Signal::KILL)), Exited, delete()),
    ];
    let end = vec![(Event::Deleted, State::Done, finish(137, Reason::Watchdog))];
    check(Restart::No, false, followed_by(followed_by(start(), killed.clone()), end));
    let pause = Duration::from_millis(100);
    let again = vec![ReportRestart(Reason::Watchdog, pause), Arm(pause)];
    let steps = followed_by(killed, vec![(Event::Deleted, Restarting, again)]);
    check(Restart::OnFailure, false, followed_by(start(), steps));
    // One that is stopping has its own time limit.
    let steps = vec![(Event::Stop, Stopping, stopping()), (Event::Watchdog, Stopping, vec![])];
    check(Restart::No, false, followed_by(start(), steps));
}

/// After each of these events another monitor goes on, ten seconds later, from what was recorded.
#[test]
fn another_monitor_goes_on() {
    let ended = Event::Exited(Exit::Status(1));
    let later = NOW + Duration::from_secs(10);
    let left = |limit: Duration| Arm(limit - (later - NOW));
    let table = [
        (None, Creating, vec![Create, left(START)]),
        (Some(Event::Created(true)), Starting, vec![left(START)]),
        (Some(Event::Started(true)), Booting, vec![left(START)]),
        (Some(Event::Ready), Running, vec![]),
        (Some(Event::Restart), Stopping, vec![SendStop, left(STOP)]),
        (Some(Event::Timeout), Killed, vec![KillAll, Arm(Duration::ZERO)]),
        (Some(ended), Exited, vec![Delete]),
        (Some(Event::Deleted), Creating, vec![Create, left(START)]),
        (Some(Event::Created(false)), Exited, vec![Delete]),
        (Some(Event::Deleted), Restarting, vec![Arm(Duration::ZERO)]),
    ];
    let policy = Policy::new(Restart::OnFailure, None, Signal::HALT, StartLimit::new(5, Duration::from_secs(10)));
    let (mut machine, _) = Machine::begin(policy, Timeouts { start: START, stop: STOP }, true, NOW);
    for (event, state, actions) in table {
        if let Some(event) = event {
            machine.handle(event, NOW);
        }
        let recorded = serde_json::to_string(&machine).unwrap();
        let mut next: Machine = serde_json::from_str(&recorded).unwrap();
        assert_eq!((next.state(), next.resume(later)), (state, actions), "after {event:?}");
        machine = serde_json::from_str(&recorded).unwrap();
    }
}
