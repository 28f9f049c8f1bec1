//! The life of a container as a pure state machine: events in, actions out.
//!
//! ```text
//! Creating → Starting → [Booting →] Running → Stopping → Killed → Exited → Restarting → Creating …
//!                                                                        ↘ Done
//! ```
//!
//! `Booting` is the wait for READY, where one is expected. `Exited` is the
//! clean-up: the runtime's `delete --force` always runs, also after a failure.

use crate::container::policy::{Cause, Ended, Exit, Intent, Next, Policy, Reason};
use crate::signal::Signal;
use std::time::Duration;

/// How long SIGKILL may take before the monitor cleans up without waiting on.
/// Only a process in an uninterruptible sleep outlives it.
const KILL_TIME: Duration = Duration::from_secs(10);

/// Where a container is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Creating,
    Starting,
    Booting,
    Running,
    Stopping,
    Killed,
    Exited,
    Restarting,
    Done,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The runtime's `create` ended, well or not.
    Created(bool),
    /// The runtime's `start` ended, well or not.
    Started(bool),
    /// The container says that it is ready.
    Ready,
    /// Init is gone.
    Exited(Exit),
    /// The runtime's `delete` ended.
    Deleted,
    /// Somebody wants the container to stop (SIGTERM).
    Stop,
    /// The same from a keyboard (SIGINT); the second one kills.
    Interrupt,
    /// Somebody wants it restarted (SIGHUP).
    Restart,
    /// The time of the last `Arm` is over.
    Timeout,
}

/// What to do about it, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Create,
    Start,
    /// Kill the runtime's command that is under way; its end is reported as usual.
    AbortCommand,
    AnnounceReady,
    AnnounceStopping,
    SendStop,
    KillAll,
    Delete,
    /// One timer: the last `Arm` counts.
    Arm(Duration),
    Disarm,
    /// An attempt is over and will be followed by another.
    Again(Reason, Duration),
    Finish {
        code: u8,
        reason: Reason,
    },
}

/// The times that the machine arms its timer with.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    pub start: Duration,
    pub stop: Duration,
}

/// One container over all its attempts.
#[derive(Debug)]
pub struct Machine {
    state: State,
    policy: Policy,
    times: Times,
    /// Whether the container will tell when it is ready.
    expects_ready: bool,
    intent: Intent,
    interrupts: u32,
    began: Duration,
    ready: bool,
    killed: bool,
    exit: Option<Exit>,
    cause: Option<Cause>,
}

impl Machine {
    /// A machine and its first actions.
    pub fn begin(policy: Policy, times: Times, expects_ready: bool, now: Duration) -> (Machine, Vec<Action>) {
        let mut machine = Machine {
            state: State::Creating,
            policy,
            times,
            expects_ready,
            intent: Intent::Run,
            interrupts: 0,
            began: now,
            ready: false,
            killed: false,
            exit: None,
            cause: None,
        };
        let actions = machine.create(now);
        (machine, actions)
    }

    /// Where it is now.
    pub fn state(&self) -> State {
        self.state
    }

    /// How init ended in this attempt; not what `delete --force` did to it.
    pub fn exit(&self) -> Option<Exit> {
        self.exit
    }

    /// Why the monitor ended this attempt, if it did.
    pub fn cause(&self) -> Option<Cause> {
        self.cause
    }

    /// The signal that stops this container.
    pub fn stop_signal(&self) -> Signal {
        self.policy.stop_signal
    }

    /// What the bundle says, which may have changed since the last attempt.
    pub fn set_rules(&mut self, restart_status: Option<u8>, stop_signal: Signal, expects_ready: bool) {
        self.policy.restart_status = restart_status;
        self.policy.stop_signal = stop_signal;
        self.expects_ready = expects_ready;
    }

    /// The next state and what to do, given that `event` happened at `now`.
    pub fn handle(&mut self, event: Event, now: Duration) -> Vec<Action> {
        match event {
            Event::Created(well) if self.state == State::Creating => self.created(well),
            Event::Started(well) if self.state == State::Starting => self.started(well),
            Event::Ready => self.says_ready(),
            Event::Exited(exit) => self.exited(exit),
            Event::Deleted if self.state == State::Exited => self.deleted(now),
            Event::Stop => self.stop(),
            Event::Interrupt => self.interrupt(),
            Event::Restart => self.restart(now),
            Event::Timeout => self.timeout(now),
            Event::Created(_) | Event::Started(_) | Event::Deleted => vec![],
        }
    }

    fn create(&mut self, now: Duration) -> Vec<Action> {
        self.state = State::Creating;
        self.policy.limit.started(now);
        self.intent = Intent::Run;
        self.began = now;
        self.ready = false;
        self.killed = false;
        self.exit = None;
        self.cause = None;
        vec![Action::Create, Action::Arm(self.times.start)]
    }

    fn created(&mut self, well: bool) -> Vec<Action> {
        if !well {
            self.cause.get_or_insert(Cause::StartFailed);
            return self.clean_up();
        }
        if self.intent != Intent::Run || self.cause.is_some() {
            // Init has not run yet: deleting it by force loses nothing.
            return self.clean_up();
        }
        self.state = State::Starting;
        vec![Action::Start]
    }

    fn started(&mut self, well: bool) -> Vec<Action> {
        if !well {
            self.cause.get_or_insert(Cause::StartFailed);
            return self.clean_up();
        }
        let mut actions = vec![];
        if self.ready || !self.expects_ready {
            actions.append(&mut self.running());
        } else {
            self.state = State::Booting;
        }
        if self.exit.is_some() {
            actions.append(&mut self.clean_up());
        } else if self.cause.is_some() {
            actions.append(&mut self.kill());
        } else if self.intent != Intent::Run {
            actions.append(&mut self.stopping());
        }
        actions
    }

    fn running(&mut self) -> Vec<Action> {
        self.state = State::Running;
        self.ready = true;
        vec![Action::Disarm, Action::AnnounceReady]
    }

    fn says_ready(&mut self) -> Vec<Action> {
        match self.state {
            // Init may be faster than the runtime's `start` is to end.
            State::Creating | State::Starting => {
                self.ready = true;
                vec![]
            }
            State::Booting => self.running(),
            // It listens only now: a stop sent before may have been lost.
            State::Stopping if !self.ready => {
                self.ready = true;
                vec![Action::SendStop]
            }
            _ => vec![],
        }
    }

    fn exited(&mut self, exit: Exit) -> Vec<Action> {
        match self.state {
            State::Creating | State::Starting => {
                self.exit = Some(exit);
                vec![]
            }
            State::Booting | State::Running | State::Stopping | State::Killed => {
                self.exit = Some(exit);
                self.clean_up()
            }
            // The force of `delete --force` is no status of init's own.
            State::Exited | State::Restarting | State::Done => vec![],
        }
    }

    fn clean_up(&mut self) -> Vec<Action> {
        self.state = State::Exited;
        vec![Action::Disarm, Action::Delete]
    }

    fn deleted(&mut self, now: Duration) -> Vec<Action> {
        let ended = Ended {
            exit: self.exit,
            cause: self.cause,
            intent: self.intent,
            killed: self.killed,
            ran: now.saturating_sub(self.began),
        };
        match self.policy.next(&ended, now) {
            Next::End { code, reason } => self.finish(code, reason),
            Next::Restart { after, reason } => {
                let mut actions = vec![Action::Again(reason, after)];
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

    fn stop(&mut self) -> Vec<Action> {
        match self.state {
            State::Done => vec![],
            State::Restarting => self.finish(0, Reason::Stopped),
            State::Booting | State::Running => {
                self.intent = Intent::Stop;
                self.stopping()
            }
            // A start under way comes to its end first; its time is limited.
            State::Creating | State::Starting | State::Stopping | State::Killed | State::Exited => {
                self.intent = Intent::Stop;
                vec![]
            }
        }
    }

    fn stopping(&mut self) -> Vec<Action> {
        self.state = State::Stopping;
        let mut actions = vec![Action::SendStop, Action::Arm(self.times.stop)];
        if self.intent == Intent::Stop {
            actions.insert(0, Action::AnnounceStopping);
        }
        actions
    }

    fn interrupt(&mut self) -> Vec<Action> {
        self.interrupts = self.interrupts.saturating_add(1);
        if self.interrupts < 2 {
            return self.stop();
        }
        self.intent = Intent::Stop;
        match self.state {
            State::Creating | State::Starting => {
                self.cause.get_or_insert(Cause::Interrupted);
                vec![Action::AbortCommand]
            }
            State::Booting | State::Running | State::Stopping => {
                self.cause.get_or_insert(Cause::Interrupted);
                self.kill()
            }
            State::Restarting => self.finish(0, Reason::Stopped),
            State::Killed | State::Exited | State::Done => vec![],
        }
    }

    fn restart(&mut self, now: Duration) -> Vec<Action> {
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
                self.stopping()
            }
            State::Restarting => self.create(now),
            State::Killed | State::Done => vec![],
        }
    }

    fn timeout(&mut self, now: Duration) -> Vec<Action> {
        match self.state {
            State::Creating | State::Starting => {
                self.cause.get_or_insert(Cause::StartTimeout);
                vec![Action::AbortCommand]
            }
            State::Booting => {
                self.cause.get_or_insert(Cause::StartTimeout);
                self.kill()
            }
            State::Stopping => self.kill(),
            State::Killed => {
                self.cause = Some(Cause::Stuck);
                self.clean_up()
            }
            State::Restarting => self.create(now),
            State::Running | State::Exited | State::Done => vec![],
        }
    }

    fn kill(&mut self) -> Vec<Action> {
        self.state = State::Killed;
        self.killed = true;
        vec![Action::KillAll, Action::Arm(KILL_TIME)]
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
