//! The monitor's end of the control socket: who may speak, requests in, replies and events out. None
//! of it waits: a client that does not read loses its connection.

use super::protocol::{Envelope, MESSAGE_LIMIT, Message, Reply, Request, VERSION};
use crate::process::listener::Listener;
use crate::reactor::{Interest, Reactor, Token};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recv, sendmsg};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Connections at the same time; more are closed at once.
const CLIENTS: usize = 64;
/// Descriptors in one message at most: input, stdout and stderr.
const STREAMS: usize = 3;

/// A connection.
#[derive(Debug)]
struct Client {
    number: u32,
    socket: OwnedFd,
    subscribed: bool,
    watches: bool,
    /// It is in the reactor's set.
    polled: bool,
}

/// The socket and its connections.
#[derive(Debug)]
pub(crate) struct Server {
    listener: Listener,
    clients: Vec<Client>,
    /// The number of the last client.
    last: u32,
}

/// What a client sent.
#[derive(Debug)]
pub(crate) enum Received {
    Request(Request),
    /// No request of this protocol; the text says why.
    Bad(String),
    /// Nothing for now.
    Nothing,
    /// It has closed the connection.
    End,
}

impl Server {
    /// A server on a socket that listens, O_NONBLOCK.
    pub(crate) fn new(listener: OwnedFd, reactor: &Reactor) -> io::Result<Server> {
        reactor.add(&listener, Interest::Readable, Token::Control)?;
        Ok(Server { listener: Listener::new(listener), clients: Vec::new(), last: 0 })
    }

    /// Takes new connections. Only root and our own user may speak.
    pub(crate) fn accept(&mut self, reactor: &Reactor) {
        while let Some(socket) = self.listener.accept() {
            let ours = nix::unistd::geteuid().as_raw();
            let allowed = getsockopt(&socket, PeerCredentials).is_ok_and(|peer| [0, ours].contains(&peer.uid()));
            let refusal = match self.clients.len() {
                _ if !allowed => Some("only root and the user who runs the monitor may speak to it"),
                CLIENTS => Some("too many programs speak to its monitor"),
                _ => None,
            };
            if let Some(why) = refusal {
                let reply = Reply { error: Some(why.into()), ..Reply::default() };
                let _ = send(socket.as_fd(), &Message::Reply(reply), &[]);
                continue;
            }
            self.connect(socket, reactor);
        }
    }

    /// Serves a client on its connection.
    pub(crate) fn connect(&mut self, socket: OwnedFd, reactor: &Reactor) {
        self.last = self.last.wrapping_add(1);
        self.clients.push(Client { number: self.last, socket, subscribed: false, watches: false, polled: false });
        self.go_on(self.last, reactor);
    }

    /// Takes the next request of a client.
    pub(crate) fn receive(&self, number: u32) -> Received {
        let Some(client) = self.clients.iter().find(|client| client.number == number) else {
            return Received::Nothing;
        };
        let mut text = [0; MESSAGE_LIMIT];
        let (length, whole) = match recv(&client.socket, &mut text, RecvFlags::DONTWAIT | RecvFlags::TRUNC) {
            Ok((length, whole)) => (length, whole),
            Err(Errno::AGAIN | Errno::INTR) => return Received::Nothing,
            Err(_) => return Received::End,
        };
        match whole {
            // An empty packet can't be told from the end, and is no request.
            0 => Received::End,
            _ if whole > length => Received::Bad(format!("a request has at most {MESSAGE_LIMIT} bytes")),
            _ => parse(&text[..length]),
        }
    }

    /// Sends events to a client from now on.
    pub(crate) fn subscribe(&mut self, number: u32) {
        if let Some(client) = self.clients.iter_mut().find(|client| client.number == number) {
            client.subscribed = true;
        }
    }

    /// Tells a client what happens from now on.
    pub(crate) fn watch(&mut self, number: u32) {
        if let Some(client) = self.clients.iter_mut().find(|client| client.number == number) {
            client.watches = true;
        }
    }

    /// Whether anybody is told what happens.
    pub(crate) fn has_watchers(&self) -> bool {
        self.clients.iter().any(|client| client.watches)
    }

    /// Whether anybody gets events.
    pub(crate) fn has_subscribers(&self) -> bool {
        self.clients.iter().any(|client| client.subscribed)
    }

    /// Answers a client. False: it does not take it, and is to be removed.
    #[must_use]
    pub(crate) fn reply(&self, number: u32, reply: Reply, streams: &[OwnedFd]) -> bool {
        let client = self.clients.iter().find(|client| client.number == number);
        client.is_none_or(|client| send(client.socket.as_fd(), &Message::Reply(reply), streams).is_ok())
    }

    /// Takes no requests of a client until [`Server::go_on`], so that its replies keep their order.
    pub(crate) fn hold(&mut self, number: u32, reactor: &Reactor) {
        if let Some(client) = self.clients.iter_mut().find(|client| client.number == number) {
            let _ = reactor.set_polled(&client.socket, &mut client.polled, false, Token::Client(number));
        }
    }

    /// Takes requests of a client again.
    pub(crate) fn go_on(&mut self, number: u32, reactor: &Reactor) {
        if let Some(client) = self.clients.iter_mut().find(|client| client.number == number) {
            let _ = reactor.set_polled(&client.socket, &mut client.polled, true, Token::Client(number));
        }
    }

    /// Whether requests of a client are taken.
    pub(crate) fn listens_to(&self, number: u32) -> bool {
        self.clients.iter().any(|client| client.number == number && client.polled)
    }

    /// Sends an event to one client. False: it does not take it, and is to be removed.
    #[must_use]
    pub(crate) fn tell(&self, number: u32, message: &Message) -> bool {
        let client = self.clients.iter().find(|client| client.number == number);
        client.is_none_or(|client| send(client.socket.as_fd(), message, &[]).is_ok())
    }

    /// Sends an event to all subscribers; those that do not take it are to be removed.
    #[must_use]
    pub(crate) fn publish(&self, message: &Message) -> Vec<u32> {
        self.send_to(|client| client.subscribed, message)
    }

    /// Sends an event to all who are told what happens; those that do not take it are to be removed.
    #[must_use]
    pub(crate) fn publish_happening(&self, message: &Message) -> Vec<u32> {
        self.send_to(|client| client.watches, message)
    }

    /// The clients among these that do not take it.
    fn send_to(&self, is_meant: impl Fn(&Client) -> bool, message: &Message) -> Vec<u32> {
        let meant = self.clients.iter().filter(|client| is_meant(client));
        let deaf = meant.filter(|client| send(client.socket.as_fd(), message, &[]).is_err());
        deaf.map(|client| client.number).collect()
    }

    /// Closes a connection.
    pub(crate) fn remove(&mut self, number: u32, reactor: &Reactor) {
        self.hold(number, reactor);
        self.clients.retain(|client| client.number != number);
    }
}

fn parse(text: &[u8]) -> Received {
    // The version first, as what a newer one requests may have another form.
    let version = serde_json::from_slice::<serde_json::Value>(text)
        .ok()
        .and_then(|message| message.get("version")?.as_u64())
        .unwrap_or_default();
    if version != u64::from(VERSION) {
        return Received::Bad(format!("this monitor speaks version {VERSION} of the protocol, not {version}"));
    }
    match serde_json::from_slice::<Envelope>(text) {
        Ok(envelope) => Received::Request(envelope.request),
        Err(error) => Received::Bad(format!("a request that this monitor does not know: {error}")),
    }
}

fn send(socket: BorrowedFd<'_>, message: &Message, streams: &[OwnedFd]) -> io::Result<()> {
    let text = serde_json::to_vec(message)?;
    let fds: Vec<BorrowedFd<'_>> = streams.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(STREAMS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&fds));
    }
    sendmsg(socket, &[IoSlice::new(&text)], &mut control, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?;
    Ok(())
}
