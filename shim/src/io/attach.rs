//! Attached clients: each sees the container's output from now on. One that does not read is dropped,
//! and never waited for.

use super::sink::Sink;
use crate::reactor::{Reactor, Token};
use crate::stream::Stream;
use std::os::fd::OwnedFd;

/// A client's copy of one output.
#[derive(Debug)]
struct View {
    client: u32,
    stream: Stream,
    sink: Sink,
    /// It is in the reactor's set.
    polled: bool,
}

/// All clients' copies.
#[derive(Debug, Default)]
pub(crate) struct Views(Vec<View>);

impl Views {
    /// Copies an output to a client's socket from now on.
    pub(crate) fn add(&mut self, client: u32, stream: Stream, socket: OwnedFd) {
        self.0.push(View { client, stream, sink: Sink::to_socket(socket), polled: false });
    }

    /// Whether the client is attached.
    pub(crate) fn has(&self, client: u32) -> bool {
        self.0.iter().any(|view| view.client == client)
    }

    /// Copies a piece of output. A client whose socket has had no room for long has no use for the
    /// rest either.
    pub(crate) fn push(&mut self, stream: Stream, chunk: &[u8], reactor: &Reactor) {
        self.write(reactor, |view| view.stream != stream || view.sink.push(chunk));
    }

    /// Goes on with a client that has room again.
    pub(crate) fn on_writable(&mut self, client: u32, stream: Stream, reactor: &Reactor) {
        self.write(reactor, |view| {
            if (view.client, view.stream) == (client, stream) {
                view.sink.flush();
            }
            true
        });
    }

    /// Ends the client's copies.
    pub(crate) fn remove(&mut self, client: u32, reactor: &Reactor) {
        self.write(reactor, |view| view.client != client);
    }

    /// Writes to views; those for which it is false are closed, by which the client sees an end.
    fn write(&mut self, reactor: &Reactor, mut keeps: impl FnMut(&mut View) -> bool) {
        self.0.retain_mut(|view| {
            let kept = keeps(view);
            let blocked = kept && view.sink.is_blocked();
            let token = Token::View(view.client, view.stream);
            if let Some(fd) = view.sink.pollable() {
                let _ = reactor.set_polled(fd, &mut view.polled, blocked, token);
            }
            kept
        });
    }

    /// Writes what is still pending, if it is taken within a second.
    pub(crate) fn flush_at_end(&mut self) {
        for view in &mut self.0 {
            view.sink.flush_at_end();
        }
    }
}
