//! Taking over a container from a monitor that was killed: what it recorded, what is held, and what
//! may have happened since.

use super::attempt::Attempt;
use super::holding::{Holding, INIT, NOTIFY};
use super::machine::Event;
use super::record::{self, Record};
use super::{Container, LOG, Settings, run};
use crate::control::protocol::State;
use crate::io::log::Log;
use crate::io::spool::Spool;
use crate::io::stdio::{Stdio, held};
use crate::keeper::client::{Held, Keeper};
use crate::notify::Notification;
use crate::notify::store::{self, Store};
use crate::notify::upstream::Upstream;
use crate::process::exit::Exit;
use crate::reactor::signals::Signals;
use crate::reactor::timer::since_boot;
use crate::runtime::command::Runtime;
use crate::state::adopt;
use crate::state::boot;
use crate::state::dir::StateDir;
use crate::state::init_pidfd;
use crate::stream::Stream;
use firn::error::{Context, Error, Result};
use std::os::fd::OwnedFd;
use std::path::Path;

/// What a monitor that is a service has from its manager.
#[derive(Debug, Default)]
pub(crate) struct Service {
    upstream: Upstream,
    store: Option<Store>,
    stored: Vec<(String, OwnedFd)>,
}

impl Service {
    /// `stored`: what came back from the descriptor store.
    fn from_env(stored: Vec<(String, OwnedFd)>) -> Result<Service> {
        Ok(Service { upstream: Upstream::from_env()?, store: Store::from_env()?, stored })
    }
}

/// What is found when a container is to be taken over.
pub(crate) enum Found {
    /// It is ours now.
    Container(Box<Container>),
    /// A monitor runs it, as the error says.
    Monitor(Error),
    /// Nothing is left of it; why.
    Nothing(&'static str),
}

/// Goes on with the container that a killed monitor has left, with the options that it had, and runs
/// one where none is left.
pub(crate) fn take_over_or_run(
    settings: Settings,
    signals: Signals,
    starter: Option<OwnedFd>,
    stored: Vec<(String, OwnedFd)>,
) -> Result<u8> {
    let names: Vec<String> = stored.iter().map(|(name, _)| name.clone()).collect();
    match take_over(&settings.state_dir, &settings.id, signals, Some(Service::from_env(stored)?))? {
        Found::Container(container) => container.run_to_end(starter),
        Found::Monitor(error) => Err(error),
        Found::Nothing(_) => {
            store::remove_all(names.iter())?;
            run(settings, Signals::block().doing(|| "signalfd")?, starter)
        }
    }
}

/// Takes over container `id`, whose state directory is below `base`.
pub(crate) fn take_over(base: &Path, id: &str, signals: Signals, service: Option<Service>) -> Result<Found> {
    if !base.join(id).exists() {
        return Ok(Found::Nothing("it has no state directory"));
    }
    let dir = match StateDir::try_lock(base, id)? {
        Ok(dir) => dir,
        Err(by_other) => return Ok(Found::Monitor(by_other)),
    };
    let Some(record) = record::read(&dir)? else {
        dir.remove("lock")?;
        return Ok(Found::Nothing("no monitor was killed that ran it"));
    };
    if record.boot != boot::id()? {
        dir.remove("lock")?;
        return Ok(Found::Nothing("the host was rebooted since"));
    }
    if record.stored && service.is_none() {
        let why =
            "the service manager holds its streams: it starts a monitor that takes over, or `systemctl start` does";
        return Err(Error::new(format!("container {id}: {why}")));
    }
    Container::take_over(dir, record, signals, service.unwrap_or_default())
        .map(|container| Found::Container(Box::new(container)))
}

impl Container {
    fn take_over(dir: StateDir, record: Record, signals: Signals, service: Service) -> Result<Container> {
        let Record { settings, mut machine, attempt, starts, terminal, .. } = record;
        let runtime = Runtime::of(&settings, &dir);
        // A command of that monitor goes on by itself, and has an effect still.
        adopt::wait_for_last_command(&runtime);
        let was_started = match machine.state() {
            State::Creating => false,
            State::Starting => adopt::was_started(&runtime)?,
            _ => true,
        };
        if !was_started {
            // The container's program has not run: it is created anew.
            adopt::delete_container(&runtime)?;
            machine.create_anew();
        }
        let stored: Vec<String> = service.stored.iter().map(|(name, _)| name.clone()).collect();
        let (keeper, mut held) = match was_started && stored.is_empty() {
            true => Keeper::find_and_take(&settings.state_dir, &settings.id)?,
            false => {
                let fds = if was_started { service.stored } else { Vec::new() };
                (Keeper::find(&settings.state_dir)?, Held { fds, ended: None })
            }
        };
        let log = Log::open_as_it_is(&settings.log, &dir.file(LOG), &settings.id)?;
        let spool = match held.take(held::SPOOL) {
            Some(spool) => Spool::of_killed(spool, held.take(held::RELAY)),
            None => Spool::new(log.position()),
        };
        let spool = spool.doing(|| "memfd of the output that is not logged")?;
        let mut holding = Holding::in_store(service.store);
        holding.keep_stored(&stored, was_started);
        let mut container =
            Container::assemble(settings, dir, signals, service.upstream, holding, machine, |reactor| {
                Stdio::new(log, spool, reactor)
            })?;
        (container.starts, container.terminal) = (starts, terminal);
        if let Some(keeper) = keeper {
            container.holding.set_keeper(keeper, &container.reactor)?;
        }
        match was_started {
            // Counted again when it is begun.
            false => container.starts = starts.saturating_sub(1),
            true => container.go_on_with(attempt, held)?,
        }
        let state = container.machine.state();
        container.print_message(&format!(
            "{}: taken over from a monitor that was killed, {}",
            container.settings.id,
            state.name()
        ));
        for action in container.machine.resume(since_boot()) {
            container.carry_out(action);
        }
        container.save();
        Ok(container)
    }

    /// Takes what was held of an attempt that was started.
    fn go_on_with(&mut self, attempt: Attempt, mut held: Held) -> Result<()> {
        self.attempt = attempt;
        self.stdio.passes_on = true;
        self.take_streams(&mut held)?;
        if let Some(socket) = held.take(NOTIFY) {
            self.receive_notifications(socket.into())?;
        }
        let state = self.machine.state();
        if !matches!(state, State::Starting | State::Booting | State::Running | State::Stopping | State::Killed) {
            return Ok(());
        }
        let pidfd = held.take(INIT).or_else(|| init_pidfd::open_mounted(&self.dir.file(init_pidfd::NAME)));
        let is_there = self.attempt.take_over_init(pidfd, &self.reactor)?;
        // Before anybody is told.
        self.hold();
        match state {
            State::Starting => self.events.push_back(Event::Started(true)),
            State::Running => {
                self.upstream.notify(Notification::Ready, &self.reactor);
                self.watch();
            }
            _ => {}
        }
        // Before a client is told that it runs.
        if self.attempt.init_has_ended() {
            self.on_init_readable();
        }
        if !is_there {
            self.on_init_ended(held.ended.map_or(Exit::Unknown, Exit::of_wait_status));
        }
        Ok(())
    }

    fn take_streams(&mut self, held: &mut Held) -> Result<()> {
        let operation = || "take over the streams";
        if let Some(master) = held.take(held::TERMINAL) {
            self.stdio.add_terminal(master, &self.reactor).doing(operation)?;
        }
        for (name, stream) in [(held::STDOUT, Stream::Stdout), (held::STDERR, Stream::Stderr)] {
            if let Some(pipe) = held.take(name) {
                self.stdio.add_output(pipe, stream, &self.reactor).doing(operation)?;
            }
        }
        if let Some(pipe) = held.take(held::STDIN) {
            self.stdio.input.open(pipe, false, &self.reactor);
        }
        Ok(())
    }
}
