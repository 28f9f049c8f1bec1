//! Requests of clients, by the control socket, and the events that they get.

use super::machine::Event;
use super::{Container, LOG};
use crate::control::protocol::{self, AttachedStream, Happened, Happening, Message, Reply, Request, Status};
use crate::control::server::Received;
use crate::signal::Signal;
use crate::stream::Stream;
use firn::error::{Context, Error, Result};
use firn::state::rfc3339;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, SystemTime};

/// Requests of a client that are answered in one go; the others wait for the next one, so that no
/// client holds the loop.
const BURST: usize = 16;

impl Container {
    /// Takes the requests that a client has sent.
    pub(super) fn serve_client(&mut self, client: u32) {
        for _ in 0..BURST {
            // One that is answered later holds the next.
            if !self.server.listens_to(client) {
                return;
            }
            let (reply, streams) = match self.server.receive(client) {
                Received::Request(request) => match self.answer(client, request) {
                    Ok(Some(answer)) => answer,
                    Ok(None) => return,
                    Err(error) => refuse(error.chain()),
                },
                Received::Bad(why) => refuse(why),
                Received::Nothing => return,
                Received::End => return self.remove_client(client),
            };
            if !self.server.reply(client, reply, &streams) {
                return self.remove_client(client);
            }
        }
    }

    /// Closes a client's connection and its streams.
    pub(super) fn remove_client(&mut self, client: u32) {
        self.server.remove(client, &self.reactor);
        self.stdio.views.remove(client, &self.reactor);
        self.stdio.input.remove_source(client, &self.reactor);
    }

    /// Carries out a request. `None`: the reply comes later.
    fn answer(&mut self, client: u32, request: Request) -> Result<Option<(Reply, Vec<OwnedFd>)>> {
        let mut reply = Reply::default();
        match request {
            Request::Status => reply.status = Some(Box::new(self.status())),
            Request::Subscribe => {
                // What earlier subscribers don't know yet is an event for them, and not for this one.
                self.publish_status();
                self.published = Some(self.status());
                self.server.subscribe(client);
                reply.status = self.published.clone().map(Box::new);
            }
            Request::Watch => {
                self.server.watch(client);
                reply.status = Some(Box::new(self.status()));
            }
            Request::Stop { timeout: None } => self.events.push_back(Event::Stop),
            Request::Stop { timeout: Some(seconds) } => {
                self.events.push_back(Event::StopWithin(Duration::from_secs(seconds.into())));
            }
            Request::Kill => self.events.push_back(Event::Kill),
            Request::Restart => self.events.push_back(Event::Restart),
            Request::ReopenLogs => self.stdio.reopen_logs().doing(|| "open the log anew")?,
            Request::Signal { number } => {
                let signal: Signal = number.to_string().parse().map_err(Error::new)?;
                if !self.attempt.init_runs() {
                    return Err(Error::new("it does not run now"));
                }
                self.forward_signal(signal);
            }
            Request::Attach { input } => return self.attach(client, input).map(Some),
            Request::Exec(process) => return self.begin_exec(client, process).map(|()| None),
            Request::Resize { rows, columns } => {
                self.stdio.input.resize(rows, columns).doing(|| "set the size of the terminal")?;
            }
        }
        Ok(Some((reply, Vec::new())))
    }

    /// Makes the client's sockets.
    fn attach(&mut self, client: u32, input: bool) -> Result<(Reply, Vec<OwnedFd>)> {
        if self.stdio.views.has(client) {
            return Err(Error::new("this connection is attached already"));
        }
        let terminal = self.terminal;
        if input && !terminal && !self.settings.stdin {
            return Err(Error::new("its input is /dev/null: run it with --stdin or a terminal to attach one"));
        }
        let mut reply = Reply { terminal, ..Reply::default() };
        let mut theirs = Vec::new();
        let mut add = |stream| -> Result<OwnedFd> {
            let flags = SocketFlags::CLOEXEC;
            let pair = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None).map_err(io::Error::from);
            let (our, their) = pair.doing(|| "socketpair")?;
            rustix::io::ioctl_fionbio(&our, true).map_err(io::Error::from).doing(|| "socketpair")?;
            reply.streams.push(stream);
            theirs.push(their);
            Ok(our)
        };
        let stdout = add(AttachedStream::Stdout)?;
        let stderr = if terminal { None } else { Some(add(AttachedStream::Stderr)?) };
        let typed = if input { Some(add(AttachedStream::Input)?) } else { None };
        self.stdio.views.add(client, Stream::Stdout, stdout);
        if let Some(stderr) = stderr {
            self.stdio.views.add(client, Stream::Stderr, stderr);
        }
        if let Some(typed) = typed {
            self.stdio.input.add_source(client, typed, &self.reactor);
        }
        Ok((reply, theirs))
    }

    fn status(&self) -> Status {
        let text = |path: &std::path::Path| path.to_string_lossy().into_owned();
        Status {
            id: self.settings.id.clone(),
            state: self.machine.state(),
            monitor_pid: std::process::id(),
            pid: self.attempt.pid.filter(|_| self.attempt.init_runs()),
            bundle: text(&self.settings.bundle),
            started_at: self.attempt.started_at.clone(),
            created_at: self.attempt.created_at.clone(),
            init_at: self.attempt.init_at.clone(),
            ready_at: self.attempt.ready_at.clone(),
            status_text: self.attempt.status_text.clone(),
            restarts: self.starts.saturating_sub(1),
            log: self.settings.log.first_file(&self.dir.file(LOG)).as_deref().map(text),
        }
    }

    /// Sends the status to subscribers, if it is another than the one they know.
    pub(super) fn publish_status(&mut self) {
        if !self.server.has_subscribers() {
            return;
        }
        let status = self.status();
        if self.published.as_ref() != Some(&status) {
            self.publish(protocol::Event::Status(Box::new(status.clone())));
            self.published = Some(status);
        }
    }

    /// Tells those who watch what has happened.
    pub(super) fn happened(&mut self, what: Happening) {
        if !self.server.has_watchers() {
            return;
        }
        let event = protocol::Event::Happened(Happened { time: rfc3339(SystemTime::now()), what });
        for client in self.server.publish_happening(&Message::Event(event)) {
            self.remove_client(client);
        }
    }

    /// Sends an event to subscribers; those that do not take it are removed.
    pub(super) fn publish(&mut self, event: protocol::Event) {
        for client in self.server.publish(&Message::Event(event)) {
            self.remove_client(client);
        }
    }
}

fn refuse(why: String) -> (Reply, Vec<OwnedFd>) {
    (Reply { error: Some(why), ..Reply::default() }, Vec::new())
}
