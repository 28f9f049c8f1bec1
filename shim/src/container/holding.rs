//! Where what outlives the monitor is held: in the descriptor store of the service manager, where the
//! monitor is a unit that has one, else by the keeper.

use crate::io::stdio::held;
use crate::keeper::client::Keeper;
use crate::notify::store::Store;
use crate::process::exit::Exit;
use crate::reactor::timer::Timer;
use crate::reactor::{Interest, Reactor, Token};
use firn::error::{Context, Error, Result};
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::{Duration, Instant};

/// The names of what is not of the streams.
pub(super) const INIT: &str = "init";
pub(super) const NOTIFY: &str = "notify";

/// What stays the same when another monitor takes over.
const STORED: [&str; 7] = [held::TERMINAL, held::STDOUT, held::STDERR, held::STDIN, held::SPOOL, INIT, NOTIFY];

/// A keeper that has lived for less is not replaced at once.
const SHORT_LIFE: Duration = Duration::from_millis(200);

/// How often it is tried to give it something, after the first time.
const ATTEMPTS: u32 = 6;
/// Half of the pause before the second time; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(5);

/// The store or the keeper, and what it holds for us.
#[derive(Debug, Default)]
pub(super) struct Holding {
    store: Option<Store>,
    keeper: Option<Keeper>,
    names: Vec<&'static str>,
    /// Since when it does.
    since: Option<Instant>,
    /// When to start another one.
    pub(super) retry: Timer,
    /// How often in a row it could not be given anything.
    failures: u32,
    /// It is not tried again in this attempt to run the container.
    pub(super) failed: bool,
}

impl Holding {
    /// Nothing yet, in the service manager's store if there is one.
    pub(super) fn in_store(store: Option<Store>) -> Holding {
        Holding { store, ..Holding::default() }
    }

    /// Whether it is the service manager's store.
    pub(super) fn is_stored(&self) -> bool {
        self.store.is_some()
    }

    /// The store has these descriptors from an earlier monitor. What is used on stays there; the relay
    /// pipe, which was emptied, does not.
    pub(super) fn keep_stored(&mut self, stored: &[String], goes_on: bool) {
        let Some(store) = &self.store else { return };
        for name in stored {
            match STORED.iter().find(|known| *known == name) {
                Some(known) if goes_on => self.names.push(known),
                // What it does not take is closed when the unit has ended.
                _ => drop(store.remove(name)),
            }
        }
    }

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
        if let Some(store) = &self.store {
            let is_in = |names: &[&str], name| names.contains(&name);
            let wanted: Vec<&'static str> = held.iter().map(|(name, _)| *name).collect();
            self.names.iter().filter(|name| !is_in(&wanted, *name)).try_for_each(|name| store.remove(name))?;
            held.iter()
                .filter(|(name, _)| !is_in(&self.names, *name))
                .try_for_each(|(name, fd)| store.add(name, *fd))?;
            self.names = wanted;
            return Ok(());
        }
        if self.keeper.is_none() {
            self.set_keeper(Keeper::start(base)?, reactor)?;
        }
        let keeper = self.keeper.as_ref().ok_or_else(|| Error::new("keeper: has ended"))?;
        keeper.hold(container, held, INIT)?;
        self.names = held.iter().map(|(name, _)| *name).collect();
        self.since.get_or_insert_with(Instant::now);
        self.failures = 0;
        Ok(())
    }

    /// How init ended, if the keeper has heard of it.
    pub(super) fn init_ended(&self, container: &str) -> Option<Exit> {
        let held = self.keeper.as_ref()?.take(container).ok()?;
        held.ended.map(Exit::of_wait_status)
    }

    /// It was not given anything. One that is being killed takes connections for some time, so it is
    /// tried again a bit later; false when it is not any more.
    pub(super) fn tries_again(&mut self, reactor: &Reactor) -> bool {
        self.close(reactor);
        self.failures += 1;
        self.failed = self.failures > ATTEMPTS;
        if !self.failed {
            self.retry.arm(FIRST_PAUSE * (1 << self.failures));
        }
        !self.failed
    }

    /// The keeper has ended. Another one is started at once, unless this one had just begun.
    pub(super) fn on_ended(&mut self, reactor: &Reactor) {
        self.close(reactor);
        if self.since.take().is_some_and(|since| since.elapsed() < SHORT_LIFE) {
            self.retry.arm(SHORT_LIFE);
        }
    }

    /// Has it closed: the container is deleted.
    pub(super) fn release(&mut self, container: &str, base: &Path, reactor: &Reactor) {
        if let Some(store) = &self.store {
            // One that does not take it drops all when the unit has ended.
            let _ = self.names.iter().try_for_each(|name| store.remove(name));
        }
        match &self.keeper {
            Some(keeper) if keeper.forget(container).is_ok() => {}
            Some(_) => self.close(reactor),
            // It may have what was given it before the connection was lost.
            None => forget(container, base),
        }
        self.names.clear();
        (self.failures, self.failed) = (0, false);
    }

    fn close(&mut self, reactor: &Reactor) {
        if let Some(keeper) = self.keeper.take() {
            let _ = reactor.remove(&keeper);
        }
        self.names.clear();
    }
}

/// Has the keeper, if one runs, close what it holds of a container that is, or is to be, deleted.
pub(super) fn forget(container: &str, base: &Path) {
    if let Ok(Some(keeper)) = Keeper::find(base) {
        // One that does not answer would be in the way of nothing.
        let _ = keeper.forget(container);
    }
}
