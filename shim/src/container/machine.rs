//! The states of a container as a pure state machine: events in, actions out.
//!
//! ```text
//! Creating → Starting → [Booting →] Running → Stopping → Killed → Exited → Restarting → Creating …
//!                                                                        ↘ Done
//! ```
//!
//! `Booting`: it runs, and has not notified yet that it is ready. `Exited`: init has ended, and the
//! runtime's `delete --force` runs, as after every end and every failed start.

use super::policy::{Cause, Ended, Intent, Next, Policy};
use crate::control::protocol::State;
use crate::process::exit::Exit;
use crate::signal::Signal;
use crate::state::exit_record::Reason;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long the monitor waits after SIGKILL, which only a process in uninterruptible sleep
/// outlives.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// The runtime's `create` has ended; whether it succeeded.
    Created(bool),
    /// The runtime's `start` has ended; whether it succeeded.
    Started(bool),
    /// The container has sent READY=1.
    Ready,
    /// Init has ended.
    Exited(Exit),
    /// The runtime's `delete` has ended.
    Deleted,
    /// A stop is requested: SIGTERM.
    Stop,
    /// A stop is requested: SIGINT. The second one kills.
    Interrupt,
    /// A stop is requested, with another time limit than that of the options.
    StopWithin(Duration),
    /// All processes are to be killed at once, for good.
    Kill,
    /// A restart is requested: SIGHUP.
    Restart,
    /// It has not sent WATCHDOG=1 in time, or asks for what follows that (WATCHDOG=trigger).
    Watchdog,
    /// The timer has fired.
    Timeout,
}

/// What to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Begin an attempt with the runtime's `create`.
    Create,
    /// Run the runtime's `start`.
    Start,
    /// Abort the runtime's command that runs; its end is an event as usual.
    AbortCommand,
    /// Notify the service manager: READY=1.
    NotifyReady,
    /// Notify the service manager: STOPPING=1.
    NotifyStopping,
    /// Send init the stop signal.
    SendStop,
    /// Send SIGKILL to init and, by the runtime's `kill --all`, to all processes.
    KillAll,
    /// Run the runtime's `delete --force`.
    Delete,
    /// Start the timer anew. There is one.
    Arm(Duration),
    Disarm,
    /// Record and report an attempt that is followed by another one after the pause.
    ReportRestart(Reason, Duration),
    /// Record and report the last attempt, and exit.
    Finish {
        code: u8,
        reason: Reason,
    },
}

/// The timeouts of a container; `Duration::MAX` is none.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Timeouts {
    pub(crate) start: Duration,
    pub(crate) stop: Duration,
}

/// What the bundle says of a container.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BundleRules {
    /// An exit status, besides 133, that asks for a restart.
    pub(crate) restart_status: Option<u8>,
    pub(crate) stop_signal: Signal,
    /// It is ready only when it notifies that.
    pub(crate) notifies_ready: bool,
}

/// The state machine of one container, over all its attempts.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Machine {
    state: State,
    policy: Policy,
    timeouts: Timeouts,
    notifies_ready: bool,
    intent: Intent,
    /// The number of SIGINTs.
    interrupts: u32,
    /// When the attempt began, since the machine's.
    began: Duration,
    ready: bool,
    killed: bool,
    exit: Option<Exit>,
    cause: Option<Cause>,
    /// When the timer fires.
    deadline: Option<Duration>,
}

impl Machine {
    /// A machine, and the first actions. Times `now` are since any fixed moment, which stays the same
    /// when another monitor takes over.
    pub(crate) fn begin(
        policy: Policy,
        timeouts: Timeouts,
        notifies_ready: bool,
        now: Duration,
    ) -> (Machine, Vec<Action>) {
        let mut machine = Machine {
            state: State::Creating,
            policy,
            timeouts,
            notifies_ready,
            intent: Intent::Run,
            interrupts: 0,
            began: now,
            ready: false,
            killed: false,
            exit: None,
            cause: None,
            deadline: None,
        };
        let actions = machine.create(now);
        machine.note_deadline(&actions, now);
        (machine, actions)
    }

    pub(crate) fn state(&self) -> State {
        self.state
    }

    /// How init ended in this attempt, before `delete --force`.
    pub(crate) fn exit(&self) -> Option<Exit> {
        self.exit
    }

    /// Why the monitor ended this attempt, if it did.
    pub(crate) fn cause(&self) -> Option<Cause> {
        self.cause
    }

    pub(crate) fn stop_signal(&self) -> Signal {
        self.policy.stop_signal
    }

    /// Sets what the bundle says, which is read anew for each attempt.
    pub(crate) fn set_rules(&mut self, rules: BundleRules) {
        self.policy.restart_status = rules.restart_status;
        self.policy.stop_signal = rules.stop_signal;
        self.notifies_ready = rules.notifies_ready;
    }

    /// The actions with which another monitor goes on: the last ones of the one that was killed, which
    /// may have been carried out or not, and the rest of the timer.
    pub(crate) fn resume(&mut self, now: Duration) -> Vec<Action> {
        let mut actions = match self.state {
            State::Creating => vec![Action::Create],
            State::Stopping if self.intent == Intent::Stop => vec![Action::NotifyStopping, Action::SendStop],
            State::Stopping => vec![Action::SendStop],
            State::Killed => vec![Action::KillAll],
            State::Exited => vec![Action::Delete],
            State::Starting | State::Booting | State::Running | State::Restarting | State::Done => vec![],
        };
        actions.extend(self.deadline.map(|deadline| Action::Arm(deadline.saturating_sub(now))));
        actions
    }

    /// Its program has not been started: the attempt begins anew.
    pub(crate) fn create_anew(&mut self) {
        self.state = State::Creating;
    }

    /// Takes an event at `now` and enters the next state; the actions, in order.
    pub(crate) fn handle(&mut self, event: Event, now: Duration) -> Vec<Action> {
        let actions = self.enter_next(event, now);
        self.note_deadline(&actions, now);
        actions
    }

    fn note_deadline(&mut self, actions: &[Action], now: Duration) {
        for action in actions {
            match action {
                Action::Arm(after) => self.deadline = now.checked_add(*after),
                Action::Disarm => self.deadline = None,
                _ => {}
            }
        }
    }

    fn enter_next(&mut self, event: Event, now: Duration) -> Vec<Action> {
        match event {
            Event::Created(succeeded) if self.state == State::Creating => self.on_created(succeeded),
            Event::Started(succeeded) if self.state == State::Starting => self.on_started(succeeded),
            Event::Ready => self.on_ready(),
            Event::Exited(exit) => self.on_exited(exit),
            Event::Deleted if self.state == State::Exited => self.on_deleted(now),
            Event::Stop => self.on_stop(),
            Event::StopWithin(limit) => self.on_stop_within(limit),
            Event::Interrupt => self.on_interrupt(),
            Event::Kill => self.on_kill(),
            Event::Restart => self.on_restart(now),
            Event::Watchdog if self.state == State::Running => {
                self.cause.get_or_insert(Cause::Watchdog);
                self.kill_all()
            }
            Event::Timeout => self.on_timeout(now),
            Event::Created(_) | Event::Started(_) | Event::Deleted | Event::Watchdog => vec![],
        }
    }

    fn create(&mut self, now: Duration) -> Vec<Action> {
        self.state = State::Creating;
        self.policy.limit.count_start(now);
        self.intent = Intent::Run;
        self.began = now;
        self.ready = false;
        self.killed = false;
        self.exit = None;
        self.cause = None;
        vec![Action::Create, Action::Arm(self.timeouts.start)]
    }

    fn on_created(&mut self, succeeded: bool) -> Vec<Action> {
        if !succeeded {
            self.cause.get_or_insert(Cause::StartFailed);
            return self.delete();
        }
        if self.intent != Intent::Run || self.cause.is_some() {
            // Init waits for `start`: the container's program has not run.
            return self.delete();
        }
        self.state = State::Starting;
        vec![Action::Start]
    }

    fn on_started(&mut self, succeeded: bool) -> Vec<Action> {
        if !succeeded {
            self.cause.get_or_insert(Cause::StartFailed);
            return self.delete();
        }
        let mut actions = vec![];
        if self.ready || !self.notifies_ready {
            actions.append(&mut self.enter_running());
        } else {
            self.state = State::Booting;
        }
        if self.exit.is_some() {
            actions.append(&mut self.delete());
        } else if self.cause.is_some() {
            actions.append(&mut self.kill_all());
        } else if self.intent != Intent::Run {
            actions.append(&mut self.enter_stopping());
        }
        actions
    }

    fn enter_running(&mut self) -> Vec<Action> {
        self.state = State::Running;
        self.ready = true;
        vec![Action::Disarm, Action::NotifyReady]
    }

    fn on_ready(&mut self) -> Vec<Action> {
        match self.state {
            // It may be ready before the runtime's `start` has ended.
            State::Creating | State::Starting => {
                self.ready = true;
                vec![]
            }
            State::Booting => self.enter_running(),
            // A stop signal from before may have been lost, as init had no handler yet.
            State::Stopping if !self.ready => {
                self.ready = true;
                vec![Action::SendStop]
            }
            _ => vec![],
        }
    }

    fn on_exited(&mut self, exit: Exit) -> Vec<Action> {
        match self.state {
            State::Creating | State::Starting => {
                self.exit = Some(exit);
                vec![]
            }
            State::Booting | State::Running | State::Stopping | State::Killed => {
                self.exit = Some(exit);
                self.delete()
            }
            // By `delete --force`: not how init ended by itself.
            State::Exited | State::Restarting | State::Done => vec![],
        }
    }

    fn delete(&mut self) -> Vec<Action> {
        self.state = State::Exited;
        vec![Action::Disarm, Action::Delete]
    }

    fn on_deleted(&mut self, now: Duration) -> Vec<Action> {
        let ended = Ended {
            exit: self.exit,
            cause: self.cause,
            intent: self.intent,
            killed: self.killed,
            was_ready: self.ready,
            duration: now.saturating_sub(self.began),
        };
        match self.policy.next(&ended, now) {
            Next::End { code, reason } => self.finish(code, reason),
            Next::Restart { after, reason } => {
                let mut actions = vec![Action::ReportRestart(reason, after)];
                if after.is_zero() {
                    actions.append(&mut self.create(now));
                } else {
                    self.state = State::Restarting;
                    actions.push(Action::Arm(after));
                }
                actions
            }
        }
    }

    fn finish(&mut self, code: u8, reason: Reason) -> Vec<Action> {
        self.state = State::Done;
        vec![Action::Disarm, Action::Finish { code, reason }]
    }

    fn on_stop(&mut self) -> Vec<Action> {
        match self.state {
            State::Done => vec![],
            State::Restarting => self.finish(0, Reason::Stopped),
            State::Booting | State::Running => {
                self.intent = Intent::Stop;
                self.enter_stopping()
            }
            // A command that runs ends first; its time is limited.
            State::Creating | State::Starting | State::Stopping | State::Killed | State::Exited => {
                self.intent = Intent::Stop;
                vec![]
            }
        }
    }

    fn on_stop_within(&mut self, limit: Duration) -> Vec<Action> {
        self.timeouts.stop = limit;
        if self.state == State::Stopping {
            self.intent = Intent::Stop;
            return vec![Action::Arm(limit)];
        }
        self.on_stop()
    }

    fn enter_stopping(&mut self) -> Vec<Action> {
        self.state = State::Stopping;
        let mut actions = vec![Action::SendStop, Action::Arm(self.timeouts.stop)];
        if self.intent == Intent::Stop {
            actions.insert(0, Action::NotifyStopping);
        }
        actions
    }

    fn on_interrupt(&mut self) -> Vec<Action> {
        self.interrupts = self.interrupts.saturating_add(1);
        if self.interrupts < 2 { self.on_stop() } else { self.on_kill() }
    }

    fn on_kill(&mut self) -> Vec<Action> {
        self.intent = Intent::Stop;
        match self.state {
            State::Creating | State::Starting => {
                self.cause.get_or_insert(Cause::Interrupted);
                vec![Action::AbortCommand]
            }
            State::Booting | State::Running | State::Stopping => {
                self.cause.get_or_insert(Cause::Interrupted);
                self.kill_all()
            }
            State::Restarting => self.finish(0, Reason::Stopped),
            State::Killed | State::Exited | State::Done => vec![],
        }
    }

    fn on_restart(&mut self, now: Duration) -> Vec<Action> {
        if self.intent == Intent::Stop {
            return vec![];
        }
        match self.state {
            State::Creating | State::Starting | State::Exited | State::Stopping => {
                self.intent = Intent::Restart;
                vec![]
            }
            State::Booting | State::Running => {
                self.intent = Intent::Restart;
                self.enter_stopping()
            }
            State::Restarting => self.create(now),
            State::Killed | State::Done => vec![],
        }
    }

    fn on_timeout(&mut self, now: Duration) -> Vec<Action> {
        match self.state {
            State::Creating | State::Starting => {
                self.cause.get_or_insert(Cause::StartTimeout);
                vec![Action::AbortCommand]
            }
            State::Booting => {
                self.cause.get_or_insert(Cause::StartTimeout);
                self.kill_all()
            }
            State::Stopping => self.kill_all(),
            State::Killed => {
                self.cause = Some(Cause::Unkillable);
                self.delete()
            }
            State::Restarting => self.create(now),
            State::Running | State::Exited | State::Done => vec![],
        }
    }

    fn kill_all(&mut self) -> Vec<Action> {
        self.state = State::Killed;
        self.killed = true;
        vec![Action::KillAll, Action::Arm(KILL_TIMEOUT)]
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
