//! What must outlive the monitor is held elsewhere ([`Holding`](super::holding::Holding)), from before
//! `start` until the container is deleted. When the keeper has ended, another one gets all of it.

use super::Container;
use super::holding::{INIT, NOTIFY};
use crate::control::protocol::State;
use crate::notify::inbox::Inbox;
use crate::state::init_pidfd;

impl Container {
    /// Gives the keeper what must outlive this monitor, if it has something else. A command that runs
    /// ends first: while a keeper is started, what that leaves would not become our child.
    pub(super) fn hold(&mut self) {
        let (State::Starting | State::Booting | State::Running | State::Stopping | State::Killed | State::Exited) =
            self.machine.state()
        else {
            return;
        };
        if self.holding.failed || self.holding.retry.deadline().is_some() || self.queue.running().is_some() {
            return;
        }
        let mut held = self.stdio.held();
        held.extend(self.attempt.pidfd().map(|pidfd| (INIT, pidfd)));
        held.extend(self.inbox.as_ref().and_then(Inbox::socket).map(|socket| (NOTIFY, socket)));
        if self.holding.holds(held.iter().map(|(name, _)| *name)) {
            return;
        }
        let (id, base) = (&self.settings.id, &self.settings.state_dir);
        if let Err(error) = self.holding.give(id, &held, base, &self.reactor)
            && !self.holding.tries_again(&self.reactor)
        {
            let text = "warning: the container would not outlive its monitor";
            self.print_message(&format!("{text}: {}", error.chain()));
        }
    }

    /// Mounts init's pidfd, which holds how init ends.
    pub(super) fn mount_init(&mut self) {
        if let Some(pidfd) = self.attempt.pidfd() {
            init_pidfd::mount(pidfd, &self.dir.file(init_pidfd::NAME));
        }
    }

    /// The container is deleted: nothing is held any more.
    pub(super) fn release_held(&mut self) {
        init_pidfd::unmount(&self.dir.file(init_pidfd::NAME));
        self.holding.release(&self.settings.id, &self.settings.state_dir, &self.reactor);
    }
}
