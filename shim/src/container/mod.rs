//! One container: its state, its processes and their output; and the event loop, which has one
//! thread.
//!
//! A descriptor that is ready, a signal or a timer becomes an event for the state machine
//! ([`machine`]), whose actions the other files carry out: [`commands`], [`ready`], [`stop`],
//! [`report`]. Other programs are served by [`control`], and have processes run by [`exec`].
//!
//! The monitor may be killed at any moment. So each state is recorded ([`record`]) before it is acted
//! on, descriptors are held by another process ([`hold`]), and the next monitor goes on ([`adopt`]).

pub(crate) mod adopt;
mod attempt;
mod commands;
mod control;
mod exec;
mod execs;
mod hold;
mod holding;
mod machine;
mod oom;
pub(crate) mod policy;
mod process_file;
mod ready;
mod record;
mod report;
mod stop;

use crate::bundle::load::Bundle;
use crate::control::protocol::{self, Happening, SOCKET, Status};
use crate::control::server::Server;
use crate::io::log::{Log, LogSettings};
use crate::io::spool::Spool;
use crate::io::stdio::Stdio;
use crate::notify::inbox::Inbox;
use crate::notify::store::Store;
use crate::notify::upstream::Upstream;
use crate::notify::{Notification, NotifyMode};
use crate::process::exit::Exit;
use crate::process::reaper;
use crate::reactor::signals::Signals;
use crate::reactor::timer::{Timer, since_boot};
use crate::reactor::{Interest, Reactor, Token};
use crate::runtime::command::{Runtime, Verb};
use crate::runtime::queue::CommandQueue;
use crate::signal::Signal;
use crate::state::dir::StateDir;
use crate::state::{adopt as left_over, boot, exit_record, owner};
use attempt::Attempt;
use execs::Execs;
use firn::error::{Context, Result};
use holding::{Holding, forget};
use machine::{Action, Event, Machine};
use policy::{Policy, Restart, StartLimit};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

pub(crate) use machine::Timeouts;

/// The log's name in the state directory, where no other file is named.
const LOG: &str = "log";

/// How long init, when it has ended, may wait for another process to reap it.
const REAP_TIMEOUT: Duration = Duration::from_secs(2);

/// How often the runtime's `delete` is tried again.
const DELETES: u32 = 3;

/// How a container is run: the options of `run`, checked. Paths are absolute.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Settings {
    pub(crate) id: String,
    pub(crate) bundle: PathBuf,
    /// A path, or a name that is looked up in PATH.
    pub(crate) runtime: PathBuf,
    pub(crate) runtime_root: Option<PathBuf>,
    /// It holds the state directory of each container.
    pub(crate) state_dir: PathBuf,
    pub(crate) log: LogSettings,
    /// Without a terminal the container's stdin is a pipe, which attached clients write to.
    pub(crate) stdin: bool,
    pub(crate) timeouts: Timeouts,
    pub(crate) restart: Restart,
    /// One that ends before it was ever ready is not restarted.
    #[serde(default)]
    pub(crate) fail_first_start: bool,
    /// 0 means no limit.
    pub(crate) start_limit: u32,
    pub(crate) start_limit_interval: Duration,
    pub(crate) notify: NotifyMode,
    /// How long a container that runs may be silent, which sends WATCHDOG=1 then.
    pub(crate) watchdog: Option<Duration>,
}

/// A container and its monitor.
#[derive(Debug)]
pub(crate) struct Container {
    settings: Settings,
    dir: StateDir,
    runtime: Runtime,
    reactor: Reactor,
    signals: Signals,
    upstream: Upstream,
    server: Server,
    /// The last status that subscribers have got.
    published: Option<Status>,
    /// The bundle asks for a terminal.
    terminal: bool,
    /// The notification socket of the attempt.
    inbox: Option<Inbox>,
    stdio: Stdio,
    queue: CommandQueue,
    /// Its times are since the boot.
    machine: Machine,
    /// The machine's timer.
    timer: Timer,
    /// When to try the stop signal again.
    stop_retry: Timer,
    /// When the container has been silent for too long.
    watchdog: Timer,
    /// When init, which has ended and is not our child, should have been reaped.
    reaping: Timer,
    attempt: Attempt,
    execs: Execs,
    holding: Holding,
    /// Of the host.
    boot: String,
    /// The record as it was written last.
    saved: Vec<u8>,
    /// Something of the record has changed without an event.
    unsaved: bool,
    save_failed: bool,
    /// For the machine, not handled yet.
    events: VecDeque<Event>,
    /// The number of attempts.
    starts: u32,
    /// Set by the last action: the monitor's exit code.
    outcome: Option<Result<u8>>,
}

/// Runs a container until it ends and is not restarted; the monitor's exit code. `starter` is a client
/// from the beginning.
pub(crate) fn run(settings: Settings, signals: Signals, starter: Option<OwnedFd>) -> Result<u8> {
    Container::begin(settings, signals, Upstream::from_env()?)?.run_to_end(starter)
}

impl Runtime {
    /// That of a container, with its files in the state directory.
    fn of(settings: &Settings, dir: &StateDir) -> Runtime {
        Runtime {
            program: settings.runtime.clone(),
            root: settings.runtime_root.clone(),
            id: settings.id.clone(),
            log: dir.file("runtime.log"),
            stat_file: dir.file("command"),
            stderr: dir.file("runtime.err"),
        }
    }
}

impl Container {
    /// Locks the state directory, deletes what an earlier monitor has left, and carries out the
    /// machine's first actions.
    fn begin(settings: Settings, signals: Signals, upstream: Upstream) -> Result<Container> {
        let bundle = Bundle::load(&settings.bundle)?;
        let dir = StateDir::lock(&settings.state_dir, &settings.id)?;
        let runtime = Runtime::of(&settings, &dir);
        forget(&settings.id, &settings.state_dir);
        left_over::delete_left_over(&dir, &runtime)?;
        let log = Log::open(&settings.log, &dir.file(LOG), &settings.id)?;
        dir.remove(exit_record::NAME)?;
        let spool = Spool::new(log.position()).doing(|| "memfd_create")?;

        let limit = StartLimit::new(settings.start_limit, settings.start_limit_interval);
        let policy = Policy::new(settings.restart, bundle.restart_status(), bundle.stop_signal, limit)
            .failing_first_start(settings.fail_first_start);
        let notifies_ready = bundle.notifies_ready(settings.notify);
        let (machine, first_actions) = Machine::begin(policy, settings.timeouts, notifies_ready, since_boot());
        let holding = Holding::in_store(Store::from_env()?);
        let mut container = Container::assemble(settings, dir, signals, upstream, holding, machine, |reactor| {
            Stdio::new(log, spool, reactor)
        })?;
        container.terminal = bundle.terminal;
        for action in first_actions {
            container.carry_out(action);
        }
        container.save();
        Ok(container)
    }

    /// A container and its monitor, before its first action.
    fn assemble(
        settings: Settings,
        dir: StateDir,
        signals: Signals,
        upstream: Upstream,
        holding: Holding,
        machine: Machine,
        make_stdio: impl FnOnce(&Reactor) -> Stdio,
    ) -> Result<Container> {
        // So that the caller's working directory does not keep its file system from being
        // unmounted. All paths are absolute.
        std::env::set_current_dir("/").doing(|| "chdir /")?;
        let runtime = Runtime::of(&settings, &dir);
        let reactor = Reactor::new().doing(|| "epoll_create")?;
        reactor.add(&signals, Interest::Readable, Token::Signals).doing(|| "epoll_ctl")?;
        nix::sys::prctl::set_child_subreaper(true).map_err(io::Error::from).doing(|| "prctl PR_SET_CHILD_SUBREAPER")?;
        owner::write(&dir, &runtime)?;
        let server = Server::new(dir.listen_for_packets(SOCKET)?, &reactor).doing(|| "epoll_ctl: control socket")?;
        Ok(Container {
            boot: boot::id()?,
            saved: Vec::new(),
            unsaved: false,
            save_failed: false,
            settings,
            dir,
            runtime,
            signals,
            upstream,
            server,
            published: None,
            terminal: false,
            inbox: None,
            stdio: make_stdio(&reactor),
            reactor,
            queue: CommandQueue::default(),
            machine,
            timer: Timer::default(),
            stop_retry: Timer::default(),
            watchdog: Timer::default(),
            reaping: Timer::default(),
            attempt: Attempt::begin(),
            execs: Execs::default(),
            holding,
            events: VecDeque::new(),
            starts: 0,
            outcome: None,
        })
    }

    /// Runs it until it ends and is not restarted; the monitor's exit code.
    pub(crate) fn run_to_end(mut self, starter: Option<OwnedFd>) -> Result<u8> {
        if let Some(socket) = starter {
            self.server.connect(socket, &self.reactor);
        }
        let outcome = self.run_loop();
        self.upstream.send_delayed(&self.reactor);
        self.stdio.flush_sinks();
        if let Ok(code) = &outcome {
            self.publish(protocol::Event::Ended { code: *code });
        }
        match (outcome, self.dir.release()) {
            (Ok(_), Err(error)) => Err(error),
            (outcome, _) => outcome,
        }
    }

    /// Handles events until the last action has set the outcome.
    fn run_loop(&mut self) -> Result<u8> {
        loop {
            while let Some(event) = self.events.pop_front() {
                if event == Event::Deleted {
                    // The machine resets them when it begins the next attempt.
                    self.attempt.exit = self.machine.exit();
                    self.attempt.cause = self.machine.cause();
                }
                let actions = self.machine.handle(event, since_boot());
                self.save();
                for action in actions {
                    self.carry_out(action);
                }
                self.unsaved = true;
            }
            if std::mem::take(&mut self.unsaved) {
                self.save();
            }
            self.hold();
            self.start_next_command();
            self.publish_status();
            if !self.events.is_empty() {
                continue;
            }
            match self.outcome.take() {
                Some(outcome) => return outcome,
                None => self.wait_for_events()?,
            }
        }
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Create => self.begin_attempt(),
            Action::Start => self.queue.push(Verb::Start),
            Action::Delete => self.delete(),
            Action::AbortCommand => self.queue.abort(),
            Action::NotifyReady => self.notify_ready(),
            Action::NotifyStopping => self.upstream.notify(Notification::Stopping, &self.reactor),
            Action::SendStop => {
                self.happened(Happening::Stopping);
                self.send_stop();
            }
            Action::KillAll => {
                self.happened(Happening::Kill);
                self.kill_all();
            }
            Action::Arm(after) => self.timer.arm(after),
            Action::Disarm => self.timer.disarm(),
            Action::ReportRestart(reason, pause) => self.report_restart(reason, pause),
            Action::Finish { code, reason } => self.finish(code, reason),
        }
    }

    /// Sleeps until a descriptor is ready or a timer fires, and turns that into events.
    fn wait_for_events(&mut self) -> Result<()> {
        let timers =
            [&self.timer, &self.stop_retry, &self.watchdog, &self.reaping, &self.holding.retry].map(Timer::deadline);
        let deadlines = timers.into_iter().chain([self.queue.deadline(), self.upstream.deadline()]);
        for token in self.reactor.wait(deadlines.flatten().min())? {
            match token {
                Token::Signals => self.read_signals(),
                Token::Init => self.on_init_readable(),
                Token::Inbox => self.read_notifications(),
                Token::Console => self.receive_terminal(),
                Token::Output(stream) => self.stdio.on_readable(stream, &self.reactor),
                Token::Sink(stream) => self.stdio.on_writable(stream, &self.reactor),
                Token::Input => self.stdio.input.flush(&self.reactor),
                Token::Upstream => self.upstream.flush(&self.reactor),
                Token::Control => self.server.accept(&self.reactor),
                Token::Keeper => self.holding.on_ended(&self.reactor),
                Token::Client(client) => self.serve_client(client),
                Token::View(client, stream) => self.stdio.views.on_writable(client, stream, &self.reactor),
                Token::Typed(client) => self.stdio.input.on_typed(client, &self.reactor),
            }
        }
        self.check_timers();
        Ok(())
    }

    fn check_timers(&mut self) {
        let now = Instant::now();
        if self.timer.take_expired(now) {
            self.events.push_back(Event::Timeout);
        }
        if self.stop_retry.take_expired(now) {
            self.retry_stop();
        }
        if self.watchdog.take_expired(now) {
            self.events.push_back(Event::Watchdog);
        }
        // Then the loop goes on to `hold`.
        let _ = self.holding.retry.take_expired(now);
        if self.reaping.take_expired(now)
            && let Some(exit) = self.attempt.exit_of_zombie()
        {
            self.on_init_ended(exit);
        }
        if self.queue.deadline().is_some_and(|deadline| deadline <= now) {
            self.queue.abort();
        }
        self.upstream.send_due(&self.reactor);
    }

    fn read_signals(&mut self) {
        while let Some(signal) = self.signals.next_pending() {
            match signal {
                Signal::TERM => self.events.push_back(Event::Stop),
                Signal::INT => self.events.push_back(Event::Interrupt),
                Signal::HUP => self.events.push_back(Event::Restart),
                Signal::CHLD => self.reap(),
                other => self.forward_signal(other),
            }
        }
    }

    /// Reaps children. The runtime's command comes last, so that the end of an init that it made
    /// is known then.
    fn reap(&mut self) {
        let (commands, others): (Vec<_>, Vec<_>) =
            reaper::reap_children().into_iter().partition(|(pid, _)| self.queue.runs_as(*pid));
        for (pid, exit) in others {
            if self.attempt.is_init(pid) {
                self.on_init_ended(exit);
            } else if !self.on_exec_ended(pid, exit) {
                self.attempt.remember_orphan(pid, exit);
                self.remember_exec_orphan(pid, exit);
            }
        }
        for (pid, exit) in commands {
            match self.queue.take_ended(pid) {
                // Somebody has killed it, and left the container half deleted.
                Some((Verb::Delete, false)) if matches!(exit, Exit::Signal(_)) && self.attempt.deletes < DELETES => {
                    self.attempt.deletes += 1;
                    self.queue.push(Verb::Delete);
                }
                Some((verb, _)) => self.on_command_ended(verb, exit),
                None => {}
            }
        }
    }

    /// Init's pidfd is readable: it has ended.
    fn on_init_readable(&mut self) {
        self.reap();
        let told = || self.holding.init_ended(&self.settings.id);
        match self.attempt.exit_elsewhere(&self.reactor, told) {
            Some(exit) => self.on_init_ended(exit),
            None if self.attempt.init_runs() => self.reaping.arm(REAP_TIMEOUT),
            None => {}
        }
    }

    fn on_init_ended(&mut self, exit: Exit) {
        self.attempt.close_init(&self.reactor);
        self.stop_retry.disarm();
        self.watchdog.disarm();
        self.reaping.disarm();
        let (status, signal) = exit.status_or_signal();
        let oom_killed = self.attempt.oom_killed.unwrap_or(false);
        self.happened(Happening::Exit { status, signal, oom_killed });
        self.events.push_back(Event::Exited(exit));
    }

    /// Receives the terminal and reads the container's output from it.
    fn receive_terminal(&mut self) {
        match self.attempt.receive_master(&self.reactor) {
            Ok(Some(master)) => {
                if let Err(error) = self.stdio.add_terminal(master, &self.reactor) {
                    self.print_message(&format!("warning: terminal: {error}"));
                }
            }
            Ok(None) => {}
            Err(error) => self.print_message(&format!("warning: {}", error.chain())),
        }
    }
}
