//! The runtime's commands for the container: how each is started, and what follows its end.

use super::Container;
use super::attempt::Attempt;
use super::machine::{BundleRules, Event};
use crate::bundle::load::Bundle;
use crate::control::protocol::Happening;
use crate::notify::NotifyMode;
use crate::process::exit::Exit;
use crate::process::pipes::{input_pipe, output_pipe};
use crate::process::pty::ConsoleSocket;
use crate::process::reaper;
use crate::runtime::command::{CreateArgs, Verb};
use crate::runtime::errors::{CommandError, FailureKind};
use crate::stream::Stream;
use firn::error::{Context, Error, Result};
use firn::state::rfc3339;
use std::process::{Command, Stdio};
use std::time::SystemTime;

/// The console socket's name in the state directory.
const CONSOLE: &str = "console";
/// The pid file's.
const PID_FILE: &str = "pid";

impl Container {
    /// Begins an attempt: `create` is the next command.
    pub(super) fn begin_attempt(&mut self) {
        self.starts = self.starts.saturating_add(1);
        self.attempt = Attempt::begin();
        self.stdio.begin_attempt();
        self.happened(Happening::Start);
        self.queue.push(Verb::Create);
    }

    /// Starts the next command, unless one runs. One that can't be started has failed.
    pub(super) fn start_next_command(&mut self) {
        while let Some(verb) = self.queue.take_next() {
            let started = self.prepare_command(verb).and_then(|command| {
                let operation = || format!("container {}: run {}", self.settings.id, self.runtime.program.display());
                self.queue.spawn(verb, command).doing(operation)
            });
            match started {
                Ok(()) => return,
                Err(error) => self.on_command_failed(verb, error),
            }
        }
    }

    fn prepare_command(&mut self, verb: Verb) -> Result<Command> {
        match verb {
            Verb::Create => self.prepare_create(),
            Verb::Exec(number) => self.prepare_exec(number),
            _ => {
                let command = self.runtime.command_for(verb);
                command.doing(|| format!("container {}: prepare {verb}", self.settings.id))
            }
        }
    }

    /// Writes the derived bundle, from the caller's as it is now, and makes the sockets and pipes.
    fn prepare_create(&mut self) -> Result<Command> {
        let bundle = Bundle::load(&self.settings.bundle)?;
        self.machine.set_rules(BundleRules {
            restart_status: bundle.restart_status(),
            stop_signal: bundle.stop_signal,
            notifies_ready: bundle.notifies_ready(self.settings.notify),
        });
        let terminal = bundle.terminal;
        self.terminal = terminal;
        for name in [PID_FILE, CONSOLE] {
            self.dir.remove(name)?;
        }
        self.dir.remove_bundle()?;
        let derived = self.dir.file("bundle");
        match self.settings.notify {
            NotifyMode::No => {}
            NotifyMode::Yes | NotifyMode::Auto => self.open_inbox()?,
        }
        bundle.write_derived(&derived, self.inbox.as_ref().map(|inbox| inbox.path()), self.settings.watchdog)?;
        let mut args = CreateArgs { bundle: derived, pid_file: self.dir.file(PID_FILE), console_socket: None };
        if terminal {
            let listener = self.dir.listen(CONSOLE)?;
            let socket = ConsoleSocket::new(listener).doing(|| "listen for the terminal")?;
            args.console_socket = Some(self.dir.connect_path(CONSOLE));
            self.attempt.open_console(socket, &self.reactor)?;
        }
        let mut command = self.runtime.create_command(&args).doing(|| "prepare create")?;
        if !terminal {
            let pipe = || "pipe";
            if self.settings.stdin {
                let (input, writer) = input_pipe().doing(pipe)?;
                command.stdin(Stdio::from(input));
                self.stdio.input.open(writer, false, &self.reactor);
            }
            let (stdout, out) = output_pipe().doing(pipe)?;
            let (stderr, err) = output_pipe().doing(pipe)?;
            command.stdout(Stdio::from(out)).stderr(Stdio::from(err));
            self.stdio.add_output(stdout, Stream::Stdout, &self.reactor).doing(pipe)?;
            self.stdio.add_output(stderr, Stream::Stderr, &self.reactor).doing(pipe)?;
        }
        Ok(command)
    }

    /// A command was reaped.
    pub(super) fn on_command_ended(&mut self, verb: Verb, exit: Exit) {
        if verb == Verb::Create {
            self.stdio.drain_outputs(&self.reactor);
        }
        if exit != Exit::Status(0) {
            // Of create, whose stderr is the container's.
            let lines = if verb == Verb::Create { self.stdio.last_lines() } else { String::new() };
            let error = CommandError::of(&self.runtime, verb, exit, &lines);
            if verb == Verb::Delete && error.kind == FailureKind::NoSuchContainer {
                // By a monitor that was killed after it.
                return self.on_deleted();
            }
            // Nothing was made, and what is there is not ours to delete.
            self.attempt.is_anothers |= error.kind == FailureKind::Exists;
            let error = match verb {
                // Its client knows of which container.
                Verb::Exec(_) => Error::new(error.message),
                _ => error.into(),
            };
            return self.on_command_failed(verb, error);
        }
        match verb {
            Verb::Create => self.on_created(),
            Verb::Start => {
                self.attempt.init_at = Some(rfc3339(SystemTime::now()));
                self.happened(Happening::Init { pid: self.attempt.pid });
                self.events.push_back(Event::Started(true));
            }
            Verb::KillAll | Verb::State => {}
            Verb::Exec(number) => self.on_exec_started(number, Ok(())),
            Verb::Delete => self.on_deleted(),
        }
    }

    fn on_command_failed(&mut self, verb: Verb, error: Error) {
        match verb {
            Verb::Create => {
                self.attempt.close_console(&self.reactor);
                self.attempt.failure = Some(error);
                self.stdio.passes_on = true;
                self.events.push_back(Event::Created(false));
            }
            Verb::Start => {
                self.attempt.failure = Some(error);
                self.events.push_back(Event::Started(false));
            }
            Verb::Exec(number) => self.on_exec_started(number, Err(error)),
            // SIGKILL went to init by its pidfd too, and `delete --force` follows.
            Verb::KillAll | Verb::State => {}
            Verb::Delete => {
                self.print_message(&format!("warning: {}", error.chain()));
                self.on_deleted();
            }
        }
    }

    fn on_created(&mut self) {
        self.attempt.created_at = Some(rfc3339(SystemTime::now()));
        self.stdio.passes_on = true;
        match self.adopt_init() {
            Ok(exit) => {
                self.mount_init();
                self.events.push_back(Event::Created(true));
                if let Some(exit) = exit {
                    self.on_init_ended(exit);
                }
            }
            Err(error) => self.on_command_failed(Verb::Create, error),
        }
    }

    fn adopt_init(&mut self) -> Result<Option<Exit>> {
        // Its event may come after that of the command's end.
        if let Some(master) = self.attempt.receive_master(&self.reactor)? {
            self.stdio.add_terminal(master, &self.reactor).doing(|| "terminal")?;
        }
        self.attempt.close_console(&self.reactor);
        self.attempt.adopt_init(&self.dir.file(PID_FILE), &self.reactor)
    }

    /// Deletes the container, unless it is another's.
    pub(super) fn delete(&mut self) {
        match self.attempt.is_anothers {
            true => self.on_deleted(),
            false => self.queue.push(Verb::Delete),
        }
    }

    fn on_deleted(&mut self) {
        self.read_notifications();
        self.release_held();
        self.close_inbox();
        reaper::kill_own_children();
        self.stdio.close_outputs(&self.reactor);
        self.events.push_back(Event::Deleted);
    }
}
