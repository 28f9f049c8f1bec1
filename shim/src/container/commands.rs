//! The machine's actions, carried out; and the ends of the runtime's commands.

use crate::bundle::derive::Bundle;
use crate::cli::Notify;
use crate::container::attempt::Attempt;
use crate::container::machine::{Action, Event, State};
use crate::container::policy::{Cause, Exit, Reason};
use crate::container::{Monitor, not_ready};
use crate::error::{Context, Error, Result};
use crate::io::log::Stream;
use crate::notify::inbox::Told;
use crate::process::pipes;
use crate::process::pty::ConsoleSocket;
use crate::runtime::command::{CreateArgs, Verb};
use crate::signal::Signal;
use crate::state::exit_record::Record;
use std::process::{Command, Stdio as Redirect};
use std::time::{Duration, Instant};

/// How often to look whether init has come to take the stop signal.
const RETRY: Duration = Duration::from_millis(100);

impl Monitor {
    pub(crate) fn act(&mut self, action: Action) {
        match action {
            Action::Create => {
                self.starts = self.starts.saturating_add(1);
                self.attempt = Attempt::begin();
                self.stdio.begin();
                self.commands.queue(Verb::Create);
            }
            Action::Start => self.commands.queue(Verb::Start),
            Action::Delete => self.commands.queue(Verb::Delete),
            Action::AbortCommand => self.commands.abort(),
            Action::AnnounceReady => self.announce_ready(),
            Action::AnnounceStopping => self.upstream.tell(Told::Stopping, &self.epoll),
            Action::SendStop => self.send_stop(),
            Action::KillAll => {
                self.retry = None;
                self.attempt.signal(Signal::KILL);
                self.commands.queue(Verb::KillAll);
            }
            Action::Arm(after) => self.timer = Instant::now().checked_add(after),
            Action::Disarm => self.timer = None,
            Action::Again(reason, after) => self.again(reason, after),
            Action::Finish { code, reason } => self.finish(code, reason),
        }
    }

    /// Starts the command whose turn it is. One that can't be started has
    /// failed like one that ended badly.
    pub(crate) fn next_command(&mut self) {
        while let Some(verb) = self.commands.take_turn() {
            let started = self.command(verb).and_then(|command| {
                let name = || format!("container {}: run {}", self.id, self.runtime.program.display());
                self.commands.spawn(verb, command).context(name)
            });
            match started {
                Ok(()) => return,
                Err(error) => self.command_failed(verb, error),
            }
        }
    }

    fn command(&mut self, verb: Verb) -> Result<Command> {
        match verb {
            Verb::Create => self.create(),
            _ => self.runtime.other(verb).context(|| format!("container {}: prepare {verb}", self.id)),
        }
    }

    /// Derives the bundle, anew each time: a restart takes up what the caller
    /// has changed in it.
    fn create(&mut self) -> Result<Command> {
        let bundle = Bundle::load(&self.bundle)?;
        let expects_ready = bundle.expects_ready(self.options.notify);
        self.machine.set_rules(bundle.restart_status(), bundle.stop_signal, expects_ready);
        let terminal = bundle.terminal;
        for name in ["pid", "console"] {
            self.dir.remove(name)?;
        }
        let into = self.dir.file("bundle");
        if into.exists() {
            std::fs::remove_dir_all(&into).context(|| format!("remove {}", into.display()))?;
        }
        match self.options.notify {
            Notify::No => {}
            Notify::Yes | Notify::Auto => self.open_inbox()?,
        }
        bundle.write(&into, self.inbox.as_ref().map(|inbox| inbox.path()))?;
        let mut args = CreateArgs { bundle: into, pid_file: self.dir.file("pid"), console_socket: None };
        if terminal {
            let socket = ConsoleSocket::listen(&self.dir)?;
            args.console_socket = Some(socket.path());
            self.attempt.listen_for_console(socket, &self.epoll)?;
        }
        let mut command = self.runtime.create(&args).context(|| "prepare create".into())?;
        if !terminal {
            let pipe = || "pipe".into();
            let (stdout, out) = pipes::output().context(pipe)?;
            let (stderr, err) = pipes::output().context(pipe)?;
            command.stdout(Redirect::from(out)).stderr(Redirect::from(err));
            self.stdio.add(stdout, Stream::Stdout, &self.epoll).context(pipe)?;
            self.stdio.add(stderr, Stream::Stderr, &self.epoll).context(pipe)?;
        }
        Ok(command)
    }

    pub(crate) fn command_ended(&mut self, verb: Verb, exit: Exit) {
        if verb == Verb::Create {
            self.stdio.drain(&self.epoll);
        }
        if exit != Exit::Status(0) {
            let error = self.runtime.failure(verb, exit, &self.stdio.last_lines());
            return self.command_failed(verb, error);
        }
        match verb {
            Verb::Create => self.created(),
            Verb::Start => self.events.push_back(Event::Started(true)),
            Verb::KillAll => {}
            Verb::Delete => self.deleted(),
        }
    }

    fn command_failed(&mut self, verb: Verb, error: Error) {
        match verb {
            Verb::Create => {
                self.attempt.close_console(&self.epoll);
                self.attempt.failure = Some(error);
                self.stdio.pass = true;
                self.events.push_back(Event::Created(false));
            }
            Verb::Start => {
                self.attempt.failure = Some(error);
                self.events.push_back(Event::Started(false));
            }
            // SIGKILL went to init by its pidfd, and `delete --force` follows.
            Verb::KillAll => {}
            Verb::Delete => {
                self.say(&format!("warning: {}", error.chain()));
                self.deleted();
            }
        }
    }

    fn created(&mut self) {
        self.stdio.pass = true;
        match self.adopt() {
            Ok(exit) => {
                self.events.push_back(Event::Created(true));
                if let Some(exit) = exit {
                    self.init_ended(exit);
                }
            }
            Err(error) => self.command_failed(Verb::Create, error),
        }
    }

    fn adopt(&mut self) -> Result<Option<Exit>> {
        // The terminal may have come in the same moment as the command's end.
        if let Some(master) = self.attempt.receive_console(&self.epoll)? {
            let added = self.stdio.add(master, Stream::Stdout, &self.epoll);
            added.context(|| "terminal".into())?;
        }
        self.attempt.close_console(&self.epoll);
        self.attempt.adopt(&self.dir.file("pid"), &self.epoll)
    }

    fn deleted(&mut self) {
        self.read_notifications();
        self.close_inbox();
        crate::process::reaper::kill_the_rest();
        self.stdio.close(&self.epoll);
        self.events.push_back(Event::Deleted);
    }

    fn announce_ready(&mut self) {
        self.attempt.ready_at = Some(crate::clock::now());
        let millis = self.attempt.began.elapsed().as_millis();
        self.upstream.tell(Told::Ready, &self.epoll);
        self.say(&format!("{} is ready ({millis} ms)", self.id));
    }

    fn send_stop(&mut self) {
        let signal = self.machine.stop_signal();
        // Looked at before it is sent: then it arrives for sure.
        let arrives = self.attempt.awaits(signal);
        self.attempt.signal(signal);
        self.retry = (!arrives).then(|| Instant::now() + RETRY);
    }

    /// Sends the stop signal again once init would take it: one that came
    /// before its handler was lost.
    pub(crate) fn retry_stop(&mut self) {
        if self.machine.state() != State::Stopping {
            return;
        }
        if self.attempt.awaits(self.machine.stop_signal()) {
            self.attempt.signal(self.machine.stop_signal());
        } else {
            self.retry = Some(Instant::now() + RETRY);
        }
    }

    /// SIGUSR1 and SIGUSR2 are for the container.
    pub(crate) fn forward(&mut self, signal: Signal) {
        self.attempt.signal(signal);
    }

    fn say(&mut self, text: &str) {
        self.stdio.say(text, &self.epoll);
    }

    fn again(&mut self, reason: Reason, after: Duration) {
        self.record(reason, None, None);
        let why = match self.attempt.cause {
            Some(_) => self.start_error().chain(),
            None => format!("{} {}", self.id, how(self.attempt.exit)),
        };
        let when = match after.is_zero() {
            true => String::from("starting it again"),
            false => format!("starting it again in {} ms", after.as_millis()),
        };
        self.say(&format!("{why}; {when}"));
    }

    fn finish(&mut self, code: u8, reason: Reason) {
        let error = match (reason, self.attempt.cause) {
            (Reason::StartLimit, _) => Some(self.limit_error()),
            (_, Some(Cause::StartFailed | Cause::StartTimeout)) => Some(self.start_error()),
            _ => None,
        };
        let text = error.as_ref().map(Error::chain);
        self.record(reason, Some(code), text.as_deref());
        if error.is_none() && matches!(reason, Reason::Failed | Reason::Killed) {
            let how = match reason {
                Reason::Killed => "had to be killed".into(),
                _ => how(self.attempt.exit),
            };
            self.say(&format!("{} {how}", self.id));
        }
        self.outcome = Some(match error {
            Some(error) => Err(error),
            None => Ok(code),
        });
    }

    fn limit_error(&mut self) -> Error {
        let (starts, seconds) = (self.options.start_limit, self.options.start_limit_interval);
        let last = match self.attempt.cause {
            Some(_) => self.start_error().chain(),
            None => format!("the last time it {}", how(self.attempt.exit)),
        };
        let id = &self.id;
        Error::new(format!("container {id}: started {starts} times within {seconds} s, which is the limit: {last}"))
    }

    fn start_error(&mut self) -> Error {
        match (self.attempt.cause, self.attempt.failure.take()) {
            (Some(Cause::StartTimeout), _) => {
                let output = self.stdio.last_lines();
                not_ready(&self.id, self.options.timeout_start, &output)
            }
            (_, Some(failure)) => failure,
            (_, None) => Error::new(format!("container {}: could not be started", self.id)),
        }
    }

    fn record(&mut self, reason: Reason, exit_code: Option<u8>, error: Option<&str>) {
        let now = crate::clock::now();
        let attempt = &self.attempt;
        let exited_at = attempt.exited_at.as_deref().unwrap_or(&now);
        let record = Record {
            pid: attempt.pid,
            exit_code,
            restarts: self.starts.saturating_sub(1),
            ready_at: attempt.ready_at.as_deref(),
            oom_killed: attempt.oom_killed,
            error,
            ..Record::new(&self.id, attempt.exit, reason, &attempt.started_at, exited_at)
        };
        if let Err(error) = record.write(&self.dir) {
            self.say(&format!("warning: {}", error.chain()));
        }
    }
}

/// An end in words.
fn how(exit: Option<Exit>) -> String {
    match exit {
        Some(Exit::Status(status)) => format!("ended with status {status}"),
        Some(Exit::Signal(signal)) => format!("was ended by {signal}"),
        Some(Exit::Unknown) => "ended, nobody knows how".into(),
        None => "did not run".into(),
    }
}
