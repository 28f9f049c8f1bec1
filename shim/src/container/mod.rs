//! The loop: one thread that waits on init's pidfd, signals, sockets, the
//! container's output and the nearest deadline, and feeds the machine.

pub mod attempt;
pub mod commands;
pub mod machine;
pub mod oom;
pub mod policy;

use crate::bundle::derive::Bundle;
use crate::cli::Options;
use crate::container::attempt::Attempt;
use crate::container::machine::{Event, Machine, Times};
use crate::container::policy::{Exit, Policy, StartLimit};
use crate::error::{Context, Error, Result};
use crate::io::log::Log;
use crate::io::stdio::Stdio;
use crate::notify::inbox::{Inbox, Told};
use crate::notify::upstream::Upstream;
use crate::process::reaper as children;
use crate::runtime::command::Runtime;
use crate::runtime::queue::Commands;
use crate::signal as signals;
use crate::state::adopt as setup;
use crate::state::dir::StateDir;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// What an epoll event is about.
pub mod token {
    pub const SIGNALS: u64 = 0;
    pub const INIT: u64 = 1;
    pub const NOTIFY: u64 = 2;
    pub const CONSOLE: u64 = 3;
    pub const SINK_OUT: u64 = 4;
    pub const SINK_ERR: u64 = 5;
    pub const UPSTREAM: u64 = 6;
    /// And one more for stderr.
    pub const SOURCE: u64 = 7;
}

/// The signals that are read here and interrupt nothing.
const SIGNALS: [Signal; 6] =
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGUSR2, Signal::SIGCHLD];

/// The monitor of one container.
#[derive(Debug)]
pub struct Monitor {
    pub(crate) options: Box<Options>,
    pub(crate) id: String,
    pub(crate) bundle: PathBuf,
    pub(crate) dir: StateDir,
    pub(crate) runtime: Runtime,
    pub(crate) epoll: Epoll,
    signals: SignalFd,
    pub(crate) inbox: Option<Inbox>,
    pub(crate) upstream: Upstream,
    pub(crate) stdio: Stdio,
    pub(crate) commands: Commands,
    pub(crate) machine: Machine,
    origin: Instant,
    /// The machine's timer.
    pub(crate) timer: Option<Instant>,
    /// When to look again whether init would take the stop signal.
    pub(crate) retry: Option<Instant>,
    pub(crate) attempt: Attempt,
    pub(crate) events: VecDeque<Event>,
    pub(crate) starts: u32,
    pub(crate) outcome: Option<Result<u8>>,
}

/// Runs a bundle until its container ends for good.
pub fn run(options: Box<Options>) -> Result<u8> {
    let mut monitor = Monitor::new(options)?;
    let outcome = monitor.supervise();
    monitor.upstream.release(&monitor.epoll);
    monitor.stdio.finish();
    match (outcome, monitor.dir.release()) {
        (Ok(_), Err(error)) => Err(error),
        (outcome, _) => outcome,
    }
}

impl Monitor {
    fn new(options: Box<Options>) -> Result<Monitor> {
        // First of all: a stop must not end us with a container half made.
        let signals = block_signals().context(|| "signalfd".into())?;
        let bundle = std::path::absolute(&options.bundle).context(|| format!("bundle {}", options.bundle.display()))?;
        let id = options.name(&bundle)?;
        let upstream = Upstream::from_env()?;
        let first = Bundle::load(&bundle)?;
        let dir = StateDir::lock(&options.state_dir, &id)?;
        let runtime = setup::runtime(&options, &dir, &id)?;
        setup::clean_up(&dir, &runtime)?;
        let log = open_log(&options, &dir)?;
        dir.remove(crate::state::exit_record::NAME)?;
        // All paths are absolute now; a long-lived process in the caller's
        // folder would keep its file system from being unmounted.
        std::env::set_current_dir("/").context(|| "chdir /".into())?;

        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context(|| "epoll_create".into())?;
        let event = EpollEvent::new(EpollFlags::EPOLLIN, token::SIGNALS);
        epoll.add(&signals, event).context(|| "epoll_ctl".into())?;
        nix::sys::prctl::set_child_subreaper(true).context(|| "prctl PR_SET_CHILD_SUBREAPER".into())?;
        setup::mark(&dir, &runtime)?;

        let (machine, first_actions) = begin(&options, &first);
        let mut monitor = Monitor {
            upstream,
            stdio: Stdio::new(log),
            commands: Commands::default(),
            attempt: Attempt::begin(),
            origin: Instant::now(),
            timer: None,
            retry: None,
            events: VecDeque::new(),
            starts: 0,
            outcome: None,
            options,
            id,
            bundle,
            dir,
            runtime,
            epoll,
            signals,
            inbox: None,
            machine,
        };
        for action in first_actions {
            monitor.act(action);
        }
        Ok(monitor)
    }

    fn supervise(&mut self) -> Result<u8> {
        loop {
            while let Some(event) = self.events.pop_front() {
                if event == Event::Deleted {
                    // The machine forgets them when it begins anew.
                    self.attempt.exit = self.machine.exit();
                    self.attempt.cause = self.machine.cause();
                }
                for action in self.machine.handle(event, self.origin.elapsed()) {
                    self.act(action);
                }
            }
            self.next_command();
            if !self.events.is_empty() {
                continue;
            }
            match self.outcome.take() {
                Some(outcome) => return outcome,
                None => self.wait()?,
            }
        }
    }

    /// Sleeps until something happens, and turns it into events.
    fn wait(&mut self) -> Result<()> {
        let mut ready = [EpollEvent::empty(); 8];
        let count = match self.epoll.wait(&mut ready, self.patience()) {
            Ok(count) => count,
            Err(nix::Error::EINTR) => 0,
            Err(error) => return Err(error).context(|| "epoll_wait".into()),
        };
        for event in &ready[..count] {
            match event.data() {
                token::SIGNALS => self.read_signals(),
                token::INIT => self.init_may_have_ended(),
                token::NOTIFY => self.read_notifications(),
                token::CONSOLE => self.receive_console(),
                token::UPSTREAM => self.upstream.flush(&self.epoll),
                sink @ (token::SINK_OUT | token::SINK_ERR) => self.stdio.writable(sink, &self.epoll),
                source => self.stdio.readable(source, &self.epoll),
            }
        }
        self.look_at_the_clock();
        Ok(())
    }

    /// The time to the nearest deadline, rounded up: rounding down would turn
    /// the last millisecond into a busy loop.
    fn patience(&self) -> EpollTimeout {
        let deadlines = [self.timer, self.retry, self.commands.deadline(), self.upstream.deadline()];
        match deadlines.into_iter().flatten().min() {
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                let millis = left.as_nanos().div_ceil(1_000_000).min(i32::MAX as u128);
                EpollTimeout::try_from(millis).unwrap_or(EpollTimeout::MAX)
            }
            None => EpollTimeout::NONE,
        }
    }

    fn look_at_the_clock(&mut self) {
        let now = Instant::now();
        if self.timer.take_if(|at| *at <= now).is_some() {
            self.events.push_back(Event::Timeout);
        }
        if self.retry.take_if(|at| *at <= now).is_some() {
            self.retry_stop();
        }
        if self.commands.deadline().is_some_and(|at| at <= now) {
            self.commands.abort();
        }
        self.upstream.look_at_the_clock(&self.epoll);
    }

    fn read_signals(&mut self) {
        while let Ok(Some(info)) = self.signals.read_signal() {
            match i32::try_from(info.ssi_signo).map(Signal::try_from) {
                Ok(Ok(Signal::SIGTERM)) => self.events.push_back(Event::Stop),
                Ok(Ok(Signal::SIGINT)) => self.events.push_back(Event::Interrupt),
                Ok(Ok(Signal::SIGHUP)) => self.events.push_back(Event::Restart),
                Ok(Ok(Signal::SIGCHLD)) => self.reap(),
                Ok(Ok(other)) => self.forward(signals::Signal(other as i32)),
                _ => {}
            }
        }
    }

    /// Collects ended children: first init, so that its end is known when the
    /// command that made it is looked at.
    fn reap(&mut self) {
        let (commands, others): (Vec<_>, Vec<_>) =
            children::reap().into_iter().partition(|(pid, _)| self.commands.is_pid(*pid));
        for (pid, exit) in others {
            if self.attempt.is_init(pid) {
                self.init_ended(exit);
            } else {
                self.attempt.keep_orphan(pid, exit);
            }
        }
        for (pid, exit) in commands {
            if let Some(verb) = self.commands.ended(pid) {
                self.command_ended(verb, exit);
            }
        }
    }

    fn init_may_have_ended(&mut self) {
        self.reap();
        // Still there: it is another process's child (a runtime that keeps a
        // parent of its own), and how it ended is not for us to know.
        if self.attempt.is_gone_elsewhere() {
            self.init_ended(Exit::Unknown);
        }
    }

    pub(crate) fn init_ended(&mut self, exit: Exit) {
        self.attempt.ended(&self.epoll);
        self.retry = None;
        self.events.push_back(Event::Exited(exit));
    }

    /// Makes the socket for this attempt.
    pub(crate) fn open_inbox(&mut self) -> Result<()> {
        self.close_inbox();
        let inbox = Inbox::open(&self.dir)?;
        let event = EpollEvent::new(EpollFlags::EPOLLIN, token::NOTIFY);
        self.epoll.add(&inbox, event).context(|| "epoll_ctl: notification socket".into())?;
        self.inbox = Some(inbox);
        Ok(())
    }

    pub(crate) fn close_inbox(&mut self) {
        if let Some(inbox) = self.inbox.take() {
            let _ = self.epoll.delete(&inbox);
        }
    }

    pub(crate) fn read_notifications(&mut self) {
        let Some(inbox) = &mut self.inbox else { return };
        let Ok(all) = inbox.news() else {
            self.close_inbox();
            return self.stdio.say("warning: nobody receives what the container tells any more", &self.epoll);
        };
        for told in all {
            match told {
                Told::Ready => self.events.push_back(Event::Ready),
                told => self.upstream.relay(told, &self.epoll),
            }
        }
    }

    fn receive_console(&mut self) {
        match self.attempt.receive_console(&self.epoll) {
            Ok(Some(master)) => {
                let added = self.stdio.add(master, crate::io::log::Stream::Stdout, &self.epoll);
                if let Err(error) = added {
                    self.stdio.say(&format!("warning: terminal: {error}"), &self.epoll);
                }
            }
            Ok(None) => {}
            Err(error) => self.stdio.say(&format!("warning: {}", error.chain()), &self.epoll),
        }
    }
}

fn begin(options: &Options, bundle: &Bundle) -> (Machine, Vec<crate::container::machine::Action>) {
    let seconds = |secs: u32| Duration::from_secs(secs.into());
    let limit = StartLimit::new(options.start_limit, seconds(options.start_limit_interval));
    let limit_of = |secs: u32| match secs {
        0 => Duration::MAX,
        _ => seconds(secs),
    };
    let policy = Policy::new(options.restart, bundle.restart_status(), bundle.stop_signal, limit);
    let times = Times { start: limit_of(options.timeout_start), stop: limit_of(options.timeout_stop) };
    Machine::begin(policy, times, bundle.expects_ready(options.notify), Duration::ZERO)
}

fn open_log(options: &Options, dir: &StateDir) -> Result<Log> {
    let path = match &options.log {
        Some(path) => std::path::absolute(path).context(|| format!("log {}", path.display()))?,
        None => dir.file("log"),
    };
    Log::open(path.clone(), options.log_size).context(|| format!("open {}", path.display()))
}

fn block_signals() -> nix::Result<SignalFd> {
    let set: SigSet = SIGNALS.into_iter().collect();
    set.thread_block()?;
    SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
}

/// The error of a container that was not ready in time, with its last output.
pub(crate) fn not_ready(id: &str, seconds: u32, output: &str) -> Error {
    let output = match output.is_empty() {
        true => String::from("; it printed nothing"),
        false => format!("; its last lines:\n{output}"),
    };
    Error::new(format!("container {id}: not ready after {seconds} s{output}"))
}
