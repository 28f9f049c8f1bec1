//! Signals to the container: the stop signal until init takes it, SIGKILL, and those that are
//! passed on.

use super::Container;
use crate::control::protocol::State;
use crate::runtime::command::Verb;
use crate::signal::Signal;
use std::time::Duration;

/// How often to look whether init has installed a handler for the stop signal.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);

impl Container {
    /// Sends init the stop signal. If init does not take it yet, it is sent again once it does.
    pub(super) fn send_stop(&mut self) {
        let signal = self.machine.stop_signal();
        // Looked at before it is sent, so that a yes means that this one arrives.
        let takes = self.attempt.init_takes(signal);
        self.attempt.send_signal(signal);
        match takes {
            true => self.stop_retry.disarm(),
            false => self.stop_retry.arm(RETRY_INTERVAL),
        }
    }

    /// Sends the stop signal again if init takes it now.
    pub(super) fn retry_stop(&mut self) {
        if self.machine.state() != State::Stopping {
            return;
        }
        let signal = self.machine.stop_signal();
        match self.attempt.init_takes(signal) {
            true => self.attempt.send_signal(signal),
            false => self.stop_retry.arm(RETRY_INTERVAL),
        }
    }

    /// Sends SIGKILL to init by its pidfd, at once, and to all processes by the runtime.
    pub(super) fn kill_all(&mut self) {
        self.stop_retry.disarm();
        self.attempt.send_signal(Signal::KILL);
        self.queue.push(Verb::KillAll);
    }

    /// Passes a signal to the monitor on to init.
    pub(super) fn forward_signal(&mut self, signal: Signal) {
        self.attempt.send_signal(signal);
    }
}
