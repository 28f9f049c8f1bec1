//! The connection to the keeper, and what it holds for the container.

use crate::keeper::client::Keeper;
use crate::reactor::timer::Timer;
use crate::reactor::{Interest, Reactor, Token};
use firn::error::{Context, Error, Result};
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::{Duration, Instant};

/// The names of what is not of the streams.
pub(super) const INIT: &str = "init";
pub(super) const NOTIFY: &str = "notify";

/// A keeper that has lived for less is not replaced at once.
const SHORT_LIFE: Duration = Duration::from_millis(200);

/// The connection to the keeper, and what it holds for us.
#[derive(Debug, Default)]
pub(super) struct Holding {
    keeper: Option<Keeper>,
    names: Vec<&'static str>,
    /// Since when it does.
    since: Option<Instant>,
    /// When to start another one.
    pub(super) retry: Timer,
    /// It was not possible, and is not tried again in this attempt.
    pub(super) failed: bool,
}

impl Holding {
    /// The keeper that has what an earlier monitor gave it.
    pub(super) fn set_keeper(&mut self, keeper: Keeper, reactor: &Reactor) -> Result<()> {
        reactor.add(&keeper, Interest::Readable, Token::Keeper).doing(|| "epoll_ctl: keeper")?;
        self.keeper = Some(keeper);
        Ok(())
    }

    /// Whether it holds what has these names.
    pub(super) fn holds(&self, names: impl Iterator<Item = &'static str>) -> bool {
        names.eq(self.names.iter().copied())
    }

    /// Gives the keeper below `base` what it holds from now on, and starts one if none runs.
    pub(super) fn give(
        &mut self,
        container: &str,
        held: &[(&'static str, BorrowedFd<'_>)],
        base: &Path,
        reactor: &Reactor,
    ) -> Result<()> {
        if self.keeper.is_none() {
            self.set_keeper(Keeper::start(base)?, reactor)?;
        }
        let keeper = self.keeper.as_ref().ok_or_else(|| Error::new("keeper: has ended"))?;
        keeper.hold(container, held)?;
        self.names = held.iter().map(|(name, _)| *name).collect();
        self.since.get_or_insert_with(Instant::now);
        Ok(())
    }

    /// The keeper has ended. Another one is started at once, unless this one had just begun.
    pub(super) fn on_ended(&mut self, reactor: &Reactor) {
        self.close(reactor);
        if self.since.take().is_some_and(|since| since.elapsed() < SHORT_LIFE) {
            self.retry.arm(SHORT_LIFE);
        }
    }

    /// Has the keeper close what it holds: the container is deleted.
    pub(super) fn release(&mut self, container: &str, reactor: &Reactor) {
        if self.keeper.as_ref().is_some_and(|keeper| keeper.forget(container).is_err()) {
            self.close(reactor);
        }
        self.names.clear();
        self.failed = false;
    }

    /// Gives up the connection.
    pub(super) fn close(&mut self, reactor: &Reactor) {
        if let Some(keeper) = self.keeper.take() {
            let _ = reactor.remove(&keeper);
        }
        self.names.clear();
    }
}
